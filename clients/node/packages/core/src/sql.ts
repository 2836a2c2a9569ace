/** A name as an SQL identifier, whatever it holds. */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\0')) throw new TypeError(`${JSON.stringify(name)} cannot be the name of a schema`);
  return `"${name.replaceAll('"', '""')}"`;
}

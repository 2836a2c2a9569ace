/** What relay's own headers are called, where `[headers]` of its configuration renames them. */
export interface HeaderNames {
  /** Default: id. */
  readonly id?: string;
  /** Default: type. */
  readonly type?: string;
  /** Default: created_at. */
  readonly createdAt?: string;
}

/** All three names. Throws TypeError for a name that is none, and for one name twice. */
export function headerNames({ id = 'id', type = 'type', createdAt = 'created_at' }: HeaderNames = {}): Required<HeaderNames> {
  const names = { id, type, createdAt };
  const taken = new Map<string, string>();
  for (const [option, name] of Object.entries(names)) {
    if (typeof name !== 'string' || name === '') {
      throw new TypeError(`headers.${option} is no name: give the one that [headers] of relay's configuration has, and leave the option out where that is ""`);
    }
    const other = taken.get(name);
    if (other !== undefined) throw new TypeError(`headers.${option}: ${JSON.stringify(name)} is the name of headers.${other} as well`);
    taken.set(name, option);
  }
  return names;
}

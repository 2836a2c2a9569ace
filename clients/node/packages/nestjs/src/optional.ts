/** A package that works without being installed. Any other fault of it is an error, and not its absence. */
export function optional<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

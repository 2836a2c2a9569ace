/** The five characters by which PostgreSQL names an error, wherever a client library put them. */
function sqlStateOf(error: any): string | undefined {
  for (let e = error, depth = 0; e && depth < 5; e = e.driverError ?? e.cause, depth += 1) {
    for (const code of [e.originalCode, e.meta?.driverAdapterError?.cause?.originalCode, e.meta?.code, e.code]) {
      if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^(P\d{4}|EPIPE)$/.test(code)) return code;
    }
  }
  return undefined;
}

// Connection exceptions, too few resources, and the server going down or coming up.
const unavailable = /^(08|53|57P)/;
const networkCodes = new Set([
  'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'P1001', 'P1002', 'P1008', 'P1017',
]);
// The last two are Knex's and Prisma's for a server that takes a connection and does not answer.
const clientWords =
  /connection (terminated|ended|closed|error|timeout)|timeout exceeded when trying to connect|not queryable|server closed the connection|timeout acquiring a connection|unable to start a transaction in the given time/i;

/** Whether the database is out of reach, which says nothing about the event that was being handled. */
export function isUnavailable(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return unavailable.test(state);
  for (let e = error as any, depth = 0; e && depth < 5; e = e.driverError ?? e.cause, depth += 1) {
    if (networkCodes.has(e.code) || clientWords.test(String(e.message))) return true;
  }
  return false;
}

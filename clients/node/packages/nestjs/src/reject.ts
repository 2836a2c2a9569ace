import { OutboxSchemaError } from '@outboxrelay/core';

/** Thrown by a handler: this event can never be handled, so do not try again. */
export class RejectEventError extends Error {
  override readonly name = 'RejectEventError';
}

/** Whether trying again is of no use: rejected by the handler, by its pipes (status 400, 422), or no such payload. */
export function isPermanent(error: unknown): boolean {
  if (error instanceof RejectEventError || error instanceof OutboxSchemaError) return true;
  const status = (error as { getStatus?: unknown } | null)?.getStatus;
  if (typeof status !== 'function') return false;
  const code = status.call(error);
  return code === 400 || code === 422;
}

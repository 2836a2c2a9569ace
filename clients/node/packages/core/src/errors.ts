import type { SchemaIssue } from './standard-schema';

/** A reason why an event was refused. `index` counts the events of one call from 0. */
export interface EventFault {
  readonly index: number;
  readonly field: string;
  readonly problem: string;
}

/** The handle is not an open transaction. Nothing was written. The message names what to pass. */
export class OutboxTransactionRequiredError extends Error {
  override readonly name = 'OutboxTransactionRequiredError';
}

/** Events were refused before anything was written; the transaction is as it was. `faults` has every reason. */
export class OutboxInvalidEventError extends Error {
  override readonly name = 'OutboxInvalidEventError';

  constructor(readonly faults: readonly EventFault[]) {
    super(faults.map((fault) => `event ${fault.index}: ${fault.field} ${fault.problem}`).join('; '));
  }
}

/**
 * A payload does not match the event's schema. The message names the places only: some libraries put values into their
 * messages, and a payload does not belong into a log. `issues` has the library's words; it is not enumerable, so that
 * printing the error does not print it.
 */
export class OutboxSchemaError extends Error {
  override readonly name = 'OutboxSchemaError';
  declare readonly issues: readonly SchemaIssue[];

  constructor(event: string, issues: readonly SchemaIssue[]) {
    const places = [...new Set(issues.map(place))];
    super(`${event}: the payload does not match the schema at ${places.join(', ')}`);
    Object.defineProperty(this, 'issues', { value: issues, enumerable: false });
  }
}

/** The database refused the statement for a reason whose cure is known. `cause` is the client's own error. */
export class OutboxWriteError extends Error {
  override readonly name = 'OutboxWriteError';
}

function place(issue: SchemaIssue): string {
  const keys = (issue.path ?? []).map((step) => String(typeof step === 'object' ? step.key : step));
  return keys.length === 0 ? 'the top' : keys.join('.');
}

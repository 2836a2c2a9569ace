import { quoteIdentifier } from './sql';
import { transactionOf } from './transaction';

export interface InboxMessage {
  /** Who acts. Each handler that acts by itself has its own name, if several read one topic. */
  readonly consumer: string;
  /** The record's header `id`. */
  readonly id: string;
}

export interface InboxOptions {
  /** The schema of the table inbox, as it is, not quoted. Default: outbox. */
  readonly schema?: string;
}

export type InboxResult<T> = { readonly duplicate: true } | { readonly duplicate: false; readonly value: T };

/**
 * Runs `work` unless this consumer has handled the message before. The row that remembers it is written in the
 * transaction `tx`, so write what `work` does there too: both commit, or neither does. If another worker has the same
 * message in hand, this waits until that one has committed or rolled back.
 *
 * Let an error of `work` end the transaction: if it is caught and the transaction committed, the message counts as
 * handled. Throws OutboxTransactionRequiredError as emit does, and TypeError for a message without an id.
 */
export async function withInbox<T>(
  tx: unknown,
  message: InboxMessage,
  work: () => T | Promise<T>,
  options: InboxOptions = {},
): Promise<InboxResult<T>> {
  const transaction = transactionOf(tx);
  const { consumer, id } = message;
  if (typeof consumer !== 'string' || consumer === '') throw new TypeError('withInbox: consumer is missing: name who acts');
  if (typeof id !== 'string' || id === '') {
    throw new TypeError('withInbox: the message has no id: take it from the record\'s header "id", or what relay calls it, or make one of topic, partition and offset');
  }
  const inserted = await transaction.query(
    `insert into ${inboxOf(options)} (consumer, message_id) values ($1, $2) on conflict do nothing returning 1 as new`,
    [consumer, id],
  );
  if (inserted.length === 0) return { duplicate: true };
  return { duplicate: false, value: await work() };
}

/**
 * Forgets messages received more than `days` ago and returns how many. Keep them for longer than the topic's retention
 * and than you would ever replay: a copy of a forgotten message is handled again.
 */
export async function pruneInbox(handle: unknown, days: number, options: InboxOptions = {}): Promise<number> {
  if (!Number.isFinite(days) || days <= 0) throw new TypeError('pruneInbox: days has to be a positive number');
  const rows = await transactionOf(handle, { requireTransaction: false }).query(
    `with gone as (delete from ${inboxOf(options)} where received_at < now() - $1::text::interval returning 1)
select count(*)::integer as gone from gone`,
    [`${days} days`],
  );
  return Number(rows[0]?.['gone']);
}

const inboxOf = (options: InboxOptions): string => `${quoteIdentifier(options.schema ?? 'outbox')}.inbox`;

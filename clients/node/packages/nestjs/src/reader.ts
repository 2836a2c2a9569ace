import { Logger } from '@nestjs/common';
import type { KafkaContext } from '@nestjs/microservices';
import type { HeaderNames } from '@outboxrelay/core';
import type { ConsumeEventMetadata } from './consume-event.options';
import { recordOf, type ReceivedRecord } from './message';

/** What relay calls its headers, all of them named. */
export function headerNames({ id = 'id', type = 'type', createdAt = 'created_at' }: HeaderNames = {}): Required<HeaderNames> {
  for (const [option, name] of Object.entries({ id, type, createdAt })) {
    if (typeof name !== 'string' || name === '') throw new TypeError(`OutboxModule: headers.${option} is no header's name`);
  }
  return { id, type, createdAt };
}

/** Reads records, and says once of a topic that its records lack what consumers go by. */
export class RecordReader {
  private readonly logger = new Logger('ConsumeEvent');
  private readonly told = new Set<string>();

  constructor(private readonly names: Required<HeaderNames>) {}

  /** The record, or undefined when it is of another type than the handler's. */
  read(handler: ConsumeEventMetadata, context: KafkaContext): ReceivedRecord | undefined {
    const record = recordOf(context, this.names);
    const wanted = handler.event.type;
    if (wanted !== undefined && wanted !== record.type) {
      if (record.type === undefined) {
        this.warn(record, this.names.type, `${handler.consumer} leaves it alone, because it handles the type ${wanted} only`, 'type');
      }
      return undefined;
    }
    if (!record.headers[this.names.id]) {
      this.warn(record, this.names.id, `${handler.consumer} takes its place in the topic for its id, so a copy of it is handled again`, 'id');
    }
    return record;
  }

  private warn(record: ReceivedRecord, header: string, consequence: string, option: string): void {
    const said = `${option} ${record.topic}`;
    if (this.told.has(said)) return;
    this.told.add(said);
    const others = Object.keys(record.headers).slice(0, 10).join(', ');
    this.logger.warn(
      `a record in ${record.topic}[${record.partition}] at ${record.offset} has no header ${header}${others && ` (it has ${others})`}: ${consequence}. ` +
        `If relay's configuration renames the header, say so: OutboxModule.forRoot({ headers: { ${option}: … } }). This is said once for the topic`,
    );
  }
}

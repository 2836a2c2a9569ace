import { Global, Module } from '@nestjs/common';
import { EMIT_OBSERVER } from '../outbox.service';
import { OutboxRecorder } from './outbox-recorder';

/** Import it beside the application's module: `Test.createTestingModule({ imports: [AppModule, OutboxTestingModule] })`. */
@Global()
@Module({
  providers: [OutboxRecorder, { provide: EMIT_OBSERVER, useExisting: OutboxRecorder }],
  exports: [OutboxRecorder, EMIT_OBSERVER],
})
export class OutboxTestingModule {}

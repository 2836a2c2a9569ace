export { deliver } from './deliver';
export type { DeliverOptions } from './deliver';
export { OutboxRecorder } from './outbox-recorder';
export { OutboxTestingModule } from './outbox-testing.module';

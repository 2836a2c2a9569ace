import { optional } from './optional';

type Carrier = Record<string, string>;

const load = () => optional(() => require('@opentelemetry/api') as typeof import('@opentelemetry/api'));

/** The headers that carry the active trace: traceparent and tracestate. Empty without OpenTelemetry or a trace. */
export function traceHeaders(): Carrier {
  const api = load();
  const carrier: Carrier = {};
  api?.propagation.inject(api.context.active(), carrier);
  return carrier;
}

/** Runs `work` as part of the trace in `headers`, unless an instrumentation has made one active already. */
export function inTraceOf<T>(headers: Readonly<Carrier>, work: () => Promise<T>): Promise<T> {
  const api = load();
  if (api === undefined || api.trace.getActiveSpan() !== undefined) return work();
  return api.context.with(api.propagation.extract(api.context.active(), headers), work);
}

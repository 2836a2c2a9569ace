package relay

import (
	"testing"
	"time"
)

// BenchmarkDrain brings a backlog of b.N events of about 300 bytes to the broker in process: the cost of the relay, of
// PostgreSQL's answers and of the fake broker together.
func BenchmarkDrain(b *testing.B) {
	r := newRig(b, map[string]int32{"t": 4})
	r.exec(`insert into outbox.events (topic, key, type, payload, headers)
		select 't', n % 10000, 'OrderPlaced', json_build_object('n', n, 'fill', repeat('x', 250)), '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'
		  from generate_series(1, $1::int) n`, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	w := r.start(r.options())
	eventually(b, "all are delivered", 10*time.Minute, func() bool { return w.State().Report().Delivered >= int64(b.N) })
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	w.halt(b)
}

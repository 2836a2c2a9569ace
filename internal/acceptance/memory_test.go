//go:build linux

package acceptance

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/outbox"
)

const (
	mostResident = 100 + 32 // MiB: what the relay may need, and the default of outbox.max_in_flight
	largePayload = 1<<20 - 1<<10
)

func TestMemory_OneMillionRowTransactionAndLargePayloads(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	d := s.relay(binary)
	d.saysSoon("session began", 20*time.Second)
	db := s.connect()

	const rows = 1_000_000
	began := time.Now()
	_, err := db.Exec(t.Context(), `insert into outbox.events (topic, key, type, payload)
		select $1, 'key-' || i % 10000, 'Imported', json_build_object('n', i, 'text', repeat('x', 200))
		  from generate_series(1, $2::int) i`, s.topic, rows)
	if err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	s.settled(d, rows, 3*time.Minute)
	t.Logf("one transaction: written in %.1f s, delivered in %.1f s more, at most %.0f MiB resident",
		written.Sub(began).Seconds(), time.Since(written).Seconds(), memory(t, d.PID(), "VmHWM"))
	if n := s.stored(s.topic); n != rows {
		t.Errorf("%d records of %d rows", n, rows)
	}

	large := s.newTopic(4)
	const many = 64
	want := map[byte]bool{}
	tx := must(db.Begin(t.Context()))(t)
	for i := range byte(many) {
		want[i] = true
		// A record's own text and headers fit between this and the broker's default limit of 1 MiB and 12 bytes.
		err := outbox.Insert(t.Context(), tx, outbox.Event{Topic: large, Key: string('A' + rune(i)), Type: "Large",
			Payload: outbox.Binary(bytes.Repeat([]byte{i}, largePayload))})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.settled(d, rows+many, time.Minute)
	s.readBack(large, func(r *kgo.Record) {
		if len(r.Value) != largePayload || bytes.Count(r.Value, r.Value[:1]) != largePayload || !want[r.Value[0]] {
			t.Errorf("a record of %d bytes is not one that was written, or comes twice", len(r.Value))
			return
		}
		delete(want, r.Value[0])
	})
	if len(want) > 0 {
		t.Errorf("%d large events are missing", len(want))
	}
	most := memory(t, d.PID(), "VmHWM")
	t.Logf("and %d payloads of 1 MiB - 1 KiB: at most %.0f MiB resident", many, most)
	if most > mostResident {
		t.Errorf("at most %.0f MiB were resident, want %d", most, mostResident)
	}
	d.stop(10 * time.Second)
}

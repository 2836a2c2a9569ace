//go:build linux

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	backlogKeys = 1000
	liveKeys    = 10
	// away is four turns of the ring and more with the default retention.keep: every slot has rows of several turns.
	away = 7 * 24 * time.Hour
)

// TestBacklog_OfAWeekDrainsInOrderAndItsLagIsTrue has relays away for a week, in which writers have gone round the ring
// more than four times. What piled up drains beside new events that share its slots, with a janitor at work.
// RELAY_TEST_BACKLOG=full makes it 10,000,000 events instead of 300,000.
func TestBacklog_OfAWeekDrainsInOrderAndItsLagIsTrue(t *testing.T) {
	binary := setUp(t)
	rows, each, tidy := int64(300_000), int64(20_000), "@every 1s"
	if os.Getenv("RELAY_TEST_BACKLOG") == "full" {
		rows, each, tidy = 10_000_000, 100_000, "@every 15s" // a round looks at all that is settled and not yet old
	}
	s := newSite(t, nil, map[string]string{"max_wal_size": "4GB", "shared_buffers": "512MB"})
	db := s.connect()

	// A relay has run before: it has a cursor, and the ring fits its retention.keep.
	before := s.relay(binary)
	before.saysSoon("ring", 30*time.Second)
	if _, err := db.Exec(t.Context(), "insert into outbox.events (topic, key, payload) values ($1, 'first', '{\"n\": 1}')", s.topic); err != nil {
		t.Fatal(err)
	}
	s.settled(before, 1, 20*time.Second)
	before.stop(20 * time.Second)

	b := &pile{site: s, first: s.ask("select seq from outbox.events"), rows: rows, until: time.Now()}
	b.write(db, each)
	d := s.replica(binary, "RELAY_RETENTION_SCHEDULE="+tidy)
	began := time.Now()
	endLive := b.live()
	b.watch(d, 30*time.Second+time.Duration(rows/10_000)*time.Second)
	t.Logf("drained: %s", rate(rows, time.Since(began)))
	live := endLive()
	s.settled(d.daemon, 1+rows+live, time.Minute)

	eventually(t, "a slot that is old by now is emptied", time.Minute, func() bool { return len(d.said("slot emptied")) > 0 })
	d.stop(20 * time.Second)
	kept, emptied := s.ask("select count(*) from outbox.events"), b.emptied(d)
	t.Logf("%d events are kept, %d were in slots that were emptied", kept, emptied)
	if kept+emptied != 1+rows+live {
		t.Errorf("%d events are gone that no slot was emptied of", 1+rows+live-kept-emptied)
	}
	b.compare(live)
}

// pile is what has piled up: rows events of backlogKeys keys in turn. Nobody else writes meanwhile and nothing rolls
// back, so seqs have no gaps.
type pile struct {
	*site
	first, rows int64 // seq of the first event; how many there are after it
	until       time.Time
}

// write inserts it, each rows a transaction, as it would lie after a week: times from a week ago until now, and the slots
// that those times give.
func (b *pile) write(db *pgx.Conn, each int64) {
	b.t.Helper()
	began := time.Now()
	for from := int64(1); from <= b.rows; from += each {
		_, err := db.Exec(context.Background(), `
			insert into outbox.events (slot, topic, key, type, payload, created_at)
			select extract(epoch from at)::bigint / (select period_seconds from outbox.ring) % 8, $1, 'key-' || i % $2::int, 'Imported',
			       json_build_object('n', i, 'text', repeat('x', 200)), at
			  from (select i, $3::timestamptz - (1 - i / $4::float8) * $5::interval as at from generate_series($6::int, $7::int) i) e`,
			b.topic, backlogKeys, b.until, b.rows, away, from, min(from+each-1, b.rows))
		if err != nil {
			b.t.Fatal(err)
		}
	}
	b.t.Logf("written: %s", rate(b.rows, time.Since(began)))
	turns := b.ask(`select min(turns) from (
		select count(distinct extract(epoch from created_at)::bigint / period_seconds / 8) as turns
		  from generate_series(0, 7) s(slot) left join outbox.events e using (slot), outbox.ring group by slot) each`)
	if turns < 2 {
		b.t.Fatalf("a slot has rows of %d turns of the ring, want each to have several", turns)
	}
}

// live inserts an event each 20 ms until it is told to stop, and gives how many.
func (b *pile) live() (end func() int64) {
	db, stop, count := b.connect(), make(chan struct{}), make(chan int64)
	go func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for n := int64(0); ; n++ {
			select {
			case <-stop:
				count <- n
				return
			case <-ticker.C:
			}
			_, err := db.Exec(context.Background(), `insert into outbox.events (topic, key, payload)
				select $1, 'live-' || i % $2::int, json_build_object('n', i) from (select $3::bigint) e(i)`, b.topic, liveKeys, n+1)
			if err != nil {
				b.t.Errorf("write beside the backlog: %v", err)
				<-stop
				count <- n
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-count }
}

// truth is what the lag is, known without the relay's snapshots: one window is read in the order of seq, so the oldest
// pending event is the next one after as many as are settled.
type truth struct {
	at      time.Time
	settled int64
	pending int64
	lag     float64 // seconds
}

func (b *pile) truth(db *pgx.Conn) (now truth) {
	b.t.Helper()
	err := db.QueryRow(context.Background(), `
		select r.delivered, q.last_value - $1 + 1 - r.delivered, coalesce(extract(epoch from clock_timestamp() - e.created_at), 0)::float8
		  from outbox.events_seq q, outbox.relays r left join outbox.events e on e.seq = $1 + r.delivered`, b.first).
		Scan(&now.settled, &now.pending, &now.lag)
	if err != nil {
		b.t.Fatalf("ask for the true lag: %v", err)
	}
	now.at = time.Now()
	return now
}

// watch compares what /metrics tells with the truth until the backlog is settled, and samples the memory.
func (b *pile) watch(d *replica, limit time.Duration) {
	b.t.Helper()
	db := b.connect()
	d.saysSoon("session began", time.Minute)
	samples, told := 0, ""
	var slowest time.Duration
	for deadline := time.Now().Add(limit); ; {
		before := b.truth(db)
		metrics := d.get("/metrics")
		after := b.truth(db)
		d.runs()
		took := after.at.Sub(before.at)
		slowest = max(slowest, took)
		lag, pending := gauge(b.t, metrics, "relay_lag_seconds"), gauge(b.t, metrics, "relay_events_pending")
		// A second for the clocks, and an event that is being inserted.
		if most, least := before.lag+took.Seconds()+1, after.lag-took.Seconds()-1; lag < least || lag > most {
			b.t.Errorf("relay_lag_seconds is %.1f, and was between %.1f and %.1f", lag, least, most)
		}
		most, least := before.pending+(after.settled+after.pending-before.settled-before.pending)+1, after.pending-(after.settled+after.pending-before.settled-before.pending)-1
		if pending < float64(least) || pending > float64(most) {
			b.t.Errorf("relay_events_pending is %.0f, and was between %d and %d", pending, least, most)
		}
		told += fmt.Sprintf(" %.1f", lag/3600)
		if after.settled > b.rows {
			break
		}
		samples++
		if time.Now().After(deadline) {
			b.t.Fatalf("%d of %d events are settled after %v", after.settled, b.rows, limit)
		}
		time.Sleep(1020 * time.Millisecond) // what /metrics tells may be a second old: each sample is a new one
	}
	most := memory(b.t, d.PID(), "VmHWM")
	b.t.Logf("at most %.0f MiB resident; %d samples of the lag, the slowest took %.1f s, hours:%s", most, samples, slowest.Seconds(), told)
	if most > mostResident {
		b.t.Errorf("at most %.0f MiB were resident, want %d", most, mostResident)
	}
	if samples < 2 {
		b.t.Error("the backlog was gone before the lag could be watched")
	}
}

// gauge reads one figure of /metrics. That it is not told is a failure.
func gauge(t testing.TB, metrics, name string) float64 {
	t.Helper()
	for row := range strings.Lines(metrics) {
		if text, ok := strings.CutPrefix(row, name+" "); ok {
			return must(strconv.ParseFloat(strings.TrimSpace(text), 64))(t)
		}
	}
	t.Fatalf("/metrics does not tell %s", name)
	return 0
}

// emptied sums what the relay says that it has discarded.
func (b *pile) emptied(d *replica) (sum int64) {
	for _, l := range d.said("slot emptied") {
		var slot struct{ Events int64 }
		if err := json.Unmarshal([]byte(l.text), &slot); err != nil {
			b.t.Fatal(err)
		}
		sum += slot.Events
	}
	return sum
}

// compare reads all of it back. A key's events are numbered, a stride apart, so one number a key tells whether each came
// once and in order.
func (b *pile) compare(live int64) {
	b.t.Helper()
	next, twisted := map[string]int64{"first": 1}, 0
	for k := range int64(backlogKeys) {
		next[fmt.Sprint("key-", k)] = (k+backlogKeys-1)%backlogKeys + 1
	}
	for k := range int64(liveKeys) {
		next[fmt.Sprint("live-", k)] = (k+liveKeys-1)%liveKeys + 1
	}
	var n int64
	b.readBack(b.topic, func(r *kgo.Record) {
		n++
		key := string(r.Key)
		var event struct{ N int64 }
		if err := json.Unmarshal(r.Value, &event); err != nil {
			b.t.Fatalf("record %s: %v", r.Value, err)
		}
		if event.N != next[key] {
			if twisted++; twisted <= 5 {
				b.t.Errorf("event %d of key %s came when %d was to", event.N, key, next[key])
			}
		}
		stride := int64(backlogKeys)
		if strings.HasPrefix(key, "live-") {
			stride = liveKeys
		}
		next[key] = event.N + stride
	})
	if want := 1 + b.rows + live; n != want || twisted > 0 {
		b.t.Errorf("%d records of %d events, %d of them lost, twice or out of order", n, want, twisted)
	}
	b.t.Logf("%d records, each in the order of its key", n)
}

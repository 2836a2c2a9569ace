package torture

import (
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

func TestPlanner_DrawsBySeedAlone(t *testing.T) {
	w := newWorld("t", "key", "payload")
	draw := func(seed uint64) (plans []plan) {
		p := newPlanner(w, rand.New(rand.NewPCG(seed, 0)), time.Second)
		for range 3000 {
			plans = append(plans, p.next())
		}
		return plans
	}
	first := draw(1)
	if !reflect.DeepEqual(first, draw(1)) {
		t.Error("one seed made two plans")
	}
	if reflect.DeepEqual(first, draw(2)) {
		t.Error("two seeds made one plan")
	}
	kinds, events, late := map[string]int{}, 0, 0
	for _, p := range first {
		kinds[p.kind]++
		names := map[string]bool{}
		for _, c := range p.counts {
			events += c.events
			if c.topic != "" && w.partitionOf(c.topic, c.name) >= w.topics[c.topic] {
				t.Fatalf("key %s of topic %s has no partition", c.name, c.topic)
			}
			if c.name != "" && names[c.name] {
				t.Fatalf("key %s twice in one transaction: its seqs would not have the order of its events", c.name)
			}
			names[c.name] = true
			for _, k := range w.late {
				if k.name == c.name {
					late++
				}
			}
		}
	}
	for kind, share := range map[string]int{rolledBack: 100, killed: 20, cut: 10, longEarly: 15, longLate: 15, savepoint: 100, prepared: 40, preparedRolledBack: 10} {
		if n := kinds[kind] / 3; n < share/2 || n > 2*share {
			t.Errorf("%d of a thousand transactions are %s, want about %d", n, kind, share)
		}
	}
	if late == 0 || events < 3*len(first) || events > 10*len(first) {
		t.Errorf("%d events, %d for topics that are missing", events, late)
	}
}

// What the writer's line says of an event is what the reader's line says of its record.
func TestLines_OfWriterAndReaderAgree(t *testing.T) {
	w := newWorld("t", "key", "payload")
	random := rand.New(rand.NewPCG(3, 3))
	for n := range int64(500) {
		m := w.make(random, w.keys[n%keyCount], n+1)
		if n%10 == 0 {
			m = w.unkeyed(random)
		}
		m.seal()
		record := &kgo.Record{Topic: m.Topic, Value: m.Payload.Bytes(), Timestamp: time.Now()}
		if m.Key != "" || m.EmptyKey {
			record.Key = []byte(m.Key)
		}
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: "id", Value: []byte(m.ID)})
		if m.Type != "" {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: "type", Value: []byte(m.Type)})
		}
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: "created_at", Value: []byte("whenever")})
		for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: []byte(m.Headers[name])})
		}
		r := (&reader{}).line(record, 1)
		if r.ID != m.line.ID || r.Sum != m.line.Sum || r.Mark != "" {
			t.Fatalf("written %+v, read %+v", m.line, r)
		}
		record.Value = append(record.Value, ' ')
		if (&reader{}).line(record, 1).Sum == m.line.Sum {
			t.Fatal("a changed payload has the same sum")
		}
	}
}

func TestEnded_SaysUnknownWhenInDoubt(t *testing.T) {
	for _, row := range []struct {
		tag  string
		err  error
		want string
	}{
		{"COMMIT", nil, journal.Committed},
		{"ROLLBACK", nil, journal.RolledBack},
		{"", &pgconn.PgError{SeverityUnlocalized: "ERROR"}, journal.RolledBack},
		{"", &pgconn.PgError{SeverityUnlocalized: "FATAL"}, journal.Unknown},
		{"", errors.New("connection reset"), journal.Unknown},
	} {
		if got := ended(pgconn.NewCommandTag(row.tag), row.err, journal.Committed); got != row.want {
			t.Errorf("%q, %v: %s, want %s", row.tag, row.err, got, row.want)
		}
	}
}

func TestOptions_RefuseWhatCannotWork(t *testing.T) {
	good := Options{Dir: "d", Relay: "r"}
	o, err := good.complete()
	if err != nil || o.Mode != journal.AtLeastOnce || o.LeaseTTL != 15*time.Second || o.Schema != "outbox" || o.Relays != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	own, err := Options{Dir: "d", Relays: -1, Postgres: "u", Brokers: []string{"b"}}.complete()
	if err != nil || own.Relays != 0 || own.Schema != "outbox" || own.Name != "main" {
		t.Errorf("relays of somebody's own: %+v, %v", own, err)
	}
	if aside, err := (Options{Dir: "d", Relay: "r", Postgres: "u"}).complete(); err != nil || aside.Schema == "outbox" || aside.Name == "main" {
		t.Errorf("on somebody's own PostgreSQL: schema %q, %v; want one aside", aside.Schema, err)
	}
	for name, change := range map[string]func(*Options){
		"mode": func(o *Options) { o.Mode = "at_most_once" }, "nodes": func(o *Options) { o.Nodes = 2 },
		"dir": func(o *Options) { o.Dir = "" }, "relay": func(o *Options) { o.Relay = "" },
		"relays": func(o *Options) { o.Relays = -1 }, "rate": func(o *Options) { o.Rate = -1 },
		"standby": func(o *Options) { o.Standby = "warm" },
	} {
		o := good
		change(&o)
		if _, err := o.complete(); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

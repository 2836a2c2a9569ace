package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/store"
)

// A database comes back from a dump that was taken while its relay was in the middle of a batch. The relay of the
// original has gone on since, until its cluster was gone. Judged by what a consumer of committed records sees on a real
// Kafka: what the dump shows as delivered came once, what it shows as pending a second time, as docs/restore.md says,
// and what was written on either side since, once.
func TestRebase_ExactlyOnceOnApacheKafka(t *testing.T) {
	spendIDs(t)
	s := newRestoreSite(t)
	halt := startDaemon(t, s.env)
	stop := s.write()
	inBatch := s.inTheMiddleOfABatch()
	there, other := restoredElsewhere(t, s.conn, "--snapshot="+inBatch)
	execute(t, s.moment, "rollback")
	last := stop()
	settledAll(t, s.conn)
	halt()

	delivered, pending := numbers(t, other, "= 'delivered'"), numbers(t, other, "<> 'delivered'")
	if len(delivered) == 0 || len(pending) == 0 || last <= len(delivered)+len(pending) {
		t.Fatalf("%d delivered and %d pending in the dump, %d written: this shows nothing", len(delivered), len(pending), last)
	}
	s.insert(other, last+1, last+10)
	env := append(slices.Clone(s.env), "RELAY_POSTGRES_URL="+there)
	done := decode[store.Rebased](t, runRelay(t, env, "rebase", "--yes", "--json").wants(t, exitDone))
	if int(done.Pending) != len(pending)+10 {
		t.Errorf("%+v, want %d pending", done, len(pending)+10)
	}
	s.insert(other, last+11, last+20)
	s.refusesTheOldID(env)
	startDaemon(t, append(slices.Clone(env), "RELAY_KAFKA_TRANSACTIONAL_ID="+s.topic+"-2"))
	settledAll(t, other)
	runRelay(t, env, "audit").wants(t, exitDone)

	copies, turns := s.committed(last + 20 + len(pending))
	for n := 1; n <= last+20; n++ {
		want := 1
		if pending[n] {
			want = 2
		}
		if copies[n] != want {
			t.Errorf("event %d of %d came %d times, want %d (delivered in the dump: %t, pending: %t)", n, last+20, copies[n], want,
				delivered[n], pending[n])
		}
	}
	// The second relay begins below where the first one ended, and goes on in order.
	if turns > s.keys {
		t.Errorf("%d steps back among %d keys", turns, s.keys)
	}
	t.Logf("%d delivered and %d pending in the dump, %d written later", len(delivered), len(pending), last-len(delivered)-len(pending))
}

// restoreSite is a real Kafka, and a database whose relay is to deliver exactly once.
type restoreSite struct {
	t       *testing.T
	brokers []string
	topic   string // also the transactional id
	keys    int
	env     []string
	conn    *pgx.Conn
	moment  *pgx.Conn // of the dump
}

func newRestoreSite(t *testing.T) *restoreSite {
	t.Helper()
	s := &restoreSite{t: t, brokers: kafka.ForTest(t).Brokers(), topic: fmt.Sprintf("restored-%d", time.Now().UnixNano()), keys: 7}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 4, 1, nil, s.topic); err != nil {
		t.Fatal(err)
	}
	s.env, s.conn = database(t)
	s.moment = s.connect()
	s.env = append(s.env, "RELAY_KAFKA_BROKERS="+strings.Join(s.brokers, ","), "RELAY_OUTBOX_WAKE=poll", "RELAY_HTTP_LISTEN=",
		"RELAY_OUTBOX_DELIVERY=exactly_once", "RELAY_KAFKA_TRANSACTIONAL_ID="+s.topic, "RELAY_KAFKA_PROGRESS_TOPIC="+s.topic+"-progress")
	return s
}

func (s *restoreSite) connect() *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.conn.Config().ConnString())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { closePostgres(conn) })
	return conn
}

const insertNumbers = `insert into outbox.events (topic, key, payload) select $1, n % $2::int, to_json(n) from generate_series($3::int, $4::int) n`

func (s *restoreSite) insert(conn *pgx.Conn, from, to int) {
	s.t.Helper()
	execute(s.t, conn, insertNumbers, s.topic, s.keys, from, to)
}

// write inserts events until the function is called, which says how many there are.
func (s *restoreSite) write() (stop func() int) {
	ctx, cancel := context.WithCancel(s.t.Context())
	written, conn := make(chan int, 1), s.connect()
	go func() {
		n := 0
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for ; ctx.Err() == nil; n += 20 {
			<-pace.C
			if _, err := conn.Exec(s.t.Context(), insertNumbers, s.topic, s.keys, n+1, n+20); err != nil {
				s.t.Error(err)
				break
			}
		}
		written <- n
	}()
	return func() int { cancel(); return <-written }
}

// inTheMiddleOfABatch is a snapshot that shows a batch in doubt, and events delivered and pending. It lasts until moment
// ends its transaction.
func (s *restoreSite) inTheMiddleOfABatch() (snapshot string) {
	s.t.Helper()
	const seen = `select concat(candidate is not null, (select count(*) > 100 from outbox.delivery where status = 'delivered'),
		exists (select from outbox.delivery where status = 'pending')) from outbox.relays`
	until(s.t, "a batch is in doubt", func() bool {
		execute(s.t, s.moment, "begin isolation level repeatable read")
		var now string
		if err := s.moment.QueryRow(s.t.Context(), seen).Scan(&now); err == nil && now == "ttt" {
			return true
		}
		execute(s.t, s.moment, "rollback")
		return false
	})
	return query(s.t, s.moment, "select pg_export_snapshot()")
}

// numbers of the events with such a status.
func numbers(t *testing.T, conn *pgx.Conn, status string) map[int]bool {
	t.Helper()
	rows, _ := conn.Query(t.Context(), "select payload::text::int from outbox.delivery d join outbox.events e using (seq) where d.status "+status)
	list, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]bool{}
	for _, n := range list {
		all[n] = true
	}
	return all
}

// refusesTheOldID runs a relay under the transactional id of the original, which does not begin.
func (s *restoreSite) refusesTheOldID(env []string) {
	s.t.Helper()
	var said journal
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, []string{"run"}, env, strings.NewReader(""), io.Discard, &said) }()
	defer func() {
		stop()
		if code := <-ended; code != exitDone {
			s.t.Errorf("code %d: %s", code, said.String())
		}
	}()
	until(s.t, "the relay says whose the id is", func() bool { return strings.Contains(said.String(), "is in use by another outbox") })
}

// committed reads the topic as a consumer of committed records does: how often each number came, and how often a key's
// next one was not above the one before. It waits for n records, and for more than there should be.
func (s *restoreSite) committed(n int) (copies map[int]int, turns int) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(s.topic), kgo.DisableFetchSessions(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.KeepControlRecords())
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(s.t.Context(), s.topic)
	if err != nil {
		s.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	copies, last, got := map[int]int{}, map[string]int{}, 0
	for len(left) > 0 {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			var number int
			if _, err := fmt.Sscan(string(r.Value), &number); err != nil {
				s.t.Errorf("a record that nobody wrote: %q", r.Value)
			}
			if number <= last[string(r.Key)] {
				turns++
			}
			last[string(r.Key)] = number
			copies[number]++
			got++
		})
		if ctx.Err() != nil {
			s.t.Fatalf("the topic was not read to its end: %v", left)
		}
	}
	if got != n {
		s.t.Errorf("%d records, want %d", got, n)
	}
	return copies, turns
}

//go:build linux

package acceptance

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// site is a PostgreSQL of its own with an outbox in it, and a topic on a Kafka.
type site struct {
	t       testing.TB
	pg      *postgres.Server
	url     string
	brokers []string
	topic   string
	admin   *kadm.Client
	named   atomic.Int64 // topics made
}

// newSite starts a PostgreSQL with its own defaults, but for settings: it syncs. The cluster nil is the shared one.
func newSite(t testing.TB, cluster *kafka.Cluster, settings map[string]string) *site {
	t.Helper()
	if cluster == nil {
		cluster = must(shared.kafka())(t)
	}
	pg := must(postgres.Start(context.Background(), postgres.Options{Settings: settings}))(t)
	t.Cleanup(pg.Stop)
	s := &site{t: t, pg: pg, url: pg.URL("postgres"), brokers: cluster.Brokers()}
	must(migrate.Up(context.Background(), s.url, "outbox", nil))(t)
	client := must(kgo.NewClient(kgo.SeedBrokers(s.brokers...)))(t)
	t.Cleanup(client.Close)
	s.admin = kadm.NewClient(client)
	s.topic = s.newTopic(4)
	return s
}

// newTopic makes a topic with the broker's own settings.
func (s *site) newTopic(partitions int32) string {
	s.t.Helper()
	name := strings.NewReplacer("/", ".", "#", ".").Replace(s.t.Name())
	if n := s.named.Add(1); n > 1 {
		name += "." + string(rune('a'+n))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := s.admin.CreateTopic(ctx, partitions, 1, nil, name); err != nil {
		s.t.Fatalf("create topic %s: %v", name, err)
	}
	return name
}

// relay runs the daemon on this site, as its user would.
func (s *site) relay(binary string, env ...string) *daemon {
	s.t.Helper()
	return launch(s.t, binary, []string{"run"}, append([]string{
		"RELAY_POSTGRES_URL=" + s.url, "RELAY_KAFKA_BROKERS=" + strings.Join(s.brokers, ","), "RELAY_HTTP_LISTEN=",
	}, env...)...)
}

// connect opens a connection; the end of the test closes it.
func (s *site) connect() *pgx.Conn {
	s.t.Helper()
	c := must(pgx.Connect(context.Background(), s.url))(s.t)
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// ask runs a query that gives one number. It uses a connection of its own, because servers restart here.
func (s *site) ask(query string, args ...any) (n int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := must(pgx.Connect(ctx, s.url))(s.t)
	defer c.Close(ctx)
	if err := c.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// settled waits until the cursor has passed n events in all. It fails when d ends meanwhile.
func (s *site) settled(d *daemon, n int64, limit time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := must(pgx.Connect(ctx, s.url))(s.t)
	defer c.Close(context.Background())
	var delivered int64
	for {
		d.runs()
		err := c.QueryRow(ctx, "select coalesce(sum(delivered), 0) from outbox.relays").Scan(&delivered)
		switch {
		case ctx.Err() != nil:
			s.t.Fatalf("%d of %d events are settled after %v", delivered, n, limit)
		case err != nil:
			s.t.Fatalf("ask how far the cursor is: %v", err)
		case delivered == n:
			return
		case delivered > n:
			s.t.Fatalf("%d events are settled of %d", delivered, n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stored is how many records the topic holds, copies and all.
func (s *site) stored(topic string) (n int64) {
	s.t.Helper()
	for _, end := range s.ends(topic) {
		n += end
	}
	return n
}

func (s *site) ends(topic string) map[int32]int64 {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	listed, err := s.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		s.t.Fatalf("ask for the end of topic %s: %v", topic, err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			ends[o.Partition] = o.Offset
		}
	})
	return ends
}

// readBack hands take every record that the topic holds now and a read_committed consumer sees, in the order of each
// partition.
func (s *site) readBack(topic string, take func(*kgo.Record)) {
	s.t.Helper()
	ends := s.ends(topic)
	client := must(kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // one may be the last
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(s.t)
	defer client.Close()
	limit := 2 * time.Minute
	for _, end := range ends {
		limit += time.Duration(end/20_000) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("read topic %s: %v; to read: %v", topic, err, ends)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				take(r)
			}
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
		})
	}
}

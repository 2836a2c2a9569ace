package relay

import (
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/fake"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/publisher"
)

// Where commits need not be on disk before they are answered, a power cut takes the last ones back. What exactly_once has
// written down before Kafka committed must not be among them: the next leader would know nothing of the batch, and send
// it again.
func TestExactly_SurvivesAPowerCutWhereCommitsDoNotWaitForTheDisk(t *testing.T) {
	withEach(t, survivesAPowerCut)
}

func survivesAPowerCut(t *testing.T, client publisher.Client) {
	server, err := postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{
		"synchronous_commit": "off",
		// Nothing but a commit that waits for the disk writes the log there.
		"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "bgwriter_lru_maxpages": "0", "autovacuum": "off",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	r := newRigAt(t, server.URL("postgres"), fake.ForTest(t, map[string]int32{"orders": 4, progressTopic: 1}).Brokers())
	r.client = client
	r.showOnFailure()
	const events = 1000
	r.exec("set synchronous_commit = on")
	r.exec("insert into outbox.events (topic, key, payload) select 'orders', n % 10, to_json(n) from generate_series(1, $1::int) n", events)

	w := r.start(r.exactly())
	eventually(t, "Kafka has committed every event", 20*time.Second, func() bool { return len(r.committed("orders")) == events })
	w.kill()
	server.Kill()
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.db = r.connect()
	r.exec("update outbox.relays set expires_at = '-infinity'")
	w = r.start(r.exactly())
	r.settled(20 * time.Second)
	w.halt(t)
	checkOrder(t, r.committed("orders"), events, 0)
}

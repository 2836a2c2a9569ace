//go:build linux

package acceptance

import (
	"slices"
	"testing"
	"time"

	"github.com/outboxrelay/relay/outbox"
)

func TestDoorbell_WakesASleeper(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, nil)
	d := s.relay(binary, "RELAY_OUTBOX_WAKE=listen")
	d.saysSoon("session began", 20*time.Second)
	warm(s, d, 20_000)
	w := s.watch(s.topic)
	db := s.connect()
	var took []time.Duration
	for i := range 10 {
		s.asleep()
		if i == 0 {
			time.Sleep(5 * time.Second) // over safety polls, which must not take the bell down
			s.asleep()
		}
		id := outbox.NewID()
		if err := s.write(db, id); err != nil {
			t.Fatal(err)
		}
		took = append(took, w.after(id, time.Now()))
	}
	t.Logf("the first event after a sleep: %v", took)
	// One may meet a busy machine: without a bell most would be late.
	slices.Sort(took)
	if late := took[len(took)-2]; late > 500*time.Millisecond {
		t.Errorf("a sleeping relay took %v, want under 500 ms: the safety poll comes each 2 s, so the bell did not ring", late)
	}
	d.stop(10 * time.Second)
}

func TestDoorbell_LetsWritersPrepare(t *testing.T) {
	binary := setUp(t)
	s := newSite(t, nil, map[string]string{"max_prepared_transactions": "10"})
	d := s.relay(binary)
	if began := d.saysSoon("session began", 20*time.Second); began.Wake != "poll" {
		t.Errorf("wake=%s where transactions may be prepared, want poll", began.Wake)
	}
	db := s.connect()
	for i, end := range []string{"commit", "rollback", "commit"} {
		// At rest: where a relay listened, it would sleep by now, and the insert would notify.
		time.Sleep(500 * time.Millisecond)
		for _, sql := range []string{
			"begin",
			"insert into outbox.events (topic, key, payload) values ('" + s.topic + "', 'k', '1')",
			"prepare transaction 'two-phase'",
			end + " prepared 'two-phase'",
		} {
			if _, err := db.Exec(t.Context(), sql); err != nil {
				t.Fatalf("transaction %d: %s: %v", i, sql, err)
			}
		}
	}
	s.settled(d, 2, 10*time.Second)
	if n := s.stored(s.topic); n != 2 {
		t.Errorf("%d records of two transactions that were committed and one that was not", n)
	}
	d.stop(10 * time.Second)
}

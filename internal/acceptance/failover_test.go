//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// standby gives the site's PostgreSQL a standby, and lets everybody name both.
func (s *site) standby(sync bool) *postgres.Server {
	s.t.Helper()
	standby := must(s.pg.Standby(context.Background(), postgres.StandbyOptions{Sync: sync}))(s.t)
	s.t.Cleanup(standby.Stop)
	s.url = postgres.URL("postgres", s.pg, standby)
	return standby
}

// inBothModes runs a test with each of the deliveries.
func inBothModes(t *testing.T, test func(t *testing.T, s *site, exactly bool, env ...string)) {
	for mode, exactly := range map[string]bool{"at_least_once": false, "exactly_once": true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil, nil)
			var env []string
			if exactly {
				env = s.exactly()
			}
			test(t, s, exactly, env...)
		})
	}
}

const timelinePhrase = "PostgreSQL is on another timeline: a standby was promoted, or a backup restored. Commits that it had not " +
	"received are lost, and Kafka may hold events of theirs; what is committed from now on is delivered"

func TestFailover_ToASynchronousStandbyLosesNothing(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	inBothModes(t, func(t *testing.T, s *site, exactly bool, env ...string) {
		standby := s.standby(true)
		d := s.relay(binary, env...)
		d.saysSoon("session began", time.Minute)
		ctx, enough := context.WithCancel(t.Context())
		defer enough()
		end := s.steady(ctx)
		eventually(t, "events are in Kafka", 60*time.Second, func() bool { return s.stored(s.topic) > 2000 })

		failed := time.Now()
		s.pg.Kill()
		if err := standby.Promote(context.Background()); err != nil {
			t.Fatal(err)
		}
		promoted := time.Now()
		l := sayAfter(d, failed, timelinePhrase)
		t.Logf("promoted %.2f s after the primary was killed; %.2f s later: %s", promoted.Sub(failed).Seconds(),
			l.Time.Sub(promoted).Seconds(), l.text)
		caughtUp(s, d, "the standby was promoted")
		enough()
		committed := end()
		s.settled(d, sum(committed), drainWithin)
		d.stop(20 * time.Second)
		copies := s.arrived(t, s.topic, committed)
		if exactly && copies > 0 || copies > mostCopies {
			t.Errorf("%d copies", copies)
		}
		if n := len(d.said(timelinePhrase)); n != 1 {
			t.Errorf("the change of the timeline is said %d times, want once", n)
		}
		if !strings.Contains(l.text, `"from_timeline":1,"to_timeline":2`) {
			t.Errorf("the line does not name both timelines: %s", l.text)
		}
	})
}

// TestFailover_ToAnAsynchronousStandbySkipsNothingNew loses a hundred transactions that were settled. PostgreSQL then
// hands out their transaction ids and sequence numbers again.
func TestFailover_ToAnAsynchronousStandbySkipsNothingNew(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	inBothModes(t, func(t *testing.T, s *site, exactly bool, env ...string) {
		standby := s.standby(false)
		r := s.replica(binary, env...)
		r.saysSoon("session began", time.Minute)
		total := int64(0)
		write := func(kind string, n int) {
			t.Helper()
			c := must(pgx.Connect(t.Context(), s.url))(t)
			defer c.Close(context.Background())
			for i := range n { // a transaction each
				_, err := c.Exec(t.Context(), `insert into outbox.events (topic, key, payload) values ($1, $2, to_json($3::text))`,
					s.topic, fmt.Sprint(kind, i%10), fmt.Sprint(kind, " ", i))
				if err != nil {
					t.Fatal(err)
				}
			}
			total += int64(n)
			s.settled(r.daemon, total, 30*time.Second)
		}
		const kept, lost, fresh = 300, 100, 500
		write("kept", kept)
		if err := standby.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := standby.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		write("lost", lost)
		failed := time.Now()
		s.pg.Kill()
		if err := standby.Promote(context.Background()); err != nil {
			t.Fatal(err)
		}
		l := sayAfter(r.daemon, failed, timelinePhrase)
		t.Log(l.text)
		total -= lost
		write("fresh", fresh)
		for _, part := range []string{`"level":"warn"`, `"from_timeline":1,"to_timeline":2`, fmt.Sprintf(`"settled_lost":%d`, lost)} {
			if !strings.Contains(l.text, part) {
				t.Errorf("the line has no %s: %s", part, l.text)
			}
		}
		metrics := r.get("/metrics")
		for _, line := range []string{"relay_postgres_timeline 2", "relay_postgres_timeline_changes_total 1", fmt.Sprintf("relay_settled_lost_events_total %d", lost)} {
			if !strings.Contains(metrics, line+"\n") {
				t.Errorf("/metrics has no line %q", line)
			}
		}
		if n := s.ask("select count(*) from outbox.relays where last_error like '%timeline 1 to 2%'"); n != 1 {
			t.Error("the row does not note the fail-over")
		}
		r.stop(20 * time.Second)
		r.showLog("the log")
		checkKinds(t, s, map[string]int{"kept": kept, "lost": lost, "fresh": fresh})
	})
}

func (r *replica) get(path string) string {
	r.t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	response := must(client.Get("http://" + r.http + path))(r.t)
	defer response.Body.Close()
	return string(must(io.ReadAll(response.Body))(r.t))
}

// checkKinds wants each of the values "kind n" in Kafka once. Those of a kind called lost are in Kafka only.
func checkKinds(t *testing.T, s *site, want map[string]int) {
	t.Helper()
	times := map[string]int{}
	s.readBack(s.topic, func(r *kgo.Record) { times[strings.Trim(string(r.Value), `"`)]++ })
	for kind, n := range want {
		missing, copies := 0, 0
		for i := range n {
			seen := times[fmt.Sprint(kind, " ", i)]
			delete(times, fmt.Sprint(kind, " ", i))
			missing += max(0, 1-seen)
			copies += max(0, seen-1)
		}
		t.Logf("%s: %d events, %d missing, %d copies", kind, n, missing, copies)
		if missing+copies > 0 {
			t.Errorf("of %d events that are %s, %d are missing, and there are %d copies", n, kind, missing, copies)
		}
	}
	if len(times) > 0 {
		t.Errorf("%d values that nobody wrote", len(times))
	}
}

// TestFailover_ADiskThatIsFullOnlyPauses fills a disk of PostgreSQL's under load. Where the data is, writers are refused
// and relay delivers what there is. Where the write-ahead log is, PostgreSQL ends: the cursor cannot move, and nothing
// is sent again and again.
func TestFailover_ADiskThatIsFullOnlyPauses(t *testing.T) {
	postgres.NeedDisks(t)
	binary := setUp(t)
	t.Parallel()
	settings := map[string]string{"max_wal_size": "64MB", "min_wal_size": "32MB"}
	for name, one := range map[string]struct {
		options postgres.Options
		fill    func(*postgres.Server) (func(), error)
		press   string // what needs room
		ends    bool   // PostgreSQL does
	}{
		"data": {postgres.Options{DiskMB: 300, Settings: settings}, (*postgres.Server).FillDisk,
			"create table if not exists filler (t text); insert into filler select repeat(md5(n::text), 30) from generate_series(1, 9000) n", false},
		"write-ahead log": {postgres.Options{WALDiskMB: 96, Settings: settings}, (*postgres.Server).FillWALDisk,
			"select pg_logical_emit_message(true, 'filler', repeat('x', 8000000))", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil, nil)
			s.pg = must(postgres.Start(context.Background(), one.options))(t)
			t.Cleanup(s.pg.Stop)
			s.url = s.pg.URL("postgres")
			must(migrate.Up(context.Background(), s.url, "outbox", nil))(t)
			d := s.relay(binary)
			d.saysSoon("session began", time.Minute)
			ctx, enough := context.WithCancel(t.Context())
			defer enough()
			end := s.steady(ctx)
			eventually(t, "events are in Kafka", time.Minute, func() bool { return s.stored(s.topic) > 2000 })

			free := must(one.fill(s.pg))(t)
			full := time.Now()
			eventually(t, "the disk is full", time.Minute, func() bool {
				c, err := pgx.Connect(ctx, s.url)
				if err != nil {
					return true
				}
				defer c.Close(context.Background())
				_, err = c.PgConn().Exec(ctx, one.press).ReadAll()
				return err != nil
			})
			if one.ends {
				sayAfter(d, full, "PostgreSQL is not available, waiting")
			}
			before := s.stored(s.topic)
			time.Sleep(10 * time.Second)
			d.runs()
			t.Logf("%d records came into Kafka in ten seconds of a full disk", s.stored(s.topic)-before)
			free()
			if err := s.pg.StartAgain(context.Background()); (err == nil) != one.ends {
				t.Errorf("start PostgreSQL again: %v", err)
			}
			caughtUp(s, d, "the disk was full")
			enough()
			committed := end()
			s.settled(d, sum(committed), drainWithin)
			d.stop(20 * time.Second)
			d.showLog("the log")
			if copies := s.arrived(t, s.topic, committed); copies > mostCopies {
				t.Errorf("%d copies, want at most %d", copies, mostCopies)
			}
		})
	}
}

// TestFailover_WhatADatabaseAdministratorDoes: backends terminated one after the other, a table locked for longer than
// anybody waits, and time-outs set for the relay's role.
func TestFailover_WhatADatabaseAdministratorDoes(t *testing.T) {
	binary := setUp(t)
	t.Parallel()
	s := newSite(t, nil, nil)
	db := s.connect()
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec("create role impatient login superuser")
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"} {
		exec("alter role impatient set " + name + " = '300ms'")
	}
	u := must(url.Parse(s.url))(t)
	u.User = url.User("impatient")
	d := s.relay(binary, "RELAY_POSTGRES_URL="+u.String())
	d.saysSoon("session began", time.Minute)
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	end := s.steady(ctx)
	eventually(t, "events are in Kafka", 30*time.Second, func() bool { return s.stored(s.topic) > 3000 })
	if ended := d.said("session ended"); len(ended) > 0 {
		t.Errorf("the role's time-outs reach the relay: %s", ended[0].text)
	}
	for _, part := range []string{"lease", "reader", "settler", "parked"} {
		if n := s.ask("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1", "relay main "+part); n != 1 {
			t.Errorf("%d backends of the %s", n, part)
		}
		caughtUp(s, d, "the backend of the "+part+" was terminated")
	}
	tx := must(db.Begin(t.Context()))(t)
	if _, err := tx.Exec(t.Context(), "lock table outbox.events in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(8 * time.Second)
	d.runs()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	caughtUp(s, d, "the table was locked for 8 s")
	enough()
	committed := end()
	s.settled(d, sum(committed), drainWithin)
	d.stop(20 * time.Second)
	d.showLog("the log")
	if copies := s.arrived(t, s.topic, committed); copies > mostCopies {
		t.Errorf("%d copies, want at most %d", copies, mostCopies)
	}
}

package adopt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Somebody's open transaction keeps the switch waiting for minutes. What comes meanwhile goes to the outbox, so that the
// lock is short when it is granted.
func TestBackfill_MovesWhatComesWhileItWaits(t *testing.T) {
	conn := newDatabase(t, messages)
	p := planned(t, conn, "m", "", messageFields...)
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	slow := another(t, conn)
	exec(t, slow, `begin; insert into m (k) values ('slow')`)
	told := make(chan string, 1000)
	a.Waits = func(holder string) { told <- holder }
	ended := make(chan error, 1)
	go func() {
		_, err := a.Backfill(t.Context(), p, 1, func(Progress) {})
		ended <- err
	}()
	<-told
	exec(t, conn, `insert into m (k) select n from generate_series(1, 3000) n`)
	eventually(t, func() bool { return text(t, conn, `select count(*)::text from outbox.events`) == "3000" })
	exec(t, slow, `commit`)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := keys(t, conn); !strings.HasSuffix(got, " 3000 slow") {
		t.Errorf("…%s", got[max(0, len(got)-30):])
	}
}

// A table with many partitions has many locks, of which each might be waited for as long as the first.
func TestLocked_WaitsForAMomentInAll(t *testing.T) {
	conn := newDatabase(t, ``)
	var limit string
	began := time.Now()
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return locked(t.Context(), tx, "select pg_sleep(60)") })
	if !errors.Is(err, errNoLock) || !isTurnOver(err) {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		if err := locked(t.Context(), tx, "select 1"); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), "select current_setting('statement_timeout')").Scan(&limit)
	})
	if err != nil || limit != "0" {
		t.Errorf("behind the lock a statement has %s, %v", limit, err)
	}
}

// Who waits behind somebody that only reads is told so, where the lock is one that waits for readers.
func TestRemove_NamesAReader(t *testing.T) {
	conn := newDatabase(t, messages)
	install(t, conn, "m", "", messageFields...)
	reader := another(t, conn)
	exec(t, reader, `set application_name = 'pg_dump'; begin; select from m`)
	a := adopter(t, conn)
	told := make(chan string, 1000)
	a.Waits = func(holder string) { told <- holder }
	ended := make(chan error, 1)
	go func() {
		_, err := a.Remove(t.Context(), "outbox", found(t, another(t, conn), "m"), false)
		ended <- err
	}()
	if holder := <-told; !strings.Contains(holder, "pg_dump") {
		t.Errorf("waits for %s", holder)
	}
	exec(t, reader, `rollback`)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A try that finds much gives the lock back, and leaves nothing where it waits.
func TestBackfill_GivesTheLockBackWhereMuchWaits(t *testing.T) {
	conn := newDatabase(t, messages)
	p := planned(t, conn, "m", "", messageFields...)
	a := adopter(t, conn)
	if err := a.Begin(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	looks := 0
	done, err := a.Backfill(t.Context(), p, 1, func(Progress) {
		if looks++; looks == 1 { // between the last look at what waits and the lock
			exec(t, conn, `insert into m (k) select n from generate_series(1, $1::int) n`, largestStep+1)
		}
	})
	if err != nil || looks < 3 || done.Waiting != largestStep+1 {
		t.Errorf("%+v after %d looks, %v", done, looks, err)
	}
	exec(t, conn, `insert into m (k) values ('live')`)
	if got := text(t, conn, `select concat_ws(' ', (select count(*) from outbox.adopted_waiting), (select count(*) from outbox.events), (select state from outbox.adoptions))`); got != "0 20002 live" {
		t.Error(got)
	}
}

package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

const (
	// drainWithin is what a run is judged by, drainPatience longer, to tell late from never.
	drainWithin   = time.Minute
	drainPatience = 3 * time.Minute
	readPatience  = 2 * time.Minute
)

// finish resolves what is open, waits until all is delivered, and reads everything back.
func (r *run) finish(ctx context.Context, concurrent *reader) error {
	conn, err := r.settleDatabase(ctx)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	for name := "-"; name != ""; {
		if name, err = r.makeMissing(ctx); err != nil {
			return err
		}
	}
	// What was replayed to a topic that is never made could not go.
	_, err = conn.Exec(ctx, "select "+r.schema+".parked_drop_where(topic => $1)", r.world.again[1])
	if err != nil {
		return fmt.Errorf("drop what was replayed to a missing topic: %w", err)
	}
	r.note(journal.Action{What: journal.Quiet})
	if err := r.drain(ctx, conn); err != nil {
		return err
	}
	r.relays.ready(ctx, 10*time.Second)
	if err := r.testify(ctx, conn); err != nil {
		return err
	}
	if err := r.readBack(ctx, concurrent); err != nil {
		return err
	}
	for i := range r.relays.all {
		if err := r.relays.Stop(ctx, i); err != nil {
			r.note(journal.Action{What: journal.Trouble, Detail: err.Error()})
		}
	}
	return nil
}

// settleDatabase ends prepared transactions and waits until no writer's backend is at work any more: a COMMIT whose
// client is gone may still be.
func (r *run) settleDatabase(ctx context.Context) (*pgx.Conn, error) {
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL after the healing: %w", err)
	}
	const busy = `select count(*) from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid() and xact_start is not null
		and query not like '%relays r where%'`
	for deadline := time.Now().Add(time.Minute); ; pause(ctx, 50*time.Millisecond) {
		var n int
		if err := conn.QueryRow(ctx, busy, application).Scan(&n); err != nil {
			return conn, fmt.Errorf("look for transactions that are open: %w", err)
		}
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			return conn, fmt.Errorf("%d transactions of the writers are still open after a minute", n)
		}
	}
	return conn, finishPrepared(ctx, conn, r.ledger, "torture-%")
}

// drain waits until nothing is pending and nothing is parked.
func (r *run) drain(ctx context.Context, conn *pgx.Conn) error {
	began := time.Now()
	sql := "select coalesce((select sum(pending) from " + r.schema + ".lag where name = $1), 0)::bigint, " +
		"(select count(*) from " + r.schema + ".parked where name = $1)"
	for {
		var pending, parked int64
		if err := conn.QueryRow(ctx, sql, r.Name).Scan(&pending, &parked); err != nil {
			return fmt.Errorf("look how much is left: %w", err)
		}
		took := time.Since(began)
		left := fmt.Sprintf("%d pending, %d parked after %v", pending, parked, took.Round(time.Millisecond))
		if pending+parked == 0 || took > drainPatience {
			r.note(journal.Action{What: journal.Drained, OK: pending+parked == 0 && took < drainWithin, Detail: left})
			return nil
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// testify writes down which transactions PostgreSQL holds.
func (r *run) testify(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "select tx from relay_torture.witness")
	if err != nil {
		return fmt.Errorf("read the witnesses: %w", err)
	}
	var tx string
	_, err = pgx.ForEachRow(rows, []any{&tx}, func() error {
		r.witness.Append(journal.Witness{Tx: tx})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the witnesses: %w", err)
	}
	return nil
}

// readBack reads all topics to their ends: with the reader that was there all the time, and with two new ones.
func (r *run) readBack(ctx context.Context, concurrent *reader) error {
	ends, err := ends(ctx, r.admin, r.topics(), readPatience)
	if err != nil {
		return err
	}
	if err := concurrent.upTo(ctx, ends, readPatience); err != nil {
		return fmt.Errorf("the concurrent reader: %w", err)
	}
	for _, fresh := range []struct {
		committed bool
		lines     *journal.Writer
	}{{true, r.fresh}, {false, r.uncommitted}} {
		reader, err := r.newReader(fresh.committed, fresh.lines)
		if err != nil {
			return err
		}
		reading, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			reader.run(reading)
		}()
		err = reader.upTo(ctx, ends, readPatience)
		stop()
		<-done
		if err != nil {
			return fmt.Errorf("a fresh reader: %w", err)
		}
	}
	return nil
}

package adopt

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

// The figures of docs/adopting.md: go test -run '^$' -bench . -benchtime ... ./internal/adopt

// benchBody is a payload of 300 bytes.
var benchBody = `{"note": "` + strings.Repeat("x", 288) + `"}`

// benchDatabase is a server that keeps what it has said to keep, with Debezium's table, adopted or not.
func benchDatabase(b *testing.B, adopted bool) *pgx.Conn {
	b.Helper()
	server, err := postgres.Start(b.Context(), postgres.Options{Settings: map[string]string{"shared_buffers": "1GB", "max_wal_size": "8GB"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Stop)
	migrate.ForTest(b, server.URL("postgres"), "outbox")
	conn, err := pgx.Connect(b.Context(), server.URL("postgres"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	benchExec(b, conn, debezium("jsonb")+`; alter table outboxevent add position bigint generated always as identity; create unique index on outboxevent (position)`)
	if adopted {
		if err := benchAdopter(b, conn).Install(b.Context(), benchPlan(b, conn)); err != nil {
			b.Fatal(err)
		}
	}
	return conn
}

func benchExec(b *testing.B, conn *pgx.Conn, sql string, args ...any) {
	b.Helper()
	if _, err := conn.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func benchPlan(b *testing.B, conn *pgx.Conn) *Plan {
	b.Helper()
	p, err := plan(b.Context(), conn, "outbox", "outboxevent", "position", "debezium")
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func benchAdopter(b *testing.B, conn *pgx.Conn) *Adopter {
	b.Helper()
	c, err := pgx.Connect(b.Context(), conn.Config().ConnString())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(context.Background()) })
	a, err := Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// walRead is the write-ahead log's length so far.
func walRead(b *testing.B, conn *pgx.Conn) (bytes int64) {
	b.Helper()
	if err := conn.QueryRow(b.Context(), `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`).Scan(&bytes); err != nil {
		b.Fatal(err)
	}
	return bytes
}

func bareAndAdopted(b *testing.B, run func(*testing.B, *pgx.Conn)) {
	for _, adopted := range []bool{false, true} {
		name := map[bool]string{false: "bare", true: "adopted"}[adopted]
		b.Run(name, func(b *testing.B) { run(b, benchDatabase(b, adopted)) })
	}
}

const benchInsert = `insert into outboxevent (aggregatetype, aggregateid, type, payload) values ('order', $1, 'OrderPlaced', $2)`

// One row a transaction, from one connection and from eight.
func BenchmarkInsert(b *testing.B) {
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			bareAndAdopted(b, func(b *testing.B, conn *pgx.Conn) {
				conns := make([]*pgx.Conn, clients)
				for i := range conns {
					var err error
					if conns[i], err = pgx.Connect(b.Context(), conn.Config().ConnString()); err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { conns[i].Close(context.Background()) })
				}
				var left atomic.Int64
				left.Store(int64(b.N))
				before := walRead(b, conn)
				b.ResetTimer()
				ended := make(chan error, clients)
				for _, c := range conns {
					go func() {
						var err error
						for n := left.Add(-1); n >= 0 && err == nil; n = left.Add(-1) {
							_, err = c.Exec(b.Context(), benchInsert, fmt.Sprint(n%1000), benchBody)
						}
						ended <- err
					}()
				}
				for range conns {
					if err := <-ended; err != nil {
						b.Error(err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(walRead(b, conn)-before)/float64(b.N), "WAL-B/row")
			})
		})
	}
}

// COPY of 100,000 rows in one statement.
func BenchmarkCopy(b *testing.B) {
	const rows = 100_000
	var text strings.Builder
	for n := range rows {
		fmt.Fprintf(&text, "order\t%d\tOrderPlaced\t%s\n", n%1000, benchBody)
	}
	bareAndAdopted(b, func(b *testing.B, conn *pgx.Conn) {
		before := walRead(b, conn)
		for b.Loop() {
			if _, err := conn.PgConn().CopyFrom(b.Context(), strings.NewReader(text.String()),
				"copy outboxevent (aggregatetype, aggregateid, type, payload) from stdin"); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		b.ReportMetric(float64(walRead(b, conn)-before)/rows/float64(b.N), "WAL-B/row")
	})
}

// A backfill of a million rows, with nobody else at work. Run it with -benchtime 1x.
func BenchmarkBackfill(b *testing.B) {
	const rows = 1_000_000
	conn := benchDatabase(b, false)
	benchExec(b, conn, `insert into outboxevent (aggregatetype, aggregateid, type, payload)
		select 'order', n % 1000, 'OrderPlaced', $1::jsonb from generate_series(1, $2::int) n`, benchBody, rows)
	p, a := benchPlan(b, conn), benchAdopter(b, conn)
	for b.Loop() {
		b.StopTimer()
		before, slowest, last := walRead(b, conn), time.Duration(0), time.Now()
		b.StartTimer()
		if _, err := p.Check(b.Context(), a.Conn); err != nil {
			b.Fatal(err)
		}
		checked := time.Since(last)
		if err := a.Begin(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		old, err := Find(b.Context(), a.Conn, "outbox", "outboxevent")
		if err != nil {
			b.Fatal(err)
		}
		last = time.Now()
		done, err := a.Backfill(b.Context(), p, old.No, func(Progress) {
			slowest, last = max(slowest, time.Since(last)), time.Now()
		})
		if err != nil || done.Rows != rows {
			b.Fatal(done, err)
		}
		b.StopTimer()
		b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
		b.ReportMetric(float64(walRead(b, conn)-before)/rows, "WAL-B/row")
		b.ReportMetric(checked.Seconds(), "s-check")
		b.ReportMetric(slowest.Seconds(), "s-slowest-step")
		old, err = Find(b.Context(), a.Conn, "outbox", "outboxevent")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Remove(b.Context(), "outbox", old, false); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

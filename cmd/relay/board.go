package main

import (
	"context"
	"sync"
	"time"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/ops"
)

// boardFresh is how long a reading of the database serves others: however many ask, the database is asked once.
const boardFresh = time.Second

// board is the daemon's view of the status: /status, /metrics and the console read it, and all of it comes from
// readStatus. Safe for concurrent use.
type board struct {
	cfg *config.Config

	mu            sync.Mutex // held while the database is asked: others wait for that reading
	report        statusReport
	read, sampled time.Time
}

// status is the report with the rate, which takes a second to watch unless it is fresh.
func (b *board) status(ctx context.Context) (any, error) {
	return b.fresh(ctx, rateSample)
}

// outbox is the part that metrics tell.
func (b *board) outbox(ctx context.Context) (ops.Outbox, error) {
	r, err := b.fresh(ctx, 0)
	if err != nil {
		return ops.Outbox{}, err
	}
	return ops.Outbox{Pending: r.Pending, LagSeconds: r.Lag, Parked: r.Parked, RingOldestSeconds: r.RingOldest}, nil
}

func (b *board) fresh(ctx context.Context, sample time.Duration) (statusReport, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.read; sample > 0 && time.Since(b.sampled) < boardFresh || sample == 0 && time.Since(last) < boardFresh {
		return b.report, nil
	}
	conn, err := connectPostgres(ctx, b.cfg, "status")
	if err != nil {
		return statusReport{}, err
	}
	defer closePostgres(conn)
	report, err := readStatus(ctx, conn, b.cfg.Outbox.Schema, b.cfg.Outbox.Name, sample)
	if err != nil {
		return report, explainMissing(err, b.cfg.Outbox.Schema)
	}
	b.report, b.read = report, time.Now()
	if sample > 0 {
		b.sampled = b.read
	} else {
		b.sampled = time.Time{}
	}
	return report, nil
}

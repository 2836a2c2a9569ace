package workload

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

// connections of a paced load. The count of keys is a multiple of it: the events of a key come from one connection, in
// order.
const connections = 16

// clock gives times as nanoseconds since it began, so that they fit an atomic; 0 is never.
type clock struct{ began time.Time }

func (c clock) now() int64 { return max(1, int64(time.Since(c.began))) }

// pace writes events one a transaction, each at its own time whatever the answers take: an open loop. A slow answer
// makes the next event of that connection late and none of the others, and how late is noted.
type pace struct {
	site      *rig.Site
	insert    string
	perSecond int
	first     int // number of the first event
	clock     clock
	committed []atomic.Int64 // by number: when its commit returned
	behind    []atomic.Int64 // by number: how late it was begun
	until     atomic.Int64   // number of the last event
	began     time.Time
}

// count has the load end after so many events.
func (p *pace) count(n int) { p.until.Store(int64(p.first + n - 1)) }

// stop ends a load that was to go on for ever, a second from now, so that no connection is past the end already. It
// returns the number of its last event.
func (p *pace) stop() int {
	last := p.first + int((time.Since(p.began)+time.Second).Seconds()*float64(p.perSecond))
	p.until.Store(int64(last))
	return last
}

func (p *pace) endless() { p.until.Store(math.MaxInt64) }

// run writes until the end of the load.
func (p *pace) run(ctx context.Context, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	filler := sut.Load{Bytes: 300}.Filler()
	all := make([]*pgx.Conn, connections)
	defer func() {
		for _, db := range all {
			if db != nil {
				db.Close(context.WithoutCancel(ctx))
			}
		}
	}()
	for c := range all {
		db, err := pgx.Connect(ctx, p.site.URL)
		if err != nil {
			return fmt.Errorf("connect a writer: %w", err)
		}
		all[c] = db
	}
	p.began = time.Now().Add(50 * time.Millisecond)
	if ready != nil {
		ready()
	}
	for c, db := range all {
		group.Go(func() error {
			for n := p.first + c; int64(n) <= p.until.Load(); n += connections {
				due := p.began.Add(time.Duration(n-p.first) * time.Second / time.Duration(p.perSecond))
				if err := rig.Sleep(ctx, time.Until(due)); err != nil {
					return err
				}
				if n >= len(p.committed) {
					return fmt.Errorf("write an event: the run takes longer than the %d events that there is room for", len(p.committed))
				}
				p.behind[n].Store(int64(time.Since(due)))
				if _, err := db.Exec(ctx, p.insert, p.site.Topic, n, n, 1, filler, mostKeys); err != nil {
					return fmt.Errorf("write an event: %w", err)
				}
				p.committed[n].Store(p.clock.now())
			}
			return nil
		})
	}
	return group.Wait()
}

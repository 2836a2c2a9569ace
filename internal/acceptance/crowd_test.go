//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/outbox"
)

// crowd is an application: clients that write events in transactions of their own, some of which are rolled back.
type crowd struct {
	site     *site
	topic    string
	clients  int
	keysEach int
	least    int           // events in a transaction
	most     int           //
	events   int64         // to commit in all
	pause    time.Duration // of a client, from the begin of one transaction to the next; 0: none
	through  bool          // over outages: reconnect, and look what was committed

	left atomic.Int64
}

// run writes until the events are committed, or ctx ends. It gives how many events of each key were committed.
func (c *crowd) run(ctx context.Context) (committed map[string]int) {
	c.left.Store(c.events)
	var wait sync.WaitGroup
	clients := make([]*client, c.clients)
	for i := range clients {
		clients[i] = &client{crowd: c, random: rand.New(rand.NewPCG(7, uint64(i))), counts: map[string]int{}}
		for k := range c.keysEach {
			clients[i].keys = append(clients[i].keys, fmt.Sprintf("client-%02d/%d", i, k))
		}
		wait.Go(func() { clients[i].work(ctx) })
	}
	wait.Wait()
	committed = map[string]int{}
	for _, one := range clients {
		for key, n := range one.counts {
			committed[key] = n
		}
	}
	return committed
}

// start runs the crowd beside the test. What it gives waits for the end.
func (c *crowd) start(ctx context.Context) (end func() (committed map[string]int)) {
	done := make(chan map[string]int, 1)
	go func() { done <- c.run(ctx) }()
	return sync.OnceValue(func() map[string]int { return <-done })
}

// client owns its keys: nobody else writes their events, so each key's have the order of the client's commits.
type client struct {
	*crowd
	random *rand.Rand
	conn   *pgx.Conn
	keys   []string
	counts map[string]int // committed events
}

func (c *client) work(ctx context.Context) {
	defer func() {
		if c.conn != nil {
			_ = c.conn.Close(context.Background())
		}
	}()
	next := time.Now().Add(time.Duration(c.random.Int64N(int64(c.pause) + 1)))
	for ctx.Err() == nil {
		want := int64(c.least + c.random.IntN(c.most-c.least+1))
		rest := c.left.Add(-want)
		rows := int(min(want, rest+want))
		if rows <= 0 {
			return
		}
		time.Sleep(time.Until(next))
		next = next.Add(c.pause)
		for {
			// Not ctx: a commit that is cut off is neither known to be done nor known to be not.
			committed, err := c.once(context.WithoutCancel(ctx), rows)
			if committed {
				break
			}
			if err != nil && !c.recover(ctx, err) {
				return
			}
		}
	}
}

// once connects when needed, and does one transaction of the kinds there are. Nil without committed: it was rolled back.
func (c *client) once(ctx context.Context, rows int) (committed bool, err error) {
	if c.conn == nil {
		if c.conn, err = pgx.Connect(ctx, c.site.url); err != nil {
			return false, err
		}
		if err := c.look(ctx); err != nil {
			return false, err
		}
	}
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer tx.Rollback(ctx)
	kind := c.random.IntN(100)
	switch {
	case kind < 10:
		return false, outbox.Insert(ctx, tx, c.make(rows, map[string]int{}, true)...)
	case kind < 15: // part of it is rolled back
		if err := c.ghosts(ctx, tx); err != nil {
			return false, err
		}
	case kind < 25: // the xid is early, the events are late
		if _, err := tx.Exec(ctx, "select pg_current_xact_id(), pg_sleep(0.005)"); err != nil {
			return false, err
		}
	}
	fresh := map[string]int{}
	half := rows / 2
	if err := outbox.Insert(ctx, tx, c.make(half, fresh, false)...); err != nil {
		return false, err
	}
	if err := outbox.Insert(ctx, tx, c.make(rows-half, fresh, false)...); err != nil {
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	for key, n := range fresh {
		c.counts[key] += n
	}
	return true, nil
}

// ghosts writes events inside a savepoint and rolls back to it.
func (c *client) ghosts(ctx context.Context, tx pgx.Tx) error {
	inner, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	if err := outbox.Insert(ctx, inner, c.make(3, map[string]int{}, true)...); err != nil {
		return err
	}
	return inner.Rollback(ctx)
}

// make gives the next events of random keys of the client's; fresh counts those that this transaction has made.
func (c *client) make(rows int, fresh map[string]int, ghost bool) []outbox.Event {
	events := make([]outbox.Event, rows)
	for i := range events {
		key := c.keys[c.random.IntN(len(c.keys))]
		fresh[key]++
		events[i] = outbox.Event{Topic: c.topic, Key: key, Type: "Counted",
			Payload: seal(c.random, key, c.counts[key]+fresh[key], ghost)}
		if i%5 == 0 {
			events[i].Headers = map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
		}
	}
	return events
}

// recover says whether to try the transaction again after an error. The connection is given up; a new one looks first.
func (c *client) recover(ctx context.Context, err error) bool {
	if !c.through {
		c.site.t.Errorf("write events: %v", err)
		return false
	}
	if c.conn != nil {
		_ = c.conn.Close(context.Background())
		c.conn = nil
	}
	time.Sleep(20 * time.Millisecond)
	return ctx.Err() == nil
}

// look learns from the table what was committed, where an outage left that open.
func (c *client) look(ctx context.Context) error {
	if !c.through {
		return nil
	}
	rows, err := c.conn.Query(ctx, `select key, count(*) from outbox.events where key = any($1) group by key`, c.keys)
	if err != nil {
		return err
	}
	var key string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error {
		c.counts[strings.Clone(key)] = n
		return nil
	})
	return err
}

// sum is the number of events of all keys.
func sum(committed map[string]int) (n int64) {
	for _, of := range committed {
		n += int64(of)
	}
	return n
}

// rate is a figure for people.
func rate(n int64, took time.Duration) string {
	return fmt.Sprintf("%d events in %.1f s, %.0f/s", n, took.Seconds(), float64(n)/took.Seconds())
}

// arrived reads the topic back and compares it with what was committed. It gives the number of copies.
func (s *site) arrived(t testing.TB, topic string, committed map[string]int) (copies int) {
	t.Helper()
	a := newTally()
	s.readBack(topic, a.take)
	a.compare(t, committed)
	t.Logf("read back: %s", a)
	return a.copies
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/store"
)

// replaysAtOnce is how many replays one process carries on with. Each has a connection.
const replaysAtOnce = 4

// replayKeeper carries on with the replays that were asked for by HTTP, as the command does with its own.
type replayKeeper struct {
	cfg   *config.Config
	log   *slog.Logger
	asked chan int64

	mu      sync.Mutex
	going   map[int64]bool // true: asked for once more while it was going
	places  int            // reserved for replays that have no number yet
	stopped bool
}

func newReplayKeeper(cfg *config.Config, log *slog.Logger) *replayKeeper {
	return &replayKeeper{cfg: cfg, log: log, asked: make(chan int64, replaysAtOnce), going: map[int64]bool{}}
}

// Run works until ctx ends; then every replay that is going is stopped, and relay replay resume goes on with it.
func (k *replayKeeper) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	carry := func(no int64) { all.Go(func() { k.carryOn(ctx, no) }) }
	for {
		select {
		case no := <-k.asked:
			carry(no)
		case <-ctx.Done():
			k.mu.Lock()
			k.stopped = true
			close(k.asked)
			k.mu.Unlock()
			for no := range k.asked {
				carry(no)
			}
			return nil
		}
	}
}

// reserve keeps a place for one more replay, which begin or release gives up.
func (k *replayKeeper) reserve() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.stopped:
		return fmt.Errorf("this relay is stopping")
	case len(k.going)+k.places >= replaysAtOnce:
		return fmt.Errorf("this relay carries on with %d replays already: wait for one, or stop one", replaysAtOnce)
	}
	k.places++
	return nil
}

func (k *replayKeeper) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.places--
}

// begin carries on with a replay in a reserved place, unless that is done here already.
func (k *replayKeeper) begin(no int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.places--
	if k.stopped {
		return
	}
	_, going := k.going[no]
	if k.going[no] = going; !going {
		k.asked <- no // there is room: no more are going than it holds
	}
}

func (k *replayKeeper) carryOn(ctx context.Context, no int64) {
	for {
		err := k.with(context.WithoutCancel(ctx), func(replayer *store.Replayer) error {
			feed := replayFeed{g: &globals{stdout: io.Discard, stderr: io.Discard}, replayer: replayer, quiet: true}
			return feed.carryOn(ctx, no, false)
		})
		switch {
		case err == nil:
			k.log.Info("a replay is handed over to its end", "replay", no)
		case errors.Is(err, store.ErrReplayTaken):
			k.log.Info("a replay does not go on here", "replay", no, "why", err)
		default:
			k.log.Warn("a replay ended early: relay replay resume goes on with it", "replay", no, "error", err)
		}
		if !k.again(ctx, no) {
			return
		}
	}
}

// again says that a replay was resumed while it was ending.
func (k *replayKeeper) again(ctx context.Context, no int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.going[no] && ctx.Err() == nil {
		k.going[no] = false
		return true
	}
	delete(k.going, no)
	return false
}

// with runs work over a connection of its own.
func (k *replayKeeper) with(ctx context.Context, work func(*store.Replayer) error) error {
	connecting, cancel := context.WithTimeout(ctx, apiWithin)
	defer cancel()
	conn, err := connectReplayer(connecting, k.cfg)
	if err != nil {
		return err
	}
	defer closePostgres(conn)
	return explainBooks(work(store.NewReplayer(conn, store.In(k.cfg.Outbox.Schema), k.cfg.Outbox.Name)), k.cfg.Outbox.Schema)
}

// connectReplayer connects for reading the whole ring.
func connectReplayer(ctx context.Context, cfg *config.Config) (*pgx.Conn, error) {
	conn, err := connectPostgres(ctx, cfg, "replay")
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "set jit = off"); err != nil {
		closePostgres(conn)
		return nil, err
	}
	return conn, nil
}

// replayWish is what a person says of a replay. Times are a moment or how long ago, as text.
type replayWish struct {
	topic, since, until string
	key, to             *string
	rate                int
}

// request reads it. dashes is what stands before the names where it was said.
func (w *replayWish) request(now time.Time, dashes string, allowed func(topic string) bool) (*store.Replay, error) {
	switch {
	case w.topic == "":
		return nil, usageError("say which topic: " + dashes + "topic")
	case w.since == "":
		return nil, usageError("say from when on: " + dashes + "since, such as 2h or 2024-11-26T14:00:00Z")
	case w.rate < 0:
		return nil, usageError(dashes + "rate is negative")
	}
	since, err := moment(dashes+"since", w.since, now)
	if err != nil {
		return nil, err
	}
	until, err := moment(dashes+"until", w.until, now)
	if err != nil {
		return nil, err
	}
	if !since.Before(until) {
		return nil, usageError(fmt.Sprintf("%ssince %s is not before %suntil %s", dashes, w.since, dashes, w.until))
	}
	if w.to != nil && !allowed(*w.to) {
		return nil, usageError(fmt.Sprintf("%sto: topics.allow does not allow %q", dashes, *w.to))
	}
	return &store.Replay{Topic: &w.topic, Key: w.key, Since: &since, Until: &until, ToTopic: w.to, Rate: w.rate}, nil
}

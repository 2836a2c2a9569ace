package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/store"
)

const (
	// replayBatch is how many events are copied in one transaction.
	replayBatch = 1000
	// replayAhead is how many may wait in outbox.parked: it stays small, and a stop takes effect soon.
	replayAhead = 5000
	// replayAside is with how many that cannot go a replay stops: the rest would hardly fare better, and fill outbox.parked.
	replayAside = 1000
	// replayPace is how often a replay with a rate makes a step, and how often one that waits looks.
	replayPace = 100 * time.Millisecond
)

// replayFeed carries a replay on to its end.
type replayFeed struct {
	g        *globals
	replayer *store.Replayer
	quiet    bool
	told     time.Time
}

// carryOn copies the events of a replay to where the leader's parked runner takes them, batch by batch. With wait it
// returns only when all are published. When ctx ends the replay is stopped, and relay replay resume goes on with it.
func (f *replayFeed) carryOn(ctx context.Context, no int64, wait bool) error {
	found, err := f.replayer.List(ctx, &no, 1)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("there is no replay %d: relay replay list shows them", no)
	}
	p := &found[0]
	err = f.feed(ctx, p)
	if err == nil && wait {
		err = f.drain(ctx, p)
	}
	if ctx.Err() != nil && p.State == "running" {
		return f.interrupted(p)
	}
	return err
}

// feed ends between two steps when ctx ends: a statement that is cut would take the connection with it.
func (f *replayFeed) feed(ctx context.Context, p *store.Replay) error {
	whole := context.WithoutCancel(ctx)
	limit := replayBatch
	if p.Rate > 0 {
		limit = min(replayBatch, max(1, p.Rate/int(time.Second/replayPace)))
	}
	began, sent := time.Now(), int64(0)
	for p.State == "running" {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		waiting, aside, err := f.replayer.Left(whole, p.No, replayAhead+replayAside)
		if err != nil {
			return err
		}
		if p.SetAside = int64(aside); aside >= replayAside {
			return f.refused(whole, p)
		}
		ahead := p.Rate > 0 && sent >= int64(time.Since(began).Seconds()*float64(p.Rate))+1
		if waiting >= replayAhead || ahead {
			f.tell(p, waiting)
			if err := pauseFor(ctx, replayPace); err != nil {
				return err
			}
			continue
		}
		n, err := f.replayer.Step(whole, p, limit)
		if errors.Is(err, store.ErrReplayTaken) && sent == 0 {
			if err = f.untouched(ctx, p); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		sent += n
		f.tell(p, waiting+int(n))
	}
	return nil
}

// untouched waits until nobody else carries on with the replay, and reads anew how far it is: a command that was killed
// leaves the step that PostgreSQL is at. The error is ErrReplayTaken where another goes on and on.
func (f *replayFeed) untouched(ctx context.Context, p *store.Replay) error {
	for range 5 {
		was := *p
		found, err := f.replayer.List(context.WithoutCancel(ctx), &p.No, 1)
		if err != nil {
			return err
		}
		*p = found[0]
		switch {
		case p.State == "stopped":
			return store.ErrReplayTaken
		case p.State != "running", p.Touched.Equal(was.Touched):
			return nil
		}
		if err := pauseFor(ctx, time.Second); err != nil {
			return err
		}
	}
	return store.ErrReplayTaken
}

// drain waits until the parked runner has published what was handed over.
func (f *replayFeed) drain(ctx context.Context, p *store.Replay) error {
	for {
		waiting, _, err := f.replayer.Left(context.WithoutCancel(ctx), p.No, 1<<30)
		if err != nil || waiting == 0 {
			return err
		}
		f.tell(p, waiting)
		if err := pauseFor(ctx, replayPace); err != nil {
			return fmt.Errorf("%s handed over, %s not published yet: a running relay publishes them all the same", grouped(p.Queued),
				grouped(int64(waiting)))
		}
	}
}

// interrupted writes down that the replay is stopped. What was handed over is published all the same.
func (f *replayFeed) interrupted(p *store.Replay) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resume := fmt.Sprintf("after %s of %s; relay replay resume %d goes on", grouped(p.Queued), count(int(p.Events), "event"), p.No)
	if _, err := f.replayer.SetState(ctx, p.No, "running", "stopped"); err != nil {
		return errors.New("interrupted " + resume)
	}
	return errors.New("stopped " + resume)
}

// refused stops a replay of which too much cannot go.
func (f *replayFeed) refused(ctx context.Context, p *store.Replay) error {
	if _, err := f.replayer.SetState(ctx, p.No, "running", "stopped"); err != nil {
		return err
	}
	p.State = "stopped"
	return fmt.Errorf("stopped after %s of %s: %w; then relay replay resume %d goes on", grouped(p.Queued), count(int(p.Events), "event"),
		setAsideError(p.SetAside), p.No)
}

// setAsideError says how many events of a replay could not go.
type setAsideError int64

func (e setAsideError) Error() string {
	return fmt.Sprintf("%s could not go, and are held or dead now: relay parked list says why, relay parked drop gives them up", count(int(e), "event"))
}

// tell shows progress on a terminal, a few times a second, and elsewhere every ten seconds.
func (f *replayFeed) tell(p *store.Replay, waiting int) {
	every, begin, end := 10*time.Second, "", "\n"
	if isTerminal(f.g.stderr) {
		every, begin, end = 250*time.Millisecond, "\r", " "
	}
	if f.quiet || time.Since(f.told) < every {
		return
	}
	f.told = time.Now()
	fmt.Fprintf(f.g.stderr, "%sreplay %d: %s of %s handed over, %s not published yet%s", begin, p.No, grouped(p.Queued), grouped(p.Events),
		grouped(int64(waiting)), end)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

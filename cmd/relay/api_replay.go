package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/outboxrelay/relay/internal/store"
)

// noReplayError is a number that no replay of this outbox has.
type noReplayError int64

func (e noReplayError) Error() string {
	return fmt.Sprintf("there is no replay %d: relay replay list shows them", int64(e))
}

// replaysShown is how many replays a list shows, as the command's does.
const replaysShown = 100

func (a *api) replays(r *http.Request) (any, error) {
	found := []store.Replay{}
	err := a.replaying(r.Context(), func(replayer *store.Replayer) error {
		all, err := replayer.List(r.Context(), nil, replaysShown)
		found = append(found, all...)
		return err
	})
	return map[string]any{"replays": found}, err
}

// replay counts, and unless it is a dry run asks for the replay and carries on with it. The answer does not wait for its end.
func (a *api) replay(r *http.Request) (any, error) {
	var body struct {
		Topic  string  `json:"topic"`
		Key    *string `json:"key"`
		Since  string  `json:"since"`
		Until  string  `json:"until"`
		To     *string `json:"to"`
		Rate   int     `json:"rate"`
		DryRun bool    `json:"dry_run"`
	}
	body.Until = "0s"
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	wish := replayWish{topic: body.Topic, key: body.Key, since: body.Since, until: body.Until, to: body.To, rate: body.Rate}
	want, err := wish.request(time.Now(), "", a.cfg.Topics.Allowed)
	if err != nil {
		return nil, err
	}
	result := replayResult{Outbox: a.cfg.Outbox.Name, DryRun: body.DryRun}
	err = a.replaying(r.Context(), func(replayer *store.Replayer) error {
		counted, err := replayer.Count(r.Context(), want)
		if err != nil {
			return err
		}
		if result.Events = counted.Events; body.DryRun || counted.Events == 0 {
			return nil
		}
		if err := a.keeper.reserve(); err != nil {
			return err
		}
		no, err := replayer.Ask(r.Context(), want, counted, a.operator(r).operationNote("replay", runName()))
		if err != nil {
			a.keeper.release()
			return err
		}
		a.keeper.begin(no)
		a.log.Info("a replay was asked for by http", "replay", no, "events", counted.Events, "remote", r.RemoteAddr)
		result.Replay, err = oneOf(r.Context(), replayer, no)
		return err
	})
	if errors.Is(err, store.ErrNoCursor) {
		return nil, usageError(err.Error())
	}
	return result, err
}

// oneOf is the replay with this number.
func oneOf(ctx context.Context, replayer *store.Replayer, no int64) (*store.Replay, error) {
	found, err := replayer.List(ctx, &no, 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, noReplayError(no)
	}
	return &found[0], nil
}

func (a *api) replayStop(r *http.Request) (any, error) {
	return a.replayTo(r, func(replayer *store.Replayer, no int64) error {
		stopped, err := replayer.SetState(r.Context(), no, "running", "stopped")
		if err == nil && stopped {
			a.log.Info("a replay was stopped by http", "replay", no, "remote", r.RemoteAddr)
		}
		return err
	})
}

// replayResume goes on with a replay that was stopped, and with one that runs though nobody carries on with it.
func (a *api) replayResume(r *http.Request) (any, error) {
	return a.replayTo(r, func(replayer *store.Replayer, no int64) error {
		if err := a.keeper.reserve(); err != nil {
			return err
		}
		if _, err := replayer.SetState(r.Context(), no, "stopped", "running"); err != nil {
			a.keeper.release()
			return err
		}
		a.keeper.begin(no)
		a.log.Info("a replay was resumed by http", "replay", no, "remote", r.RemoteAddr)
		return nil
	})
}

// replayTo changes one replay that is not done, and answers with it as it is then.
func (a *api) replayTo(r *http.Request, change func(*store.Replayer, int64) error) (any, error) {
	if err := decodeBody(r, &struct{}{}); err != nil {
		return nil, err
	}
	no, err := strconv.ParseInt(r.PathValue("no"), 10, 64)
	if err != nil || no < 1 {
		return nil, usageError("a replay is named by its number")
	}
	var p *store.Replay
	err = a.replaying(r.Context(), func(replayer *store.Replayer) error {
		if p, err = oneOf(r.Context(), replayer, no); err != nil {
			return err
		}
		if p.State == "done" {
			return usageError(fmt.Sprintf("replay %d is done", no))
		}
		if err := change(replayer, no); err != nil {
			return err
		}
		p, err = oneOf(r.Context(), replayer, no)
		return err
	})
	return map[string]any{"outbox": a.cfg.Outbox.Name, "replay": p}, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/store"
)

// replayRun is one run of `relay replay`.
type replayRun struct {
	g                   *globals
	cfg                 *config.Config
	replayer            *store.Replayer
	topic, key, to      string
	since, until        string
	rate                int
	yes, dryRun, asJSON bool
}

// replayResult is what `relay replay --json` prints.
type replayResult struct {
	Outbox string        `json:"outbox"`
	DryRun bool          `json:"dry_run"`
	Events int64         `json:"events"`
	Replay *store.Replay `json:"replay"` // null when nothing was asked for
}

func newReplayCommand(g *globals) *cobra.Command {
	run := replayRun{g: g}
	cmd := newGroup("replay", "Publish delivered events again",
		newReplayListCommand(g), newReplayStopCommand(g), newReplayResumeCommand(g))
	cmd.Long = `Publishes events again that were delivered and are still in the outbox: those of a topic that were inserted from --since
on and before --until, with --key only those of a key. They keep their id, so consumers that drop copies drop these too.
They go in the order in which they were inserted; with events that are published meanwhile they have no order.

It says how many first and asks. Where nobody can be asked, --yes is needed. --dry-run only says how many. A TIME is
2024-11-26T14:00:00Z, or how long ago, such as 90m. Ctrl-C stops; relay replay resume goes on.`
	cmd.Example = "  relay replay --topic orders --since 2h --dry-run\n  relay replay --topic orders --key 42 --since 2024-11-26T14:00:00Z --to orders-again --rate 100"
	group := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return group(cmd, args)
		}
		return run.start(cmd)
	}
	flags := cmd.Flags()
	flags.StringVar(&run.topic, "topic", "", "events for this `TOPIC`")
	flags.StringVar(&run.key, "key", "", "only events with this `KEY`")
	flags.StringVar(&run.since, "since", "", "events inserted at this `TIME` or later")
	flags.StringVar(&run.until, "until", "0s", "events inserted before this `TIME`")
	flags.StringVar(&run.to, "to", "", "publish to this `TOPIC` instead of their own")
	flags.IntVar(&run.rate, "rate", 0, "at most `N` events a second (default: as fast as it goes)")
	flags.BoolVar(&run.yes, "yes", false, "do not ask")
	flags.BoolVar(&run.dryRun, "dry-run", false, "say how many, and publish nothing")
	jsonFlag(cmd, &run.asJSON)
	return cmd
}

// wish is what the flags say.
func (r *replayRun) wish(cmd *cobra.Command) *replayWish {
	w := &replayWish{topic: r.topic, since: r.since, until: r.until, rate: r.rate}
	if cmd.Flags().Changed("key") {
		w.key = &r.key
	}
	if r.to != "" {
		w.to = &r.to
	}
	return w
}

// moment reads a time, or how long ago.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageError(fmt.Sprintf("%s %q is neither a time such as 2024-11-26T14:00:00Z nor how long ago, such as 90m", flag, text))
	}
	return t, nil
}

func (r *replayRun) start(cmd *cobra.Command) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	now := time.Now()
	everything := func(string) bool { return true }
	if _, err := r.wish(cmd).request(now, "--", everything); err != nil { // before there is a configuration to ask
		return err
	}
	if !r.yes && !r.dryRun && !isTerminal(r.g.stdin) {
		return usageError("there is no terminal to ask on: say --yes to replay, or --dry-run to see how many")
	}
	replayer, conn, err := openReplayer(ctx, r.g, &r.cfg)
	if err != nil {
		return err
	}
	defer closePostgres(conn)
	r.replayer = replayer
	want, err := r.wish(cmd).request(now, "--", r.cfg.Topics.Allowed)
	if err != nil {
		return err
	}
	return explainBooks(r.do(ctx, want), r.cfg.Outbox.Schema)
}

// openReplayer connects. Whoever calls it closes conn.
func openReplayer(ctx context.Context, g *globals, cfg **config.Config) (*store.Replayer, *pgx.Conn, error) {
	c, err := g.loadConfig()
	if err != nil {
		return nil, nil, err
	}
	conn, err := connectReplayer(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	*cfg = c
	return store.NewReplayer(conn, store.In(c.Outbox.Schema), c.Outbox.Name), conn, nil
}

func (r *replayRun) do(ctx context.Context, want *store.Replay) error {
	result := replayResult{Outbox: r.cfg.Outbox.Name, DryRun: r.dryRun}
	counted, err := r.replayer.Count(ctx, want)
	if err != nil {
		return err
	}
	result.Events = counted.Events
	out := r.g.stdout
	if r.asJSON {
		out = r.g.stderr
	}
	if !r.asJSON || !r.yes && !r.dryRun {
		fmt.Fprintf(out, "%s delivered for %s, inserted %s to %s, are still in outbox %s\n", count(int(counted.Events), "event"), r.topic,
			want.Since.UTC().Format(time.RFC3339), want.Until.UTC().Format(time.RFC3339), result.Outbox)
	}
	if !r.dryRun && counted.Events > 0 {
		if !r.yes {
			if err := confirm(ctx, r.g, "Publish them again?"); err != nil {
				return err
			}
		}
		result.Replay, err = r.publish(ctx, want, counted)
	}
	switch {
	case r.asJSON && (err == nil || result.Replay != nil):
		err = errors.Join(printJSON(r.g.stdout, result), err)
	case err == nil && result.Replay != nil:
		err = tellReplayed(out, result.Replay)
	}
	return err
}

// tellReplayed says how a replay ended.
func tellReplayed(out io.Writer, p *store.Replay) error {
	_, err := fmt.Fprintf(out, "replay %d: %s published again\n", p.No, count(int(p.Queued), "event"))
	return err
}

func (r *replayRun) publish(ctx context.Context, want *store.Replay, counted *store.Counted) (*store.Replay, error) {
	no, err := r.replayer.Ask(ctx, want, counted, r.g.operationNote("replay", runName()))
	if err != nil {
		return nil, err
	}
	return finishReplay(ctx, r.g, r.replayer, no, r.asJSON)
}

// finishReplay carries a replay on to its end, and gives what became of it. With events that could not go it gives both
// that and an error.
func finishReplay(ctx context.Context, g *globals, replayer *store.Replayer, no int64, quiet bool) (*store.Replay, error) {
	feed := replayFeed{g: g, replayer: replayer, quiet: quiet}
	err := feed.carryOn(ctx, no, true)
	if _, aside := errors.AsType[setAsideError](err); err != nil && !aside {
		return nil, fmt.Errorf("replay %d: %w", no, err)
	}
	found, listErr := replayer.List(context.WithoutCancel(ctx), &no, 1)
	switch {
	case listErr != nil:
		return nil, listErr
	case err == nil && found[0].SetAside > 0:
		err = setAsideError(found[0].SetAside)
	}
	if err != nil {
		err = fmt.Errorf("replay %d: %w", no, err)
	}
	return &found[0], err
}

func newReplayListCommand(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "Show replays and how far they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withReplayer(cmd, g, func(ctx context.Context, replayer *store.Replayer) error {
				found, err := replayer.List(ctx, nil, replaysShown)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(g.stdout, map[string]any{"replays": append([]store.Replay{}, found...)})
				}
				return g.printReplays(found)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (g *globals) printReplays(found []store.Replay) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(g.stdout, "there was no replay")
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s %-8s %-24s %14s %14s %14s %14s\n", "replay", "state", "topic", "events", "handed over", "waiting", "set aside")
	for _, p := range found {
		topic := "a repair"
		if p.Topic != nil {
			topic = *p.Topic
		}
		if p.ToTopic != nil {
			topic += " → " + *p.ToTopic
		}
		fmt.Fprintf(&b, "%-7d %-8s %-24s %14s %14s %14s %14s\n", p.No, p.State, topic, grouped(p.Events), grouped(p.Queued),
			grouped(p.Waiting), grouped(p.SetAside))
	}
	_, err := fmt.Fprint(g.stdout, b.String())
	return err
}

func newReplayStopCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "stop N", Short: "Stop a replay: what was handed over is still published", Args: oneReplay,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withReplayer(cmd, g, func(ctx context.Context, replayer *store.Replayer) error {
				no, _ := strconv.ParseInt(args[0], 10, 64)
				stopped, err := replayer.SetState(ctx, no, "running", "stopped")
				if err == nil && !stopped {
					err = fmt.Errorf("no replay %d is running: relay replay list shows them", no)
				}
				if err == nil {
					fmt.Fprintf(g.stdout, "replay %d stopped; relay replay resume %d goes on\n", no, no)
				}
				return err
			})
		},
	}
}

func newReplayResumeCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "resume N", Short: "Go on with a replay that was stopped or interrupted", Args: oneReplay,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withReplayer(cmd, g, func(ctx context.Context, replayer *store.Replayer) error {
				no, _ := strconv.ParseInt(args[0], 10, 64)
				if _, err := replayer.SetState(ctx, no, "stopped", "running"); err != nil {
					return err
				}
				p, err := finishReplay(ctx, g, replayer, no, false)
				if err != nil {
					return err
				}
				return tellReplayed(g.stdout, p)
			})
		},
	}
}

// oneReplay is the argument of commands about one replay.
func oneReplay(_ *cobra.Command, args []string) error {
	if len(args) == 1 {
		if no, err := strconv.ParseInt(args[0], 10, 64); err == nil && no > 0 {
			return nil
		}
	}
	return usageError("name one replay by its number: relay replay list prints them")
}

func withReplayer(cmd *cobra.Command, g *globals, do func(context.Context, *store.Replayer) error) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	var cfg *config.Config
	replayer, conn, err := openReplayer(ctx, g, &cfg)
	if err != nil {
		return err
	}
	defer closePostgres(conn)
	return explainBooks(do(ctx, replayer), cfg.Outbox.Schema)
}

package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func newRunCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon: lead, or follow a leader and take over when it is gone.

The first SIGTERM or SIGINT drains: no event is read any more, what is in flight is acked and settled within
outbox.drain_timeout, and the lease is released, so that a follower leads at once. A second one cuts: what was in
flight is delivered again by the next leader. Servers that are away are waited for without end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.loadConfig()
			if err != nil {
				return err
			}
			log, err := g.logger(cfg)
			if err != nil {
				return err
			}
			for _, warning := range cfg.Warnings() {
				log.Warn("configuration", "warning", warning.String())
			}
			ctx, stop, release := onSignals(cmd.Context(), log)
			defer release()
			return serve(ctx, stop, cfg, g.env, log)
		},
	}
}

// onSignals gives the two edges of stopping: the first signal ends stop (read no more), the second ends ctx (cut now).
func onSignals(parent context.Context, log *slog.Logger) (ctx, stop context.Context, release func()) {
	ctx, cut := context.WithCancel(context.WithoutCancel(parent))
	stop, drain := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for _, edge := range []struct {
			phrase string
			end    func()
		}{{"draining, a second signal cuts", drain}, {"cutting", cut}} {
			select {
			case s := <-signals:
				log.Info(edge.phrase, "signal", s.String())
				edge.end()
			case <-done:
				return
			}
		}
	}()
	return ctx, stop, func() {
		signal.Stop(signals)
		close(done)
		drain()
		cut()
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
	"github.com/outboxrelay/relay/internal/torture"
	"github.com/outboxrelay/relay/internal/torture/check"
	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/publisher"
)

func newRunCommand(stdout, stderr io.Writer) *cobra.Command {
	var o torture.Options
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Write, break, heal, read back, judge",
		Long: `Write, break, heal, read back, judge.

The relay's binary is the one of --relay, else the one beside this program, else relay on PATH, else it is built from
the repository in the working directory. Exit code 3: an invariant was violated; the report says which.

With servers of your own only the relays are killed, frozen and stopped, their connections cut and a topic made late;
they work in the schema relay_torture_outbox, on topics that begin with relay-torture-. With --relays 0 none are
started: the relay that runs on your outbox (--schema) is the one that is tested.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: brief}))
			if o.Relays == 0 {
				o.Relays = -1 // in Options, 0 is the default
			}
			if o.Dir == "" {
				o.Dir = fmt.Sprintf("torture-%s-%d", o.Mode, o.Seed)
			}
			if o.Relays > 0 && o.Relay == "" {
				path, clean, err := findRelay(cmd.Context())
				if err != nil {
					return err
				}
				defer clean()
				o.Relay = path
			}
			result, err := torture.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return verdict(stdout, result)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&o.Seed, "seed", 1, "`NUMBER` that decides what is written and what is broken")
	f.DurationVar(&o.Duration, "duration", 2*time.Minute, "of the load and the faults; the end takes a minute more")
	f.StringVar(&o.Mode, "mode", journal.AtLeastOnce, "outbox.delivery: at_least_once or exactly_once")
	f.StringVar(&o.Client, "client", publisher.ClientLibrdkafka, "kafka.client of the relays: librdkafka or franz-go")
	f.IntVar(&o.Nodes, "nodes", 1, "of the Kafka that is started: 1 or 3")
	f.DurationVar(&o.Round, "round", 0, "how long faults last (default from 5s to 20s, as the seed decides)")
	f.StringVar(&o.Standby, "standby", "", "`KIND` of a standby that is promoted once: sync, or async, which loses commits")
	f.IntVar(&o.Relays, "relays", 2, "processes of the relay; 0: yours run already")
	f.IntVar(&o.Writers, "writers", 12, "clients that write events")
	f.Float64Var(&o.Rate, "rate", 300, "events a second that the writers try for")
	f.DurationVar(&o.LeaseTTL, "lease", 0, "lease.ttl of the relays; the default is 15s, in exactly_once 6s")
	f.StringSliceVar(&o.Faults, "faults", nil, "`NAMES` of faults, with commas between; all that are possible")
	f.StringVar(&o.Dir, "dir", "", "`FOLDER` of the journals and the report, new or empty (default ./torture-MODE-SEED)")
	f.StringVar(&o.Relay, "relay", "", "`PATH` of the relay's binary")
	f.StringArrayVar(&o.Env, "env", nil, "`NAME=VALUE` for the relays' environment")
	f.StringVar(&o.Postgres, "postgres", "", "`URL` of a PostgreSQL of yours, as a superuser or the owner of the database")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "`HOST:PORT` of a Kafka of yours, with commas between")
	f.StringVar(&o.Schema, "schema", "", "of the outbox (default outbox; on a PostgreSQL of yours relay_torture_outbox)")
	f.StringVar(&o.Name, "name", "", "of the outbox (default main; on a PostgreSQL of yours relay_torture)")
	return cmd
}

// brief leaves out what is empty, and the date.
func brief(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.String(a.Key, a.Value.Time().Format("15:04:05.000"))
	}
	if v := a.Value.String(); v == "" || v == "0" || v == "false" {
		return slog.Attr{}
	}
	return a
}

func verdict(stdout io.Writer, result check.Result) error {
	fmt.Fprint(stdout, result.Page())
	if !result.OK() {
		return errViolated
	}
	return nil
}

// findRelay finds the binary, or builds it.
func findRelay(ctx context.Context) (path string, clean func(), err error) {
	clean = func() {}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "relay")
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, clean, nil
		}
	}
	if path, err := exec.LookPath("relay"); err == nil {
		return path, clean, nil
	}
	if _, err := os.Stat("cmd/relay"); err != nil {
		return "", clean, errors.New("there is no relay beside this program nor on PATH: name its binary with --relay")
	}
	dir, err := os.MkdirTemp("", "outbox-relay-torture-build-")
	if err != nil {
		return "", clean, err
	}
	clean = func() { _ = os.RemoveAll(dir) } // a folder of the system's temporary ones
	path = filepath.Join(dir, "relay")
	if err := gobuild.Relay(ctx, path); err != nil {
		clean()
		return "", func() {}, err
	}
	return path, clean, nil
}

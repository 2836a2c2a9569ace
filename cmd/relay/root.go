package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/outboxrelay/relay/internal/config"
	"github.com/outboxrelay/relay/internal/ops"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3
)

// Main runs the program and returns its exit code. env holds "NAME=value" strings, as os.Environ gives them. The
// program ends early when ctx does.
func Main(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	g := &globals{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRootCommand(g)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	return g.exitCode(command, err)
}

// globals is what every subcommand shares: the process's surroundings and the global flags.
type globals struct {
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer

	configFile, logLevel, logFormat string

	// operator is added to what operations say of who asked; nil for a person at a command line.
	operator map[string]string

	// running is set when the arguments were accepted: an error before is about usage.
	running bool
}

func newRootCommand(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "relay",
		Short: "Delivers the events of a PostgreSQL outbox to Kafka: none lost, in order",
		Long: `relay delivers the events of a transactional outbox in PostgreSQL to Kafka.

Begin with  relay dev  (everything on this machine, nothing to install or to clean up), or with
relay migrate up, relay check  and  relay run  on servers of your own.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			g.running = true
			return g.checkLogFlags()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&g.configFile, "config", "", "configuration `FILE` (default ./relay.toml, then /etc/relay/relay.toml)")
	flags.StringVar(&g.logLevel, "log-level", "", "`LEVEL` of the log: debug, info, warn or error")
	flags.StringVar(&g.logFormat, "log-format", "", "`FORMAT` of the log: console, json, or auto for console on a terminal")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		newDevCommand(g), newRunCommand(g), newMigrateCommand(g), newInsertCommand(g), newTailCommand(g),
		newCheckCommand(g), newStatusCommand(g), newConfigCommand(g), newVersionCommand(g), newCompletionCommand(g),
		newParkedCommand(g), newAuditCommand(g), newReplayCommand(g), newRebaseCommand(g),
		newAdoptCommand(g), newUnadoptCommand(g), newSchemaCommand(g),
	)
	return root
}

// newGroup is a command that only has subcommands. Without one, or with one that there is not, its usage is wrong;
// cobra by itself would print the help and call that a success.
func newGroup(use, short string, subcommands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: use, Short: short,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, sub := range cmd.Commands() {
				names = append(names, sub.Name())
			}
			return usageError(fmt.Sprintf("say what to do: %s", strings.Join(names, ", ")))
		},
	}
	group.AddCommand(subcommands...)
	return group
}

func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q", args[0])
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError(message)
}

// usageError is a mistake in the command line that cobra cannot see.
type usageError string

func (e usageError) Error() string { return string(e) }

// errFound ends a command that did its work and found something wrong. What that is was printed already.
var errFound = errors.New("found something wrong")

// exitCode prints the error, with the cure where there is one, and says how the program ends.
func (g *globals) exitCode(command *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	switch { // these were printed already
	case errors.Is(err, errFound):
		return exitFound
	case errors.Is(err, errConfiguration):
		return exitUsage
	}
	if faults, ok := errors.AsType[config.Faults](err); ok {
		fmt.Fprintln(g.stderr, faults)
		fmt.Fprintf(g.stderr, "relay: %s in the configuration\n", count(len(faults), "fault"))
		return exitUsage
	}
	fmt.Fprintf(g.stderr, "relay: %s\n", err)
	if _, wrongUsage := errors.AsType[usageError](err); wrongUsage || !g.running {
		fmt.Fprintf(g.stderr, "See `%s --help`.\n", command.CommandPath())
		return exitUsage
	}
	return exitFailed
}

func (g *globals) checkLogFlags() error {
	if g.logLevel != "" && !slices.Contains(config.LogLevels(), g.logLevel) {
		return usageError(fmt.Sprintf("--log-level %q: there are %s", g.logLevel, strings.Join(config.LogLevels(), ", ")))
	}
	if g.logFormat != "" && !slices.Contains(config.LogFormats(), g.logFormat) {
		return usageError(fmt.Sprintf("--log-format %q: there are %s", g.logFormat, strings.Join(config.LogFormats(), ", ")))
	}
	return nil
}

// loadConfig reads the configuration, with the flags that win over it.
func (g *globals) loadConfig(opts ...config.Option) (*config.Config, error) {
	cfg, err := loadConfig(g.configFile, g.env, opts...)
	if err != nil {
		return nil, err
	}
	if g.logLevel != "" {
		cfg.Log.Level = g.logLevel
	}
	if g.logFormat != "" {
		cfg.Log.Format = g.logFormat
	}
	return cfg, nil
}

// logger writes to stderr as the configuration says.
func (g *globals) logger(cfg *config.Config) (*slog.Logger, error) {
	return ops.NewLogger(g.stderr, ops.LogOptions{
		Level: cfg.Log.Level, Format: cfg.Log.Format,
		Terminal: isTerminal(g.stderr), Color: g.styleFor(g.stderr).color,
	})
}

// lookup is the value of an environment variable, or "".
func (g *globals) lookup(name string) string {
	for _, pair := range slices.Backward(g.env) {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}

// interruptible ends the context of a command that does one thing when the user presses Ctrl-C or the platform stops
// the process. `relay run` has signals of its own.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

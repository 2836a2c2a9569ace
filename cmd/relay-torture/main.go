package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes are those of relay.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3
)

func main() {
	os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// errViolated ends a command that did its work and found that an invariant was violated. The report was printed.
var errViolated = errors.New("an invariant was violated")

// Main runs the program and returns its exit code. The first Ctrl-C ends a run's load early, and the rest is done.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	running := false
	root := &cobra.Command{
		Use:   "relay-torture",
		Short: "Break servers under the relay, and prove that nothing was lost",
		Long: `relay-torture writes events, breaks what the relay stands on, reads back what arrived, and compares.

Without servers of yours it starts a private PostgreSQL and a real Kafka, which end with it.`,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRun: func(*cobra.Command, []string) { running = true },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newRunCommand(stdout, stderr), newCheckCommand(stdout), newRecordCommand(stdout))
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errViolated):
		return exitFound
	}
	fmt.Fprintf(stderr, "relay-torture: %s\n", err)
	if !running {
		fmt.Fprintf(stderr, "See `%s --help`.\n", command.CommandPath())
		return exitUsage
	}
	return exitFailed
}

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

// errFaults ends a run in which a system did not deliver what was written.
var errFaults = errors.New("a system did not deliver what was written")

// usageError is a wrong value, told from a failure by its exit code.
type usageError struct{ error }

func main() { os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// Main runs the program and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	running := false
	root := &cobra.Command{
		Use: "bench", Short: "Measure the relay and what it is compared with",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRun: func(*cobra.Command, []string) { running = true },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newRunCommand(stdout, stderr), newReportCommand(), newJoinCommand(), newChildCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "bench: %s\n", err)
	var usage usageError
	switch {
	case errors.Is(err, errFaults):
		return exitFound
	case !running || errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// options say what to start.
type options struct {
	relays []relaySpec
	topics []topicSpec
}

type relaySpec struct{ name, compression string }

type topicSpec struct {
	name       string
	partitions int32
}

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "stack: %v\n", err)
		os.Exit(1)
	}
}

// run starts what args say, prints where it is, and ends it when in has ended.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	opts, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		// Also while it starts: whoever asked for it is gone.
		_, _ = io.Copy(io.Discard, in)
		cancel()
		close(closed)
	}()
	s, err := start(ctx, opts)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := json.NewEncoder(out).Encode(s.where()); err != nil {
		return fmt.Errorf("say where the servers are: %w", err)
	}
	<-closed
	return nil
}

func parse(args []string) (options, error) {
	var opts options
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.Func("relay", "a database and its relay: `NAME[=COMPRESSION]`", func(s string) error {
		name, compression, given := strings.Cut(s, "=")
		if !given {
			compression = "none"
		}
		if !isName(name) {
			return fmt.Errorf("%q cannot be a database here: use a to z, 0 to 9 and _", name)
		}
		opts.relays = append(opts.relays, relaySpec{name, compression})
		return nil
	})
	flags.Func("topic", "a topic: `NAME[=PARTITIONS]`", func(s string) error {
		name, count, given := strings.Cut(s, "=")
		if !given {
			count = "1"
		}
		partitions, err := strconv.ParseInt(count, 10, 32)
		if err != nil || partitions < 1 || name == "" {
			return fmt.Errorf("%q is not NAME or NAME=PARTITIONS", s)
		}
		opts.topics = append(opts.topics, topicSpec{name, int32(partitions)})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("%q is not an option: see -h", flags.Arg(0))
	}
	return opts, nil
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

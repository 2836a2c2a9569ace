// Command fetch puts Kafka's jars into the cache folder, so that the first test does not have to wait for them.
// `make setup` runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
)

func main() {
	if err := fetch(); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

func fetch() error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	_, err := kafka.Jars(ctx, os.Stderr)
	return err
}

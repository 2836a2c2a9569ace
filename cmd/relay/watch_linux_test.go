package main

import (
	"context"
	"strings"
	"testing"
)

func TestStatus_WatchesUntilItIsInterrupted(t *testing.T) {
	env, _ := database(t)
	t.Chdir(t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errors shared
	done := make(chan int, 1)
	go func() { done <- Main(ctx, []string{"status", "--watch"}, env, strings.NewReader(""), &out, &errors) }()
	within(t, "two pages", func() bool { return strings.Count(out.String(), "outbox     main") >= 2 })
	interrupt()
	if code := <-done; code != exitDone {
		t.Errorf("code %d: %s", code, errors.String())
	}
}

// Package example runs examples/nestjs-orders as its reader would.
package example

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/gobuild"
)

// TestExample_EachOrderHasItsInvoice leaves the judgement to the demo, which exits with 1 when orders and invoices
// differ, and looks whether it said so.
func TestExample_EachOrderHasItsInvoice(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Apache Kafka and three programs in Node, which -short leaves out")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed: install Node 20.19 or newer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(gobuild.Sources(ctx), gobuild.Reads("."), gobuild.Reads("../../clients/node/packages")); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][]string{{"node", "build.mjs"}, {"node", "demo.mjs"}} {
		out, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
		if step[1] == "demo.mjs" && !regexp.MustCompile(`(?m)^billing killed at \d+ invoices, \d+ orders\norders 60\ninvoices 60$`).Match(out) {
			t.Fatalf("the demo did not say that 60 orders have 60 invoices:\n%s", out)
		}
	}
}

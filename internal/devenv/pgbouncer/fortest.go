package pgbouncer

import (
	"context"
	"testing"
)

// ForTest runs a pooler for one test. It fails the test when the machine has none, and says what to install.
func ForTest(tb testing.TB, opts Options) *Pooler {
	tb.Helper()
	p, err := Start(context.Background(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Stop)
	return p
}

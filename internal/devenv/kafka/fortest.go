package kafka

import (
	"context"
	"sync"
	"testing"
)

// The one cluster of a test process. It is package state on purpose: a cluster costs five seconds and 210 MB, and
// the end of the process ends it.
var shared = sync.OnceValues(func() (*Cluster, error) {
	return Start(context.Background(), Options{Nodes: 1})
})

// ForTest returns the single-node cluster that the tests of this process share; each test takes topics of its own.
// Under -short the test is skipped; otherwise it fails when Java or Maven is missing, and says what to install.
func ForTest(tb testing.TB) *Cluster {
	tb.Helper()
	if testing.Short() {
		tb.Skip("starts a real Apache Kafka, which -short leaves out")
	}
	cluster, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return cluster
}

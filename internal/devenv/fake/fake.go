// Package fake runs a Kafka-protocol broker inside this process, for `relay dev` and tests.
//
// It is franz-go's kfake: one node on a port of 127.0.0.1 that keeps records in memory and behaves like a broker for
// producing, transactions, fencing, groups, ACLs, SASL and TLS. Topics exist only when they are named here, or when
// a client asks for them to be created. It is not Kafka: nothing is replicated, nothing survives it, and a broker
// that dies inside a transaction has to be tried with package kafka.
package fake

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options of a broker.
type Options struct {
	Topics map[string]int32 // name to number of partitions
	Port   int              // of 127.0.0.1; 0 is a free one
}

// Broker is one running fake.
type Broker struct {
	cluster   *kfake.Cluster
	addresses []string
}

// Start runs a broker. The error says which port or topic could not be had.
func Start(opts Options) (*Broker, error) {
	settings := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(opts.Port)}
	for name, partitions := range opts.Topics {
		if name == "" || partitions < 1 {
			return nil, fmt.Errorf("start the fake broker: topic %q with %d partitions: needs a name and at least one",
				name, partitions)
		}
		settings = append(settings, kfake.SeedTopics(partitions, name))
	}
	cluster, err := kfake.NewCluster(settings...)
	if err != nil {
		return nil, fmt.Errorf("start the fake broker on port %d of 127.0.0.1: %w", opts.Port, err)
	}
	return &Broker{cluster: cluster, addresses: cluster.ListenAddrs()}, nil
}

// Brokers is the address list for a client: one host:port.
func (b *Broker) Brokers() []string { return slices.Clone(b.addresses) }

// Cluster is kfake itself, to inject faults and to look at what it keeps.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Stop ends the broker; its records are gone. Safe twice.
func (b *Broker) Stop() { b.cluster.Close() }

// ForTest runs a broker for one test and ends it with the test.
func ForTest(tb testing.TB, topics map[string]int32) *Broker {
	tb.Helper()
	b, err := Start(Options{Topics: topics})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Stop)
	return b
}

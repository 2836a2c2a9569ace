package torture

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/publisher"
)

// Options of a run. What is zero gets the value that its comment names.
type Options struct {
	Seed     uint64
	Duration time.Duration // of the load and the faults; 2 minutes
	Mode     string        // journal.AtLeastOnce, which is the default, or journal.ExactlyOnce
	Client   string        // kafka.client of the relays: librdkafka, which is the default, or franz-go
	Nodes    int           // of Kafka: 1, which is the default, or 3
	Relays   int           // processes, 2. -1: none, because yours run
	Writers  int           // 12
	Rate     float64       // events a second that the writers try for, 300
	Faults   []string      // names; none: all that are possible
	Dir      string        // of the journals; has to be new or empty
	Round    time.Duration // how long faults last; from 5 to 20 s
	Standby  string        // of PostgreSQL: StandbySync or StandbyAsync; "": none. It is promoted once
	Relay    string        // path of the relay's binary
	Env      []string      // for the relays besides their configuration
	LeaseTTL time.Duration // the least that the mode allows, and not below 6 s

	Postgres string   // URL of a server of yours; "": one is started
	Brokers  []string // of a Kafka of yours; none: one is started
	Schema   string   // of the outbox; "outbox", on a server of yours "relay_torture_outbox"
	Name     string   // of the outbox; "main", on a server of yours "relay_torture"

	Log *slog.Logger // what happens, for people
}

// Kinds of a standby.
const (
	StandbySync  = "sync"  // commits wait for it: nothing is lost with the primary
	StandbyAsync = "async" // the newest commits are lost with the primary
)

// leastLease is what the relay's configuration allows, and what a busy machine can renew.
var leastLease = map[string]time.Duration{journal.AtLeastOnce: 15 * time.Second, journal.ExactlyOnce: 6 * time.Second}

// complete fills in defaults, and refuses what cannot work.
func (o Options) complete() (Options, error) {
	o.Mode = cmp.Or(o.Mode, journal.AtLeastOnce)
	ttl, known := leastLease[o.Mode]
	if !known {
		return o, fmt.Errorf("mode %q: there are %s and %s", o.Mode, journal.AtLeastOnce, journal.ExactlyOnce)
	}
	o.LeaseTTL = cmp.Or(o.LeaseTTL, ttl)
	o.Duration = cmp.Or(o.Duration, 2*time.Minute)
	o.Client = cmp.Or(o.Client, publisher.ClientLibrdkafka)
	o.Nodes = cmp.Or(o.Nodes, 1)
	o.Writers = cmp.Or(o.Writers, 12)
	o.Rate = cmp.Or(o.Rate, 300)
	o.Relays = cmp.Or(o.Relays, 2)
	// Beside relays that are not ours, ours have nothing in common with them.
	schema, name := "outbox", "main"
	if o.Postgres != "" && o.Relays > 0 {
		schema, name = "relay_torture_outbox", "relay_torture"
	}
	o.Schema, o.Name = cmp.Or(o.Schema, schema), cmp.Or(o.Name, name)
	switch {
	case o.Client != publisher.ClientLibrdkafka && o.Client != publisher.ClientFranz:
		return o, fmt.Errorf("client %q: there are %s and %s", o.Client, publisher.ClientLibrdkafka, publisher.ClientFranz)
	case o.Nodes != 1 && o.Nodes != 3:
		return o, fmt.Errorf("%d nodes: a Kafka that is started here has 1 or 3", o.Nodes)
	case o.Standby != "" && o.Standby != StandbySync && o.Standby != StandbyAsync:
		return o, fmt.Errorf("standby %q: there are %s and %s", o.Standby, StandbySync, StandbyAsync)
	case o.Standby != "" && o.Postgres != "":
		return o, errors.New("a standby is made of a PostgreSQL that is started here only")
	case o.Dir == "":
		return o, errors.New("name a folder for the journals")
	case o.Relay == "" && o.Relays > 0:
		return o, errors.New("name the relay's binary")
	case o.Relays < 0 && (o.Postgres == "" || len(o.Brokers) == 0):
		return o, errors.New("relays of your own need servers of your own")
	case o.Writers < 1 || o.Rate <= 0 || o.Duration <= 0:
		return o, errors.New("writers, rate and duration have to be positive")
	}
	o.Relays = max(o.Relays, 0)
	return o, nil
}

package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

// Bench runs workloads.
type Bench struct {
	Rig   *rig.Rig
	Sizes Sizes
	Relay string // path of its binary
	// OneInFlight is the same relay, but its librdkafka has one request in flight a broker: for the workload round-trips.
	OneInFlight string
}

// Sizes of the loads.
type Sizes struct {
	Drain          int // events
	OneTransaction int
	HotKey         int
	Large          int           // events of 1 MB
	Rates          []int         // of trickles, in events a second
	Latency        time.Duration // at each rate
	Idle           time.Duration
	Writers        time.Duration // at each setting
	Steady         time.Duration
	Retention      int             // events
	Period         time.Duration   // of the ring they go through
	Far            int             // events of a drain over a distance
	Trips          []time.Duration // the distances, as round trips
	Partitions     []int32         // of the topics there
	Lease          string          // lease.ttl of relays that take over, where it may be short; "" is the default
}

// Full is what figures are made of; Quick shows that all works; Smallest is for tests.
var (
	usualRates      = []int{100, 1000, 3000}
	usualTrips      = []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond}
	usualPartitions = []int32{4, 50}

	Full = Sizes{Drain: 500_000, OneTransaction: 300_000, HotKey: 500_000, Large: 500, Rates: usualRates, Latency: time.Minute,
		Idle: 30 * time.Second, Writers: 20 * time.Second, Steady: 20 * time.Second, Retention: 5_000_000, Period: 5 * time.Second,
		Far: 100_000, Trips: usualTrips, Partitions: usualPartitions}
	Quick = Sizes{Drain: 50_000, OneTransaction: 30_000, HotKey: 50_000, Large: 50, Rates: usualRates, Latency: 5 * time.Second,
		Idle: 5 * time.Second, Writers: 3 * time.Second, Steady: 5 * time.Second, Retention: 200_000, Period: 3 * time.Second,
		Far: 20_000, Trips: usualTrips, Partitions: usualPartitions}
	Smallest = Sizes{Drain: 2_000, OneTransaction: 1_000, HotKey: 1_000, Large: 3, Rates: []int{200}, Latency: time.Second,
		Idle: time.Second, Writers: time.Second, Steady: time.Second, Retention: 20_000, Period: 3 * time.Second,
		Far: 2_000, Trips: usualTrips[1:2], Partitions: usualPartitions[1:], Lease: "3s"}
)

// Func measures one system. It may give several runs, each with the name of its own workload or system.
type Func func(ctx context.Context, b *Bench, kind sut.Kind) ([]figures.Run, error)

// Workload is one that can be asked for.
type Workload struct {
	Name    string
	Alone   bool                // measures no system: it runs once a round
	Once    bool                // runs in the first round only: its figures are counts and bytes, and it takes long
	Far     bool                // needs rig.Options.Far
	Accepts func(sut.Kind) bool // which systems it can be done with
	Default func(sut.Kind) bool // and with which it is done when nobody says; nil: all that it accepts
	Run     Func
}

func every(sut.Kind) bool    { return true }
func rows(k sut.Kind) bool   { return !k.Memory }
func daemon(k sut.Kind) bool { return k.Daemon }

func atLeastOnce(k sut.Kind) bool { return k.Daemon && !k.Exactly }

// All are all workloads, in the order in which they are run.
func All() []Workload {
	return []Workload{
		{Name: "drain", Accepts: every, Run: drain},
		{Name: "one-transaction", Accepts: rows, Default: daemon, Run: oneTransaction},
		{Name: "hot-key", Accepts: every, Default: daemon, Run: hotKey},
		{Name: "large", Accepts: rows, Default: daemon, Run: large},
		{Name: "latency", Accepts: rows, Default: daemon, Run: latency},
		{Name: "idle", Accepts: rows, Run: idle},
		{Name: "writers", Alone: true, Run: writers},
		{Name: "steady", Accepts: daemon, Default: atLeastOnce, Run: steady},
		{Name: "retention", Once: true, Accepts: atLeastOnce, Run: retention},
		{Name: "round-trips", Far: true, Accepts: atLeastOnce, Run: roundTrips},
		{Name: "takeover", Accepts: daemon, Run: takeover},
	}
}

// on runs a function with a system on a fresh site, and notes how much of the machine others took while measured ran.
func (b *Bench) on(ctx context.Context, kind sut.Kind, load sut.Load, do func(*rig.Site, sut.System) error) (err error) {
	partitions := load.Partitions
	if partitions == 0 {
		partitions = 4
	}
	site, err := b.Rig.Site(ctx, partitions)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close(context.WithoutCancel(ctx))) }()
	system := kind.Open(site, load)
	defer system.Close()
	if err := system.Install(ctx); err != nil {
		return fmt.Errorf("install %s: %w", kind.Name, err)
	}
	return do(site, system)
}

// disturbance measures the share of the machine that others take until the function it returns is called.
func disturbance() (until func() (float64, error), err error) {
	before, err := rig.ReadLoad()
	if err != nil {
		return nil, err
	}
	return func() (float64, error) {
		after, err := rig.ReadLoad()
		return after.Others(before), err
	}, nil
}

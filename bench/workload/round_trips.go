package workload

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/outboxrelay/relay/bench/distance"
	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

const (
	farRate = 1000 // events a second of a trickle over a distance
	// farAhead is enough for every partition of a new topic to have a record before anything is measured: the first one in
	// each takes the broker tens of milliseconds, and 50 of them seconds.
	farAhead = 2000
)

// roundTrips takes the rate of a drain and the latency of a trickle with a distance between the relay and Kafka, for
// each round trip and each count of partitions, and with librdkafka for one and for five requests in flight. Writers and
// consumer have no way to go. What the distance itself is like stands in a table of its own.
func roundTrips(ctx context.Context, b *Bench, kind sut.Kind) (runs []figures.Run, err error) {
	for _, trip := range b.Sizes.Trips {
		way, err := distance.Measure(ctx, trip)
		if err != nil {
			return nil, err
		}
		runs = append(runs, figures.Run{Workload: "round-trips, the way alone", System: inMilliseconds(trip), Values: map[string]float64{
			"trip_ms": milliseconds(int64(way.Trip)), "late_trip_ms": milliseconds(int64(way.LateTrip)),
			"megabytes_per_second": way.BytesPerSecond / 1e6,
		}})
	}
	flights, err := b.flights(ctx, kind)
	if err != nil {
		return nil, err
	}
	for _, partitions := range b.Sizes.Partitions {
		for _, trip := range b.Sizes.Trips {
			for _, f := range flights {
				c := cell{kind: f.far(kind), partitions: partitions, trip: trip}
				name := fmt.Sprintf("%s%s, %d partitions, %s", kind.Name, f.name, partitions, inMilliseconds(trip))
				b.Rig.Logf("    %s", name)
				run, err := c.run(ctx, b)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				run.System = name
				runs = append(runs, run)
			}
		}
	}
	return runs, nil
}

func inMilliseconds(trip time.Duration) string { return fmt.Sprintf("%d ms", trip.Milliseconds()) }

// flight is a relay with so many requests in flight.
type flight struct {
	name   string // behind the system's; "" where there is nothing to choose
	client string
	binary string
}

// flights are the ways in which a relay can be told to send. franz-go has but one.
func (b *Bench) flights(ctx context.Context, kind sut.Kind) ([]flight, error) {
	if kind.Name != "relay-librdkafka" {
		return []flight{{"", "franz-go", b.Relay}}, nil
	}
	one, five := flight{", 1 in flight", "librdkafka", b.OneInFlight}, flight{", 5 in flight", "librdkafka", b.Relay}
	return []flight{one, five}, errors.Join(b.inFlight(ctx, kind, one, 1), b.inFlight(ctx, kind, five, 5))
}

// inFlight has librdkafka itself say how many requests a relay lets be in flight: the linker does not complain of a
// variable that it does not find.
func (b *Bench) inFlight(ctx context.Context, kind sut.Kind, f flight, want int) error {
	err := b.on(ctx, kind, sut.Load{}, func(site *rig.Site, _ sut.System) error {
		config, err := site.File("debug.toml", "[kafka.properties]\ndebug = \"conf\"\n")
		if err != nil {
			return err
		}
		program, err := site.Launch(f.binary, []string{"run", "--config", config, "--log-level", "debug"},
			"RELAY_POSTGRES_URL="+site.URL, "RELAY_KAFKA_BROKERS="+strings.Join(site.Kafka.Brokers(), ","), "RELAY_HTTP_LISTEN=")
		if err != nil {
			return err
		}
		defer program.Kill()
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return program.Says(ctx, fmt.Sprintf("max.in.flight.requests.per.connection = %d", want))
	})
	if err != nil {
		return fmt.Errorf("%s%s (%s): librdkafka does not say so: %w", kind.Name, f.name, filepath.Base(f.binary), err)
	}
	return nil
}

// far is the relay as a system whose way to Kafka is the long one.
func (f flight) far(kind sut.Kind) sut.Kind {
	kind.Open = func(site *rig.Site, _ sut.Load) sut.System {
		return sut.NewRelay(site, f.binary, "RELAY_KAFKA_CLIENT="+f.client, "RELAY_KAFKA_BROKERS="+strings.Join(site.FarBrokers(), ","))
	}
	return kind
}

// cell is one place of the table.
type cell struct {
	kind       sut.Kind
	partitions int32
	trip       time.Duration
}

func (c cell) run(ctx context.Context, b *Bench) (run figures.Run, err error) {
	b.Rig.Way.SetTrip(c.trip)
	load := sut.Load{Events: b.Sizes.Far, Keys: mostKeys, Bytes: 300, Partitions: c.partitions, Ahead: b.Sizes.Far / 4}
	drained, _, err := c.over(b, load.Events, func() ([]figures.Run, error) { return b.drain(ctx, c.kind, load, 100) })
	if err != nil {
		return run, fmt.Errorf("drain: %w", err)
	}
	events := farRate * int((b.Sizes.Latency+leadIn)/time.Second)
	trickled, late, err := c.over(b, events, func() ([]figures.Run, error) {
		return b.trickles(ctx, c.kind, trickles{rates: []int{farRate}, ahead: farAhead, partitions: c.partitions}, b.trickle)
	})
	if err != nil {
		return run, fmt.Errorf("trickle: %w", err)
	}
	run = figures.Run{Events: drained.Events + trickled.Events, Others: max(drained.Others, trickled.Others),
		Fault: strings.Trim(drained.Fault+"; "+trickled.Fault, "; "), Values: map[string]float64{"late_ms": milliseconds(int64(late))}}
	for _, from := range []figures.Run{drained, trickled} {
		for _, measure := range []string{"events_per_second", "system_cpu_us", "p50_ms", "p99_ms", "behind_ms"} {
			if v, ok := from.Values[measure]; ok {
				run.Values[measure] = v
			}
		}
	}
	return run, nil
}

// over runs one thing that gives one run, and sees to it that its events went the long way.
func (c cell) over(b *Bench, events int, do func() ([]figures.Run, error)) (run figures.Run, late time.Duration, err error) {
	if _, err := b.Rig.Way.Passed(); err != nil {
		return run, 0, err
	}
	runs, err := do()
	if err != nil {
		return run, 0, err
	}
	passed, err := b.Rig.Way.Passed()
	if err == nil && passed.Bytes < int64(events)*300 {
		err = fmt.Errorf("%d events were sent, and %d bytes came by the long way", events, passed.Bytes)
	}
	return runs[0], passed.Late, err
}

package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/bench/figures"
	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

const (
	leadIn      = time.Second // of a trickle: not in its figures
	arriveLimit = 30 * time.Second
	halfAPoll   = 0.5 // ms: poll.min_interval is 1 ms
)

// latency writes trickles and takes the time from the return of a commit to the consumer.
func latency(ctx context.Context, b *Bench, kind sut.Kind) (runs []figures.Run, err error) {
	return b.trickles(ctx, kind, trickles{rates: b.Sizes.Rates, ahead: 1}, func(ctx context.Context, p *pace, a *arrivals) (figures.Run, error) {
		floor, err := produceToConsume(ctx, p.site, p.perSecond, min(b.Sizes.Latency, 10*time.Second))
		if err != nil {
			return figures.Run{}, err
		}
		run, err := b.trickle(ctx, p, a)
		run.Workload = fmt.Sprintf("latency-%d", p.perSecond)
		run.Values["floor_ms"] = floor + halfAPoll
		return run, err
	})
}

// trickles is what is written by them.
type trickles struct {
	rates      []int // one after the other, in events a second
	ahead      int   // events that are at once there before: when they have come, the relay leads and the consumer listens
	partitions int32
}

// trickles has each of them written and measured, and reads all back.
func (b *Bench) trickles(ctx context.Context, kind sut.Kind, t trickles,
	trickle func(context.Context, *pace, *arrivals) (figures.Run, error),
) (runs []figures.Run, err error) {
	room := t.ahead + 1
	for _, rate := range t.rates {
		room += rate * int((b.Sizes.Latency+leadIn)/time.Second)
	}
	load := sut.Load{Events: room - 1, Keys: mostKeys, Bytes: 300, Partitions: t.partitions}
	err = b.on(ctx, kind, load, func(site *rig.Site, system sut.System) error {
		clock := clock{began: time.Now()}
		if err := system.Begin(ctx); err != nil {
			return err
		}
		a, err := consume(ctx, site, clock, room)
		if err != nil {
			return err
		}
		defer a.close()
		committed, behind := make([]atomic.Int64, room), make([]atomic.Int64, room)
		if _, err := site.DB.Exec(ctx, system.Insert(), site.Topic, 1, t.ahead, 1, load.Filler(), load.Keys); err != nil {
			return err
		}
		if err := a.all(ctx, t.ahead); err != nil {
			return err
		}
		first := t.ahead + 1
		for _, rate := range t.rates {
			p := &pace{site: site, insert: system.Insert(), perSecond: rate, first: first, clock: clock, committed: committed, behind: behind}
			run, err := trickle(ctx, p, a)
			if err != nil {
				return errors.Join(err, system.Alive(ctx))
			}
			runs = append(runs, run)
			first += run.Events
		}
		if err := system.End(ctx); err != nil {
			return err
		}
		tally, err := readBack(ctx, site, load)
		if err != nil {
			return err
		}
		for i := range runs {
			runs[i].Fault = tally.fault(0)
		}
		return nil
	})
	return runs, err
}

// trickle writes at one rate.
func (b *Bench) trickle(ctx context.Context, p *pace, a *arrivals) (run figures.Run, err error) {
	run = figures.Run{Events: p.perSecond * int((b.Sizes.Latency+leadIn)/time.Second), Values: map[string]float64{}}
	until, err := disturbance()
	if err != nil {
		return run, err
	}
	p.count(run.Events)
	if err := p.run(ctx, nil); err != nil {
		return run, err
	}
	if err := a.all(ctx, p.first+run.Events-1); err != nil {
		return run, err
	}
	if run.Others, err = until(); err != nil {
		return run, err
	}
	skip := p.perSecond * int(leadIn/time.Second)
	var took, behind []float64
	for n := p.first + skip; n < p.first+run.Events; n++ {
		behind = append(behind, milliseconds(p.behind[n].Load()))
		// One that never came makes the run a failed one.
		if came := a.times[n].Load(); came > 0 {
			took = append(took, milliseconds(max(0, came-p.committed[n].Load())))
		}
	}
	if len(took) > 0 {
		run.Values["p50_ms"], run.Values["p99_ms"], run.Values["max_ms"] = quantile(took, 0.5), quantile(took, 0.99), slices.Max(took)
	}
	run.Values["behind_ms"] = quantile(behind, 0.99)
	return run, nil
}

// produceToConsume is the half of the time that a record needs without any relay, in ms: a bare producer at the same
// rate, to the same kind of consumer.
func produceToConsume(ctx context.Context, of *rig.Site, perSecond int, length time.Duration) (float64, error) {
	site := *of
	var err error
	if site.Topic, err = of.Rig.Topic(ctx, 4); err != nil {
		return 0, err
	}
	count := perSecond * int(length/time.Second)
	clock := clock{began: time.Now()}
	a, err := consume(ctx, &site, clock, count+2)
	if err != nil {
		return 0, err
	}
	defer a.close()
	client, err := kgo.NewClient(kgo.SeedBrokers(site.Kafka.Brokers()...), kgo.DefaultProduceTopic(site.Topic), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	filler := sut.Load{Bytes: 300}.Filler()
	// One record more, so that client and consumer are at work.
	ready := client.ProduceSync(ctx, &kgo.Record{Value: sut.Payload(nil, count+1, filler)})
	if err := errors.Join(ready.FirstErr(), a.all(ctx, 1)); err != nil {
		return 0, err
	}
	sent := make([]int64, count+1)
	began := time.Now()
	for n := 1; n <= count; n++ {
		if err := rig.Sleep(ctx, time.Until(began.Add(time.Duration(n)*time.Second/time.Duration(perSecond)))); err != nil {
			return 0, err
		}
		sent[n] = clock.now()
		client.Produce(ctx, &kgo.Record{Key: []byte(sut.Key(n, mostKeys)), Value: sut.Payload(nil, n, filler)}, nil)
	}
	if err := a.all(ctx, count+1); err != nil {
		return 0, err
	}
	var took []float64
	for n := 1; n <= count; n++ {
		if came := a.times[n].Load(); came > 0 {
			took = append(took, milliseconds(came-sent[n]))
		}
	}
	if len(took) < count {
		return 0, fmt.Errorf("measure the floor: %d of %d records came", len(took), count)
	}
	return quantile(took, 0.5), nil
}

func milliseconds(nanoseconds int64) float64 { return float64(nanoseconds) / 1e6 }

// quantile of some values, by nearest rank.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// The library's own histogram is the truth: same bounds, same observations, same buckets.
func TestDelays_CountAsTheLibraryDoes(t *testing.T) {
	var d delays
	bounds := make([]float64, 0, classicLength)
	for n := classicFirst; n <= classicLast; n++ {
		bounds = append(bounds, math.Exp2(float64(n)))
	}
	library := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Help: "x", Buckets: bounds,
		NativeHistogramBucketFactor: 1.19, NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero})
	observe := func(us int64) {
		d.since(1000, 1000+us)
		library.Observe(float64(us) / 1e6)
	}
	for n := range int64(45) {
		for _, near := range []int64{-1, 0, 1} {
			observe(max(1<<n+near, 1))
		}
	}
	for _, us := range []int64{15625, 31250, 62500, 125000, 250000, 500000, 1e6, 2e6, 4e6} { // powers of two, in seconds
		observe(us - 1)
		observe(us)
		observe(us + 1)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		observe(int64(math.Exp2(random.Float64()*40) + 1))
	}
	var want dto.Metric
	if err := library.Write(&want); err != nil {
		t.Fatal(err)
	}
	if want.Histogram.GetSchema() != delaySchema {
		t.Fatalf("the library's schema is %d", want.Histogram.GetSchema())
	}
	got := d.report()
	if got.Count != want.Histogram.GetSampleCount() || math.Abs(got.Sum-want.Histogram.GetSampleSum()) > 1e-3*got.Sum {
		t.Errorf("%d observations, sum %f; want %d, %f", got.Count, got.Sum, want.Histogram.GetSampleCount(), want.Histogram.GetSampleSum())
	}
	for _, b := range want.Histogram.Bucket {
		if n := got.Classic[b.GetUpperBound()]; n != b.GetCumulativeCount() {
			t.Errorf("at most %g s: %d, want %d", b.GetUpperBound(), n, b.GetCumulativeCount())
		}
	}
	index, n, seen := int32(0), int64(0), 0
	deltas := want.Histogram.PositiveDelta
	for _, span := range want.Histogram.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			n += deltas[0]
			deltas = deltas[1:]
			// The ends of our range take what is beyond them.
			if int(index) > delayFirst && int(index) < delayLast && n > 0 {
				seen++
				if got.Native[int(index)] != n {
					t.Errorf("native bucket %d: %d, want %d", index, got.Native[int(index)], n)
				}
			}
			index++
		}
	}
	if seen < 100 {
		t.Errorf("%d native buckets were compared", seen)
	}
}

func TestDelays_TakeWhatClocksMakeOfTime(t *testing.T) {
	var d delays
	d.since(2_000_000, 1_000_000)
	d.since(0, math.MaxInt64)
	if r := d.report(); r.Count != 2 || r.Native[delayFirst] != 1 || r.Native[delayLast] != 1 {
		t.Errorf("%+v", r)
	}
	if n := testing.AllocsPerRun(100, func() { d.since(1, 100) }); n != 0 {
		t.Errorf("%f allocations an observation", n)
	}
}

func TestState_BoundsTheTopicsItCounts(t *testing.T) {
	s := newState()
	for n := range maxTopics + 50 {
		s.topic(fmt.Sprintf("topic-%d", n)).Add(2)
	}
	r := s.Report()
	if len(r.DeliveredByTopic) != maxTopics+1 || r.DeliveredByTopic["topic-7"] != 2 || r.DeliveredByTopic[OtherTopics] != 100 {
		t.Errorf("%d topics, %d for the rest", len(r.DeliveredByTopic), r.DeliveredByTopic[OtherTopics])
	}
}

func TestNew_CountsNamedTopicsFromTheStart(t *testing.T) {
	r := New(Options{Topics: []string{"orders", "payments"}}).State().Report()
	if n, ok := r.DeliveredByTopic["orders"]; !ok || n != 0 || len(r.DeliveredByTopic) != 2 {
		t.Errorf("%v", r.DeliveredByTopic)
	}
}

func TestReasons_AreAllThatSessionsEndFor(t *testing.T) {
	list := Reasons()
	for want, err := range map[string]error{
		"drained": errDrained, "fenced": fmt.Errorf("settle: %w", store.ErrFenced), "recycled": errRecycle, "trust_over": errTrustOver,
		"drain_timeout": errDrainTimeout, "cut": context.Canceled, "postgres": errors.New("connection lost"),
		"kafka_cut": publisher.NewError(publisher.ClassCut, "given up"),
	} {
		if got := reason(err); got != want || !slices.Contains(list, want) {
			t.Errorf("%v: %s, want %s, which the list has to hold: %q", err, got, want, list)
		}
	}
	for _, class := range publisher.Classes() {
		if word := reason(publisher.NewError(class, "for a test")); !slices.Contains(list, word) {
			t.Errorf("%s is not in the list", word)
		}
	}
	slices.Sort(list)
	if len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Errorf("a word stands twice: %q", list)
	}
}

func TestState_AFollowerKnowsALeaderForAWhile(t *testing.T) {
	s := newState()
	if s.Report().Following {
		t.Error("a follower of nobody")
	}
	s.followed()
	if !s.Report().Following {
		t.Error("the leader that was seen is not known")
	}
	s.following.Store(time.Now().Add(-followFresh - time.Second).UnixNano())
	if s.Report().Following {
		t.Error("a leader that was seen long ago is taken for alive")
	}
	s.followed()
	s.lead(1)
	if s.Report().Following {
		t.Error("a leader follows")
	}
}

func TestMemory_TellsWhatMayComeTwice(t *testing.T) {
	b := &batch{}
	for seq, fate := range []fate{waiting, acked, rejected, failed, failed} {
		b.tickets = append(b.tickets, ticket{key: rowKey{seq: int64(seq)}, fate: fate, unwritten: seq == 4})
	}
	for _, transactional := range []bool{false, true} {
		m := newMemory(store.Identity{})
		m.learn([]*batch{b}, transactional)
		var again []int64
		for seq := range int64(5) {
			if m.resend(rowKey{seq: seq}) {
				again = append(again, seq)
			}
			if m.resend(rowKey{seq: seq}) {
				t.Errorf("%d is remembered twice", seq)
			}
		}
		if want := map[bool]string{false: "[0 3]", true: "[]"}[transactional]; fmt.Sprint(again) != want {
			t.Errorf("transactional %v: %v, want %s", transactional, again, want)
		}
	}
}

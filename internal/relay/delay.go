package relay

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/store"
)

// The buckets of delays are those of Prometheus' native histograms with schema 2: four to each doubling, so that a
// quantile is known to about a tenth. The first holds a microsecond and less, the last has no end.
const (
	delaySchema   = 2
	delayPerTwo   = 1 << delaySchema
	delayFirst    = -20 * delayPerTwo // about a microsecond
	delayLast     = 25 * delayPerTwo  // about a year
	delayBuckets  = delayLast - delayFirst + 1
	classicFirst  = -10 // 2^-10 s, about a millisecond
	classicLast   = 12  // 2^12 s, more than an hour
	classicLength = classicLast - classicFirst + 1
)

// delayBounds are the upper bounds of the first three buckets of a doubling, for numbers from 0.5 to 1.
var delayBounds = [delayPerTwo - 1]float64{math.Exp2(-0.75), math.Exp2(-0.5), math.Exp2(-0.25)}

// delays is a histogram of how long events took from when they were wanted to their ack. An observation allocates nothing and
// takes no lock. Safe for concurrent use.
type delays struct {
	sum     atomic.Int64 // microseconds
	buckets [delayBuckets]atomic.Int64
}

// since observes an event that was created at this moment, in microseconds of Unix time by PostgreSQL's clock, and
// acked at the other by ours. A negative delay, which clocks that differ make, counts as none.
func (d *delays) since(created, acked int64) {
	us := max(acked-created, 0)
	d.sum.Add(us)
	d.buckets[delayBucket(us)].Add(1)
}

// delayBucket is the place of the smallest bucket whose upper bound is not below a number of microseconds.
func delayBucket(us int64) int {
	if us == 0 {
		return 0
	}
	half, exponent := math.Frexp(float64(us) / 1e6)
	n := (exponent-1)*delayPerTwo + 1
	if half == 0.5 { // a power of two belongs to the bucket that it ends
		n--
	} else {
		for _, bound := range delayBounds {
			if half <= bound {
				break
			}
			n++
		}
	}
	return min(max(n, delayFirst), delayLast) - delayFirst
}

// Delays are a histogram at one moment.
type Delays struct {
	Count uint64
	Sum   float64 // seconds
	// Native are the buckets of a native histogram with schema NativeSchema that are not empty, by index.
	Native map[int]int64
	// Classic says how many took at most so many seconds.
	Classic map[float64]uint64
}

// NativeSchema is the resolution of Delays.Native.
const NativeSchema = delaySchema

// report reads the histogram. What is observed meanwhile may be in it or not.
func (d *delays) report() Delays {
	r := Delays{Native: map[int]int64{}, Classic: make(map[float64]uint64, classicLength)}
	next := classicFirst
	for i := range d.buckets {
		index := i + delayFirst
		for next <= classicLast && index > next*delayPerTwo {
			r.Classic[math.Exp2(float64(next))] = r.Count
			next++
		}
		if n := d.buckets[i].Load(); n > 0 {
			r.Native[index] = n
			r.Count += uint64(n)
		}
	}
	r.Sum = float64(d.sum.Load()) / 1e6
	return r
}

// wanted is what a delivery is counted from: the insert, or the time that the event asked for.
func wanted(row *store.Row) time.Time {
	if row.DeliverAt.After(row.CreatedAt) {
		return row.DeliverAt
	}
	return row.CreatedAt
}

// wantedParked is the same of a parked event. A copy that a replay asks for is wanted since it was asked for: the first
// delivery was in time.
func wantedParked(row *store.ParkedRow) time.Time {
	if row.State == Replay {
		return row.ParkedAt
	}
	return wanted(&row.Row)
}

// note has to be called for each ticket before its record is handed over: it keeps what metrics tell of it. It says
// whether Kafka may have the record already.
func (f *feed) note(t *ticket, row *store.Row) (again bool) {
	t.created = wanted(row).UnixMicro()
	if again = f.memory.resend(t.key); again {
		f.redelivered.Add(1)
	}
	return again
}

// landed counts an event whose record is acked and, with exactly_once, committed.
func (s *State) landed(t *ticket, at int64) {
	t.topic.acked.Add(1)
	s.delays.since(t.created, at)
}

// released counts parked events that were delivered.
func (s *State) released(parcels []*parcel) {
	at := time.Now().UnixMicro()
	for _, p := range parcels {
		s.topic(p.topic).Add(1)
		s.delays.since(p.created, at)
	}
}

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
)

// collectEarly has Go collect its garbage when there is half as much of it as there is live memory, not as much: the hot
// path makes next to none, so it costs little, and the heap peaks a quarter lower. GOGC has the last word.
func collectEarly(env []string) {
	const percent = 50
	if !isSet(env, "GOGC") {
		debug.SetGCPercent(percent)
	}
}

// leastHeap is what outbox.max_in_flight is by default.
const leastHeap = 32 << 20

// ceiling keeps the heap to what may be in flight, by Go's soft memory limit: above that Go collects sooner, and gives
// memory back at once. A limit below what is live would have Go do nothing but collect. So the limit follows what is
// live, with an eighth to spare, from one collection to the next.
type ceiling struct {
	inFlight uint64 // bytes

	mu   sync.Mutex
	over bool
}

// boundHeap sets a ceiling until lift is called. GOMEMLIMIT has the last word.
func boundHeap(env []string, inFlight int64) (lift func()) {
	if isSet(env, "GOMEMLIMIT") {
		return func() {}
	}
	c := &ceiling{inFlight: uint64(max(inFlight, leastHeap))}
	c.follow()
	return c.lift
}

// follow sets the limit, and has itself called after the next collection.
func (c *ceiling) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	debug.SetMemoryLimit(c.limit())
	type herald struct{ _ *ceiling } // with a pointer in it, it shares its memory with nothing
	runtime.AddCleanup(new(herald), (*ceiling).follow, c)
}

// limit is for the heap, and for what Go has beside it.
func (c *ceiling) limit() int64 {
	of := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(of)
	live, beside := of[0].Value.Uint64(), of[1].Value.Uint64()
	for _, heap := range of[2:] {
		beside -= heap.Value.Uint64()
	}
	return int64(max(c.inFlight, live+live/8) + beside)
}

func (c *ceiling) lift() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	debug.SetMemoryLimit(math.MaxInt64)
}

func isSet(env []string, name string) bool {
	return slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func limitNow() int64 { return debug.SetMemoryLimit(-1) }

// A limit below what is live would have Go do nothing but collect.
func TestCeiling_StaysAboveWhatIsLive(t *testing.T) {
	lift := boundHeap(nil, 1<<20)
	defer lift()
	first := limitNow()
	if first < leastHeap || first > 4*leastHeap {
		t.Errorf("the limit is %d MiB at first", first>>20)
	}
	const size = 200 << 20
	live := make([]byte, size)
	until(t, "the limit has risen", func() bool { runtime.GC(); return limitNow() > size+size/8 })
	runtime.KeepAlive(live)
	until(t, "the limit has come down", func() bool { runtime.GC(); return limitNow() < size })
	lift()
	if limitNow() != math.MaxInt64 {
		t.Errorf("a limit of %d MiB is left", limitNow()>>20)
	}
	runtime.GC()
	runtime.GC()
	if limitNow() != math.MaxInt64 {
		t.Errorf("it goes on after its end: %d MiB", limitNow()>>20)
	}
}

func TestCeiling_IsWhatMayBeInFlight(t *testing.T) {
	defer boundHeap(nil, 500<<20)()
	if got := limitNow(); got < 500<<20 || got > 600<<20 {
		t.Errorf("the limit is %d MiB", got>>20)
	}
}

func TestCeiling_LeavesALimitOfSomebodyElse(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	debug.SetMemoryLimit(3 << 30)
	boundHeap([]string{"GOMEMLIMIT=3GiB"}, 1<<20)()
	if limitNow() != 3<<30 {
		t.Errorf("GOMEMLIMIT became %d", limitNow())
	}
}

package relay

import (
	"testing"
	"time"
)

// A page that is read slowly keeps its query open, and that pins xmin: it may not be a large one.
func TestNextLimit_GrowsOnlyWhilePagesAreQuick(t *testing.T) {
	limit := leastPage
	for range 10 {
		limit = nextLimit(limit, true, quickPage/2)
	}
	if limit != mostPage {
		t.Errorf("after quick pages the next has %d rows, want %d", limit, mostPage)
	}
	if got := nextLimit(limit, false, quickPage/2); got != leastPage {
		t.Errorf("the first page of a window has %d rows, want %d", got, leastPage)
	}
	for range 10 {
		limit = nextLimit(limit, true, time.Second)
	}
	if limit != leastPage {
		t.Errorf("after slow pages the next has %d rows, want %d", limit, leastPage)
	}
}

func TestOptions_RowsInFlightGrowWithTheBudget(t *testing.T) {
	for budget, want := range map[int64]int64{1 << 20: usualRows, 32 << 20: usualRows, 64 << 20: 2 * usualRows, 4 << 30: mostRows} {
		o := Options{MaxInFlight: budget}
		if got := o.rowsInFlight(); got != want {
			t.Errorf("%d bytes: %d rows, want %d", budget, got, want)
		}
	}
}

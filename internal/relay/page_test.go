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

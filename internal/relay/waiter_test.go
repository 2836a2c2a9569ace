package relay

import (
	"slices"
	"testing"
	"time"
)

func TestWaiter_TellsWhenARestBeginsAndEnds(t *testing.T) {
	var told []bool
	w := &waiter{least: time.Millisecond, most: time.Millisecond, rest: func(resting bool) { told = append(told, resting) }}
	look := func(since time.Duration) {
		t.Helper()
		w.active = time.Now().Add(-since)
		if err := w.wait(t.Context(), t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look(restful / 2)
	if len(told) > 0 {
		t.Fatalf("a pause was told as a rest: %v", told)
	}
	look(2 * restful)
	look(2 * restful)
	if err := w.wake(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.rouse()
	if !slices.Equal(told, []bool{true, false}) {
		t.Errorf("told %v", told)
	}
}

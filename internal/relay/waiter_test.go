package relay

import (
	"slices"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/alarm"
)

// Looks begin so far apart, however long one took; and after one that took longer PostgreSQL has a little peace.
func TestWaiter_CountsFromTheBeginningOfALook(t *testing.T) {
	const least = 800 * time.Millisecond
	w := &waiter{least: least, most: time.Second, caughtUp: func() {}, rest: func(bool) {}, active: time.Now().Add(time.Hour)}
	for took, want := range map[time.Duration]time.Duration{0: least, least / 2: least / 2, 10 * least: least / 4} {
		began := time.Now()
		if err := w.wait(t.Context(), t.Context(), began.Add(-took)); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < want-time.Millisecond || waited > want+least/4 {
			t.Errorf("after a look of %v it waited %v instead of %v", took, waited, want)
		}
	}
}

func TestWaiter_TellsWhenARestBeginsAndEnds(t *testing.T) {
	var told []bool
	ring, err := alarm.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	w := &waiter{least: time.Millisecond, most: time.Millisecond, alarm: ring, caughtUp: func() {}, rest: func(resting bool) { told = append(told, resting) }}
	look := func(since time.Duration) {
		t.Helper()
		w.active = time.Now().Add(-since)
		if err := w.wait(t.Context(), t.Context(), time.Now()); err != nil {
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

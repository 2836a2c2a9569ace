package alarm

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

// A quarter of a millisecond: neither less, nor the whole one that it is with Go's timers in an idle program.
func TestWait_IsExact(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	const length = 250 * time.Microsecond
	var took []time.Duration
	for range 200 {
		began := time.Now()
		if err := a.Wait(began.Add(length)); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	if took[0] < length {
		t.Errorf("waited %v, and was to wait %v", took[0], length)
	}
	if half := took[len(took)/4]; half > 900*time.Microsecond { // the quickest quarter, for this may be a busy machine
		t.Errorf("a quarter of the waits of %v took more than %v", length, half)
	}
}

func TestWait_DoesNotWaitForThePast(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Wait(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func TestClose_EndsAWait(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- a.Wait(time.Now().Add(time.Hour)) }()
	a.Close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a wait ended with %v", err)
	}
}

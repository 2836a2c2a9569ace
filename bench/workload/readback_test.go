package workload

import (
	"strings"
	"testing"

	"github.com/outboxrelay/relay/bench/sut"
)

// arrived is the value of an event as it should arrive.
func arrived(load sut.Load, n int) []byte { return sut.Payload(nil, n, load.Filler()) }

func TestTally_SeesEachKindOfDifference(t *testing.T) {
	load := sut.Load{Events: 6, Keys: 2, Bytes: 60}
	for name, test := range map[string]struct {
		order []int
		spoil func(key, value []byte)
		want  string
	}{
		"all, each once":            {order: []int{1, 2, 3, 4, 5, 6}},
		"keys mixed":                {order: []int{2, 1, 3, 5, 4, 6}},
		"one missing":               {order: []int{1, 2, 3, 4, 5}, want: "1 missing"},
		"one twice":                 {order: []int{1, 2, 3, 3, 4, 5, 6}, want: "1 copies"},
		"two of a key exchanged":    {order: []int{1, 2, 5, 3, 4, 6}, want: "1 out of order"},
		"one that nobody wrote":     {order: []int{1, 2, 3, 4, 5, 6, 7}, want: "1 that nobody wrote so"},
		"a changed byte":            {order: []int{1, 2, 3, 4, 5, 6}, spoil: func(_, value []byte) { value[len(value)-3]++ }, want: "6 that nobody wrote so"},
		"under another event's key": {order: []int{1, 2, 3, 4, 5, 6}, spoil: func(key, _ []byte) { key[0]++ }, want: "6 that nobody wrote so"},
		"a changed number":          {order: []int{1, 2, 3, 4, 5, 6}, spoil: func(_, value []byte) { value[10] = 'x' }, want: "6 missing"},
	} {
		t.Run(name, func(t *testing.T) {
			tally := newTally(load)
			for _, n := range test.order {
				key, value := []byte(sut.Key(n, load.Keys)), arrived(load, n)
				if test.spoil != nil {
					test.spoil(key, value)
				}
				tally.take(key, value)
			}
			if got := tally.fault(0); test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("fault %q, want %q", got, test.want)
			}
		})
	}
}

func TestTally_AllowsCopiesWhereTheyAreAllowed(t *testing.T) {
	load := sut.Load{Events: 1, Keys: 1, Bytes: 60}
	tally := newTally(load)
	for range 3 {
		tally.take([]byte(sut.Key(1, 1)), arrived(load, 1))
	}
	if got := tally.fault(2); got != "" {
		t.Errorf("two copies of two: %s", got)
	}
	if got := tally.fault(1); !strings.Contains(got, "1 copies") {
		t.Errorf("two copies of one: %q", got)
	}
}

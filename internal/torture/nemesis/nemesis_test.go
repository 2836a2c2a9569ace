package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// pretence is a fault that only counts.
type pretence struct {
	name            string
	kind            Kind
	err             error
	started, healed int
}

func (p *pretence) Name() string { return p.name }
func (p *pretence) Kind() Kind   { return p.kind }

func (p *pretence) Start(context.Context) (Note, error) {
	p.started++
	return Note{Replica: 2, Leader: true}, p.err
}

func (p *pretence) Heal(ctx context.Context) error {
	p.healed++
	return ctx.Err() // healing must not be cut short
}

func TestDraw_TakesEachOnceAndOneOfATarget(t *testing.T) {
	var faults []Fault
	for _, name := range []string{"a1", "a2", "b1", "b2", "c1"} {
		faults = append(faults, &pretence{name: name, kind: Kind{Target: name[:1]}})
	}
	n := &Nemesis{Faults: faults, Random: rand.New(rand.NewPCG(1, 1))}
	var order []string
	sizes := map[int]int{}
	for range 1000 {
		drawn := n.draw()
		n.count++
		sizes[len(drawn)]++
		targets := map[string]bool{}
		for _, f := range drawn {
			if targets[f.Kind().Target] {
				t.Fatalf("two faults of target %s in one round", f.Kind().Target)
			}
			targets[f.Kind().Target] = true
			order = append(order, f.Name())
		}
	}
	for i := 0; i+5 <= len(order); i += 5 {
		if slices.Compact(slices.Sorted(slices.Values(order[i : i+5])))[4] != "c1" {
			t.Fatalf("draws %d to %d are %v, want each fault once", i, i+4, order[i:i+5])
		}
	}
	if sizes[0] < 50 || sizes[1] < 50 || sizes[2] < 50 {
		t.Errorf("rounds by the number of their faults: %v, want some of none, one and two", sizes)
	}
}

func TestRun_HealsWhatItStartedWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &pretence{name: "broken", kind: Kind{Target: "a", Disrupts: true}, err: errors.New("cannot")}
		instant := &pretence{name: "instant", kind: Kind{Target: "b", Instant: true, Disrupts: true}}
		spent := &pretence{name: "spent", kind: Kind{Target: "c"}, err: ErrSpent}
		var lines []journal.Action
		n := &Nemesis{Faults: []Fault{broken, instant, spent}, Random: rand.New(rand.NewPCG(1, 2)), Least: 5 * time.Second, Most: 20 * time.Second,
			Note: func(a journal.Action) { lines = append(lines, a) }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		began := time.Now()
		n.Run(ctx)
		if took := time.Since(began); took > 11*time.Minute {
			t.Errorf("it ended %v after its begin", took)
		}
		for _, f := range []*pretence{broken, instant} {
			if f.started < 10 || f.started != f.healed {
				t.Errorf("%s was started %d times and healed %d times", f.name, f.started, f.healed)
			}
		}
		if spent.started != 1 || spent.healed != 0 {
			t.Errorf("what was spent was started %d times, healed %d times", spent.started, spent.healed)
		}
		kinds := map[string]int{}
		for _, l := range lines {
			kinds[l.What]++
			if l.What == journal.FaultBegins && (l.Replica != 2 || !l.Leader || !l.Disrupts || l.At == 0) {
				t.Fatalf("line %+v", l)
			}
		}
		all := broken.started + instant.started
		if kinds[journal.FaultBegins] != all || kinds[journal.FaultHealed] != all || kinds[journal.Trouble] != broken.started {
			t.Errorf("lines %v for %d faults, %d of them in trouble", kinds, all, broken.started)
		}
	})
}

func TestAll_LeavesOutWhatBelongsToSomebodyElse(t *testing.T) {
	var names []string
	for _, f := range All(&Ground{}) {
		names = append(names, f.Name())
	}
	if !slices.Equal(names, []string{"topic_late"}) {
		t.Errorf("without any server of ours: %v", names)
	}
}

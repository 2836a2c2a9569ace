package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// shown is how many violations of one invariant are told; all are counted.
const shown = 20

// Violation is one breach of an invariant.
type Violation struct {
	Invariant string `json:"invariant"` // I1 to I14
	Text      string `json:"text"`
}

// Result is the judgement of a run.
type Result struct {
	Run journal.Run `json:"run"`
	// Broken counts the violations of each invariant that was violated.
	Broken     map[string]int `json:"broken"`
	Violations []Violation    `json:"violations"` // the first of each invariant
	Figures    Figures        `json:"figures"`
}

// OK says that no invariant was violated.
func (r Result) OK() bool { return len(r.Broken) == 0 }

// Check judges a run.
func Check(b *Book) Result {
	c := &checker{book: b, index: newIndex(b), broken: map[string]int{}}
	c.windows = disruptions(b.Actions, b.Run.Limits.Aftermath)
	c.copies = c.index.copies()
	for _, check := range []func(){
		c.loss, c.invention, c.noCopies, c.fewCopies, c.order, c.staleTail, c.readers, c.cursor, c.epochs, c.atomicity,
		c.liveness, c.resources, c.secrets, c.failover, c.client,
	} {
		check()
	}
	slices.SortStableFunc(c.violations, func(a, b Violation) int { return cmp.Compare(number(a), number(b)) })
	c.figures.count(c)
	return Result{Run: b.Run, Broken: c.broken, Violations: c.violations, Figures: c.figures}
}

func number(v Violation) (n int) {
	_, _ = fmt.Sscanf(v.Invariant, "I%d", &n) // all of them are like this
	return n
}

// checker holds what the checks share.
type checker struct {
	book       *Book
	index      *index
	windows    []window
	copies     []copied
	broken     map[string]int
	violations []Violation
	figures    Figures
}

func (c *checker) violated(invariant, format string, args ...any) {
	c.broken[invariant]++
	if c.broken[invariant] <= shown {
		c.violations = append(c.violations, Violation{Invariant: invariant, Text: fmt.Sprintf(format, args...)})
	}
}

// window is a time in which something was broken, and some time after it.
type window struct {
	from, to int64
	fault    string
	n        int
	residue  bool
}

// disruptions are the windows of the faults that may make a relay send again. What a relay does by itself is none.
func disruptions(actions []journal.Action, aftermath time.Duration) (all []window) {
	const never = int64(1) << 62
	at := map[int]int{}
	for _, a := range actions {
		switch a.What {
		case journal.FaultBegins:
			if a.Disrupts {
				at[a.N] = len(all)
				all = append(all, window{from: a.At, to: never, fault: a.Fault, n: a.N, residue: a.Residue})
			}
		case journal.FaultHealed:
			if i, begun := at[a.N]; begun {
				all[i].to = a.At + aftermath.Microseconds()
			}
		}
	}
	return all
}

func within(windows []window, at int64, residueOnly bool) bool {
	return slices.ContainsFunc(windows, func(w window) bool {
		return w.from <= at && at <= w.to && (w.residue || !residueOnly)
	})
}

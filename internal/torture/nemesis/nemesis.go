package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// startPatience bounds a Start: a topic cannot be made while Kafka is away.
const startPatience = 30 * time.Second

// breath between two rounds is up to so long: what comes of one fault is seen apart from what comes of the next.
const breath = 3 * time.Second

// Nemesis breaks and heals, round after round.
type Nemesis struct {
	Faults      []Fault
	Random      *rand.Rand // for this goroutine alone
	Least, Most time.Duration
	Note        func(journal.Action) // writes a line of the journal; sets no time

	bag   []Fault // what has not been drawn since it was filled
	count int
}

// Run breaks and heals until ctx ends. Then all is whole again: healing is not cut short.
func (n *Nemesis) Run(ctx context.Context) {
	for ctx.Err() == nil {
		drawn := n.draw()
		var begun []begun
		for _, f := range drawn {
			b, spent := n.begin(ctx, f)
			switch {
			case spent:
			case f.Kind().Instant:
				n.heal(ctx, b)
			default:
				begun = append(begun, b)
			}
		}
		pause(ctx, n.Least+time.Duration(n.Random.Int64N(int64(n.Most-n.Least)+1)))
		for _, b := range begun {
			n.heal(context.WithoutCancel(ctx), b)
		}
		pause(ctx, time.Duration(n.Random.Int64N(int64(breath))))
	}
}

// begun is a fault at work.
type begun struct {
	Fault
	n int
}

// draw takes up to three faults of different targets. Each fault comes once before one comes again.
func (n *Nemesis) draw() (drawn []Fault) {
	want := []int{0, 0, 1, 1, 1, 1, 1, 2, 2, 3}[n.Random.IntN(10)]
	if n.count == 0 {
		want = max(want, 1) // a short run should not be a quiet one
	}
	for range want {
		if len(n.bag) == 0 {
			n.bag = slices.Clone(n.Faults)
			n.Random.Shuffle(len(n.bag), func(i, j int) { n.bag[i], n.bag[j] = n.bag[j], n.bag[i] })
		}
		i := slices.IndexFunc(n.bag, func(f Fault) bool {
			return !slices.ContainsFunc(drawn, func(d Fault) bool { return d.Kind().Target == f.Kind().Target })
		})
		if i < 0 {
			break
		}
		drawn = append(drawn, n.bag[i])
		n.bag = slices.Delete(n.bag, i, i+1)
	}
	return drawn
}

// begin starts a fault, or drops it when it is spent.
func (n *Nemesis) begin(ctx context.Context, f Fault) (_ begun, spent bool) {
	n.count++
	b := begun{Fault: f, n: n.count}
	kind := f.Kind()
	line := journal.Action{What: journal.FaultBegins, Fault: f.Name(), N: b.n, Disrupts: kind.Disrupts, Residue: kind.Residue,
		At: journal.Now()}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	note, err := f.Start(ctx)
	if errors.Is(err, ErrSpent) {
		n.Faults = slices.DeleteFunc(slices.Clone(n.Faults), func(one Fault) bool { return one == f })
		return b, true
	}
	line.Replica, line.Leader, line.Detail = note.Replica, note.Leader, note.Detail
	n.Note(line)
	if note.Lost {
		n.Note(journal.Action{What: journal.Lost, N: b.n})
	}
	if err != nil {
		n.trouble(b, err)
	}
	return b, false
}

func (n *Nemesis) heal(ctx context.Context, b begun) {
	n.Note(journal.Action{What: journal.FaultHeals, Fault: b.Name(), N: b.n})
	if err := b.Heal(ctx); err != nil {
		n.trouble(b, err)
	}
	n.Note(journal.Action{What: journal.FaultHealed, Fault: b.Name(), N: b.n})
}

func (n *Nemesis) trouble(b begun, err error) {
	n.Note(journal.Action{What: journal.Trouble, Fault: b.Name(), N: b.n, Detail: err.Error()})
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

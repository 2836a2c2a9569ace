package torture

import (
	"math/rand/v2"
	"slices"
	"time"
)

// The kinds of a transaction.
const (
	plain              = "plain"
	rolledBack         = "rolled_back"
	killed             = "killed"    // its connection is cut before COMMIT
	cut                = "cut"       // its connection is cut when COMMIT has been sent
	savepoint          = "savepoint" // a part is rolled back
	longEarly          = "long_early"
	longLate           = "long_late"
	prepared           = "prepared"
	preparedRolledBack = "prepared_rolled_back"
)

// plan is a transaction that is about to be done.
type plan struct {
	kind   string
	counts []counted // what to write, in this order
	chunks int       // statements
	sleep  time.Duration
	wait   time.Duration // before the transaction: the writer's rate
}

// counted is a number of events of a key; without a name they have no key.
type counted struct {
	key
	events int
	later  bool // scheduled
}

// planner draws transactions. What it draws depends on its random source alone.
type planner struct {
	world  *world
	random *rand.Rand
	zipf   *rand.Zipf
	mean   time.Duration // from one transaction to the next
}

func newPlanner(w *world, random *rand.Rand, mean time.Duration) *planner {
	return &planner{world: w, random: random, mean: mean, zipf: rand.NewZipf(random, 1.1, 4, keyCount-1)}
}

// meanEvents of a transaction, by next below.
const meanEvents = 7.0

func (p *planner) next() plan {
	t := plan{kind: p.kind(), chunks: 1 + p.random.IntN(3), wait: time.Duration(p.random.ExpFloat64() * float64(p.mean))}
	if t.kind == longEarly || t.kind == longLate {
		t.sleep = time.Second + time.Duration(p.random.Int64N(int64(9*time.Second)))
	}
	if t.kind == prepared || t.kind == preparedRolledBack {
		t.sleep = time.Duration(p.random.Int64N(int64(time.Second)))
	}
	total := 1 + int(p.random.ExpFloat64()*6)
	total = min(total, 20)
	keys := min(1+p.random.IntN(5), total)
	for i := range keys {
		c := counted{key: p.key(t.kind), events: max(1, total/keys)}
		if slices.ContainsFunc(t.counts, func(o counted) bool { return o.name == c.name }) {
			continue
		}
		if i > 0 && p.random.IntN(10) == 0 {
			c.key = key{} // no key
		}
		c.later = p.random.IntN(25) == 0
		t.counts = append(t.counts, c)
	}
	return t
}

func (p *planner) kind() string {
	switch n := p.random.IntN(1000); {
	case n < 100:
		return rolledBack
	case n < 120:
		return killed
	case n < 130:
		return cut
	case n < 145:
		return longEarly
	case n < 160:
		return longLate
	case n < 260:
		return savepoint
	case n < 300:
		return prepared
	case n < 310:
		return preparedRolledBack
	}
	return plain
}

// key draws a key. A transaction that holds its locks for long takes a cold one: else all writers would wait for it.
func (p *planner) key(kind string) key {
	if p.random.IntN(60) == 0 {
		return p.world.late[p.random.IntN(len(p.world.late))]
	}
	i := int(p.zipf.Uint64())
	if kind == longLate {
		i = keyCount/2 + i/2
	}
	return p.world.keys[i]
}

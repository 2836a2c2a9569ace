package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// network breaks the way between the relays and their servers: to one broker, to all of them, or to PostgreSQL. The
// harness goes another way.
type network struct {
	ground *Ground
	target string // targetKafkaNet or targetPostgresNet
	how    string // cut, hang, slow or short
	broken []*proxy.TCP
}

func (f *network) Name() string {
	if f.target == targetPostgresNet {
		return "postgres_net_" + f.how
	}
	return "kafka_net_" + f.how
}

func (f *network) Kind() Kind { return Kind{Target: f.target, Disrupts: true} }

func (f *network) Start(context.Context) (Note, error) {
	note := Note{}
	f.broken = f.ground.PostgresNet
	if f.target == targetKafkaNet {
		f.broken, note.Detail = f.ways()
	}
	for _, way := range f.broken {
		if err := f.spoil(way); err != nil {
			return note, err
		}
	}
	return note, nil
}

// ways to one broker, or to all of them.
func (f *network) ways() (ways []*proxy.TCP, detail string) {
	one := f.ground.Random.IntN(f.ground.Nodes)
	if f.ground.Nodes > 1 && f.ground.Random.IntN(2) == 0 {
		return []*proxy.TCP{f.ground.Fleet.Node(one).Net}, fmt.Sprintf("node %d", one+1)
	}
	for i := range f.ground.Nodes {
		ways = append(ways, f.ground.Fleet.Node(i).Net)
	}
	return ways, "all nodes"
}

func (f *network) spoil(way *proxy.TCP) error {
	switch f.how {
	case "cut":
		way.Cut()
		return nil
	case "hang":
		return way.Hang()
	case "slow":
		return way.Delay(time.Duration(20+f.ground.Random.IntN(300)) * time.Millisecond)
	default:
		// Connections end in the middle of an answer: the one to a COMMIT, sooner or later.
		return way.EndAfterAnswer(int64(2_000 + f.ground.Random.IntN(10_000)))
	}
}

func (f *network) Heal(context.Context) error {
	for _, way := range f.broken {
		if err := way.Heal(); err != nil {
			return err
		}
	}
	return nil
}

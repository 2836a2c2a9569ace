package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/devenv/kafka"
	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/devenv/proxy"
)

// Fault is one way to break something. Start and Heal alternate; one goroutine calls them.
type Fault interface {
	// Name is the word for --faults and reports.
	Name() string
	// Kind says what it does to a relay.
	Kind() Kind
	// Start breaks it. What it says is written down.
	Start(ctx context.Context) (Note, error)
	// Heal makes it whole, and is called after a Start that failed as well. It returns when it is done.
	Heal(ctx context.Context) error
}

// ErrSpent is what Start returns when there is nothing left to break. The fault is not drawn again.
var ErrSpent = errors.New("nothing is left to break")

// Kind is what a fault does.
type Kind struct {
	// Target is what is broken. Two faults of one target exclude each other.
	Target string
	// Disrupts says that a relay may send again what was in flight.
	Disrupts bool
	// Residue says that a server may take in what was sent to it before, after the sender is gone.
	Residue bool
	// Instant says that it is over when Start returns. Heal does nothing and follows at once.
	Instant bool
}

// The targets.
const (
	targetRelay    = "relay"
	targetKafka    = "kafka"
	targetPostgres = "postgres"
	targetTopics   = "topics"
	targetOperator = "operator"
	// Ways to the servers; a server may be broken besides.
	targetKafkaNet    = "kafka_net"
	targetPostgresNet = "postgres_net"
)

// Note is what a Start has done.
type Note struct {
	Replica int // from 1; 0: none
	Leader  bool
	Lost    bool // PostgreSQL has lost commits
	Detail  string
}

// Replicas are the relays, counted from 0.
type Replicas interface {
	Count() int
	// Leader is the one that holds the lease by the database; false when nobody is known to.
	Leader(ctx context.Context) (int, bool)
	Kill(i int)
	Freeze(i int)
	Thaw(i int)
	// Stop asks the process to stop, and returns when it has.
	Stop(ctx context.Context, i int) error
	// Start runs a new process in the place of one that has ended.
	Start(i int) error
}

// Ground is what can be broken. What is nil belongs to somebody else, and stays whole.
type Ground struct {
	Relays   Replicas
	Postgres *postgres.Server
	Standby  *postgres.Server // follows Postgres until it is promoted; nil: none
	Sync     bool             // commits wait for it
	Disk     bool             // Postgres has a disk of its own
	Kafka    *kafka.Cluster
	Nodes    int // of Kafka
	// Fleet and PostgresNet are on the relays' way to the servers that are started here.
	Fleet       *proxy.Fleet
	PostgresNet []*proxy.TCP
	// Transactions says that the relays use Kafka's.
	Transactions bool

	promoted bool   // Standby is the one that takes writes
	Outbox   string // the relays' outbox.name
	LeaseTTL time.Duration
	Random   *rand.Rand // for one goroutine
	// Connect gives a connection to the database; the caller closes it.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	Schema  string // of the outbox
	// Replayed are topics whose events are published again, to one of ReplayedTo.
	Replayed, ReplayedTo []string
	// MakeTopic makes the next topic that events are written to and that is missing; "" when none is.
	MakeTopic func(ctx context.Context) (name string, err error)
}

// primary is the server that takes writes.
func (g *Ground) primary() *postgres.Server {
	if g.promoted {
		return g.Standby
	}
	return g.Postgres
}

// All gives the faults that are possible on the ground, in a fixed order.
func All(g *Ground) (all []Fault) {
	if g.Relays != nil && g.Relays.Count() > 0 {
		all = append(all, &relayKill{ground: g}, &relayFreeze{ground: g}, &relayStop{ground: g}, &backends{ground: g},
			&operatorHolds{ground: g}, &operatorReplays{ground: g}) // in a schema of our own
	}
	if g.Kafka != nil {
		all = append(all, &brokerKill{ground: g}, &brokerFreeze{ground: g}, &brokerRestart{ground: g})
	}
	if g.Fleet != nil {
		for _, how := range []string{"cut", "hang", "slow"} {
			all = append(all, &network{ground: g, target: targetKafkaNet, how: how})
		}
		all = append(all, allFrames(g)...)
	}
	if len(g.PostgresNet) > 0 {
		for _, how := range []string{"cut", "hang", "slow", "short"} {
			all = append(all, &network{ground: g, target: targetPostgresNet, how: how})
		}
	}
	if g.Postgres != nil {
		all = append(all, &postgresRestart{ground: g, mode: "fast"}, &postgresRestart{ground: g, mode: "immediate"},
			&postgresKill{ground: g})
	}
	if g.Disk {
		all = append(all, &diskFull{ground: g})
	}
	if g.Standby != nil {
		all = append(all, &failover{ground: g})
	}
	return append(all, &topicLate{ground: g})
}

// victim draws a replica: mostly the leader, who has the most to lose.
func (g *Ground) victim(ctx context.Context) (i int, leader bool) {
	at, known := g.Relays.Leader(ctx)
	if known && g.Random.IntN(10) < 8 {
		return at, true
	}
	i = g.Random.IntN(g.Relays.Count())
	return i, known && i == at
}

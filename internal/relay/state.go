package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/store"
)

// State is what the relay tells about itself. Safe for concurrent use.
type State struct {
	mu      sync.Mutex
	leading bool
	epoch   int64
	ledger  *ledger // of the running session, nil between sessions
	lastErr string
	topics  map[string]*atomic.Int64 // acked records
	ends    map[string]int64

	history history
	keeping keeping

	delivered atomic.Int64
	parked    atomic.Int64
	postgres  atomic.Bool
	kafka     atomic.Bool
}

func newState() *State {
	return &State{ends: map[string]int64{}, topics: map[string]*atomic.Int64{}}
}

// Report is a State at one moment.
type Report struct {
	Leading       bool             `json:"leading"`
	Epoch         int64            `json:"epoch"`
	InSession     bool             `json:"in_session"`
	PostgresUp    bool             `json:"postgres_up"`
	KafkaUp       bool             `json:"kafka_up"`  // as far as a leader knows
	Delivered     int64            `json:"delivered"` // settled since this process began
	Parked        int64            `json:"parked"`
	InFlight      int64            `json:"in_flight"`
	InFlightBytes int64            `json:"in_flight_bytes"`
	LastAck       time.Time        `json:"last_ack,omitzero"`
	LastError     string           `json:"last_error,omitempty"`
	SessionEnds   map[string]int64 `json:"session_ends"`
	// Timeline is PostgreSQL's, 0 before this replica's first session. SettledLost are events that this process had
	// settled and PostgreSQL has lost in TimelineChanges: those that it lost too are in Kafka only, others come twice.
	Timeline        int32 `json:"timeline"`
	TimelineChanges int64 `json:"timeline_changes"`
	SettledLost     int64 `json:"settled_lost"`
	// AuditDifference is by how many events books and table differ, as this leader's last audit found. RingOldest is the age
	// of the oldest event in the ring in seconds.
	AuditDifference int64   `json:"audit_difference"`
	RingOldest      float64 `json:"ring_oldest_seconds"`
	// DeliveredByTopic are records acked since this process began.
	DeliveredByTopic map[string]int64 `json:"delivered_by_topic"`
}

// Report reads the state.
func (s *State) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Leading: s.leading, Epoch: s.epoch, Delivered: s.delivered.Load(), Parked: s.parked.Load(),
		LastError: s.lastErr, PostgresUp: s.postgres.Load(), KafkaUp: s.kafka.Load(),
		Timeline: s.history.timeline, TimelineChanges: s.history.changes, SettledLost: s.history.lost,
		AuditDifference: s.keeping.difference.Load(), RingOldest: time.Duration(s.keeping.oldest.Load()).Seconds(),
		SessionEnds: map[string]int64{}, DeliveredByTopic: map[string]int64{}}
	for topic, n := range s.topics {
		r.DeliveredByTopic[topic] = n.Load()
	}
	for reason, n := range s.ends {
		r.SessionEnds[reason] = n
	}
	if s.ledger != nil {
		r.InSession = true
		r.InFlight, r.InFlightBytes = s.ledger.rows.Load(), s.ledger.bytes.Load()
		if at := s.ledger.lastAck.Load(); at > 0 {
			r.LastAck = time.Unix(0, at)
		}
	}
	return r
}

// topic is the counter of a topic's acked records.
func (s *State) topic(name string) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.topics[name]
	if n == nil {
		n = &atomic.Int64{}
		s.topics[name] = n
	}
	return n
}

func (s *State) lead(epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leading, s.epoch = true, epoch
}

func (s *State) follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leading = false
	s.keeping.difference.Store(0) // the next leader audits
	s.keeping.oldest.Store(0)
}

func (s *State) began(l *ledger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger, s.lastErr = l, ""
}

func (s *State) ended(reason string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = nil
	s.lastErr = why.Error()
	s.ends[reason]++
}

func (s *State) settled(m *store.Settlement) {
	s.delivered.Add(m.Books.Rows() - int64(len(m.Parked)))
	s.parked.Add(int64(len(m.Parked)))
}

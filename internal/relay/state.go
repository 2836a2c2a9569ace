package relay

import (
	"maps"
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
	topics  map[string]*atomic.Int64 // delivered events
	ends    map[string]int64
	errors  map[string]int64 // by class

	history history
	keeping keeping

	delays      delays
	redelivered atomic.Int64
	following   atomic.Int64 // Unix nanoseconds when another was last seen to hold the lease

	delivered atomic.Int64
	parked    atomic.Int64
	postgres  atomic.Bool
	kafka     atomic.Bool
}

func newState() *State {
	return &State{ends: map[string]int64{}, errors: map[string]int64{}, topics: map[string]*atomic.Int64{}}
}

// Report is a State at one moment.
type Report struct {
	Leading       bool             `json:"leading"`
	Following     bool             `json:"following"` // another replica holds the lease, as seen within followFresh
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
	// DeliveredByTopic are events delivered since this process began; past maxTopics topics the rest is OtherTopics.
	DeliveredByTopic map[string]int64 `json:"delivered_by_topic"`
	// Redeliveries are events that this process sent again though Kafka may have had them.
	Redeliveries int64 `json:"redeliveries"`
	// PublishErrors are records that were given back without an ack, by error class.
	PublishErrors map[string]int64 `json:"publish_errors"`
	// AuditDifference is how many events the last audit found too many or too few.
	AuditDifference int64 `json:"audit_difference"`
	// Delivery is how long events took from their insert, or the later time that they are scheduled for, to their ack; with
	// exactly_once, to the commit.
	Delivery Delays `json:"-"`
}

// Report reads the state.
func (s *State) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Leading: s.leading, Epoch: s.epoch, Delivered: s.delivered.Load(), Parked: s.parked.Load(),
		LastError: s.lastErr, PostgresUp: s.postgres.Load(), KafkaUp: s.kafka.Load(),
		Timeline: s.history.timeline, TimelineChanges: s.history.changes, SettledLost: s.history.lost,
		SessionEnds: maps.Clone(s.ends), PublishErrors: maps.Clone(s.errors), DeliveredByTopic: map[string]int64{},
		Redeliveries: s.redelivered.Load(), AuditDifference: s.keeping.difference.Load(), Delivery: s.delays.report()}
	r.Following = !s.leading && time.Since(time.Unix(0, s.following.Load())) < followFresh
	for topic, n := range s.topics {
		r.DeliveredByTopic[topic] = n.Load()
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

// maxTopics bounds the names that are counted one by one: a metric with a label of endless values is a leak.
const maxTopics = 1000

// OtherTopics stands for the topics that are not counted one by one. It is no topic's name.
const OtherTopics = "(other)"

// followFresh is how long a holder of the lease is taken for alive after it was seen.
const followFresh = 10 * followEvery

// topic is the counter of a topic's delivered events.
func (s *State) topic(name string) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.topics[name]
	if n == nil && len(s.topics) >= maxTopics {
		name = OtherTopics
		n = s.topics[name]
	}
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

// refused counts a record that was given back without an ack.
func (s *State) refused(class string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors[class]++
}

// followed notes that another replica holds the lease.
func (s *State) followed() { s.following.Store(time.Now().UnixNano()) }

func (s *State) settled(m *store.Settlement) {
	s.delivered.Add(m.Books.Rows() - int64(len(m.Parked)))
	s.parked.Add(int64(len(m.Parked)))
}

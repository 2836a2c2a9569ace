package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/fault"
	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// ExactlyOnce is what delivery exactly_once needs of Kafka.
type ExactlyOnce struct {
	// ID is the transactional id of the hot path; the parked runner uses ID + "-parked". "" derives it
	// (TransactionalID). It is also the key of the progress records.
	ID string
	// Topic is the compacted topic of the progress records.
	Topic string
	// Open makes a producer under a transactional id, and has fenced older ones when it returns.
	Open func(ctx context.Context, id string, r publisher.Reports) (publisher.Transactional, error)
	// Last is the value of the newest committed record with this key in Topic, which it creates when it is missing;
	// nil when there is none. It is never nil because the topic could not be read to its end.
	Last func(ctx context.Context, key string) ([]byte, error)
	// Hanging says, for a person, which transaction keeps Last from reading Topic to its end, when it is one that nobody
	// will end; "" when there is none. key is Last's, ids are the transactional ids that may have left it.
	Hanging func(ctx context.Context, key string, ids ...string) (string, error)
}

// TransactionalID is the default transactional id of an outbox: the same for all its replicas and no other's.
func TransactionalID(database, schema, name string) string {
	return "relay-" + database + "-" + schema + "-" + name
}

// progress is the content of a progress record: the last record of each transaction. It names a batch that PostgreSQL
// knows, and no position: after a fail-over that lost commits, a position would skip rows.
type progress struct {
	Name   string `json:"name"`   // of the outbox
	System string `json:"system"` // PostgreSQL's system_identifier
	Epoch  int64  `json:"epoch"`
	Batch  int64  `json:"batch"`
	Begin  bool   `json:"begin,omitempty"` // the record that opens the transaction
}

// takeOverWithin bounds a take-over. A predecessor's open transaction takes up to a second to end.
const takeOverWithin = 30 * time.Second

// errProgressLost: what is in doubt cannot be decided.
var errProgressLost = errors.New("the progress record that decides about the last batch is gone")

// errInUse: two outboxes would throw each other's relays out for ever.
var errInUse = errors.New("is in use by another outbox")

// undecidable says that a person has to act before this outbox can go on.
func undecidable(err error) bool { return errors.Is(err, errInUse) || errors.Is(err, errProgressLost) }

// lastProgress reads the newest committed progress record of a transactional id; nil when there is none.
func lastProgress(ctx context.Context, e *ExactlyOnce, id string, own progress) (*progress, error) {
	text, err := e.Last(ctx, id)
	if err != nil || text == nil {
		return nil, publisher.Classed(err)
	}
	var p progress
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, publisher.Classed(fmt.Errorf("read the progress record of %q in topic %q: %w", id, e.Topic, err))
	}
	if p.System != own.System || p.Name != own.Name {
		return nil, fmt.Errorf("the transactional id %q %w: outbox %q of the PostgreSQL cluster %s, and this is outbox %q of %s; "+
			"give one of them another kafka.transactional_id, also when this one was restored from a dump of the other", id, errInUse, p.Name, p.System, own.Name, own.System)
	}
	return &p, nil
}

// standing of a batch that was prepared, in view of the last committed progress record.
type verdictOfKafka struct {
	committed bool  // the candidate happened: settle it
	lost      bool  // PostgreSQL has lost commits that Kafka has seen
	last      int64 // number in the last committed progress record, 0 for none
}

// decide says what became of the candidate (nil for none) with this row's batch number.
//
//	last == candidate.batch   its transaction was committed
//	last == candidate.after   it was not, and cannot be any more: its producer is fenced
//	last newer                PostgreSQL lost commits in a fail-over. Start from the settled cursor: a lost batch may
//	                          have been a shorter second try of this candidate, so the candidate's end proves nothing
//	last older                the topic has lost the record
func decide(batch int64, candidate *inDoubt, last *progress) (verdictOfKafka, error) {
	var f verdictOfKafka
	if last != nil {
		f.last = last.Batch
	}
	switch {
	case candidate == nil:
		f.lost = f.last > batch
	case f.last == candidate.batch:
		f.committed = true
	case f.last == candidate.after:
	case f.last > candidate.after:
		f.lost = true
		f.committed = mutant.On("candidate-after-lost-commits")
	default:
		return f, fmt.Errorf("%w: batch %d was prepared after %d, and Kafka's last is %d; was the progress topic deleted? "+
			"To go on, with copies of that batch if it was committed: update relays set candidate = null, parked_candidate = null",
			errProgressLost, candidate.batch, candidate.after, f.last)
	}
	return f, nil
}

// inDoubt are the numbers of a candidate.
type inDoubt struct{ batch, after int64 }

func doubtOf(c *store.Candidate) *inDoubt {
	if c == nil {
		return nil
	}
	return &inDoubt{c.Batch, c.After}
}

// takeOver fences the older producer, reads where PostgreSQL and Kafka stand, and settles what Kafka has committed.
func (s *session) takeOver(ctx, stop context.Context, names store.Names) (none store.Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeOverWithin)
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	id, err := s.transactionalID(ctx)
	if err != nil {
		return none, err
	}
	own := progress{Name: s.Name, System: s.identity.System, Epoch: s.epoch}
	if err := s.askBefore(ctx, names, id, own); err != nil {
		return none, err
	}
	if err := s.fence(ctx, id, own); err != nil {
		return none, err
	}
	if err := fault.At("init"); err != nil {
		return none, err
	}
	position, err := s.position(ctx, names)
	if err != nil {
		return position, err
	}
	last, err := lastProgress(ctx, s.ExactlyOnce, id, own)
	if err != nil {
		if stop.Err() == nil {
			s.findHanging(ctx, err, id)
		}
		return position, err
	}
	verdict, err := decide(position.Batch, doubtOf(position.Candidate), last)
	if err != nil {
		return position, err
	}
	switch {
	case verdict.lost:
		s.Log.Error("PostgreSQL has lost commits that Kafka has seen: events since then may come twice, none is skipped; "+
			"was a standby promoted that was behind?", "batch", position.Batch, "kafka_batch", verdict.last, "timeline", s.identity.Timeline)
	case verdict.committed:
		s.Log.Info("the last batch was committed in Kafka, settling it", "batch", position.Candidate.Batch)
	case position.Candidate != nil:
		s.Log.Info("the last batch was not committed in Kafka, starting before it", "batch", position.Candidate.Batch)
	}
	number := max(position.Batch, verdict.last)
	if verdict.committed {
		if _, err := s.settler.Settle(ctx, &position.Candidate.Settlement); err != nil {
			return position, err
		}
		s.state.settled(&position.Candidate.Settlement)
		if position, err = s.position(ctx, names); err != nil {
			return position, err
		}
	}
	s.txn.number, s.txn.after = number, verdict.last
	return position, nil
}

// findHanging looks for the reason when the progress record cannot be read. Both transactional ids are fenced, so what is
// open of them is not at work.
func (s *session) findHanging(ctx context.Context, why error, id string) {
	if publisher.Class(why) != publisher.ClassTimedOut {
		return
	}
	text, err := s.ExactlyOnce.Hanging(context.WithoutCancel(ctx), id, id, id+parkedID)
	switch {
	case err != nil:
		s.Log.Debug("looking for a transaction that hangs", "error", err)
	case text != "":
		s.Log.Error("delivery has stopped until a person acts: " + text)
	}
}

func (s *session) transactionalID(ctx context.Context) (string, error) {
	if s.ExactlyOnce.ID != "" {
		return s.ExactlyOnce.ID, nil
	}
	database, err := store.DatabaseName(ctx, s.reader.Conn())
	return TransactionalID(database, s.Schema, s.Name), err
}

// fence throws out the older producers of both transactional ids, and ends what they had left open. What the parked
// runner's had left would keep the progress records from being read.
func (s *session) fence(ctx context.Context, id string, own progress) error {
	e := s.ExactlyOnce
	s.dock.tx = &parkedTransaction{exactly: e, log: s.Log, bracket: &bracket{topic: e.Topic, id: id + parkedID, own: own}}
	parked := make(chan error, 1)
	go func() { parked <- s.dock.tx.fence(ctx, s.dock) }()
	producer, err := e.Open(ctx, id, s)
	if err != nil {
		err = fmt.Errorf("take over the transactional id %q: %w", id, publisher.Classed(err))
	} else {
		s.producer = producer
		s.txn = &transaction{producer: producer, bracket: &bracket{topic: e.Topic, id: id, own: own}, own: newBracketBatch(),
			progress: &topicState{name: e.Topic, acked: &atomic.Int64{}}}
	}
	return errors.Join(err, <-parked)
}

// askBefore looks, before an outbox uses its transactional id for the first time, whether it is another's: the fence
// would throw that one's relay out. What cannot be read now is read after the fence.
func (s *session) askBefore(ctx context.Context, names store.Names, id string, own progress) error {
	position, err := store.ReadPosition(ctx, s.reader.Conn(), names, s.Name, s.Holder, s.epoch, s.identity)
	if err != nil {
		return err
	}
	s.noticeTimeline(&position) // the row forgets it with this read
	if position.Batch > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := lastProgress(ctx, s.ExactlyOnce, id, own); errors.Is(err, errInUse) {
		return err
	}
	return nil
}

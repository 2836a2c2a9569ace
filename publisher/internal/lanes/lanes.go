package lanes

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

// Options of Lanes. All but Window and Outgrown have to be set.
type Options struct {
	Topics *Topics
	// Dead is closed when the producer can send no more, and Err then says why: nobody waits any longer.
	Dead <-chan struct{}
	Err  func() error
	// Compressed says that the size of a record on the wire is not known before it is sent.
	Compressed bool
	// Window is a size of batches, in bytes: of a topic whose limit for batches is smaller, no more than that limit is
	// unacked in one lane at a time. 0 is for a client that keeps to each topic's limit by itself.
	Window int
	// Outgrown is asked before the first record for a topic that has another limit now, with nothing in flight. Its error
	// says that the client cannot go on.
	Outgrown func(topic publisher.Topic) error
	// Flush is publisher.Producer's: called before somebody waits for a report.
	Flush func()
	// Timeout is how long a record may wait for its report; see WatchDeadlines.
	Timeout time.Duration
	Log     *slog.Logger
}

const (
	// recordsALook is for how many records one look at the clock does.
	recordsALook = 16
	// usualLimit is the limit of a topic that does not let us read it: Kafka's default.
	usualLimit = 1_048_588
)

// Lanes are all that a producer sends to.
type Lanes struct {
	Options
	started time.Time

	// Owned by the goroutine that sends.
	sending map[string]*sending
	last    *sending // the topic of the record before: the usual case
	clock   time.Duration
	looks   int // how many records more clock does for

	// By number. Replaced by the sender, which is rare; read by who reports.
	all atomic.Pointer[[]*Lane]

	inFlight atomic.Int64
	// waiting is set by the sender before it looks at a condition for the last time; Report then rings after each
	// change. Both are sequentially consistent, so no ring is lost.
	waiting atomic.Bool
	ring    chan struct{}
}

// New makes lanes for one producer. There is none before a record asks for it.
func New(o Options) *Lanes {
	p := &Lanes{Options: o, started: time.Now(), sending: map[string]*sending{}, ring: make(chan struct{}, 1)}
	p.all.Store(new([]*Lane))
	return p
}

// Enter finds the record's lane and waits, bounded by ctx, until it may take it. The error is of the topic, of the
// record, of the producer, or ctx's; nothing was counted then.
func (p *Lanes) Enter(ctx context.Context, r *publisher.Record) (*Lane, error) {
	s, err := p.topicOf(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	if err := s.accepts(r, p.Compressed); err != nil {
		return nil, err
	}
	partition := r.Partition
	if partition == publisher.AnyPartition {
		partition = s.pick(r.Key)
	}
	l := s.lanes[partition]
	return l, p.enter(ctx, l, s, r)
}

// Sent counts a record that Enter has let in, before it is handed to the client: the report can be faster than the
// client's return.
func (p *Lanes) Sent(l *Lane) {
	p.inFlight.Add(1)
	l.topic.unacked.Add(1)
	l.ages.note(l.sent.Load(), l.used, p.Timeout/stepsPerTimeout)
	l.sent.Add(1)
}

// Withdrawn takes the last Sent back: the client did not take the record. It returns how many are in flight.
func (p *Lanes) Withdrawn(l *Lane) int64 {
	l.sent.Add(-1)
	return p.leave(l)
}

// Reported counts the report of a record. Left follows, before or after its user is told. For the goroutine that reports.
func (p *Lanes) Reported(l *Lane, acked bool) {
	if acked {
		l.open.Store(true)
	}
	l.done.Add(1)
	p.rouse()
}

// Left says that a reported record is no longer in flight, wakes who waits for that, and returns how many are.
func (p *Lanes) Left(l *Lane) int64 { return p.leave(l) }

func (p *Lanes) leave(l *Lane) int64 {
	l.topic.unacked.Add(-1)
	left := p.inFlight.Add(-1)
	p.rouse()
	return left
}

func (p *Lanes) rouse() {
	if p.waiting.Load() {
		select {
		case p.ring <- struct{}{}:
		default:
		}
	}
}

// At is the lane of that number.
func (p *Lanes) At(number int32) *Lane { return (*p.all.Load())[number] }

// InFlight is the number of records sent and not yet reported.
func (p *Lanes) InFlight() int { return int(p.inFlight.Load()) }

// now is the time since the producer started, of a record for this lane. To look at the clock for each one would cost a
// twentieth of the sending. A lane that rested, or whose oldest record it is, gets the exact time; for others it may be
// that of a record shortly before, which makes them seem older.
func (p *Lanes) now(l *Lane) time.Duration {
	if p.looks--; p.looks < 0 || l.empty() {
		p.looks, p.clock = recordsALook, time.Since(p.started)
	}
	return p.clock
}

// enter waits until the lane may take the record.
func (p *Lanes) enter(ctx context.Context, l *Lane, s *sending, r *publisher.Record) error {
	now := p.now(l)
	if l.open.Load() && now-l.used > forgets && l.empty() {
		l.open.Store(false)
	}
	l.used = now
	if !l.open.Load() && !mutant.On("no-slow-start") {
		// After the wait the lane is open, or it is empty because the record before was never acked.
		if err := p.wait(ctx, func() bool { return l.open.Load() || l.empty() }); err != nil {
			return err
		}
		l.used = time.Since(p.started)
	}
	if s.window == 0 {
		return nil
	}
	// The topic's limit is one for batches, and smaller than the client's: what is unacked together fits one batch. A record
	// that does not fit goes alone, and the broker decides.
	size := r.BatchSize() + slack
	if l.bytes+size > s.window {
		if err := p.wait(ctx, l.empty); err != nil {
			return err
		}
		l.used = time.Since(p.started)
	}
	if l.empty() {
		l.bytes = 0
	}
	l.bytes += size
	return nil
}

// wait returns when the condition holds, ctx is over or the producer is dead.
func (p *Lanes) wait(ctx context.Context, holds func() bool) error {
	if holds() {
		return nil
	}
	p.waiting.Store(true)
	defer p.waiting.Store(false)
	p.Flush()
	for !holds() {
		select {
		case <-p.ring:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.Dead:
			return p.Err()
		}
	}
	return nil
}

// topicOf finds the topic to send to, and follows what the cluster says of it.
func (p *Lanes) topicOf(ctx context.Context, name string) (*sending, error) {
	s := p.last
	if s == nil || s.name != name {
		if s = p.sending[name]; s == nil {
			if _, err := p.Topics.Ask(ctx, name, p.Dead); err != nil {
				return nil, err
			}
			name = strings.Clone(name) // the caller may reuse the memory
			s = &sending{name: name, topic: p.Topics.keep(name)}
			p.sending[name] = s
		}
		p.last = s
	}
	if latest := s.topic.latest.Load(); latest != s.answer {
		if latest.err != nil {
			return nil, latest.err
		}
		if err := p.adopt(ctx, s, latest); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// adopt goes over to a newer answer about the topic. With another number of partitions keys change their partition,
// so it waits until nothing of the topic is in flight: else a key's later record could overtake an earlier one. A client
// that has to be replaced goes with nothing in flight: what is cut off may be stored, and is sent again.
func (p *Lanes) adopt(ctx context.Context, s *sending, latest *answer) error {
	if p.Outgrown != nil && s.answer != nil && s.answer.topic.MaxMessageBytes != latest.topic.MaxMessageBytes {
		if err := p.wait(ctx, func() bool { return p.inFlight.Load() == 0 }); err != nil {
			return err
		}
		if err := p.Outgrown(latest.topic); err != nil {
			return err
		}
	}
	if s.answer != nil && s.answer.topic.Partitions != latest.topic.Partitions {
		if err := p.wait(ctx, func() bool { return s.unacked.Load() == 0 }); err != nil {
			return err
		}
		p.Log.Info("topic has another number of partitions: keys go to other ones from now on",
			"topic", s.name, "before", s.answer.topic.Partitions, "now", latest.topic.Partitions)
	}
	all := slices.Clone(*p.all.Load())
	for n := int32(len(s.lanes)); n < latest.topic.Partitions; n++ {
		l := &Lane{topic: s, partition: n, number: int32(len(all))}
		s.lanes, all = append(s.lanes, l), append(all, l)
	}
	p.all.Store(&all)
	if s.answer == nil {
		s.current = int32(time.Since(p.started)) & 0x7fffffff % latest.topic.Partitions
	}
	s.window = p.windowOf(latest.topic)
	s.answer = latest
	return nil
}

// windowOf is how much of a topic may be unacked in one lane; 0 is no bound.
func (p *Lanes) windowOf(t publisher.Topic) int {
	switch limit := t.MaxMessageBytes; {
	case limit == publisher.NoLimit && (p.Window == 0 || p.Window > usualLimit):
		return usualLimit
	case limit < p.Window: // a client's own batches are smaller than the usual limit where it is none
		return limit
	}
	return 0
}

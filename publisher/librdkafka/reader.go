//go:build cgo

package librdkafka

import (
	"errors"
	"log/slog"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
)

// read takes the client's events until it is stopped. It is the only caller of Reports.
func (p *Producer) read() {
	for p.early(); ; {
		switch reports, event := p.core.take(); {
		case len(reports) > 0:
			p.report(reports)
		case event != nil:
			p.hear(event)
		case p.stopped.Load():
			return
		default:
			p.core.wait()
		}
	}
}

// early looks at what the binding took before we did. No record had been sent.
func (p *Producer) early() {
	for {
		select {
		case event := <-p.client.Events():
			if e, ok := event.(kafka.Error); ok {
				p.trouble(trouble{code: int(e.Code()), text: e.String(), fatal: e.IsFatal()})
			}
		default:
			return
		}
	}
}

func (p *Producer) hear(event any) {
	switch e := event.(type) {
	case trouble:
		p.trouble(e)
	case line:
		if p.lines || e.tag == noProducerID {
			p.voice.hear(e)
		}
	}
}

// report books the outcomes of records and passes them on.
func (p *Producer) report(reports []report) {
	p.mu.Lock()
	for i := range reports {
		p.tags[i] = p.flights.land(reports[i].label)
	}
	p.mu.Unlock()
	for i := range reports {
		r, tag := &reports[i], p.tags[i]
		p.tags[i] = nil
		to := p.lanes.At(laneOf(r.label))
		err := r.outcome()
		if err != nil {
			p.die(err) // first, so that nothing is handed over between
		}
		p.lanes.Reported(to, err == nil)
		if err == nil {
			p.reports.Acked(tag, to.Partition(), r.offset)
		} else {
			p.reports.Failed(tag, err)
		}
		p.leave(p.lanes.Left(to))
	}
}

// outcome is nil for a record that Kafka stored and said where.
func (r *report) outcome() *publisher.Error {
	if r.code != 0 {
		return publisher.FromCode(int(r.code))
	}
	if r.offset < 0 && !mutant.On("ack-without-offset") {
		return publisher.NewError(publisher.ClassNoOffset,
			"the broker said success and no offset, which proves nothing")
	}
	return nil
}

// leave tells Close when the last report has come.
func (p *Producer) leave(left int64) {
	if left == 0 && p.closing.Load() {
		p.drainOnce.Do(func() { close(p.drained) })
	}
}

// trouble is an error of the client as a whole.
func (p *Producer) trouble(t trouble) {
	err := publisher.FromCode(t.code).With(p.voice.Clean(t.text))
	if t.fatal || publisher.Fatal(err) {
		if p.Err() != nil {
			return // it follows from what ended the producer: dropping records breaks librdkafka's gapless guarantee
		}
		p.log.Error("kafka producer cannot go on and is replaced", "class", err.Class(), "error", err)
		p.die(err)
		return
	}
	p.voice.Say(slog.LevelWarn, err.Class(), "kafka client has trouble and tries again", "class", err.Class(),
		"error", err.Error())
}

// asError gives an error of the binding our classes.
func asError(err error) *publisher.Error {
	var ours *publisher.Error
	if errors.As(err, &ours) {
		return ours
	}
	var theirs kafka.Error
	if errors.As(err, &theirs) && theirs.Code() != kafka.ErrNoError { // of no code FromCode makes no error
		ours = publisher.FromCode(int(theirs.Code()))
		if theirs.IsFatal() {
			ours = ours.Ends()
		}
		return ours
	}
	return publisher.NewError(publisher.ClassUnknown, err.Error())
}

//go:build cgo

package librdkafka

import (
	"errors"
	"log/slog"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/outboxrelay/relay/internal/mutant"
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/lanes"
)

// read takes librdkafka's events until the client is closed. It is the only caller of Reports.
func (p *Producer) read() {
	var to *lanes.Lane // that of the report before: reports of one batch come together
	for event := range p.client.Events() {
		switch e := event.(type) {
		case *kafka.Message:
			if to == nil || to.Partition() != e.TopicPartition.Partition || *to.Topic() != *e.TopicPartition.Topic {
				to = p.lanes.Of(*e.TopicPartition.Topic, e.TopicPartition.Partition)
			}
			p.report(e, to)
		case kafka.Error:
			p.trouble(e)
		case *kafka.Stats:
			p.stats.take(e.String())
		}
	}
}

// report books the outcome of one record and passes it on.
func (p *Producer) report(m *kafka.Message, to *lanes.Lane) {
	err := outcome(m)
	if err != nil {
		p.die(err) // first, so that nothing is handed over between
	}
	p.lanes.Reported(to, err == nil)
	if err == nil {
		p.reports.Acked(m.Opaque, m.TopicPartition.Partition, int64(m.TopicPartition.Offset))
	} else {
		p.reports.Failed(m.Opaque, err)
	}
	p.leave(p.lanes.Left(to))
}

// outcome is nil for a record that Kafka stored and said where.
func outcome(m *kafka.Message) *publisher.Error {
	if m.TopicPartition.Error != nil {
		return asError(m.TopicPartition.Error)
	}
	if m.TopicPartition.Offset < 0 && !mutant.On("ack-without-offset") {
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
func (p *Producer) trouble(e kafka.Error) {
	err := asError(e).With(p.voice.Clean(e.String()))
	if e.IsFatal() || publisher.Fatal(err) {
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
	if errors.As(err, &theirs) {
		ours = publisher.FromCode(int(theirs.Code()))
		if theirs.IsFatal() {
			ours = ours.Ends()
		}
		return ours
	}
	return publisher.NewError(publisher.ClassUnknown, err.Error())
}

package relay

import (
	"context"
	"errors"

	"github.com/outboxrelay/relay/internal/store"
	"github.com/outboxrelay/relay/publisher"
)

// ends are the words for a session's end that is not a server's fault, the first that fits.
var ends = []struct {
	err  error
	word string
}{
	{errDrained, "drained"}, {store.ErrFenced, "fenced"}, {errRecycle, "recycled"}, {errTrustOver, "trust_over"},
	{errDrainTimeout, "drain_timeout"}, {context.Canceled, "cut"},
}

// Of the others the word is the server's: PostgreSQL's, or Kafka's with the class of the error.
const (
	endPostgres = "postgres"
	endKafka    = "kafka_"
)

// reason is the word for a session's end in metrics.
func reason(err error) string {
	for _, end := range ends {
		if errors.Is(err, end.err) {
			return end.word
		}
	}
	if publisher.OfKafka(err) {
		return endKafka + publisher.Class(err)
	}
	return endPostgres
}

// Reasons are all the words for a session's end, for metrics that have to be there before the first one.
func Reasons() []string {
	words := []string{endPostgres}
	for _, end := range ends {
		words = append(words, end.word)
	}
	for _, class := range publisher.Classes() {
		words = append(words, endKafka+class)
	}
	return words
}

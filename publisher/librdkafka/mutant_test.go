//go:build cgo

package librdkafka

import (
	"testing"

	"github.com/outboxrelay/relay/internal/mutant/mutanttest"
)

func TestMutants_OfReadingProgressAreCaught(t *testing.T) {
	mutanttest.Caught(t, map[string]string{"progress-not-to-the-end": "TestTransactions_OnAFakeBroker/LastWaitsForAnothersTransaction"})
}

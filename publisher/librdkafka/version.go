//go:build cgo

package librdkafka

import (
	"fmt"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// oldest is librdkafka 2.5.0: idempotent producers of older ones can lose or reorder records.
const oldest = 0x02050000

// Version of the linked librdkafka.
func Version() string {
	_, text := kafka.LibraryVersion()
	return text
}

func checkVersion() error {
	if number, text := kafka.LibraryVersion(); number < oldest {
		return fmt.Errorf("librdkafka %s is linked, 2.5.0 is the oldest that delivers safely: build with the bundled one",
			text)
	}
	return nil
}

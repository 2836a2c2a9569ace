//go:build cgo

package clients

import (
	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/librdkafka"
)

func native() []publisher.Client { return []publisher.Client{librdkafka.Client{}} }

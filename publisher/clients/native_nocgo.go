//go:build !cgo

package clients

import "github.com/outboxrelay/relay/publisher"

func native() []publisher.Client { return nil }

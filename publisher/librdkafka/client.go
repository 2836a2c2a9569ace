//go:build cgo

package librdkafka

import (
	"context"

	"github.com/outboxrelay/relay/publisher"
)

// Client is librdkafka as the daemon's Kafka client.
type Client struct{}

var _ publisher.Client = Client{}

// Name in kafka.client.
func (Client) Name() string { return "librdkafka" }

// Version of the linked library.
func (Client) Version() string { return Version() }

// CheckProperties is [CheckProperties].
func (Client) CheckProperties(properties map[string]string) []error {
	return CheckProperties(properties)
}

// Check is [Check].
func (Client) Check(cfg publisher.Config) error { return Check(cfg) }

// Copies counts the record: librdkafka writes requests from there.
func (Client) Copies() int64 { return 1 }

// Ping is [Ping].
func (Client) Ping(ctx context.Context, cfg publisher.Config) error { return Ping(ctx, cfg) }

// Open is [Open].
func (Client) Open(cfg publisher.Config, reports publisher.Reports) (publisher.Producer, error) {
	p, err := Open(cfg, reports)
	if err != nil {
		return nil, err // not p: a nil pointer in an interface is not nil
	}
	return p, nil
}

// OpenTransactional is [OpenTransactional].
func (Client) OpenTransactional(ctx context.Context, cfg publisher.Config, reports publisher.Reports) (publisher.Transactional, error) {
	t, err := OpenTransactional(ctx, cfg, reports)
	if err != nil {
		return nil, err // not t: a nil pointer in an interface is not nil
	}
	return t, nil
}

// Last is [Last].
func (Client) Last(ctx context.Context, cfg publisher.Config, topic string, key []byte) (*publisher.TailRecord, error) {
	return Last(ctx, cfg, topic, key)
}

// Tail is [Tail].
func (Client) Tail(ctx context.Context, cfg publisher.Config, opts publisher.TailOptions, each func(publisher.TailRecord) error) error {
	return Tail(ctx, cfg, opts, each)
}

// OpenAdmin is [OpenAdmin].
func (Client) OpenAdmin(cfg publisher.Config) (publisher.Admin, error) {
	a, err := OpenAdmin(cfg)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// MayTransact is [MayTransact].
func (Client) MayTransact(ctx context.Context, cfg publisher.Config, id string) error {
	return MayTransact(ctx, cfg, id)
}

package franz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

const (
	// mostBatch bounds a record, and what franz-go is told where the window bounds batches.
	mostBatch = 100_000_000
	// batchRoom is what franz-go counts beside the batch itself.
	batchRoom = 4
	// usualLinger makes a request of what some hundred microseconds of a backlog bring, for all partitions of a broker, and
	// keeps requests under way while the relay reads on. A longer one never ended by itself where there are several
	// partitions: the relay ran into its bound on rows in flight, flushed, and waited (docs/decisions/0010-franz-hot-path.md).
	usualLinger  = 2 * time.Millisecond
	leastBackoff = 100 * time.Millisecond
	mostBackoff  = time.Second
	dialWithin   = 2 * time.Second
	keepAlive    = 30 * time.Second
)

// connectionOptions are how to reach the cluster. They read the TLS files now.
func connectionOptions(cfg publisher.Config, t publisher.Tuning, g *gate, l *lines) ([]kgo.Opt, error) {
	least, most := orElse(t.Backoff, leastBackoff), orElse(t.MostBackoff, mostBackoff)
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.WithLogger(l),
		kgo.DisableClientMetrics(), // KIP-714: nobody asked us to tell brokers about ourselves
		kgo.MetadataMinAge(publisher.LeastMetadataAge),
		kgo.DialTimeout(orElse(t.DialTimeout, dialWithin)),
		kgo.RetryBackoffFn(func(tries int) time.Duration { return backoff(least, most, tries) }),
	}
	if t.RequestOverhead > 0 {
		opts = append(opts, kgo.RequestTimeoutOverhead(t.RequestOverhead))
	}
	if t.IdleTimeout > 0 {
		opts = append(opts, kgo.ConnIdleTimeout(t.IdleTimeout))
	}
	if t.MetadataAge > 0 {
		opts = append(opts, kgo.MetadataMaxAge(t.MetadataAge))
	}
	mechanism, err := saslMechanism(cfg, t)
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	dial, err := dialer(cfg, t, g)
	if err != nil {
		return nil, err
	}
	return append(opts, kgo.Dialer(dial)), nil
}

// dialer connects behind the gate, and shakes hands behind it where TLS is asked for.
func dialer(cfg publisher.Config, t publisher.Tuning, g *gate) (func(context.Context, string, string) (net.Conn, error), error) {
	within := orElse(t.DialTimeout, dialWithin)
	plain := &net.Dialer{Timeout: within, KeepAlive: keepAlive}
	if t.NoKeepAlive {
		plain.KeepAlive = -1
	}
	family := map[string]string{"v4": "4", "v6": "6"}[t.Family]
	var shake func(context.Context, net.Conn, string) (net.Conn, error)
	if cfg.TLS.Enabled {
		var err error
		if shake, err = handshaker(cfg.TLS); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		conn, err := g.dial(ctx, plain, network+family, address)
		if err != nil || shake == nil {
			return conn, err
		}
		return shake(ctx, conn, address)
	}, nil
}

// producerOptions are franz-go's options for sending. limit gives a topic's largest batch.
func producerOptions(cfg publisher.Config, t publisher.Tuning, limit func(topic string) int32) ([]kgo.Opt, error) {
	if cfg.MessageTimeout < time.Second || cfg.MaxInFlightRecords < 1 || cfg.MaxInFlightBytes < 1 {
		return nil, fmt.Errorf("message timeout %v, in flight %d records and %d bytes: give a second and one at least",
			cfg.MessageTimeout, cfg.MaxInFlightRecords, cfg.MaxInFlightBytes)
	}
	codec, err := codecOf(cfg.Compression, t.CompressionLevel)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // every record names its partition
		kgo.ProducerLinger(lingerOf(t)),
		kgo.UnknownTopicRetries(3),
		// Where the broker misses records that it has acked, franz-go would number what follows anew and go on in silence.
		// So it gives up its producer id, and nothing more can go.
		kgo.StopProducerOnDataLossDetected(),
		kgo.BrokerMaxWriteBytes(mostBatch + 1<<20),
		kgo.ProducerBatchMaxBytesFn(limit),
		// Counted out a moment after we do: what is above our own window is room for that.
		kgo.MaxBufferedRecords(2*cfg.MaxInFlightRecords + 1000),
	}
	if t.ProduceTimeout > 0 {
		opts = append(opts, kgo.ProduceRequestTimeout(t.ProduceTimeout))
	}
	if cfg.TransactionalID != "" {
		opts = append(opts, kgo.TransactionalID(cfg.TransactionalID), kgo.TransactionTimeout(cfg.TransactionTimeout))
	}
	return opts, nil
}

// lingerOf is how long a record waits for company while more are coming.
func lingerOf(t publisher.Tuning) time.Duration {
	if t.Linger == nil {
		return usualLinger
	}
	return *t.Linger
}

// batchLimit is what franz-go is told of a topic. Of compressed records it counts the plain size, which may be more than
// the topic takes, and of some topics the limit may not be read; there the window bounds what a batch can gather.
func batchLimit(topicsOwn int, compressed bool) int32 {
	if compressed || topicsOwn == publisher.NoLimit {
		return mostBatch
	}
	return int32(min(topicsOwn+batchRoom, mostBatch))
}

// window is the lanes' bound on what is under way to one partition: with compression, the topic's limit.
func window(compressed bool) int {
	if compressed {
		return mostBatch
	}
	return 0
}

func codecOf(name string, level *int) (codec kgo.CompressionCodec, err error) {
	switch name {
	case "none":
		codec = kgo.NoCompression()
	case "gzip":
		codec = kgo.GzipCompression()
	case "lz4":
		codec = kgo.Lz4Compression()
	case "snappy":
		codec = kgo.SnappyCompression()
	case "zstd":
		codec = kgo.ZstdCompression()
	default:
		return codec, fmt.Errorf("compression %q: use none, gzip, lz4, snappy or zstd", name)
	}
	if level != nil {
		codec = codec.WithLevel(*level)
	}
	return codec, nil
}

// newClient makes a client of franz-go. failed is told of failed batches, in the moment in which they fail.
func newClient(cfg publisher.Config, g *gate, failed func(error), more func(publisher.Tuning) ([]kgo.Opt, error)) (*kgo.Client, error) {
	opts, err := clientOptions(cfg, g, failed, more)
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(opts...)
}

func clientOptions(cfg publisher.Config, g *gate, failed func(error), more func(publisher.Tuning) ([]kgo.Opt, error)) ([]kgo.Opt, error) {
	tuning, errs := publisher.ParseTuning(cfg.Properties)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	opts, err := connectionOptions(cfg, tuning, g, newLines(cfg, failed))
	if err != nil {
		return nil, err
	}
	extra, err := more(tuning)
	return append(opts, extra...), err
}

// Check says why franz-go makes no producer of this configuration. It connects nowhere.
func Check(cfg publisher.Config) error {
	cfg.SASL = publisher.SASL{}
	opts, err := clientOptions(cfg, newGate(), nil, func(t publisher.Tuning) ([]kgo.Opt, error) {
		return producerOptions(cfg, t, func(string) int32 { return mostBatch })
	})
	if err != nil {
		return err
	}
	return kgo.ValidateOpts(opts...)
}

// noMore is for a client without options of its own.
func noMore(publisher.Tuning) ([]kgo.Opt, error) { return nil, nil }

// endsWith is for a client of one call: nothing of it outlives ctx. franz-go itself waits ten seconds for the first
// answer on a new connection, whatever the request's context says, and a broker that is frozen gives none.
func endsWith(ctx context.Context, opts ...kgo.Opt) func(publisher.Tuning) ([]kgo.Opt, error) {
	return func(publisher.Tuning) ([]kgo.Opt, error) { return append(opts, kgo.WithContext(ctx)), nil }
}

func backoff(least, most time.Duration, tries int) time.Duration {
	return min(most, least<<min(max(tries-1, 0), 10))
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

package franz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
	"github.com/outboxrelay/relay/publisher/internal/catalog"
)

// Tail reads topics without a consumer group, committed records only, and gives each to the function, in order
// within a partition. It ends with nil at the limit, else with the function's error, with ctx's, or with what makes
// reading impossible. Brokers that go away are waited for. Partitions that are added meanwhile are read from their
// beginning, a few seconds later.
func Tail(ctx context.Context, cfg publisher.Config, opts publisher.TailOptions, each func(publisher.TailRecord) error) error {
	client, err := newClient(cfg, newGate(), nil, endsWith(ctx,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // when retention takes a position away
		kgo.FetchMaxWait(500*time.Millisecond)))
	if err != nil {
		return misconfigured(err)
	}
	defer client.Close()
	positions, err := startAt(ctx, client, opts)
	if err != nil {
		return err
	}
	client.AddConsumePartitions(positions)
	looking, stop := context.WithCancel(ctx)
	var looker sync.WaitGroup
	looker.Go(func() { lookForPartitions(looking, client, opts.Topics, positions) })
	defer looker.Wait()
	defer stop()
	if opts.Started != nil {
		opts.Started()
	}
	for n := 0; opts.Limit == 0 || n < opts.Limit; {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := hopeless(fetches); err != nil {
			return err
		}
		for records := fetches.RecordIter(); !records.Done() && (opts.Limit == 0 || n < opts.Limit); n++ {
			if err := each(tailRecord(records.Next())); err != nil {
				return err
			}
		}
	}
	return nil
}

// tailLooks is how often Tail looks for partitions that were added.
const tailLooks = 3 * time.Second

// lookForPartitions has the client read what the topics have beside the partitions that are read, of which it keeps the
// list. What goes wrong with a look ends nothing: the next one sees them.
func lookForPartitions(ctx context.Context, client *kgo.Client, topics []string, read map[string]map[int32]kgo.Offset) {
	admin := kadm.NewClient(client)
	next := time.NewTicker(tailLooks)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		found, err := admin.ListTopics(ctx, topics...)
		if err != nil {
			continue
		}
		more := map[string]map[int32]kgo.Offset{}
		found.EachPartition(func(p kadm.PartitionDetail) {
			if _, known := read[p.Topic][p.Partition]; known {
				return
			}
			if more[p.Topic] == nil {
				more[p.Topic] = map[int32]kgo.Offset{}
			}
			more[p.Topic][p.Partition] = kgo.NewOffset().AtStart() // all that it has came after the start
			read[p.Topic][p.Partition] = more[p.Topic][p.Partition]
		})
		client.AddConsumePartitions(more)
	}
}

// hopeless is an error of a fetch that will not go away.
func hopeless(fetches kgo.Fetches) (failed error) {
	fetches.EachError(func(topic string, _ int32, err error) {
		if e := asError(err); failed == nil && (e.Class() == publisher.ClassAuthentication || publisher.TopicTrouble(e)) {
			failed = fmt.Errorf("read topic %s: %w", topic, e)
		}
	})
	return failed
}

// startAt are all partitions of the topics with the offsets to begin at. They are fixed now and not at the first fetch,
// so that what is written after Started is seen.
func startAt(ctx context.Context, client *kgo.Client, opts publisher.TailOptions) (map[string]map[int32]kgo.Offset, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for _, name := range opts.Topics {
		if err := catalog.Illegal(name); err != nil {
			return nil, fmt.Errorf("read topic %q: %w", name, err)
		}
	}
	admin := kadm.NewClient(client)
	list := admin.ListEndOffsets
	if opts.FromBeginning {
		list = admin.ListStartOffsets
	}
	listed, err := list(ctx, opts.Topics...)
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of %v: %w", opts.Topics, notAnswered(err))
	}
	positions := map[string]map[int32]kgo.Offset{}
	var failed error
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			failed = errors.Join(failed, fmt.Errorf("read topic %s: %w", o.Topic, asError(o.Err)))
			return
		}
		if positions[o.Topic] == nil {
			positions[o.Topic] = map[int32]kgo.Offset{}
		}
		positions[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset)
	})
	for _, name := range opts.Topics {
		if failed == nil && positions[name] == nil {
			failed = fmt.Errorf("read topic %s: %w", name, asError(kerr.UnknownTopicOrPartition))
		}
	}
	return positions, failed
}

func tailRecord(k *kgo.Record) publisher.TailRecord {
	r := publisher.TailRecord{Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Timestamp: k.Timestamp,
		Key: k.Key, Value: k.Value}
	for _, h := range k.Headers {
		r.Headers = append(r.Headers, publisher.Header{Key: h.Key, Value: h.Value})
	}
	return r
}

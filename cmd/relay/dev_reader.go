package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/config"
)

// devReader prints each record as a consumer sees it.
type devReader struct {
	out    io.Writer
	style  style
	wanted int // sample events to see; 0: until ctx ends
	seen   int
}

// run reads all topics until ctx ends or the samples that are wanted were seen.
func (d *devReader) run(ctx context.Context, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeRegex(), kgo.ConsumeTopics("^[^_].*"), kgo.DisableFetchSessions(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(time.Now().UnixMilli())),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.MetadataMaxAge(time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return fmt.Errorf("open the reader: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for records := fetches.RecordIter(); !records.Done(); {
			d.print(records.Next())
			if d.wanted > 0 && d.seen >= d.wanted {
				return nil
			}
		}
	}
}

func (d *devReader) print(r *kgo.Record) {
	arrived := time.Now()
	took := ""
	kind := ""
	for _, h := range r.Headers {
		switch h.Key {
		case "created_at":
			if at, err := time.Parse(time.RFC3339Nano, string(h.Value)); err == nil {
				took = fmt.Sprintf(" in %d ms", max(0, arrived.Sub(at).Milliseconds()))
			}
		case "type":
			kind = string(h.Value)
		}
	}
	if r.Topic == sampleTopic && kind == "OrderPlaced" {
		d.seen++
	}
	key := "(no key)"
	if r.Key != nil {
		key = fmt.Sprintf("%q", r.Key)
	}
	fmt.Fprintf(d.out, "%s inserted → %s%s  %s\n", d.style.faint(arrived.Format("15:04:05.000")),
		d.style.bold(fmt.Sprintf("%s[%d]@%d", r.Topic, r.Partition, r.Offset)), d.style.good(took), d.style.faint(key+" "+kind))
}

// createDevTopics creates topics with four partitions; one that is there already stays as it is.
func createDevTopics(ctx context.Context, cfg *config.Config, topics []string) error {
	if len(topics) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Kafka.Brokers...))
	if err != nil {
		return fmt.Errorf("open a client: %w", err)
	}
	defer client.Close()
	made, err := kadm.NewClient(client).CreateTopics(ctx, 4, -1, nil, topics...)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for _, t := range made {
		if t.Err != nil && !errors.Is(t.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.Topic, t.Err)
		}
	}
	return nil
}

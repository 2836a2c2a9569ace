package contract

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// eventually polls until the condition holds.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// admin is franz-go's, for the setting of the stage.
func admin(t testing.TB, brokers []string, opts ...kgo.Opt) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

var topicNumber atomic.Int64

func unusedName() string {
	return fmt.Sprintf("contract-%d-%d", time.Now().UnixNano(), topicNumber.Add(1))
}

func newTopic(t testing.TB, brokers []string, partitions int32, config map[string]string) string {
	t.Helper()
	name := unusedName()
	createTopic(t, brokers, name, partitions, config)
	return name
}

func createTopic(t testing.TB, brokers []string, name string, partitions int32, config map[string]string) {
	t.Helper()
	values := map[string]*string{}
	for k, v := range config {
		values[k] = &v
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stage := admin(t, brokers)
	if _, err := stage.CreateTopic(ctx, partitions, 1, values, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	eventually(t, patience, "the broker knows the topic its controller made", func() bool {
		topics, err := stage.ListTopics(ctx, name)
		return err == nil && topics[name].Err == nil && len(topics[name].Partitions) == int(partitions)
	})
}

func growTopic(t testing.TB, brokers []string, name string, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stage := admin(t, brokers)
	if response, err := stage.UpdatePartitions(ctx, partitions, name); err != nil || response.Error() != nil {
		t.Fatalf("grow topic %s: %v, %v", name, err, response.Error())
	}
	eventually(t, patience, "the broker knows the partitions its controller made", func() bool {
		topics, err := stage.ListTopics(ctx, name)
		return err == nil && topics[name].Err == nil && len(topics[name].Partitions) == partitions
	})
}

// endOf is the number of records of a topic that nothing was deleted from.
func endOf(t testing.TB, stage *kadm.Client, topic string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := stage.ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatalf("ask for the end of %s: %v", topic, err)
	}
	n := 0
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n
}

// readAll reads what the topic holds, by partition.
func readAll(t testing.TB, brokers []string, topic string) map[int32][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := admin(t, brokers).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatalf("ask for the end of %s: %v", topic, err)
	}
	consumer, err := kgo.NewClient(
		// Close reads the session that a fetch is just writing: a race within kgo, here and wherever tests read.
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	result := map[int32][]*kgo.Record{}
	missing := 0
	ends.Each(func(o kadm.ListedOffset) { missing += int(o.Offset) })
	for missing > 0 {
		fetches := consumer.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %s: %d records are missing: %v", topic, missing, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			result[r.Partition] = append(result[r.Partition], r)
			missing--
		})
	}
	return result
}

// total counts the records of all partitions.
func total(records map[int32][]*kgo.Record) int {
	n := 0
	for _, p := range records {
		n += len(p)
	}
	return n
}

package contract

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/publisher"
)

// visible gives the values that a consumer of committed records sees now, sorted, and says whether a transaction is
// open.
func visible(t testing.TB, brokers []string, topic string) (values []string, open bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stage := admin(t, brokers)
	stable, err := stage.ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatalf("ask for the end of the committed records of %s: %v", topic, err)
	}
	ends, err := stage.ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatalf("ask for the end of %s: %v", topic, err)
	}
	missing := map[int32]int64{}
	stable.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			missing[o.Partition] = o.Offset
		}
		end, _ := ends.Lookup(topic, o.Partition)
		open = open || o.Offset < end.Offset
	})
	consumer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.DisableFetchSessions(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // one may be the last
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for len(missing) > 0 {
		fetches := consumer.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read the committed records of %s: these ends are missing: %v", topic, missing)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
			if r.Offset+1 >= missing[r.Partition] {
				delete(missing, r.Partition)
			}
		})
	}
	slices.Sort(values)
	return values, open
}

// committed waits until no transaction is open, and gives the values that are visible then. The coordinator writes the
// ends of a transaction after it has confirmed it.
func committed(t testing.TB, brokers []string, topic string) (values []string) {
	t.Helper()
	eventually(t, patience, "no transaction is open in "+topic, func() (closed bool) {
		var open bool
		values, open = visible(t, brokers, topic)
		return !open
	})
	return values
}

// sees wants exactly these values to be visible, and the last one of "key" to be found among them, when no transaction
// is open any more.
func sees(t testing.TB, client publisher.Client, cfg publisher.Config, topic string, want ...string) {
	t.Helper()
	if got := committed(t, cfg.Brokers, topic); !slices.Equal(got, want) {
		t.Errorf("%q is visible, want %q", got, want)
	}
	if last := lastValue(t, client, cfg, topic, "key"); last != "" && !slices.Contains(want, last) || last == "" && len(want) > 0 {
		t.Errorf("the last record is %q, visible is %q", last, want)
	}
}

// lastValue is the value of the newest committed record of a key, "" without one.
func lastValue(t testing.TB, client publisher.Client, cfg publisher.Config, topic, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := client.Last(ctx, cfg, topic, []byte(key))
	if err != nil {
		t.Fatalf("look for the last record of %s: %v", topic, err)
	}
	if r == nil {
		return ""
	}
	return string(r.Value)
}

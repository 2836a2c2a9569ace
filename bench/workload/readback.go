package workload

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/bench/rig"
	"github.com/outboxrelay/relay/bench/sut"
)

// tally compares what arrived with what was written: events 1 to n of a load.
type tally struct {
	load    sut.Load
	filler  string
	seen    []bool
	latest  map[string]int // by key, the last event that came for the first time
	scratch []byte

	records, copies, inverted, foreign int
}

func newTally(load sut.Load) *tally {
	return &tally{load: load, filler: load.Filler(), seen: make([]bool, load.Events+1), latest: map[string]int{}}
}

// take takes the next record of a partition.
func (t *tally) take(key, value []byte) {
	t.records++
	n := number(value)
	if n < 1 || n > t.load.Events || string(key) != sut.Key(n, t.load.Keys) {
		t.foreign++
		return
	}
	t.scratch = sut.Payload(t.scratch[:0], n, t.filler)
	switch {
	case !bytes.Equal(value, t.scratch):
		t.foreign++
	case t.seen[n]:
		t.copies++
	case t.latest[string(key)] > n:
		t.inverted++
		t.seen[n] = true
	default:
		t.latest[string(key)] = n
		t.seen[n] = true
	}
}

// number of an event, from its payload; 0 when it is none.
func number(value []byte) int {
	rest, ok := bytes.CutPrefix(value, []byte(`{"order": `))
	digits, _, found := bytes.Cut(rest, []byte(","))
	n, err := strconv.Atoi(string(digits))
	if !ok || !found || err != nil {
		return 0
	}
	return n
}

// missing counts the events that are not there.
func (t *tally) missing() (n int) {
	for _, seen := range t.seen[1:] {
		if !seen {
			n++
		}
	}
	return n
}

// fault says what is wrong; "" is nothing. Copies up to a number are allowed.
func (t *tally) fault(copies int) string {
	var faults []string
	for _, f := range []struct {
		n    int
		what string
	}{
		{t.missing(), "missing"}, {max(0, t.copies-copies), "copies"}, {t.inverted, "out of order"}, {t.foreign, "that nobody wrote so"},
	} {
		if f.n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", f.n, f.what))
		}
	}
	if len(faults) == 0 {
		return ""
	}
	return fmt.Sprintf("of %d events, %s (%d records)", t.load.Events, strings.Join(faults, ", "), t.records)
}

// readBack reads the topic from its beginning to its present end, as a consumer of committed records.
func readBack(ctx context.Context, site *rig.Site, load sut.Load) (*tally, error) {
	t := newTally(load)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	listed, err := site.Admin.ListEndOffsets(ctx, site.Topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read back: ask for the end of the topic: %w", err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			ends[o.Partition] = o.Offset
		}
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(site.Kafka.Brokers()...), kgo.ConsumeTopics(site.Topic),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // one may be the last
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	defer client.Close()
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read back: %w; ends to reach: %v", err, ends)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				t.take(r.Key, r.Value)
			}
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
		})
	}
	return t, nil
}

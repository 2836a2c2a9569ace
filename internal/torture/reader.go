package torture

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// reader reads topics from their beginning without a group, and writes each record down.
type reader struct {
	client   *kgo.Client
	journal  *journal.Writer
	progress string // topic of the progress records; "": none

	mu   sync.Mutex
	next map[place]int64 // behind what was read; written by run
}

func (s *site) newReader(committed bool, lines *journal.Writer) (*reader, error) {
	level := kgo.ReadUncommitted()
	if committed {
		level = kgo.ReadCommitted()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(s.topics()...), kgo.DisableFetchSessions(), kgo.ClientID("relay-torture"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(level),
		// A partition's last offset may be the mark of a transaction: without marks its end would never be seen.
		kgo.KeepControlRecords(),
		// Some topics are made while it reads.
		kgo.MetadataMinAge(500*time.Millisecond), kgo.MetadataMaxAge(2*time.Second),
		kgo.RetryTimeout(10*time.Second), kgo.FetchMaxWait(250*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("open a reader: %w", err)
	}
	return &reader{client: client, journal: lines, progress: s.progress, next: map[place]int64{}}, nil
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) {
	defer r.client.Close()
	for ctx.Err() == nil {
		// Errors are those of brokers that are away or of topics that are missing: it tries again by itself.
		fetches := r.client.PollFetches(ctx)
		at := journal.Now()
		fetches.EachRecord(func(record *kgo.Record) {
			r.journal.Append(r.line(record, at))
			r.mu.Lock()
			r.next[place{record.Topic, record.Partition}] = record.Offset + 1
			r.mu.Unlock()
		})
	}
}

// behind gives the partitions that are not read up to these ends.
func (r *reader) behind(ends map[place]int64) (left []place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, end := range ends {
		if r.next[p] < end {
			left = append(left, p)
		}
	}
	return left
}

// upTo waits until all is read up to these ends.
func (r *reader) upTo(ctx context.Context, ends map[place]int64, within time.Duration) error {
	for deadline := time.Now().Add(within); ; pause(ctx, 50*time.Millisecond) {
		left := r.behind(ends)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%d partitions could not be read to their ends within %v, among them %s[%d] (to %d)", len(left), within,
				left[0].topic, left[0].partition, ends[left[0]])
		}
	}
}

// line is a record's line of the journal.
func (r *reader) line(record *kgo.Record, at int64) journal.Record {
	l := journal.Record{At: at, Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Stamp: record.Timestamp.UnixMicro()}
	if record.ProducerID >= 0 {
		l.Producer, l.ProducerEpoch = record.ProducerID, record.ProducerEpoch
	}
	if record.Attrs.IsControl() {
		l.Mark = mark(record.Key)
		return l
	}
	var headers []journal.Header
	for _, h := range record.Headers {
		switch h.Key {
		case "id":
			l.ID = string(h.Value)
		case "created_at": // PostgreSQL's time, which the writer does not know
			continue
		}
		headers = append(headers, journal.Header{Name: h.Key, Value: string(h.Value)})
	}
	if record.Topic == r.progress {
		l.Progress = &journal.Progress{}
		_ = json.Unmarshal(record.Value, l.Progress) // what is not JSON is batch 0, which the judgement refuses
	}
	l.Key = string(record.Key)
	l.Sum = journal.Sum(record.Topic, record.Key, headers, record.Value)
	return l
}

// mark reads the key of a control record: version and type, two bytes each. 0 is abort, 1 commit.
func mark(key []byte) string {
	if len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0 {
		return journal.MarkAbort
	}
	return journal.MarkCommit
}

// ends asks for the end of each partition that has records. Open transactions are waited for: then read_committed
// readers see all that read_uncommitted ones do.
func ends(ctx context.Context, admin *kadm.Client, topics []string, within time.Duration) (map[place]int64, error) {
	for deadline := time.Now().Add(within); ; pause(ctx, 200*time.Millisecond) {
		all, err := offsets(ctx, admin.ListEndOffsets, topics)
		var stable map[place]int64
		if err == nil {
			stable, err = offsets(ctx, admin.ListCommittedOffsets, topics)
		}
		if err != nil {
			if time.Now().After(deadline) {
				return nil, err
			}
			continue // a broker that was just restarted does not know all its partitions yet
		}
		if maps.Equal(all, stable) {
			return all, nil
		}
		if time.Now().After(deadline) {
			open := kadm.TopicsSet{}
			for p, end := range all {
				if stable[p] != end {
					open.Add(p.topic, p.partition)
				}
			}
			return nil, fmt.Errorf("a transaction is open since %v in %s", within, whose(ctx, admin, open))
		}
	}
}

// whose says which producers have left a transaction open in these partitions, and what the coordinator knows of it:
// nothing, when it is one that nobody will end.
func whose(ctx context.Context, admin *kadm.Client, open kadm.TopicsSet) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var text strings.Builder
	topics, err := admin.DescribeProducers(ctx, open)
	for _, p := range topics.SortedProducers() {
		if p.CurrentTxnStartOffset >= 0 {
			fmt.Fprintf(&text, "%s[%d] from offset %d on, by producer %d epoch %d (last wrote %v); ", p.Topic, p.Partition,
				p.CurrentTxnStartOffset, p.ProducerID, p.ProducerEpoch, time.UnixMilli(p.LastTimestamp).UTC())
		}
	}
	transactions, more := admin.DescribeTransactions(ctx)
	for _, t := range transactions.Sorted() {
		fmt.Fprintf(&text, "transactional id %q: %s, producer %d epoch %d, %v; ", t.TxnID, t.State, t.ProducerID, t.ProducerEpoch, t.Topics)
	}
	if err := errors.Join(err, more); err != nil {
		fmt.Fprintf(&text, "not all could be asked: %v", err)
	}
	return strings.TrimSuffix(text.String(), "; ")
}

func offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (map[place]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	listed, err := list(ctx, topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of topics: %w", err)
	}
	found := map[place]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			found[place{o.Topic, o.Partition}] = o.Offset
		}
	})
	return found, nil
}

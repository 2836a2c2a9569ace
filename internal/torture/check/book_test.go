package check

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/publisher"
)

const (
	second = int64(1_000_000)
	began  = 1_800_000_000 * second
)

// sound is a small run in which all is well: two keys with three events each, one transaction an event, one that was
// rolled back and one whose end only PostgreSQL knows; a relay that was killed in the tenth second; a second leader.
func sound(mode string) *Book {
	b := &Book{Run: journal.Run{
		Mode: mode, Client: publisher.ClientLibrdkafka, Relays: 2, Began: began, Topics: map[string]int32{"t": 2}, Canaries: []string{base64.StdEncoding.EncodeToString([]byte("canary"))},
		Limits: journal.Limits{DrainWithin: time.Minute, InFlight: 2, Aftermath: 5 * time.Second, RSS: 100 << 20, Files: 50, LogPerMinute: 10},
	}}
	offsets := map[int32]int64{}
	for n := range 6 {
		name, partition := fmt.Sprintf("key-%d", n%2), int32(n%2)
		seq, at := int64(n/2+1), began+int64(n)*second
		e := journal.Event{ID: fmt.Sprintf("id-%d", n), Topic: "t", Key: &name, Seq: seq, Ordered: true, Partition: partition, Sum: uint32(n)}
		end := journal.Committed
		if n == 5 {
			end = journal.Unknown
		}
		b.write(fmt.Sprintf("tx-%d", n), at, end, e)
		b.Witness = append(b.Witness, journal.Witness{Tx: fmt.Sprintf("tx-%d", n)})
		b.deliver(journal.Record{At: at + second/10, Topic: "t", Partition: partition, Offset: offsets[partition], Stamp: at + second/20,
			ID: e.ID, Key: name, Sum: e.Sum, Producer: 1})
		offsets[partition]++
	}
	b.write("tx-undone", began+7*second, journal.RolledBack, journal.Event{ID: "id-undone", Topic: "t", Partition: -1})
	act := func(at int64, what string, a journal.Action) {
		a.At, a.What = began+at*second, what
		b.Actions = append(b.Actions, a)
	}
	act(0, journal.Writing, journal.Action{})
	act(10, journal.FaultBegins, journal.Action{Fault: "relay_kill", N: 1, Disrupts: true, Replica: 1, Leader: true})
	act(11, journal.FaultHealed, journal.Action{Fault: "relay_kill", N: 1})
	act(20, journal.Quiet, journal.Action{})
	act(21, journal.Drained, journal.Action{OK: true})
	b.Samples = []journal.Sample{
		{At: began, System: "s", Timeline: 1, Epoch: 1, From: "10:12:10", To: "20:20:", After: 5, Delivered: 5},
		{At: began + second, System: "s", Timeline: 1, Epoch: 1, From: "10:12:10", To: "20:20:", After: 7, Delivered: 7},
		{At: began + 12*second, System: "s", Timeline: 1, Epoch: 2, From: "20:22:20", Delivered: 9},
	}
	b.Usage = []journal.Usage{{At: began, Replica: 1, Process: 1, RSS: 1 << 20, Files: 10, LogLines: 2}, {At: began + second, Replica: 1, Process: 1, LogLines: 9}}
	b.Logs = []Log{{Replica: 1, Process: 1, Text: leading(1, began)}, {Replica: 2, Process: 1, Text: leading(2, began+11*second)}}
	return b
}

func leading(epoch, at int64) []byte {
	when := journal.Time(at).Format(time.RFC3339Nano)
	return fmt.Appendf(nil, "{\"message\":\"starting\",\"client\":\"librdkafka 2.15.0\"}\n{\"time\":%q,\"epoch\":%d,\"message\":\"leading\"}\n{\"time\":%q,\"message\":\"session began\"}\n", when, epoch, when)
}

func (b *Book) write(tx string, at int64, end string, events ...journal.Event) {
	b.Ledger = append(b.Ledger, journal.Ledger{At: at, Tx: tx, What: journal.Intent, Kind: "plain", Events: events},
		journal.Ledger{At: at, Tx: tx, What: journal.Outcome, End: end})
}

// deliver gives a record to all three readers.
func (b *Book) deliver(r journal.Record) {
	b.Concurrent = append(b.Concurrent, r)
	b.Fresh = append(b.Fresh, r)
	b.Uncommitted = append(b.Uncommitted, r)
}

// again sends event n once more.
func (b *Book) again(n int, at int64) {
	r := b.Fresh[n]
	r.Offset, r.Stamp = int64(len(b.Fresh)), at
	b.deliver(r)
}

func (b *Book) each(change func(records []journal.Record) []journal.Record) {
	for _, list := range []*[]journal.Record{&b.Concurrent, &b.Fresh, &b.Uncommitted} {
		*list = change(*list)
	}
}

// mark ends a transaction of producer 1 in a partition.
func (b *Book) mark(what string, partition int32, at int64) {
	b.Uncommitted = append(b.Uncommitted, journal.Record{Topic: "t", Partition: partition, Offset: int64(100 + len(b.Uncommitted)),
		Mark: what, Producer: 1, Stamp: at})
}

// batch delivers the begin record or the progress record of a batch, or both.
func (b *Book) batch(epoch, number int64, begins ...bool) {
	b.Run.Progress = "progress"
	for _, begin := range begins {
		key := map[bool]string{true: "id/begin", false: "id"}[begin]
		b.deliver(journal.Record{Topic: "progress", Offset: int64(len(b.Fresh)), Key: key,
			Progress: &journal.Progress{Epoch: epoch, Batch: number, Begin: begin}})
	}
}

package check

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/outboxrelay/relay/internal/torture/journal"
)

const (
	second = int64(1_000_000)
	began  = 1_800_000_000 * second
)

// sound is a small run in which all is well: two keys with three events each, one transaction an event, one that was
// rolled back and one whose end only PostgreSQL knows; a relay that was killed in the tenth second; a second leader.
func sound(mode string) *Book {
	b := &Book{Run: journal.Run{
		Mode: mode, Began: began, Topics: map[string]int32{"t": 2}, Canaries: []string{base64.StdEncoding.EncodeToString([]byte("canary"))},
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
	return fmt.Appendf(nil, "{\"time\":%q,\"epoch\":%d,\"message\":\"leading\"}\n{\"time\":%q,\"message\":\"session began\"}\n", when, epoch, when)
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

func TestCheck_LetsASoundRunPass(t *testing.T) {
	for _, mode := range []string{journal.AtLeastOnce, journal.ExactlyOnce} {
		b := sound(mode)
		b.mark(journal.MarkCommit, 0, began)
		b.mark(journal.MarkAbort, 1, began+second)
		b.batch(1, 1, true, false)
		b.batch(2, 2, true, false)
		result := Check(b)
		if !result.OK() {
			t.Errorf("%s: %v", mode, result.Violations)
		}
		f := result.Figures
		if f.Committed != 6 || f.Published != 6 || f.Unknown != 1 || f.RolledBack != 1 || f.OrderedKeys != 2 || f.Faults["relay_kill"] != 1 {
			t.Errorf("%s: figures %+v", mode, f)
		}
		if got := f.TakeOver["relay_kill"]; got.N != 1 || got.Max != 1000 {
			t.Errorf("%s: take-over %+v, want one of a second", mode, got)
		}
		if f.VisibleQuiet.N != 5 || f.VisibleQuiet.Max != 100 || f.DrainMS != 1000 {
			t.Errorf("%s: visible %+v, drain %v", mode, f.VisibleQuiet, f.DrainMS)
		}
	}
}

// Each row plants one violation, and wants the check of that invariant to see it, and no other one to.
func TestCheck_SeesWhatIsPlanted(t *testing.T) {
	const alo, eos = journal.AtLeastOnce, journal.ExactlyOnce
	around := began + 12*second // in the wake of the kill
	for _, row := range []struct {
		name  string
		mode  string
		plant func(b *Book)
		want  string
	}{
		{"an event is not read", alo, func(b *Book) {
			b.each(func(r []journal.Record) []journal.Record { return r[:len(r)-1] })
		}, "I1"},
		{"a byte is changed", eos, func(b *Book) {
			b.each(func(r []journal.Record) []journal.Record { r[2].Sum++; return r })
		}, "I1"},
		{"another topic", alo, func(b *Book) {
			b.each(func(r []journal.Record) []journal.Record { r[5].Topic = "u"; return r })
		}, "I1"},
		{"another partition", alo, func(b *Book) {
			b.Ledger[10].Events[0].Partition = 0
		}, "I1"},
		{"nothing was committed", alo, func(b *Book) {
			b.Ledger, b.Witness, b.Concurrent, b.Fresh, b.Uncommitted = nil, nil, nil, nil, nil
		}, "I1"},
		{"a record of nobody", eos, func(b *Book) {
			b.deliver(journal.Record{Topic: "t", Offset: 50, ID: "x"})
		}, "I2"},
		{"an event that was rolled back", alo, func(b *Book) {
			b.deliver(journal.Record{Topic: "t", Offset: 50, ID: "id-undone"})
		}, "I2"},
		{"an event of a savepoint that was rolled back", alo, func(b *Book) {
			b.Ledger[0].Events = append(b.Ledger[0].Events, journal.Event{ID: "id-void", Topic: "t", Void: true})
			b.deliver(journal.Record{Topic: "t", Offset: 50, ID: "id-void"})
		}, "I2"},
		{"a copy in exactly_once", eos, func(b *Book) { b.again(4, around) }, "I3"},
		{"a copy when nothing was disturbed", alo, func(b *Book) { b.again(4, began+second) }, "I4"},
		{"a copy long after the disturbance", alo, func(b *Book) { b.again(4, began+17*second) }, "I4"},
		{"more copies than were in flight", alo, func(b *Book) {
			b.again(4, around)
			b.again(4, around)
			b.again(4, around)
		}, "I4"},
		{"first occurrences change places", alo, func(b *Book) {
			b.each(func(r []journal.Record) []journal.Record {
				r[2].ID, r[4].ID, r[2].Sum, r[4].Sum = r[4].ID, r[2].ID, r[4].Sum, r[2].Sum
				return r
			})
		}, "I5 I6"},
		{"the ledger has a gap", alo, func(b *Book) { b.Ledger[8].Events[0].Seq = 4 }, "I5"},
		{"an old copy after the newest", alo, func(b *Book) { b.again(0, around) }, "I6"},
		{"the fresh reader misses a record", alo, func(b *Book) {
			b.again(4, around)
			b.Fresh = b.Fresh[:6]
		}, "I7"},
		{"the concurrent reader stopped early", eos, func(b *Book) { b.Concurrent = b.Concurrent[:4] }, "I7"},
		{"two readers, two records", eos, func(b *Book) { b.Concurrent[3].ID = "id-1" }, "I7"},
		{"an offset twice", eos, func(b *Book) { b.Concurrent = append(b.Concurrent, b.Concurrent[5]) }, "I7"},
		{"committed and not uncommitted", alo, func(b *Book) { b.Uncommitted = b.Uncommitted[1:] }, "I7"},
		{"the epoch goes back", alo, func(b *Book) { b.Samples[2].Epoch = 0 }, "I8"},
		{"the count goes back", alo, func(b *Book) { b.Samples[2].Delivered = 6 }, "I8"},
		{"the position in the window goes back", alo, func(b *Book) { b.Samples[1].After = 4 }, "I8"},
		{"the window is forgotten", eos, func(b *Book) { b.Samples[1].To = "" }, "I8"},
		{"a transaction is no longer shown", alo, func(b *Book) { b.Samples[2].From = "9:22:9" }, "I8"},
		{"the snapshot is older", alo, func(b *Book) { b.Samples[2].From = "10:11:10" }, "I8"},
		{"an epoch with two leaders", alo, func(b *Book) { b.Logs[1].Text = leading(1, began+11*second) }, "I9"},
		{"an older epoch later", alo, func(b *Book) {
			b.Logs[0].Text, b.Logs[1].Text = leading(2, began), leading(1, began+11*second)
		}, "I9"},
		{"half of a transaction", eos, func(b *Book) {
			b.mark(journal.MarkAbort, 0, began)
			b.mark(journal.MarkCommit, 1, began+1)
		}, "I10"},
		{"a transaction without its last record", eos, func(b *Book) { b.batch(1, 1, true) }, "I10"},
		{"a transaction without its first record", eos, func(b *Book) { b.batch(1, 1, false) }, "I10"},
		{"a batch twice", eos, func(b *Book) {
			b.batch(1, 1, true, false)
			b.batch(1, 1, true, false)
		}, "I10"},
		{"a batch of an older epoch", eos, func(b *Book) {
			b.batch(2, 1, true, false)
			b.batch(1, 2, true, false)
		}, "I9"},
		{"not drained", alo, func(b *Book) { b.Actions[4].OK = false }, "I11"},
		{"never drained", alo, func(b *Book) { b.Actions = b.Actions[:4] }, "I11"},
		{"a relay ended by itself", eos, func(b *Book) {
			b.Actions = append(b.Actions, journal.Action{What: journal.RelayGone})
		}, "I11"},
		{"a relay is not ready", alo, func(b *Book) {
			b.Actions = append(b.Actions, journal.Action{What: journal.NotReady})
		}, "I11"},
		{"memory", alo, func(b *Book) { b.Usage[0].RSS = 1 << 30 }, "I12"},
		{"files", alo, func(b *Book) { b.Usage[0].Files = 51 }, "I12"},
		{"a flood of log", alo, func(b *Book) { b.Usage[1].LogLines = 13 }, "I12"},
		{"a secret in a log", eos, func(b *Book) { b.Logs[1].Text = append(b.Logs[1].Text, "url=x:canary@"...) }, "I12"},
		{"a secret in what was noted", eos, func(b *Book) { b.Actions[4].Detail = "canary" }, "I12"},
		{"a panic", eos, func(b *Book) { b.Logs[1].Text = append(b.Logs[1].Text, "panic: oh"...) }, "I12"},
		{"a canary that cannot be searched for", eos, func(b *Book) { b.Run.Canaries = []string{"%"} }, "I12"},
		{"a confirmed commit is gone", alo, func(b *Book) {
			b.write("tx-gone", began, journal.Committed, journal.Event{ID: "id-gone", Topic: "t"})
		}, "I13"},
		{"a rollback that did not", alo, func(b *Book) { b.Witness = append(b.Witness, journal.Witness{Tx: "tx-undone"}) }, "I1 I13"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := sound(row.mode)
			row.plant(b)
			result := Check(b)
			if got := fmt.Sprint(slices.Sorted(maps.Keys(result.Broken))); got != "["+row.want+"]" {
				t.Errorf("violated %s, want [%s]: %v", got, row.want, result.Violations)
			}
		})
	}
}

func TestCheck_ForgivesWhatIsPromisedNowhere(t *testing.T) {
	around := began + 12*second
	for _, row := range []struct {
		name  string
		mode  string
		plant func(b *Book)
	}{
		{"copies after a kill", journal.AtLeastOnce, func(b *Book) {
			b.again(2, around)
			b.again(4, around)
		}},
		{"a copy without a key in another partition, which is read first", journal.AtLeastOnce, func(b *Book) {
			b.write("tx-free", began+second, journal.Committed, journal.Event{ID: "id-free", Topic: "t", Partition: -1})
			b.Witness = append(b.Witness, journal.Witness{Tx: "tx-free"})
			b.deliver(journal.Record{Topic: "t", Partition: 0, Offset: 40, ID: "id-free", Stamp: around})
			b.deliver(journal.Record{Topic: "t", Partition: 1, Offset: 40, ID: "id-free", Stamp: began + second})
		}},
		{"a stale copy from a frozen broker", journal.AtLeastOnce, func(b *Book) {
			b.Actions[1].Residue = true
			b.again(0, around)
		}},
		{"commits lost by a promotion, published before", journal.AtLeastOnce, func(b *Book) {
			b.Actions = append(b.Actions, journal.Action{What: journal.Lost})
			b.Witness = b.Witness[:5]
		}},
		{"a cursor that starts again on another timeline", journal.AtLeastOnce, func(b *Book) {
			b.Samples[2] = journal.Sample{System: "s", Timeline: 2, Epoch: 1, From: "5:5:"}
		}},
		{"what only read_uncommitted sees", journal.ExactlyOnce, func(b *Book) {
			b.Uncommitted = append(b.Uncommitted, journal.Record{Topic: "t", Offset: 70, ID: "id-1"})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := sound(row.mode)
			row.plant(b)
			if result := Check(b); !result.OK() {
				t.Error(result.Violations)
			}
		})
	}
}

func TestCheck_CountsAllAndShowsSome(t *testing.T) {
	b := sound(journal.AtLeastOnce)
	for n := range 3 * shown {
		b.deliver(journal.Record{Topic: "t", Offset: int64(100 + n), ID: "x"})
	}
	result := Check(b)
	if result.Broken["I2"] != 3*shown || len(result.Violations) != shown || result.Figures.Invented != 3*shown {
		t.Errorf("%d violations, %d shown, %d in the figures", result.Broken["I2"], len(result.Violations), result.Figures.Invented)
	}
}

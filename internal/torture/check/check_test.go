package check

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/outboxrelay/relay/internal/torture/journal"
	"github.com/outboxrelay/relay/publisher"
)

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
		{"another client", alo, func(b *Book) { b.Run.Client = publisher.ClientFranz }, "I14"},
		{"one relay with another client", eos, func(b *Book) {
			b.Logs[1].Text = bytes.Replace(b.Logs[1].Text, []byte("librdkafka"), []byte("franz-go"), 1)
		}, "I14"},
		{"a client whose name begins like it", eos, func(b *Book) { b.Run.Client = "librd" }, "I14"},
		{"a leader that did not say its client", alo, func(b *Book) {
			b.Logs[0].Text = bytes.Replace(b.Logs[0].Text, []byte("starting"), []byte("begins"), 1)
		}, "I14"},
		{"no relay said its client", alo, func(b *Book) { b.Logs = nil }, "I14"},
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
		{"a process that was killed before it said anything", journal.AtLeastOnce, func(b *Book) {
			b.Logs = append(b.Logs, Log{Replica: 2, Process: 2})
		}},
		{"relays of somebody's own", journal.AtLeastOnce, func(b *Book) { b.Run.Relays, b.Logs = 0, nil }},
		{"a journal from before there were two clients", journal.AtLeastOnce, func(b *Book) {
			b.Run.Client = ""
			b.Logs[0].Text = bytes.Replace(b.Logs[0].Text, []byte("client"), []byte("librdkafka"), 1)
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

//go:build linux

package acceptance

import (
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tally is what was read back, compared with what was committed: the number of events of each key.
type tally struct {
	records, copies                    int
	broken, ghosts, inverted, impostor int // changed bytes; rolled back; out of order; a copy with another id
	misplaced                          int // a key in a second partition
	seed                               maphash.Seed
	keys                               map[string]*arrivals
}

// arrivals are a key's events so far, in the order of their first copies.
type arrivals struct {
	partition int32
	ids       []uint64 // hash of the id of event n at n-1
}

func newTally() *tally { return &tally{seed: maphash.MakeSeed(), keys: map[string]*arrivals{}} }

// take counts one record. Records of a partition come in its order.
func (a *tally) take(r *kgo.Record) {
	a.records++
	key, n, ghost, err := unseal(r.Value)
	switch {
	case err != nil, key != string(r.Key):
		a.broken++
		return
	case ghost:
		a.ghosts++
		return
	}
	k := a.keys[key]
	if k == nil {
		k = &arrivals{partition: r.Partition}
		a.keys[key] = k
	}
	if k.partition != r.Partition {
		a.misplaced++
	}
	var id uint64
	for _, h := range r.Headers {
		if h.Key == "id" {
			id = maphash.Bytes(a.seed, h.Value)
		}
	}
	switch {
	case n == len(k.ids)+1:
		k.ids = append(k.ids, id)
	case n <= len(k.ids):
		a.copies++
		if k.ids[n-1] != id {
			a.impostor++
		}
	default:
		a.inverted++ // or one before it is lost: then the key's count is short as well
	}
}

// compare fails the test unless exactly what was committed has arrived: every event, its bytes, in the order of its
// key. How many copies are fit is the caller's to say.
func (a *tally) compare(t testing.TB, want map[string]int) {
	t.Helper()
	lost, invented, total := 0, 0, 0
	for key, n := range want {
		total += n
		got := 0
		if k := a.keys[key]; k != nil {
			got = len(k.ids)
		}
		lost += max(0, n-got)
		invented += max(0, got-n)
	}
	for key, k := range a.keys {
		if _, known := want[key]; !known {
			invented += len(k.ids)
		}
	}
	if lost+invented+a.broken+a.ghosts+a.inverted+a.impostor+a.misplaced > 0 {
		t.Errorf("of %d events: %d lost or behind an inversion, %d invented; %s", total, lost, invented, a)
	}
}

func (a *tally) String() string {
	return fmt.Sprintf("%d records, %d keys, %d copies, %d with changed bytes, %d of rolled-back transactions, "+
		"%d out of order, %d copies with another id, %d in a second partition",
		a.records, len(a.keys), a.copies, a.broken, a.ghosts, a.inverted, a.impostor, a.misplaced)
}

func TestTally_SeesEachKindOfFault(t *testing.T) {
	record := func(partition int32, key, id string, value []byte) *kgo.Record {
		return &kgo.Record{Partition: partition, Key: []byte(key), Value: value, Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(id)}}}
	}
	value := func(n int, ghost bool) []byte {
		return fmt.Appendf(nil, `{"key":"k", "n":%d,"ghost" :%v,"text":"`, n, ghost)
	}
	a := newTally()
	for _, r := range []*kgo.Record{
		record(0, "k", "1", sealed(value(1, false))),
		record(0, "k", "1", sealed(value(1, false))),
		record(0, "k", "x", sealed(value(1, false))),
		record(1, "k", "2", sealed(value(2, false))),
		record(0, "k", "4", sealed(value(4, false))),
		record(0, "k", "5", sealed(value(5, true))),
		record(0, "other", "3", sealed(value(3, false))),
		record(0, "k", "3", append(sealed(value(3, false)), ' ')),
	} {
		a.take(r)
	}
	want := "8 records, 1 keys, 2 copies, 2 with changed bytes, 1 of rolled-back transactions, " +
		"1 out of order, 1 copies with another id, 1 in a second partition"
	if got := a.String(); got != want {
		t.Errorf("tally\n%s, want\n%s", got, want)
	}
}

//go:build cgo

package librdkafka

import (
	"math/rand/v2"
	"testing"
)

func TestFlights_EachLabelBringsItsOwnTagBack(t *testing.T) {
	type departed struct {
		label uint64
		tag   *int
		lane  int32
	}
	const seed, most = 7, 100
	rnd := rand.New(rand.NewPCG(seed, seed))
	var f flights
	var up []departed
	for range 20_000 {
		if len(up) < most && rnd.IntN(2) == 0 {
			d := departed{tag: new(int), lane: int32(rnd.IntN(1 << 30))}
			d.label = f.depart(d.tag, d.lane)
			up = append(up, d)
			continue
		}
		if len(up) == 0 {
			continue
		}
		i := rnd.IntN(len(up))
		if got := f.land(up[i].label); got != up[i].tag || laneOf(up[i].label) != up[i].lane {
			t.Fatalf("lane %d and another tag came back, want lane %d", laneOf(up[i].label), up[i].lane)
		}
		up[i] = up[len(up)-1]
		up = up[:len(up)-1]
	}
	if len(f.tags) > most {
		t.Errorf("%d places for %d tags", len(f.tags), most)
	}
	for _, d := range up {
		f.land(d.label)
	}
	for i, tag := range f.tags {
		if tag != nil {
			t.Errorf("place %d keeps a tag that is back", i)
		}
	}
}

package store

import (
	"math"
	"math/big"
	"slices"
	"testing"
)

func TestSnapshot_ParsesWhatPostgresPrints(t *testing.T) {
	for _, text := range []string{"3:3:", "10:20:10,14,15", "795:799:795,796,797,798", "18446744073709551614:18446744073709551615:"} {
		s, err := ParseSnapshot(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if s.String() != text {
			t.Errorf("%s came back as %s", text, s)
		}
	}
}

func TestSnapshot_RefusesWhatIsNoSnapshot(t *testing.T) {
	for _, text := range []string{"", ":", "::", "1:2", "1:2:3:4", "5:3:", "a:3:", "3:b:", "3:9:2", "3:9:9", "3:9:5,4",
		"3:9:5,5", "3:9:5,", "0:3:", "+3:4:", "3:9:x", "-1:3:"} {
		if s, err := ParseSnapshot(text); err == nil {
			t.Errorf("%q was read as %v", text, s)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add("10:20:10,14,15")
	f.Add("3:3:")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSnapshot(text)
		if err != nil {
			return
		}
		again, err := ParseSnapshot(s.String())
		if err != nil || !again.Equal(s) {
			t.Fatalf("%q is read as %v, which is read as %v (%v)", text, s, again, err)
		}
		if s.Shows(s.Xmax) || !s.Shows(s.Xmin-1) {
			t.Fatalf("%q shows its xmax, or not what is below its xmin", text)
		}
	})
}

func TestSnapshot_Shows(t *testing.T) {
	s := Snapshot{Xmin: 10, Xmax: 20, InProgress: []uint64{10, 14}}
	for xid, want := range map[uint64]bool{9: true, 10: false, 11: true, 14: false, 19: true, 20: false, 21: false} {
		if s.Shows(xid) != want {
			t.Errorf("xid %d: shows %v, want %v", xid, s.Shows(xid), want)
		}
	}
}

func TestCursor_Covers(t *testing.T) {
	p := Snapshot{Xmin: 10, Xmax: 20, InProgress: []uint64{10}}
	c := Snapshot{Xmin: 20, Xmax: 30, InProgress: []uint64{20}}
	cursor := At(p).Within(c, 100)
	for _, row := range []struct {
		xid  uint64
		seq  int64
		want bool
	}{{9, 500, true}, {10, 100, true}, {10, 101, false}, {20, 1, false}, {25, 100, true}, {25, 101, false}, {30, 1, false}} {
		if got := cursor.Covers(row.xid, row.seq); got != row.want {
			t.Errorf("xid %d seq %d: covered %v, want %v", row.xid, row.seq, got, row.want)
		}
	}
	if At(p).Covers(25, 1) {
		t.Error("a cursor without a window covers a row of no window")
	}
}

func TestAnchors_FloorIsTheNewestAnchorBelow(t *testing.T) {
	a := NewAnchors(50, Anchor{100, 1000})
	a.Add(Anchor{110, 1100})
	a.Add(Anchor{120, 1100})
	a.Add(Anchor{119, 5000}) // older than the last: left out
	a.Add(Anchor{130, 900})  // a sequence never goes back: left out
	for xid, want := range map[uint64]int64{3: 50, 100: 50, 101: 1000, 110: 1000, 111: 1100, 121: 1100, 9999: 1100} {
		if got := a.Floor(xid); got != want {
			t.Errorf("floor(%d) = %d, want %d", xid, got, want)
		}
	}
}

func TestAnchors_FloorOfIsBelowEveryRowThatTheCursorDoesNotCover(t *testing.T) {
	a := NewAnchors(0, Anchor{})
	a.Add(Anchor{100, 1_000})
	a.Add(Anchor{200, 9_000})
	from, to := Snapshot{Xmin: 150, Xmax: 150}, Snapshot{Xmin: 250, Xmax: 260, InProgress: []uint64{250}}
	for _, test := range []struct {
		why    string
		cursor Cursor
		want   int64
	}{
		{"no window: rows that From does not show", At(from), 1_000},
		{"the window's next row", At(from).Within(to, 4_000), 4_000},
		{"250 had an xid when the sequence was beyond 9,000, and commits later", At(from).Within(to, 12_000), 9_000},
		{"a transaction older than the anchor may still commit", At(from).Within(Snapshot{Xmin: 180, Xmax: 260, InProgress: []uint64{180}}, 4_000), 1_000},
		{"nothing of the window is settled", At(from).Within(to, 0), 1_000},
	} {
		if got := a.FloorOf(test.cursor); got != test.want {
			t.Errorf("%s: floor %d, want %d", test.why, got, test.want)
		}
	}
}

func TestAnchors_ForgetAndHalveOnlyLowerFloors(t *testing.T) {
	full, thin := NewAnchors(0, Anchor{}), NewAnchors(0, Anchor{})
	for i := uint64(1); i <= 20_000; i++ {
		n := Anchor{i * 10, int64(i * 100)}
		full.list = append(full.list, n)
		thin.Add(n)
		if len(thin.list) > maxAnchors {
			t.Fatalf("%d anchors are kept", len(thin.list))
		}
	}
	for xid := uint64(0); xid < 201_000; xid += 7 {
		if thin.Floor(xid) > full.Floor(xid) {
			t.Fatalf("thinning raised floor(%d) from %d to %d", xid, full.Floor(xid), thin.Floor(xid))
		}
	}
	before := thin.Floor(150_000)
	thin.Forget(150_000)
	if thin.Floor(150_000) != before || thin.Floor(200_001) != full.Floor(200_001) {
		t.Error("forgetting changed a floor that may still be asked for")
	}
}

func TestAnchors_StartLeavesFarTransactionsToASecondLook(t *testing.T) {
	a := NewAnchors(0, Anchor{})
	a.Add(Anchor{100, 1_000})
	a.Add(Anchor{200, 90_000})
	a.Add(Anchor{300, 100_000})
	p := Snapshot{Xmin: 150, Xmax: 310, InProgress: []uint64{150, 250}}
	start, far := a.Start(p, 20_000)
	if start != 90_000 || !slices.Equal(far, []uint64{150}) {
		t.Fatalf("start %d far %v", start, far)
	}
	shown := Snapshot{Xmin: 250, Xmax: 320, InProgress: []uint64{250}}
	if !ShowsAny(shown, far) || a.StartShowing(p, shown) != 1_000 {
		t.Errorf("a far transaction that has ended must be read from its floor, not from %d", a.StartShowing(p, shown))
	}
	hidden := Snapshot{Xmin: 150, Xmax: 320, InProgress: []uint64{150, 250}}
	if ShowsAny(hidden, far) || a.StartShowing(p, hidden) != 100_000 {
		t.Error("a transaction still in progress must not lower the start")
	}
}

func TestBooks_AddUpBeyond64Bits(t *testing.T) {
	var b, other Books
	want := new(big.Int)
	for i := range 100 {
		seq := int64(math.MaxInt64) - int64(i)
		other.Count(3, seq, 1)
		want.Add(want, big.NewInt(seq))
	}
	b.Count(0, 7, 1<<32-1)
	b.Add(&other)
	c := b.columns()
	slots, rows, sums, lasts := c.slots, c.rows, c.sums, c.lasts
	if !slices.Equal(slots, []int16{0, 3}) || !slices.Equal(rows, []int64{1, 100}) || b.Rows() != 101 {
		t.Fatalf("slots %v rows %v total %d", slots, rows, b.Rows())
	}
	if !slices.Equal(c.versions, []string{"4294967295", "100"}) || !slices.Equal(c.versioned, rows) {
		t.Errorf("versions %v of %v rows", c.versions, c.versioned)
	}
	if sums[0] != "7" || sums[1] != want.String() || lasts[1] != math.MaxInt64 {
		t.Errorf("sums %v lasts %v, want %s", sums, lasts, want)
	}
}

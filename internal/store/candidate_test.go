package store

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func someCandidate() *Candidate {
	c := &Candidate{Batch: 7, After: 5}
	c.Settlement = Settlement{
		Cursor: At(Snapshot{Xmin: 700, Xmax: 720, InProgress: []uint64{700, 711}}).Within(Snapshot{Xmin: 720, Xmax: 800}, 1234),
		Floor:  11, Newest: Anchor{XID: 690, Seq: 1000},
		Parked: []Parked{{Slot: 2, Seq: 1200, State: "scheduled", Due: time.Date(2031, 2, 3, 4, 5, 6, 7000, time.UTC)},
			{Slot: 3, Seq: 1234, State: "dead", Reason: `too_large: "quoted"`}},
	}
	for seq := int64(1); seq < 1000; seq++ {
		c.Settlement.Books.Count(int16(seq%3), 1<<62+seq, uint32(seq)) // sums beyond 64 bits
	}
	return c
}

func TestCandidate_ComesBackAsItWas(t *testing.T) {
	want := someCandidate()
	text, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseCandidate(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nread as %+v (%v)\nnot as  %+v", text, got, err, want)
	}
	if none, err := parseCandidate(nil); none != nil || err != nil {
		t.Errorf("no candidate was read as %v, %v", none, err)
	}
}

func FuzzParseCandidate(f *testing.F) {
	text, _ := someCandidate().encode()
	f.Add(text)
	f.Add([]byte(`{"from":"1:1:","books":[{"slot":9,"rows":1,"sum":"-1"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCandidate(text)
		if err != nil || c == nil {
			return
		}
		again, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		twin, err := parseCandidate(again)
		if err != nil || !reflect.DeepEqual(twin, c) {
			t.Errorf("%+v was written and read as %+v (%v)", c, twin, err)
		}
	})
}

func TestPrepare_LeavesTheCursorAndSettlesWhatCameBefore(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	epoch := acquire(t, url)
	s := openSession(t, url, epoch)
	execute(t, c, "insert into outbox.events (topic, payload) values ('t', '1'), ('t', '2')")
	payloads, next, books := readAll(t, s, s.position.Cursor)
	if len(payloads) != 2 {
		t.Fatalf("read %v", payloads)
	}
	first := Settlement{Cursor: next, Books: books}
	if _, err := s.settler.Prepare(t.Context(), nil, &Candidate{Batch: 1, Settlement: first}); err != nil {
		t.Fatal(err)
	}
	// look reads the row as the next session would, and goes on as that one.
	look := func() Position {
		p := openSession(t, url, epoch).position
		s.settler.Begin(p.Fence)
		return p
	}
	again := look()
	if again.Batch != 1 || again.Candidate == nil || !reflect.DeepEqual(again.Candidate.Settlement.Cursor, next) ||
		!reflect.DeepEqual(again.Cursor, s.position.Cursor) {
		t.Fatalf("prepared: %+v", again)
	}

	execute(t, c, "insert into outbox.events (topic, payload) values ('t', '3')")
	_, after, books := readAll(t, s, next)
	anchor, err := s.settler.Prepare(t.Context(), &first, &Candidate{Batch: 2, After: 1, Settlement: Settlement{Cursor: after, Books: books}})
	if err != nil || anchor.XID == 0 {
		t.Fatal(anchor, err)
	}
	again = look()
	if again.Batch != 2 || again.Candidate == nil || again.Candidate.After != 1 || !reflect.DeepEqual(again.Cursor, next) {
		t.Fatalf("prepared the second: %+v", again)
	}
	if _, err := s.settler.Settle(t.Context(), &again.Candidate.Settlement); err != nil {
		t.Fatal(err)
	}
	if last := look(); last.Candidate != nil || last.Batch != 2 {
		t.Errorf("settled: %+v", last)
	}
	checkBooks(t, url)
}

func TestPrepare_WritesNothingUnderAnotherEpoch(t *testing.T) {
	url := database(t)
	s := openSession(t, url, acquire(t, url))
	c := plain(t, url)
	execute(t, c, "update outbox.relays set epoch = epoch + 1")
	for _, settled := range []*Settlement{nil, {Cursor: s.position.Cursor}} {
		if _, err := s.settler.Prepare(t.Context(), settled, someCandidate()); !errors.Is(err, ErrFenced) {
			t.Errorf("prepared under an old epoch: %v", err)
		}
	}
	var left bool
	err := c.QueryRow(t.Context(), "select candidate is not null or batch > 0 from outbox.relays").Scan(&left)
	if err != nil || left {
		t.Errorf("a fenced prepare left something: %v", err)
	}
}

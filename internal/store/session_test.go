package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func readAll(t *testing.T, s *testSession, c Cursor) (payloads []string, next Cursor, books Books) {
	t.Helper()
	page, err := s.reader.Read(t.Context(), c, s.position.Anchors, 100, func(row *Row) error {
		payloads = append(payloads, string(row.Value()))
		books.Count(row.Slot, row.Seq, row.Version)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return payloads, page.Next, books
}

func TestSettler_WritesNothingUnderAnotherEpoch(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	old := openSession(t, url, acquire(t, url))
	execute(t, c, "insert into outbox.events (topic, payload) values ('t', '1')")
	execute(t, c, "update outbox.relays set epoch = epoch + 1")
	_, next, books := readAll(t, old, old.position.Cursor)
	_, err := old.settler.Settle(t.Context(), &Settlement{Cursor: next, Books: books,
		Parked: []Parked{{Slot: 0, Seq: 1, State: "dead"}}})
	if !errors.Is(err, ErrFenced) {
		t.Fatalf("settling under an old epoch: %v", err)
	}
	var rows int
	var from string
	err = c.QueryRow(t.Context(), `select window_from::text, (select count(*) from outbox.slots) + (select count(*) from outbox.parked)
		from outbox.relays`).Scan(&from, &rows)
	if err != nil || from != FirstSnapshot().String() || rows != 0 {
		t.Errorf("a fenced settle left cursor %s and %d rows (%v)", from, rows, err)
	}
}

// A session gave up on a settle that waited in the server, and the next one has read the row. What waited is carried
// out now, under the same epoch.
func TestSettler_WritesNothingForAnEarlierSession(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	epoch := acquire(t, url)
	execute(t, c, "insert into outbox.events (topic, payload) values ('t', '1'), ('t', '2')")
	old := openSession(t, url, epoch)
	_, next, books := readAll(t, old, old.position.Cursor)
	openSession(t, url, epoch)
	late := Settlement{Cursor: next, Books: books}
	if _, err := old.settler.Settle(t.Context(), &late); !errors.Is(err, ErrFenced) {
		t.Errorf("a late settle: %v", err)
	}
	if _, err := old.settler.Prepare(t.Context(), nil, &Candidate{Batch: 1, Settlement: late}); !errors.Is(err, ErrFenced) {
		t.Errorf("a late prepare: %v", err)
	}
	if _, err := old.settler.Prepare(t.Context(), &late, &Candidate{Batch: 1, Settlement: late}); !errors.Is(err, ErrFenced) {
		t.Errorf("a late settle and prepare: %v", err)
	}
	yard, err := NewYard(t.Context(), connect(t, url), In(schema), "main", old.position.Fence)
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"release": yard.Released(t.Context(), []int64{1}), "change": yard.Changed(t.Context(), []Change{{No: 1, State: "held"}}),
		"prepared shipment": yard.Prepare(t.Context(), &Shipment{Batch: 1}), "shipment": yard.Shipped(t.Context(), &Shipment{Batch: 1}),
	} {
		if !errors.Is(err, ErrFenced) {
			t.Errorf("a late %s: %v", what, err)
		}
	}
}

func TestSettler_ParksInTheCursorsStatement(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	s := openSession(t, url, acquire(t, url))
	execute(t, c, `insert into outbox.events (topic, key, type, payload, headers, partition) values
		('t', 'a', 'X', '{"n": 1}', '{"h": "v"}', 3), ('t', 'b', null, '2', null, null)`)
	var parked []Parked
	due := time.Date(2031, 2, 3, 4, 5, 6, 7000, time.UTC)
	var books Books
	page, err := s.reader.Read(t.Context(), s.position.Cursor, s.position.Anchors, 100, func(row *Row) error {
		books.Count(row.Slot, row.Seq, row.Version)
		if string(row.Key) == "a" {
			parked = append(parked, Parked{Slot: row.Slot, Seq: row.Seq, State: "scheduled", Reason: "later", Due: due})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.settler.Settle(t.Context(), &Settlement{Cursor: page.Next, Books: books, Parked: parked}); err != nil {
		t.Fatal(err)
	}
	var state, reason, payload, headers, status string
	var at time.Time
	var delivered int64
	err = c.QueryRow(t.Context(), `select p.state, p.reason, p.due_at, p.payload::text, p.headers::text, d.status, r.delivered
		from outbox.parked p join outbox.delivery d using (seq) cross join outbox.relays r`).
		Scan(&state, &reason, &at, &payload, &headers, &status, &delivered)
	if err != nil || state != "scheduled" || reason != "later" || !at.Equal(due) || payload != `{"n": 1}` ||
		headers != `{"h": "v"}` || status != "scheduled" || delivered != 1 {
		t.Errorf("parked as %s %q %s %s %s, shown as %s, delivered %d: %v", state, reason, at, payload, headers, status, delivered, err)
	}
	checkBooks(t, url)
}

func TestPosition_SurvivesAReopenInTheMiddleOfAWindow(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	epoch := acquire(t, url)
	s := openSession(t, url, epoch)
	execute(t, c, "insert into outbox.events (topic, payload) select 't', to_json(n) from generate_series(1, 10) n")
	var got []string
	page, err := s.reader.Read(t.Context(), s.position.Cursor, s.position.Anchors, 4, func(row *Row) error {
		got = append(got, string(row.Payload))
		return nil
	})
	if err != nil || !page.Next.Open {
		t.Fatalf("open window %v: %v", page.Next.Open, err)
	}
	anchor, err := s.settler.Settle(t.Context(), &Settlement{Cursor: page.Next})
	if err != nil || anchor.Seq != 10 {
		t.Fatalf("anchor %+v: %v", anchor, err)
	}
	// A row that commits now is in a later window: it must not slip into the rest of this one.
	execute(t, c, "insert into outbox.events (topic, payload) values ('t', '11')")
	again := openSession(t, url, epoch)
	rest, next, _ := readAll(t, again, again.position.Cursor)
	if next.Open {
		t.Error("the window is not closed at its end")
	}
	if got = append(got, rest...); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}) {
		t.Errorf("the window gave %v", got)
	}
	if rest, _, _ = readAll(t, again, next); !slices.Equal(rest, []string{"11"}) {
		t.Errorf("the next window gave %v", rest)
	}
}

func TestReader_GivesUpAPageWithoutReadingIt(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	s := openSession(t, url, acquire(t, url))
	execute(t, c, "insert into outbox.events (topic, payload_bytes) select 't', decode(repeat('ab', 1000000), 'hex') from generate_series(1, 200)")
	cursor, rows := s.position.Cursor, 0
	began := time.Now()
	for range 5 {
		n := 0
		page, err := s.reader.Read(t.Context(), cursor, s.position.Anchors, 1000, func(*Row) error {
			if n++; n > 3 {
				return ErrStop
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		cursor, rows = page.Next, rows+page.Rows
	}
	if rows != 15 || !cursor.Open || cursor.After != 15 {
		t.Errorf("%d rows, cursor after %d, open %v", rows, cursor.After, cursor.Open)
	}
	t.Logf("five pages of 200 MB given up in %v", time.Since(began))
}

func TestReader_SaysWhenNothingHasHappened(t *testing.T) {
	url := database(t)
	s := openSession(t, url, acquire(t, url))
	page, err := s.reader.Read(t.Context(), s.position.Cursor, s.position.Anchors, 10, func(*Row) error { return nil })
	for range 20 { // other databases of the shared server may be busy for a moment
		if err != nil {
			t.Fatal(err)
		}
		if page.Quiet {
			return
		}
		page, err = s.reader.Read(t.Context(), page.Next, s.position.Anchors, 10, func(*Row) error { return nil })
	}
	t.Error("an idle server never looks quiet")
}

func TestPosition_RefusesAnotherCluster(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	epoch := acquire(t, url)
	openSession(t, url, epoch)
	execute(t, c, "update outbox.relays set system_identifier = '42'")
	conn := connect(t, url)
	id, err := Identify(t.Context(), conn, In(schema))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPosition(t.Context(), conn, In(schema), "main", "test", epoch, id); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("a cursor of another cluster was taken: %v", err)
	}
	if _, err := ReadPosition(t.Context(), conn, In(schema), "main", "test", epoch+1, id); !errors.Is(err, ErrFenced) {
		t.Errorf("a cursor of another epoch was taken: %v", err)
	}
	if _, err := ReadPosition(t.Context(), conn, In(schema), "main", "another", epoch, id); !errors.Is(err, ErrFenced) {
		t.Errorf("a cursor of another holder was taken: %v", err)
	}
}

func TestLease_OneHolderAndANewEpochForEach(t *testing.T) {
	url := database(t)
	a := NewLease(connect(t, url), In(schema), "main", "a", 2*time.Second)
	b := NewLease(connect(t, url), In(schema), "main", "b", time.Minute)
	first, ok, err := a.Acquire(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, ok, err := b.Acquire(t.Context()); ok || err != nil {
		t.Fatalf("two hold the lease (%v)", err)
	}
	if err := a.Renew(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	var second int64
	for deadline := time.Now().Add(15 * time.Second); ; {
		if second, ok, err = b.Acquire(t.Context()); ok || err != nil || time.Now().After(deadline) {
			break
		}
	}
	if !ok || err != nil || second != first+1 {
		t.Fatalf("taking over an expired lease: %v, epoch %d after %d, %v", ok, second, first, err)
	}
	if err := a.Renew(t.Context(), first); !errors.Is(err, ErrFenced) {
		t.Errorf("the old holder renewed: %v", err)
	}
	if err := a.Release(t.Context(), first); !errors.Is(err, ErrFenced) {
		t.Errorf("the old holder released: %v", err)
	}
	if _, ok, _ := a.Acquire(t.Context()); ok {
		t.Error("the old holder released the new one's lease")
	}
	if err := b.Release(t.Context(), second); err != nil {
		t.Error(err)
	}
	if third, ok, err := a.Acquire(t.Context()); !ok || err != nil || third != second+1 {
		t.Errorf("a released lease is not free: %v %v", ok, err)
	}
}

func TestDoorbell_RingsOnlyWhileItHangs(t *testing.T) {
	url := database(t)
	writer := plain(t, url)
	conn := connect(t, url)
	id, err := Identify(t.Context(), conn, In(schema))
	if err != nil {
		t.Fatal(err)
	}
	bell, err := NewDoorbell(t.Context(), conn, id)
	if err != nil {
		t.Fatal(err)
	}
	insert := "insert into outbox.events (topic, payload) values ('t', '1')"
	execute(t, writer, insert)
	if rang, err := bell.Wait(t.Context(), 100*time.Millisecond); rang || err != nil {
		t.Fatalf("an insert rang while the relay was awake (%v)", err)
	}
	execute(t, writer, "begin")
	execute(t, writer, insert)
	if set, err := bell.Set(t.Context()); set || err != nil {
		t.Fatalf("the bell was hung up while a writer that will not ring is open (%v)", err)
	}
	execute(t, writer, "commit")
	if set, err := bell.Set(t.Context()); !set || err != nil {
		t.Fatalf("the bell could not be hung up: %v", err)
	}
	execute(t, writer, insert)
	if rang, err := bell.Wait(t.Context(), 5*time.Second); !rang || err != nil {
		t.Fatalf("an insert did not ring: %v", err)
	}
	if err := bell.Unset(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, writer, insert)
	if rang, _ := bell.Wait(t.Context(), 100*time.Millisecond); rang {
		t.Error("an insert rang after the bell was taken down")
	}
}

func TestConnect_RefusesAndHidesTheSecret(t *testing.T) {
	_, err := Connect(t.Context(), fixed("postgres://u:hunter2@[bad/db"), "test")
	var refused *Refused
	if !errors.As(err, &refused) {
		t.Fatalf("a URL that cannot be read: %v", err)
	}
	if s := err.Error(); len(s) == 0 || strings.Contains(s, "hunter2") {
		t.Errorf("the message is %q", s)
	}
}

func TestReader_StillUntilATransactionEnds(t *testing.T) {
	url := database(t)
	c, slow := plain(t, url), plain(t, url)
	s := openSession(t, url, acquire(t, url))
	still := func(want bool, when string) {
		t.Helper()
		got, err := s.reader.Still(t.Context())
		if err != nil || got != want {
			t.Errorf("%s: still %v (%v), want %v", when, got, err, want)
		}
	}
	still(false, "before the first read")
	execute(t, slow, "begin")
	execute(t, slow, "insert into outbox.events (topic, payload) values ('t', '1')")
	_, next, _ := readAll(t, s, s.position.Cursor)
	still(true, "after a read that left nothing")
	execute(t, slow, "commit")
	still(false, "after the commit of a transaction that had begun before that read")
	rows, next, _ := readAll(t, s, next)
	if len(rows) != 1 {
		t.Errorf("%d rows after the commit", len(rows))
	}
	// A page that was full leaves the window open: the rest of it is there, whatever happens in the cluster.
	execute(t, c, "insert into outbox.events (topic, payload) select 't', '2' from generate_series(1, 100)")
	_, next, _ = readAll(t, s, next)
	if !next.Open {
		t.Fatal("a full page closed its window")
	}
	still(false, "while a window is open")
}

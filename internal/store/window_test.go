package store

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

const insertSQL = "insert into outbox.events (topic, payload) values ('t', $1)"

func wantRows(t *testing.T, s *testSession, c Cursor, want ...string) Cursor {
	t.Helper()
	got, next, _ := readAll(t, s, c)
	if !slices.Equal(got, want) {
		t.Errorf("the window gave %v, want %v", got, want)
	}
	return next
}

func TestWindow_HasALowNumberThatCommitsLate(t *testing.T) {
	url := database(t)
	late, c := plain(t, url), plain(t, url)
	s := openSession(t, url, acquire(t, url))
	execute(t, late, "begin")
	execute(t, late, insertSQL, "1")
	execute(t, c, insertSQL, "2")
	next := wantRows(t, s, s.position.Cursor, "2")
	execute(t, late, "commit")
	wantRows(t, s, next, "1")
}

// A key's lock orders its numbers, and not the xids of those who take it.
func TestWindow_IsInTheOrderOfNumbers(t *testing.T) {
	url := database(t)
	older, c := plain(t, url), plain(t, url)
	s := openSession(t, url, acquire(t, url))
	execute(t, older, "begin")
	execute(t, older, "select pg_current_xact_id()")
	execute(t, c, insertSQL, "1")
	execute(t, older, insertSQL, "2")
	execute(t, older, "commit")
	wantRows(t, s, s.position.Cursor, "1", "2")
}

// A transaction that is in progress and newer than all that have completed is not below the snapshot's xmax, and has
// drawn its number already: an anchor made of that xmax would stand above it.
func TestWindow_HasWhatWasDrawnBeforeTheAnchor(t *testing.T) {
	url := database(t)
	newest := plain(t, url)
	s := openSession(t, url, acquire(t, url))
	execute(t, newest, "begin")
	execute(t, newest, insertSQL, "1")
	next := wantRows(t, s, s.position.Cursor)
	anchor, err := s.settler.Settle(t.Context(), &Settlement{Cursor: next})
	if err != nil {
		t.Fatal(err)
	}
	s.position.Anchors.Add(anchor)
	execute(t, newest, "commit")
	wantRows(t, s, next, "1")
}

// The scan begins above a transaction that is far behind, and when it commits the window is read again from its floor.
func TestWindow_HasATransactionThatWasFarBehind(t *testing.T) {
	url := database(t)
	long, c := plain(t, url), plain(t, url)
	s := openSession(t, url, acquire(t, url))
	s.reader.near = 20
	execute(t, long, "begin")
	execute(t, long, insertSQL, "1")
	execute(t, c, "insert into outbox.events (topic, payload) select 't', '2' from generate_series(1, 30)")
	_, next, books := readAll(t, s, s.position.Cursor)
	anchor, err := s.settler.Settle(t.Context(), &Settlement{Cursor: next, Books: books})
	if err != nil {
		t.Fatal(err)
	}
	s.position.Anchors.Add(anchor)
	execute(t, c, insertSQL, "3")
	next = wantRows(t, s, next, "3") // its end is above the anchor
	if start, far := s.position.Anchors.Start(next.From, s.reader.near); len(far) != 1 || start < 30 {
		t.Fatalf("the scan begins at %d, without %v", start, far)
	}
	execute(t, c, insertSQL, "4")
	execute(t, long, "commit")
	wantRows(t, s, next, "1", "4")
}

// wire calls sent before each write to the server.
type wire struct {
	net.Conn
	sent func()
}

func (w wire) Write(b []byte) (int, error) {
	w.sent()
	return w.Conn.Write(b)
}

// The window ends where its only statement looked, not where a later one does: what commits in between is in the next.
func TestWindow_HasWhatCommitsAfterAnEmptyOne(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	s := openSession(t, url, acquire(t, url))
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	statements, sent := 0, func() {}
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return wire{conn, func() { sent() }}, err
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.reader.Close()
	if s.reader, err = NewReader(t.Context(), conn, s.names, fixed(url)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.reader.Close)
	sent = func() {
		if statements++; statements == 2 {
			execute(t, c, insertSQL, "1")
		}
	}
	next := wantRows(t, s, s.position.Cursor)
	if statements == 1 {
		execute(t, c, insertSQL, "1")
	}
	sent = func() {}
	wantRows(t, s, next, "1")
}

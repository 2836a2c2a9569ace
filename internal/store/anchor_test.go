package store

import (
	"slices"
	"testing"
	"time"
)

// The sequence is read before the statement that gives the anchor has its xid: what a transaction that is newer than
// that draws is above the anchor, and is read. A row lock holds the statement up when it has the xid and not yet ended.
func TestAnchor_StandsBelowWhatNewerTransactionsDraw(t *testing.T) {
	for of, take := range map[string]func(*testing.T, *testSession, int64) (*Anchors, error){
		"the session's first statement": func(t *testing.T, s *testSession, epoch int64) (*Anchors, error) {
			id, err := Identify(t.Context(), s.settler.conn, s.names)
			if err != nil {
				return nil, err
			}
			p, err := ReadPosition(t.Context(), s.settler.conn, s.names, "main", "test", epoch, id)
			return p.Anchors, err
		},
		"a settle": func(t *testing.T, s *testSession, _ int64) (*Anchors, error) {
			a, err := s.settler.Settle(t.Context(), &Settlement{Cursor: s.position.Cursor})
			s.position.Anchors.Add(a)
			return s.position.Anchors, err
		},
	} {
		t.Run(of, func(t *testing.T) {
			url := database(t)
			locker, writer := plain(t, url), plain(t, url)
			epoch := acquire(t, url)
			s := openSession(t, url, epoch)
			execute(t, locker, "begin; select from outbox.relays for update")
			type taken struct {
				anchors *Anchors
				err     error
			}
			done := make(chan taken, 1)
			go func() {
				anchors, err := take(t, s, epoch)
				done <- taken{anchors, err}
			}()
			const held = `select count(*) from pg_stat_activity where pid = $1 and backend_xid is not null and wait_event_type = 'Lock'`
			for deadline, n := time.Now().Add(20*time.Second), 0; n == 0; {
				if err := writer.QueryRow(t.Context(), held, s.settler.conn.PgConn().PID()).Scan(&n); err != nil || time.Now().After(deadline) {
					t.Fatalf("the statement does not wait with an xid: %v", err)
				}
			}
			execute(t, writer, "begin; insert into outbox.events (topic, payload) values ('t', '1')")
			execute(t, locker, "commit")
			got := <-done
			if got.err != nil {
				t.Fatal(got.err)
			}
			s.position.Anchors = got.anchors
			rows, next, _ := readAll(t, s, s.position.Cursor)
			if len(rows) != 0 {
				t.Fatalf("an open transaction was read: %s", rows)
			}
			execute(t, writer, "commit")
			if rows, _, _ := readAll(t, s, next); !slices.Equal(rows, []string{"1"}) {
				t.Errorf("read %q: the event of a transaction that is newer than the anchor %+v is lost", rows, got.anchors.Newest())
			}
		})
	}
}

// One transaction writes much while the relay rests. An anchor from the middle of it is a floor while it is delivered.
func TestAnchor_FromTheMiddleOfATransactionIsAFloor(t *testing.T) {
	url := database(t)
	writer := plain(t, url)
	s := openSession(t, url, acquire(t, url))
	execute(t, writer, "begin; insert into outbox.events (topic, payload) select 't', '1' from generate_series(1, 300)")
	_, cursor, _ := readAll(t, s, s.position.Cursor)
	a, err := s.reader.Anchor(t.Context())
	if err != nil || a.Seq != 300 {
		t.Fatalf("anchor %+v, %v", a, err)
	}
	s.position.Anchors.Add(a)
	execute(t, writer, "insert into outbox.events (topic, payload) select 't', '1' from generate_series(1, 300); commit")
	for page, want := range []int64{100, 200, 300, 300, 300} {
		var rows []string
		if rows, cursor, _ = readAll(t, s, cursor); len(rows) != 100 || !cursor.Open {
			t.Fatalf("page %d: %d rows, open %v", page, len(rows), cursor.Open)
		}
		if got := s.position.Anchors.FloorOf(cursor); got != want {
			t.Errorf("behind page %d the floor is %d, want %d", page, got, want)
		}
	}
}

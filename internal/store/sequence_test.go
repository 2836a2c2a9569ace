package store

import (
	"strings"
	"testing"
	"time"
)

// An anchor says that no later transaction has a seq up to its own. PostgreSQL's nextval writes a value of 32 numbers
// further on into the sequence for as long as it writes its log record, and a plain select of last_value sees that.
func TestSequence_IsNeverReadAhead(t *testing.T) {
	url := database(t)
	stop := time.Now().Add(4 * time.Second)
	done := make(chan struct{})
	for range 3 {
		c := plain(t, url)
		go func() {
			defer func() { done <- struct{}{} }()
			for time.Now().Before(stop) {
				if _, err := c.Exec(t.Context(), "select count(nextval('outbox.events_seq')) from generate_series(1, 500)"); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	c := plain(t, url)
	sequence := newSequence(In(schema))
	looks, ahead := 0, int64(0)
	for ; time.Now().Before(stop); looks++ {
		read, err := sequence.before(t.Context(), c, "select 1", nil, new(int))
		if err != nil {
			t.Fatal(err)
		}
		if next := scan[int64](t, c, "select nextval('outbox.events_seq')"); next <= read {
			ahead = max(ahead, read-next+1)
		}
	}
	for range 3 {
		<-done
	}
	if ahead > 0 {
		t.Errorf("in %d looks the sequence was read up to %d numbers ahead", looks, ahead)
	}
}

// openAgain begins a session as one that follows does, and gives what keeps it from that.
func openAgain(t *testing.T, url string, epoch int64) error {
	t.Helper()
	c := connect(t, url)
	id, err := Identify(t.Context(), c, In(schema))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ReadPosition(t.Context(), c, In(schema), "main", "test", epoch, id)
	return err
}

// sequenceFault has a session settle five events, breaks the sequence, and looks that every anchor is refused with the
// cure, until that was applied.
func sequenceFault(t *testing.T, fault, problem string) {
	url := database(t)
	c := plain(t, url)
	epoch := acquire(t, url)
	s := openSession(t, url, epoch)
	execute(t, c, "insert into outbox.events (topic, payload) select 't', '1' from generate_series(1, 5)")
	_, next, books := readAll(t, s, s.position.Cursor)
	anchor, err := s.settler.Settle(t.Context(), &Settlement{Cursor: next, Books: books})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.settler.Settle(t.Context(), &Settlement{Cursor: next, Floor: 5, Newest: anchor}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.reader.Anchor(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, c, fault)
	_, settled := s.settler.Settle(t.Context(), &Settlement{Cursor: next, Floor: 5, Newest: anchor})
	_, anchored := s.reader.Anchor(t.Context())
	opened := openAgain(t, url, epoch)
	for what, err := range map[string]error{"settle": settled, "anchor": anchored, "a session's beginning": opened} {
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", what, err, problem)
		}
	}
	if t.Failed() {
		return
	}
	_, cure, _ := strings.Cut(opened.Error(), ": select ")
	if cure != "" {
		cure = "select " + cure
	} else {
		_, cure, _ = strings.Cut(opened.Error(), ": alter ")
		cure = "alter " + cure
	}
	cure, _, _ = strings.Cut(cure, ";")
	execute(t, c, cure)
	if err := openAgain(t, url, epoch); err != nil {
		t.Errorf("after %s: %v", cure, err)
	}
}

func TestSequence_ThatWasSetBackIsRefused(t *testing.T) {
	sequenceFault(t, "select setval('outbox.events_seq', 2)", "stands at 2 and was at 5")
}

func TestSequence_ThatIsDrawnInAdvanceIsRefused(t *testing.T) {
	sequenceFault(t, "alter sequence outbox.events_seq cache 20", "does not count one by one")
}

package store

import (
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
	sequence := sequenceOf(In(schema))
	looks, ahead := 0, int64(0)
	for ; time.Now().Before(stop); looks++ {
		read := scan[int64](t, c, sequence)
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

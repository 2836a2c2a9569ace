package store

import (
	"strings"
	"testing"
	"time"
)

func yard(t *testing.T, url string, epoch int64) *Yard {
	t.Helper()
	y, err := NewYard(t.Context(), connect(t, url), In(schema), "relay", Fence{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// A million scheduled events were once read to the end by each look for the few that were due.
func TestYard_ReadsNoFurtherThanWhatIsDue(t *testing.T) {
	y := yard(t, database(t), 1)
	rows, err := y.conn.Query(t.Context(), "explain execute "+dueName+" ('relay', 'scheduled', '500', '-infinity')")
	if err != nil {
		t.Fatal(err)
	}
	var plan []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	text := strings.Join(plan, "\n")
	_, text, _ = strings.Cut(text, "CTE picked\n")
	text, free, _ := strings.Cut(text, "CTE free\n")
	if strings.Contains(free, "Seq Scan") {
		t.Errorf("the whole table is read for the few rows that were picked:\n%s", free)
	}
	if rows.Err() != nil || !strings.Contains(text, "using parked_due") || !strings.Contains(text, "due_at <= statement_timestamp()") ||
		strings.Contains(text, "Filter:") || strings.Contains(text, "Sort") {
		t.Errorf("%v\n%s", rows.Err(), text)
	}
}

func TestYard_LooksAtWhatIsDueNext(t *testing.T) {
	url := database(t)
	y, c := yard(t, url, 1), plain(t, url)
	look := func() Work {
		t.Helper()
		y.wholeAt = time.Time{}
		w, err := y.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	park := func(seq int, state, due string) {
		t.Helper()
		execute(t, c, `insert into outbox.parked (name, seq, state, due_at, id, topic, created_at)
			values ('relay', $1, $2, now() + $3::interval, gen_random_uuid(), 't', now())`, seq, state, due)
	}
	if w := look(); w.Scheduled || w.Replay || w.Letters || w.Next != time.Hour {
		t.Errorf("nothing is parked: %+v", w)
	}
	execute(t, c, `insert into outbox.parked (name, seq, state, due_at, id, topic, created_at)
		values ('relay', 1, 'scheduled', 'infinity', gen_random_uuid(), 't', now())`)
	if w := look(); w.Scheduled || w.Next != time.Hour {
		t.Errorf("an event that is never due: %+v", w)
	}
	park(2, "scheduled", "20 minutes")
	park(3, "replay", "10 minutes")
	if w := look(); w.Scheduled || w.Replay || w.Next > 10*time.Minute || w.Next < 9*time.Minute {
		t.Errorf("the next one is due in ten minutes: %+v", w)
	}
	park(4, "scheduled", "-2 hours")
	if w := look(); !w.Scheduled || w.Replay || w.Next != -time.Hour {
		t.Errorf("one is due: %+v", w)
	}
	execute(t, c, "update outbox.parked set due_at = '-infinity' where seq in (3, 4)")
	if w := look(); !w.Scheduled || !w.Replay || w.Next != -time.Hour {
		t.Errorf("two are due since ever: %+v", w)
	}
	handed, err := y.Due(t.Context(), "scheduled", 10, func(*ParkedRow) error { return nil })
	if err != nil || handed != 1 {
		t.Errorf("%d of one scheduled event handed out: %v", handed, err)
	}

	// A look that does not begin at the start sees what was parked just now all the same.
	execute(t, c, "delete from outbox.parked")
	look()
	y.wholeAt = time.Now().Add(time.Hour)
	park(5, "replay", "-1 hour")
	if w, err := y.Look(t.Context()); err != nil || w.Replay || w.Scheduled {
		t.Errorf("the look began at the start: %+v, %v", w, err)
	}
	park(6, "scheduled", "-1 second")
	if w, err := y.Look(t.Context()); err != nil || !w.Scheduled {
		t.Errorf("an event that is due since a second: %+v, %v", w, err)
	}
	if w := look(); !w.Replay {
		t.Errorf("a look from the start misses what is due since an hour: %+v", w)
	}
}

package main

import (
	"slices"
	"strings"
	"testing"
)

// Every number that is drawn now lies below where relay looks, so it finds nothing that would make it read the sequence.
// It stops nevertheless, relay check says how to mend it, and what was written meanwhile is delivered by a repair.
func TestRun_ASequenceThatWasSetBack(t *testing.T) {
	env, conn, b, _ := delivering(t, 300)
	execute(t, conn, `select setval('outbox.events_seq', 1)`)
	execute(t, conn, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '"low"'), ('orders', 'k', '"lower"')`)
	before := query(t, conn, `select session::text from outbox.relays`)
	until(t, "the session ends", func() bool { return query(t, conn, `select session::text from outbox.relays`) != before })
	cureSequence(t, env, func(sql string) { execute(t, conn, sql) })
	execute(t, conn, `insert into outbox.events (topic, key, payload) values ('orders', 'k', '"after"')`)
	settledAll(t, conn)
	runRelay(t, env, "audit", "--repair").wants(t, exitDone)
	// Two rows are too many for the books to name, so the repair publishes all of the slot again, in any order.
	want := []string{`"low"`, `"lower"`, `"after"`}
	missing := func(got []string) (missing []string) {
		for _, value := range want {
			if !slices.Contains(got, value) {
				missing = append(missing, value)
			}
		}
		return missing
	}
	got := valuesUntil(t, b, "orders", func(got []string) bool { return len(missing(got)) == 0 })
	if m := missing(got); len(m) > 0 {
		t.Errorf("%v were not delivered; %d records were", m, len(got))
	}
	runRelay(t, env, "audit").wants(t, exitDone)
}

// cureSequence runs the statement that relay check gives.
func cureSequence(t *testing.T, env []string, run func(sql string)) {
	t.Helper()
	report := decode[checkReport](t, runRelay(t, env, "check", "--json").wants(t, exitFound))
	for _, f := range report.Findings {
		if f.Check == "sequence" && f.Status == statusFail {
			_, cure, _ := strings.Cut(f.Message, ": select ")
			cure, _, _ = strings.Cut(cure, ";")
			run("select " + cure)
			return
		}
	}
	t.Fatalf("relay check does not see it: %+v", report)
}

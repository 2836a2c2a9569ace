package adopt

import (
	"fmt"
	"testing"
)

// What has to wait for open writers after the trigger is there has no lock but its own. A writer's event that is in no
// committed transaction yet is seen by no look at what waits, and would wait for ever.
func TestLock_AnOpenWritersEventIsNotLeftBehind(t *testing.T) {
	for what, end := range map[string]func(a *Adopter, p *Plan, old *Adoption) error{
		"switch": func(a *Adopter, p *Plan, old *Adoption) error {
			_, err := a.Backfill(t.Context(), p, old.No, func(Progress) {})
			return err
		},
		"abandon": func(a *Adopter, _ *Plan, old *Adoption) error {
			_, err := a.Remove(t.Context(), "outbox", old, true)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			conn := newDatabase(t, `create table m (n bigint generated always as identity primary key, k text, body text)`)
			p := planned(t, conn, "m", "", "topic='t'", "key=k", "payload=body")
			a := adopter(t, conn)
			if err := a.Begin(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			old := found(t, conn, "m")
			writer := another(t, conn)
			exec(t, writer, `begin; insert into m (k) values ('of an open transaction')`)
			ended := make(chan error, 1)
			go func() { ended <- end(a, p, old) }()
			// The commit has to come while it waits, not between two tries: after that one it begins anew.
			blocked := fmt.Sprintf(`select exists (select from pg_locks where pid = %d and not granted)::text`, a.Conn.PgConn().PID())
			eventually(t, func() bool { return len(ended) > 0 || text(t, conn, blocked) == "true" })
			if len(ended) > 0 {
				t.Error("it ended under an open writer")
			}
			exec(t, writer, `commit`)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if got := keys(t, conn) + text(t, conn, `select count(*)::text from outbox.adopted_waiting`); got != "of an open transaction0" {
				t.Errorf("events and how many wait: %q", got)
			}
		})
	}
}

package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Somebody has called parked_drop and not committed. What the page says to ask finds the event, and who has it.
func TestTroubleshooting_FindsWhoHasAParkedEvent(t *testing.T) {
	const id = "0198c0de-0000-7000-8000-000000000000"
	text, err := os.ReadFile(filepath.Join(root, "docs/operations/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	query := func(word string) string {
		for _, b := range parse("troubleshooting.md", string(text)).blocks {
			if b.lang == "sql" && strings.Contains(b.text, word) {
				return b.text
			}
		}
		t.Fatalf("no statement with %s", word)
		return ""
	}
	s := newStage(t)
	defer s.stop()
	connect := func(name string) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), s.database.String()+"&application_name="+name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(t.Context()) })
		return conn
	}
	here, psql := connect("here"), connect("psql")
	if _, err := psql.Exec(t.Context(), `insert into outbox.parked (name, seq, state, id, topic, created_at) values ('main', 1, 'held', '`+id+`', 'orders', now())
		on conflict do nothing`); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Exec(t.Context(), query("nowait")); err != nil {
		t.Errorf("nobody has it: %v", err)
	}
	if _, err := psql.Exec(t.Context(), `begin; select outbox.parked_drop('{`+id+`}')`); err != nil {
		t.Fatal(err)
	}
	const says = "could not obtain lock on row"
	if _, err := here.Exec(t.Context(), query("nowait")); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(string(text), says) {
		t.Errorf("somebody has it: %v", err)
	}
	rows, err := here.Query(t.Context(), query("pg_stat_activity"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil || len(found) == 0 {
		t.Fatalf("nobody is found: %v", err)
	}
	for _, row := range found {
		if row["pid"] != int32(psql.PgConn().PID()) || row["application_name"] != "psql" || row["state"] != "idle in transaction" {
			t.Errorf("%+v", row)
		}
	}
}

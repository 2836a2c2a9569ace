package store

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What exactly_once prepares has to be on disk, whatever the database says. Who asks for more than that gets more.
func TestConnect_WaitsForTheDisk(t *testing.T) {
	url := database(t)
	c := plain(t, url)
	name := scan[string](t, c, "select current_database()")
	for given, want := range map[string]string{"off": "on", "on": "on", "local": "local", "remote_apply": "remote_apply"} {
		execute(t, c, fmt.Sprintf("alter database %s set synchronous_commit = %s", pgx.Identifier{name}.Sanitize(), given))
		if got := scan[string](t, connect(t, url), "select current_setting('synchronous_commit')"); got != want {
			t.Errorf("%s became %s, want %s", given, got, want)
		}
	}
}

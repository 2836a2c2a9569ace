package store

import (
	"strings"
	"testing"

	"github.com/outboxrelay/relay/internal/devenv/postgres"
	"github.com/outboxrelay/relay/internal/migrate"
)

func TestReadPosition_NoticesAPromotionAtOnce(t *testing.T) {
	primary, err := postgres.Start(t.Context(), postgres.Options{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(primary.Stop)
	migrate.ForTest(t, primary.URL("postgres"), schema)
	standby, err := primary.Standby(t.Context(), postgres.StandbyOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	epoch := acquire(t, primary.URL("postgres"))
	before := openSession(t, primary.URL("postgres"), epoch)
	if before.position.FormerTimeline != 0 {
		t.Errorf("a new row comes from timeline %d", before.position.FormerTimeline)
	}
	before.close()
	primary.Kill()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := postgres.URL("postgres", primary, standby)
	after := openSession(t, url, epoch)
	if got := after.position.FormerTimeline; got != 1 {
		t.Errorf("the row comes from timeline %d, want 1: the promotion was not noticed", got)
	}
	after.close()
	again := openSession(t, url, epoch)
	defer again.close()
	if got := again.position.FormerTimeline; got != 0 {
		t.Errorf("noticed twice: from timeline %d", got)
	}
	var note string
	err = plain(t, url).QueryRow(t.Context(), "select last_error from outbox.relays").Scan(&note)
	if err != nil || !strings.Contains(note, "timeline 1 to 2") {
		t.Errorf("the row notes %q (%v)", note, err)
	}
}

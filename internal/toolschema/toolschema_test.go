package toolschema

import (
	"strings"
	"testing"
	"time"

	"github.com/outboxrelay/relay/migrations"
)

var at = time.Date(2026, 11, 26, 14, 30, 5, 7e6, time.FixedZone("", 3600))

func TestFor_NamesBeginWithTheTimeInUTC(t *testing.T) {
	for tool, want := range map[string]string{
		"typeorm": "migrations/1795699805007-RelayOutbox0005.ts",
		"prisma":  "prisma/migrations/20261126133005_relay_outbox_0005/migration.sql",
		"drizzle": "drizzle/relay_outbox_0005.sql",
		"knex":    "migrations/20261126133005_relay_outbox_0005.js",
		"mikro":   "migrations/Migration20261126133005_relay_outbox_0005.ts",
		"sql":     "relay_outbox_0005.sql",
	} {
		d, err := For(tool, "outbox", at)
		want = strings.ReplaceAll(want, "0005", number(newestMigration()))
		if err != nil || d.Migration.Path != want {
			t.Errorf("%s: %s, %v, want %s", tool, d.Migration.Path, err, want)
		}
	}
	if _, err := For("sequelize", "outbox", at); err == nil || !strings.Contains(err.Error(), "typeorm, prisma") {
		t.Errorf("an unknown tool: %v", err)
	}
}

// Each migration is in each document, whole, and goose's marks are in none.
func TestFor_HasEveryMigration(t *testing.T) {
	files, err := migrations.FS.ReadDir(".")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, tool := range Tools() {
		d, err := For(tool, "outbox", at)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			version, _, _ := strings.Cut(strings.TrimLeft(file.Name(), "0"), "_")
			if !strings.Contains(d.Migration.Text, "insert into relay_migrations (version) values ("+version+") on conflict do nothing;") {
				t.Errorf("%s: %s is not in it", tool, file.Name())
			}
		}
		if strings.Contains(d.Migration.Text, "+goose") {
			t.Errorf("%s: goose's marks are in it", tool)
		}
	}
}

// What the files say of the schema's name is escaped for where it stands.
func TestFor_NamesThatNeedEscaping(t *testing.T) {
	const name = "a\"b'c`${d}\\?\ne"
	for tool, want := range map[string][]string{
		"sql":     {"create schema if not exists \"a\"\"b'c`${d}\\?\ne\";", "-- The schema a\"b'c`${d}\\? e of"},
		"typeorm": {"create schema if not exists \"a\"\"b'c\\`\\${d}\\\\?\ne\";"},
		"knex":    {"create schema if not exists \"a\"\"b'c\\`\\${d}\\\\\\\\?\ne\";"},
		"mikro":   {"ignoreSchema: ['a\"b\\'c`${d}\\\\?\\ne'] }"},
	} {
		d, err := For(tool, name, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, phrase := range want {
			if !strings.Contains(d.Migration.Text, phrase) {
				t.Errorf("%s: there is no %s in\n%s", tool, phrase, d.Migration.Text[:900])
			}
		}
	}
	d, err := For("drizzle", name, at)
	if err != nil || !strings.Contains(d.Model.Text, `pgSchema('a"b\'c`+"`"+`${d}\\?\ne')`) {
		t.Errorf("%v in %+v", err, d.Model)
	}
}

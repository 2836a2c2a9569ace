package toolschema

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/internal/migrate"
	"github.com/outboxrelay/relay/migrations"
)

// Document is what a tool needs.
type Document struct {
	Tool   string
	Schema string
	// Newest is the name of the last migration in it: 0005_books.
	Newest string
	// Migration is a file of the tool's own kind that brings the schema to Newest.
	Migration File
	// Model describes the table events to the tool, for those who insert with it. nil: the tool has no models, or cannot
	// have one of a table that it does not manage.
	Model *File
}

// File is a text and where it belongs, relative to the application's folder, with slashes.
type File struct {
	Path string
	Text string
}

// tool says where a tool's files belong. The name of a migration decides its place in the tool's order, so it begins
// with the time, in the tool's own format.
type tool struct {
	name      string
	migration func(at time.Time, newest string) string
	model     string
}

const seconds = "20060102150405"

var tools = []tool{
	{"typeorm", func(at time.Time, newest string) string {
		return fmt.Sprintf("migrations/%d-RelayOutbox%s.ts", at.UnixMilli(), number(newest))
	}, "outbox-event.entity.ts"},
	{"prisma", func(at time.Time, newest string) string {
		return "prisma/migrations/" + at.Format(seconds) + "_relay_outbox_" + number(newest) + "/migration.sql"
	}, ""},
	{"drizzle", func(_ time.Time, newest string) string { return "drizzle/relay_outbox_" + number(newest) + ".sql" }, "outbox-event.table.ts"},
	{"knex", func(at time.Time, newest string) string {
		return "migrations/" + at.Format(seconds) + "_relay_outbox_" + number(newest) + ".js"
	}, ""},
	{"mikro", func(at time.Time, newest string) string {
		return "migrations/Migration" + at.Format(seconds) + "_relay_outbox_" + number(newest) + ".ts"
	}, ""},
	{"sql", func(_ time.Time, newest string) string { return "relay_outbox_" + number(newest) + ".sql" }, ""},
}

// Tools are the names that For takes.
func Tools() []string {
	names := make([]string, len(tools))
	for i, t := range tools {
		names[i] = t.name
	}
	return names
}

//go:embed templates/*.tmpl
var files embed.FS

// A template's places, by name. A part is a text that several templates begin with or have in them, and has places too.
//
// text/template would do the same. It calls methods by their names, so the linker keeps all methods of the whole program:
// the binary grew by six megabytes.
var parts = []string{"head-sql", "head-js", "model-head", "model-interface"}

// For writes the document for a tool of Tools. schema is the outbox's schema as it is, not quoted; at is the time that
// the migration's name carries. It fails for a tool that is not known, and names those that are.
func For(name, schema string, at time.Time) (Document, error) {
	i := slices.IndexFunc(tools, func(t tool) bool { return t.name == name })
	if i < 0 {
		return Document{}, fmt.Errorf("%q is not a tool that is known here: there are %s", name, strings.Join(Tools(), ", "))
	}
	at = at.UTC()
	t, newest := tools[i], newestMigration()
	script := sql(schema)
	places := strings.NewReplacer(
		"{{tool}}", name, "{{number}}", number(newest),
		"{{milliseconds}}", strconv.FormatInt(at.UnixMilli(), 10), "{{seconds}}", at.Format(seconds),
		"{{schema}}", commented(schema), "{{schema in js}}", singleQuoted(schema),
		"{{sql}}", script, "{{sql in js}}", templateLiteral(script), "{{sql for knex}}", templateLiteral(questionMarks(script)),
	)
	d := Document{Tool: name, Schema: schema, Newest: newest}
	d.Migration = File{t.migration(at, newest), fill(name+".migration", places)}
	if t.model != "" {
		d.Model = &File{t.model, fill(name+".model", places)}
	}
	return d, nil
}

// fill writes a template with its parts and then its places, so that nothing in a value is taken for a place.
func fill(from string, places *strings.Replacer) string {
	text := read(from)
	for _, part := range parts {
		text = strings.ReplaceAll(text, "{{"+part+"}}", strings.TrimRight(read(part+".part"), "\n"))
	}
	return strings.TrimRight(places.Replace(text), "\n") + "\n"
}

func read(name string) string {
	text, err := files.ReadFile("templates/" + name + ".tmpl")
	if err != nil {
		panic(err) // it is in the binary
	}
	return string(text)
}

// newestMigration is the name of the last file: 0005_books.
func newestMigration() string {
	names, _ := fs.Glob(migrations.FS, "*.sql") // fails only for a malformed pattern
	return strings.TrimSuffix(names[len(names)-1], ".sql")
}

func number(migration string) string {
	digits, _, _ := strings.Cut(migration, "_")
	return digits
}

// sql is the script that all tools run. set_config with false is undone by a rollback as SET is, and holds without a
// transaction too; its restored value is the same one that a tool or a role has set.
func sql(schema string) string {
	quoted := pgx.Identifier{schema}.Sanitize()
	var text strings.Builder
	fmt.Fprintf(&text, `create schema if not exists %s;
select set_config('outboxrelay.search_path', current_setting('search_path'), false);
set search_path to %s;

`, quoted, quoted)
	for line := range strings.Lines(migrate.SQL()) {
		if !strings.HasPrefix(line, "-- +goose") { // goose's own marks
			text.WriteString(line)
		}
	}
	text.WriteString("select set_config('search_path', current_setting('outboxrelay.search_path'), false);\n")
	return text.String()
}

// templateLiteral escapes what has a meaning between backticks in JavaScript.
func templateLiteral(text string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", `${`, `\${`).Replace(text)
}

// questionMarks escapes what Knex would take for a placeholder.
func questionMarks(text string) string { return strings.ReplaceAll(text, "?", `\?`) }

// singleQuoted writes a string of JavaScript.
func singleQuoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\u2028", `\u2028`, "\u2029", `\u2029`).Replace(text) + "'"
}

// commented keeps a name within its line of a comment.
func commented(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == '\u2028' || r == '\u2029' }), " ")
}

package outboxtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/outboxrelay/relay/outbox"
	"github.com/outboxrelay/relay/outbox/internal/testdb"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m)) }

// listener is a test that only listens to what it is told.
type listener struct {
	testing.TB
	errors []string
	fatal  bool
}

func (l *listener) Errorf(format string, args ...any) {
	l.errors = append(l.errors, fmt.Sprintf(format, args...))
}

func (l *listener) Fatalf(format string, args ...any) {
	l.fatal = true
	l.Errorf(format, args...)
	panic(l)
}

func (l *listener) Helper() {}

func insert(t *testing.T, tx outbox.Tx, events ...outbox.Event) {
	t.Helper()
	if err := outbox.Insert(t.Context(), tx, events...); err != nil {
		t.Fatal(err)
	}
}

func sample() outbox.Event {
	return outbox.Event{
		ID: outbox.NewID(), Topic: "orders", Key: "42", Type: "OrderPlaced",
		Payload: outbox.RawJSON([]byte(`{"total": 10, "id": 9007199254740993, "items": [1, {"a": null}]}`)),
		Headers: map[string]string{"tenant": "t1", "traceparent": "00"}, Partition: outbox.Partition(3),
		DeliverAt: time.Date(2031, 1, 2, 3, 4, 5, 123456789, time.FixedZone("", 3600)),
	}
}

func TestPublished_ReturnsWhatWasWritten(t *testing.T) {
	tx := testdb.Begin(t)
	if _, err := tx.Exec(t.Context(), `set local timezone to 'Asia/Kolkata'`); err != nil {
		t.Fatal(err)
	}
	events := []outbox.Event{
		sample(),
		{ID: outbox.NewID(), Topic: "a", Payload: outbox.Binary([]byte(strings.Repeat("\x00\xff", 200)))},
		{ID: outbox.NewID(), Topic: "b", EmptyKey: true, Payload: outbox.Binary(nil)},
		{ID: outbox.NewID(), Topic: "c", Payload: outbox.Tombstone()},
		{ID: outbox.NewID(), Topic: "d", Payload: outbox.RawJSON([]byte(`"\u0000" `)), Headers: map[string]string{"n": "\x00"}},
	}
	insert(t, tx, events...)
	got := Published(t, tx)
	if len(got) != len(events) {
		t.Fatalf("%d events", len(got))
	}
	for i, want := range events {
		g := got[i]
		if g.ID != want.ID || g.Topic != want.Topic || g.Key != want.Key || g.EmptyKey != want.EmptyKey || g.Type != want.Type ||
			string(g.Payload.Bytes()) != string(want.Payload.Bytes()) || g.Payload.String() != want.Payload.String() ||
			fmt.Sprint(g.Headers) != fmt.Sprint(want.Headers) || (g.Partition == nil) != (want.Partition == nil) ||
			!g.DeliverAt.Equal(want.DeliverAt.Round(time.Microsecond)) {
			t.Errorf("event %d: got %+v, want %+v", i, g, want)
		}
	}
	Expect(t, tx, events...)
}

func TestPublished_SeesItsOwnTransactionOnly(t *testing.T) {
	other := testdb.Begin(t)
	insert(t, other, outbox.Event{Topic: "others", Payload: outbox.JSON(1)})
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx := testdb.Begin(t)
	Expect(t, tx)

	insert(t, tx, outbox.Event{Topic: "outer", Payload: outbox.JSON(1)})
	kept, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	insert(t, kept, outbox.Event{Topic: "kept", Payload: outbox.JSON(1)})
	if err := kept.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	undone, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	insert(t, undone, outbox.Event{Topic: "undone", Payload: outbox.JSON(1)})
	Expect(t, undone, outbox.Event{Topic: "outer"}, outbox.Event{Topic: "kept"}, outbox.Event{Topic: "undone"})
	if err := undone.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	Expect(t, tx, outbox.Event{Topic: "outer"}, outbox.Event{Topic: "kept"})
}

func TestPublished_ThroughDatabaseSQLAndAnotherSchema(t *testing.T) {
	url, schema := os.Getenv("DATABASE_URL"), `an"other`
	if err := testdb.Migrate(t.Context(), url, schema); err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := (outbox.Writer{Schema: schema}).Insert(t.Context(), outbox.SQL(tx), sample()); err != nil {
		t.Fatal(err)
	}
	Reader{Schema: schema}.Expect(t, outbox.SQL(tx), outbox.Event{Type: "OrderPlaced"})
	Expect(t, outbox.SQL(tx))
}

func TestPublished_SaysThatItMayNotRead(t *testing.T) {
	tx := testdb.Begin(t)
	if _, err := tx.Exec(t.Context(), `create role blind; set local role blind`); err != nil {
		t.Fatal(err)
	}
	l := &listener{TB: t}
	func() {
		defer func() { _ = recover() }()
		Published(l, tx)
	}()
	if !l.fatal || !strings.Contains(l.errors[0], "permission denied") {
		t.Errorf("%v", l.errors)
	}
}

func TestExpect_ComparesWhatIsNamed(t *testing.T) {
	tx := testdb.Begin(t)
	written := sample()
	insert(t, tx, written)
	alike := map[string]outbox.Event{
		"nothing":    {},
		"topic":      {Topic: "orders"},
		"id":         {ID: strings.ToUpper(written.ID)},
		"one header": {Headers: map[string]string{"tenant": "t1"}},
		"json":       {Payload: outbox.JSON(map[string]any{"items": []any{1.0, map[string]any{"a": nil}}, "id": uint64(9007199254740993), "total": 1e1})},
		"time":       {DeliverAt: written.DeliverAt.UTC()},
		"partition":  {Partition: outbox.Partition(3)},
	}
	for name, want := range alike {
		l := &listener{TB: t}
		Expect(l, tx, want)
		if len(l.errors) > 0 {
			t.Errorf("%s: %v", name, l.errors)
		}
	}
	different := map[string]outbox.Event{
		"Topic":             {Topic: "order"},
		"ID":                {ID: outbox.NewID()},
		"Key":               {Key: "43"},
		"want \"\"":         {EmptyKey: true},
		"Type":              {Type: "OrderPaid"},
		"Headers[\"no\"]":   {Headers: map[string]string{"no": "such"}},
		"want \"t2\"":       {Headers: map[string]string{"tenant": "t2"}},
		"want none":         {Headers: map[string]string{}},
		"want tombstone":    {Payload: outbox.Tombstone()},
		"want binary 7b7d":  {Payload: outbox.Binary([]byte("{}"))},
		"9007199254740992}": {Payload: outbox.RawJSON([]byte(`{"total": 10, "items": [1, {"a": null}], "id": 9007199254740992}`))},
		"DeliverAt":         {DeliverAt: written.DeliverAt.Add(2 * time.Microsecond)},
		"want 4":            {Partition: outbox.Partition(4)},
	}
	for name, want := range different {
		l := &listener{TB: t}
		Expect(l, tx, want)
		if len(l.errors) != 1 || !strings.Contains(l.errors[0], name) || strings.Count(l.errors[0], "want") != 1 {
			t.Errorf("%s: %v", name, l.errors)
		}
	}
}

func TestExpect_ShowsTheDifference(t *testing.T) {
	tx := testdb.Begin(t)
	insert(t, tx,
		outbox.Event{Topic: "orders", Key: "42", Type: "OrderPlaced", Payload: outbox.JSON(map[string]int{"total": 10})},
		outbox.Event{Topic: "stock", Payload: outbox.Binary([]byte{1})})
	cases := []struct {
		want   []outbox.Event
		report string
	}{
		{nil, "outboxtest: 2 events would be published, want 0\n" +
			"event 0 is not wanted: topic orders, key \"42\", type OrderPlaced, payload {\"total\":10}\n" +
			"event 1 is not wanted: topic stock, key null, payload binary 01\n"},
		{[]outbox.Event{{Topic: "orders", Key: "43", Payload: outbox.JSON(map[string]int{"total": 11})}, {Topic: "stock"}, {Topic: "mail", EmptyKey: true}},
			"outboxtest: 2 events would be published, want 3\n" +
				"event 0 differs:\n" +
				"    Key         got \"42\"\n" +
				"                want \"43\"\n" +
				"    Payload     got {\"total\":10}\n" +
				"                want {\"total\":11}\n" +
				"event 2 is missing: topic mail, key \"\", payload missing\n"},
	}
	for _, c := range cases {
		l := &listener{TB: t}
		Expect(l, tx, c.want...)
		if !slices.Equal(l.errors, []string{c.report}) {
			t.Errorf("got:\n%s\nwant:\n%s", strings.Join(l.errors, "\n"), c.report)
		}
	}
}

var _ Tx = pgx.Tx(nil)

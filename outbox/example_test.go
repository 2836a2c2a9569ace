package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/outboxrelay/relay/outbox"
)

type order struct {
	Number string `json:"number"`
	Total  int    `json:"total"`
}

// begin stands for the application's own way to a transaction.
func begin(ctx context.Context) (pgx.Tx, func()) {
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		panic(err)
	}
	return tx, func() { conn.Close(ctx) }
}

// printEvents shows what a topic's events are in the outbox.
func printEvents(ctx context.Context, tx pgx.Tx, topic string) {
	rows, err := tx.Query(ctx, `select coalesce(key, 'no key') || ': ' || coalesce(payload::text, encode(payload_bytes, 'hex'), 'tombstone')
		from outbox.events where topic = $1 order by seq`, topic)
	if err != nil {
		panic(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		panic(err)
	}
	for _, line := range lines {
		fmt.Println(line)
	}
}

func ExampleInsert() {
	ctx := context.Background()
	tx, done := begin(ctx) // pool.Begin(ctx)
	defer done()

	// Change the order here, in tx: that locks it, so its events keep the order of its changes.
	placed := order{Number: "42", Total: 10}
	err := outbox.Insert(ctx, tx,
		outbox.Event{Topic: "orders", Key: placed.Number, Type: "OrderPlaced", Payload: outbox.JSON(placed)},
		outbox.Event{Topic: "mails", Type: "Confirmation", Payload: outbox.JSON("thank you"), Headers: map[string]string{"priority": "low"}},
	)
	if err != nil {
		panic(err)
	}
	printEvents(ctx, tx, "orders")
	if err := tx.Commit(ctx); err != nil {
		panic(err)
	}
	// Output: 42: {"number":"42","total":10}
}

func ExampleInsert_sql() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()

	err = outbox.Insert(ctx, outbox.SQL(tx), outbox.Event{Topic: "orders", Key: "42", Type: "OrderPaid", Payload: outbox.JSON(order{"42", 10})})
	fmt.Println(err, tx.Commit())
	// Output: <nil> <nil>
}

func ExampleTombstone() {
	ctx := context.Background()
	tx, done := begin(ctx)
	defer done()

	// In a compacted topic the key is forgotten.
	if err := outbox.Insert(ctx, tx, outbox.Event{Topic: "customers", Key: "7", Payload: outbox.Tombstone()}); err != nil {
		panic(err)
	}
	printEvents(ctx, tx, "customers")
	// Output: 7: tombstone
}

func ExampleBinary() {
	ctx := context.Background()
	tx, done := begin(ctx)
	defer done()

	// A value that is already encoded, here as Avro with a schema registry's prefix.
	encoded := []byte{0, 0, 0, 0, 1, 0x14}
	if err := outbox.Insert(ctx, tx, outbox.Event{Topic: "prices", Key: "EUR", Payload: outbox.Binary(encoded)}); err != nil {
		panic(err)
	}
	printEvents(ctx, tx, "prices")
	// Output: EUR: 000000000114
}

func ExampleEvent_scheduled() {
	ctx := context.Background()
	tx, done := begin(ctx)
	defer done()

	reminder := outbox.Event{
		ID:        outbox.NewID(),
		Topic:     "reminders",
		Key:       "42",
		Payload:   outbox.JSON("your cart is waiting"),
		DeliverAt: time.Now().Add(24 * time.Hour),
	}
	if err := outbox.Insert(ctx, tx, reminder); err != nil {
		panic(err)
	}
	var inHours int
	if err := tx.QueryRow(ctx, `select round(extract(epoch from deliver_at - created_at) / 3600) from outbox.events where id = $1`, reminder.ID).Scan(&inHours); err != nil {
		panic(err)
	}
	fmt.Println("in", inHours, "hours")
	// Output: in 24 hours
}

func ExampleInvalidError() {
	err := outbox.Insert(context.Background(), nil, // refused before the transaction is touched
		outbox.Event{Topic: "orders placed", Key: "42", Payload: outbox.JSON(order{"42", 10})},
		outbox.Event{Topic: "orders", Key: "42"},
	)
	var invalid *outbox.InvalidError
	if errors.As(err, &invalid) {
		for _, fault := range invalid.Faults {
			fmt.Println(fault)
		}
	}
	// Output:
	// event 0: Topic "orders placed" contains ' ': Kafka takes letters, digits, dots, underscores and dashes
	// event 1: Payload is missing: use outbox.JSON, RawJSON or Binary, or outbox.Tombstone() for a null record
}

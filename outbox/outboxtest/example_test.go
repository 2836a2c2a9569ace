package outboxtest_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outboxrelay/relay/outbox"
	"github.com/outboxrelay/relay/outbox/outboxtest"
)

// placeOrder is the code under test.
func placeOrder(ctx context.Context, tx pgx.Tx, number string, total int) error {
	return outbox.Insert(ctx, tx, outbox.Event{
		Topic: "orders", Key: number, Type: "OrderPlaced", Payload: outbox.JSON(map[string]int{"total": total}),
	})
}

func ExampleExpect() {
	var t testing.TB = printer{} // a test has its own t
	ctx := t.Context()

	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback(ctx)

	if err := placeOrder(ctx, tx, "42", 10); err != nil {
		panic(err)
	}

	// As it should be: nothing is said.
	outboxtest.Expect(t, tx, outbox.Event{Topic: "orders", Key: "42", Payload: outbox.RawJSON([]byte(`{ "total": 10 }`))})
	// And a difference.
	outboxtest.Expect(t, tx, outbox.Event{Topic: "orders", Key: "43"})
	// Output:
	// outboxtest: event 0 differs:
	//     Key         got "42"
	//                 want "43"
}

// printer stands for a test and prints what it is told.
type printer struct{ testing.TB }

func (printer) Context() context.Context          { return context.Background() }
func (printer) Helper()                           {}
func (printer) Errorf(format string, args ...any) { fmt.Printf(format, args...) }

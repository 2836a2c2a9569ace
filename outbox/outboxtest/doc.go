// Package outboxtest lets an application's test say which events its code would publish. The test runs the code in a
// transaction, asks, and rolls back: no relay, no Kafka, nothing left behind.
//
//	tx, _ := conn.Begin(ctx)
//	defer tx.Rollback(ctx)
//	placeOrder(ctx, tx, order)
//	outboxtest.Expect(t, tx, outbox.Event{Topic: "orders", Key: "42", Type: "OrderPlaced"})
//
// It sees the events of the transaction it is given, committed or not, and no others: events that the code wrote in
// a transaction of its own are not among them. It reads the table, so the test's role needs the right to, which
// the writer's role does not have: tests usually run as the owner.
package outboxtest

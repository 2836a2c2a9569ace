// Package outbox writes events into the transactional outbox, in the transaction of the change they tell about. The
// relay brings them to Kafka after the commit, and never if there is none.
//
//	tx, err := pool.Begin(ctx)
//	// ... change the order in tx ...
//	err = outbox.Insert(ctx, tx, outbox.Event{
//		Topic: "orders", Key: "42", Type: "OrderPlaced", Payload: outbox.JSON(order),
//	})
//	// ... tx.Commit(ctx)
//
// With database/sql the transaction is passed as outbox.SQL(tx).
//
// The promise: Insert writes all of its events or returns an error; it needs no more than the right to insert
// (migrations/grants/writer.sql); it talks to nothing but the transaction it is given, so it works behind a pooler in
// any mode and costs one round trip. What Kafka would refuse later is refused before anything is written, all faults
// at once ([ErrInvalid]).
//
// What it does not promise: that the topic exists, or that it takes records this large; and any order between events
// of transactions that ran side by side. Lock what an event is about, for example with the UPDATE that changes it,
// before Insert: then the events of one key arrive in the order of the changes.
//
// Nothing here has state: every function may be called from many goroutines, as long as the transaction is not.
package outbox

package sut

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/outboxrelay/relay/bench/rig"
)

const pollerTable = `
create table poller_outbox (
	id         bigint      primary key generated always as identity,
	event_id   uuid        not null default gen_random_uuid(),
	topic      text        not null,
	key        text,
	type       text,
	payload    json,
	created_at timestamptz not null default now(),
	sent_at    timestamptz
);
create index poller_outbox_unsent on poller_outbox (id) where sent_at is null`

const (
	pollerBatch = 500
	pollerPause = 100 * time.Millisecond // when there was nothing
)

// RunPoller is the poller that many teams have: it claims rows by SKIP LOCKED, publishes them, marks them in the same
// transaction, and repeats. It is not weakened: the client is the quickest one, idempotent and with acks from all, it
// waits once for a whole batch, and it marks a batch by one statement over a partial index. It has the faults of its
// kind: rows of a transaction that commits late are passed over until the next look, and two of them break the order.
func RunPoller(ctx context.Context, url string, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer client.Close()
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for {
		n := 0
		// What has begun is finished: a signal ends the loop, not the batch.
		err := pgx.BeginFunc(context.WithoutCancel(ctx), db, func(tx pgx.Tx) (err error) {
			n, err = pollOnce(context.WithoutCancel(ctx), tx, client)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			err = rig.Sleep(ctx, pollerPause)
		}
		if errors.Is(errors.Join(err, ctx.Err()), context.Canceled) {
			return nil
		}
	}
}

func pollOnce(ctx context.Context, tx pgx.Tx, client *kgo.Client) (int, error) {
	rows, err := tx.Query(ctx, `select id, event_id::text, topic, key, type, payload::text, created_at from poller_outbox
		where sent_at is null order by id limit $1 for update skip locked`, pollerBatch)
	if err != nil {
		return 0, fmt.Errorf("claim rows: %w", err)
	}
	var ids []int64
	var records []*kgo.Record
	var id int64
	var event, topic, key, kind, payload string
	var created time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &event, &topic, &key, &kind, &payload, &created}, func() error {
		ids = append(ids, id)
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(payload), Headers: []kgo.RecordHeader{
			{Key: "id", Value: []byte(event)}, {Key: "type", Value: []byte(kind)},
			{Key: "created_at", Value: created.UTC().AppendFormat(nil, time.RFC3339Nano)},
		}})
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("claim rows: %w", err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return 0, fmt.Errorf("publish a batch: %w", err)
	}
	if _, err := tx.Exec(ctx, "update poller_outbox set sent_at = now() where id = any($1)", ids); err != nil {
		return 0, fmt.Errorf("mark a batch: %w", err)
	}
	return len(ids), nil
}

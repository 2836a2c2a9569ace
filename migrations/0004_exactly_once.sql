-- +goose Up
-- What delivery = "exactly_once" keeps while Kafka decides about a transaction.
--
-- Before a batch is committed in Kafka it is prepared here: its number, and all that settling it will do. Its progress
-- record in Kafka carries the number. Whoever leads next reads the last committed progress record and knows whether the
-- candidate happened. Null: nothing is in doubt.
--
-- The parked runner commits transactions of its own, so it has the same two columns again.
--
-- session counts the sessions that have read the row. Every statement that moves the cursor names its own: one that an
-- earlier session of the same term has given up on may still be carried out, and must change nothing then.
alter table relays
    add column if not exists session          bigint not null default 0,
    add column if not exists batch            bigint not null default 0,
    add column if not exists candidate        jsonb,
    add column if not exists parked_batch     bigint not null default 0,
    add column if not exists parked_candidate jsonb;

insert into relay_migrations (version) values (4) on conflict do nothing;

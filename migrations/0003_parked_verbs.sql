-- +goose Up
-- The verbs for parked events: retry, drop and edit, for people in psql as for `relay parked`.
--
--   select parked_retry('{0198c0de-0000-7000-8000-000000000000}');
--   select parked_retry_where(state => 'dead', topic => 'orders', reason => 'too_large');
--   select parked_drop_where(topic => 'orders-test', state => 'held');
--   select parked_edit('0198c0de-0000-7000-8000-000000000000', new_topic => 'orders');
--
-- Each call returns how many events it was about, and writes one row into operations in the same transaction: who,
-- when, what, how many, the selection and up to 100 ids. A call that finds nothing writes none. The relay looks at all
-- parked events again when it sees a new row there. A transaction that stays open after a call keeps the changed rows
-- locked, and other calls and perhaps the relay wait for it: commit at once.
--
-- The bodies are in SQL's own form, so PostgreSQL binds their names when they are made: they work whatever the
-- caller's search_path is, with the caller's own rights. 100,000 events in one call are fine: no payload is read but
-- that of an event whose payload is edited.
--
-- In all of them: relay is the name of the outbox (relays.name), null for every one; note is added to the operation's
-- detail.

-- parked_refuse ends a call with a sentence. SQL's own function bodies cannot raise an error.
-- +goose StatementBegin
create or replace function parked_refuse(problem text) returns void language plpgsql as $$
begin
    raise exception using message = problem, errcode = 'invalid_parameter_value';
end $$;
-- +goose StatementEnd

-- parked_operation records what was done to events with these ids, in that order, which were in these states. It
-- returns how many they were; for none it records nothing.
--
-- The lock makes the order of op_no that of the commits, for the relay looks only at the newest. Without it A draws 5,
-- B draws 6 and commits, the relay sees 6, A commits 5: what A asked for would wait for the next operation.
-- +goose StatementBegin
create or replace function parked_operation(verb text, ids uuid[], states text[], detail jsonb) returns bigint
language sql begin atomic
    select pg_advisory_xact_lock(7090211, ('operations'::regclass::oid::bigint - 2147483648)::integer)
     where cardinality(parked_operation.ids) > 0;
    insert into operations (verb, events, detail)
    select parked_operation.verb, cardinality(parked_operation.ids),
           parked_operation.detail || jsonb_build_object(
               'ids', to_jsonb(parked_operation.ids[1:100]),
               'states', (select jsonb_object_agg(s.state, s.events)
                            from (select state, count(*) as events from unnest(parked_operation.states) state group by state) s))
     where cardinality(parked_operation.ids) > 0;
    select coalesce(cardinality(parked_operation.ids), 0);
end;
-- +goose StatementEnd

-- parked_check_selection refuses a selection that says nothing, where "everything" has to be said, or that can match
-- nothing.
-- +goose StatementBegin
create or replace function parked_check_selection(state text, topic text, key text, reason text, everything boolean) returns void
language sql begin atomic
    select parked_refuse(problem)
      from (select case
                when num_nonnulls(state, topic, key, reason) = 0 and everything is not true
                    then 'select events by state, topic, key or reason, or say everything => true'
                when num_nonnulls(state, topic, key, reason) > 0 and everything
                    then 'everything => true goes with no other selection'
                when state not in ('scheduled', 'held', 'dead', 'behind', 'replay')
                    then format('there is no state %s: it is scheduled, held, dead, behind or replay', quote_literal(state))
            end as problem) checked
     where problem is not null;
end;
-- +goose StatementEnd

-- parked_retry asks for events again, by id. A dead one becomes held, so that the relay tries it; a scheduled one is
-- due now; a held one, one behind another and a replay stay as they are, and the relay looks at them at once. Nothing
-- loses its place: no due_at becomes later, and only a scheduled event's becomes earlier. Ids that are not parked are
-- passed over.
-- +goose StatementBegin
create or replace function parked_retry(ids uuid[], relay text default null, note jsonb default '{}') returns bigint
language sql begin atomic
    with chosen as (
        select p.parked_no, p.seq, p.id, p.state
          from parked p
         where p.id = any(parked_retry.ids) and (parked_retry.relay is null or p.name = parked_retry.relay)),
    changed as (
        update parked p
           set state  = case p.state when 'dead' then 'held' else p.state end,
               reason = case p.state when 'dead' then 'retry: asked for by an operator' else p.reason end,
               due_at = case p.state when 'scheduled' then least(p.due_at, now()) else p.due_at end
          from chosen c
         where p.parked_no = c.parked_no and p.state in ('dead', 'scheduled'))
    select parked_operation('retry', array_agg(c.id order by c.seq), array_agg(c.state), coalesce(parked_retry.note, '{}')) from chosen c;
end;
-- +goose StatementEnd

-- parked_retry_where does the same for a selection: the conditions that are given must all hold. reason is a prefix.
-- after_no and to_no limit it to a range of parked_no, for many events in several transactions; those then share one
-- due, the moment at which scheduled events become due.
-- +goose StatementBegin
create or replace function parked_retry_where(state text default null, topic text default null, key text default null,
    reason text default null, everything boolean default false, relay text default null, note jsonb default '{}',
    after_no bigint default 0, to_no bigint default 9223372036854775807, due timestamptz default now()) returns bigint
language sql begin atomic
    select parked_check_selection(parked_retry_where.state, parked_retry_where.topic, parked_retry_where.key,
                                  parked_retry_where.reason, parked_retry_where.everything);
    with chosen as (
        select p.parked_no, p.seq, p.id, p.state
          from parked p
         where p.parked_no > parked_retry_where.after_no and p.parked_no <= parked_retry_where.to_no
           and (parked_retry_where.relay is null or p.name = parked_retry_where.relay)
           and (parked_retry_where.state is null or p.state = parked_retry_where.state)
           and (parked_retry_where.topic is null or p.topic = parked_retry_where.topic)
           and (parked_retry_where.key is null or p.key = parked_retry_where.key)
           and (parked_retry_where.reason is null or starts_with(p.reason, parked_retry_where.reason))),
    changed as (
        update parked p
           set state  = case p.state when 'dead' then 'held' else p.state end,
               reason = case p.state when 'dead' then 'retry: asked for by an operator' else p.reason end,
               due_at = case p.state when 'scheduled' then least(p.due_at, parked_retry_where.due) else p.due_at end
          from chosen c
         where p.parked_no = c.parked_no and p.state in ('dead', 'scheduled'))
    select parked_operation('retry', array_agg(c.id order by c.seq), array_agg(c.state),
               coalesce(parked_retry_where.note, '{}') || jsonb_build_object('selection', jsonb_strip_nulls(jsonb_build_object(
                   'state', parked_retry_where.state, 'topic', parked_retry_where.topic, 'key', parked_retry_where.key,
                   'reason', parked_retry_where.reason, 'everything', nullif(parked_retry_where.everything, false),
                   'relay', parked_retry_where.relay))))
      from chosen c;
end;
-- +goose StatementEnd

-- parked_drop deletes parked events by id. They will never be delivered, and events that stood behind them go on. Ids
-- that are not parked are passed over.
-- +goose StatementBegin
create or replace function parked_drop(ids uuid[], relay text default null, note jsonb default '{}') returns bigint
language sql begin atomic
    with dropped as (
        delete from parked p
         where p.id = any(parked_drop.ids) and (parked_drop.relay is null or p.name = parked_drop.relay)
        returning p.seq, p.id, p.state)
    select parked_operation('drop', array_agg(d.id order by d.seq), array_agg(d.state), coalesce(parked_drop.note, '{}')) from dropped d;
end;
-- +goose StatementEnd

-- parked_drop_where does the same for a selection; see parked_retry_where.
-- +goose StatementBegin
create or replace function parked_drop_where(state text default null, topic text default null, key text default null,
    reason text default null, everything boolean default false, relay text default null, note jsonb default '{}',
    after_no bigint default 0, to_no bigint default 9223372036854775807) returns bigint
language sql begin atomic
    select parked_check_selection(parked_drop_where.state, parked_drop_where.topic, parked_drop_where.key,
                                  parked_drop_where.reason, parked_drop_where.everything);
    with dropped as (
        delete from parked p
         where p.parked_no > parked_drop_where.after_no and p.parked_no <= parked_drop_where.to_no
           and (parked_drop_where.relay is null or p.name = parked_drop_where.relay)
           and (parked_drop_where.state is null or p.state = parked_drop_where.state)
           and (parked_drop_where.topic is null or p.topic = parked_drop_where.topic)
           and (parked_drop_where.key is null or p.key = parked_drop_where.key)
           and (parked_drop_where.reason is null or starts_with(p.reason, parked_drop_where.reason))
        returning p.seq, p.id, p.state)
    select parked_operation('drop', array_agg(d.id order by d.seq), array_agg(d.state),
               coalesce(parked_drop_where.note, '{}') || jsonb_build_object('selection', jsonb_strip_nulls(jsonb_build_object(
                   'state', parked_drop_where.state, 'topic', parked_drop_where.topic, 'key', parked_drop_where.key,
                   'reason', parked_drop_where.reason, 'everything', nullif(parked_drop_where.everything, false),
                   'relay', parked_drop_where.relay))))
      from dropped d;
end;
-- +goose StatementEnd

-- parked_part describes a payload or headers in an operation: enough to tell which it was, and none of its content.
-- +goose StatementBegin
create or replace function parked_part(content bytea) returns jsonb
language sql immutable
return case when content is not null
            then jsonb_build_object('bytes', length(content), 'sha256', encode(sha256(content), 'hex')) end;
-- +goose StatementEnd

-- parked_edit changes one parked event: what is given replaces what was there, null leaves it, no_key and its like
-- set it to null (no_payload makes a tombstone). seq tells two events with one id apart. A dead event becomes held, so
-- that the relay tries it; so does one behind another when it goes to another topic or key. due_at and seq, its place
-- in the order of release, stay. A replay cannot be edited: its event was delivered. The same rules hold as for events.
--
-- The row gets a new parked_no. The relay deletes by that number what Kafka has acked: were the event just being sent
-- as it was, the edited one would vanish with it.
-- +goose StatementBegin
create or replace function parked_edit(id uuid, new_topic text default null, new_key text default null,
    new_headers json default null, new_payload json default null, new_payload_bytes bytea default null,
    new_partition integer default null, no_key boolean default false, no_headers boolean default false,
    no_payload boolean default false, no_partition boolean default false, relay text default null,
    seq bigint default null, note jsonb default '{}') returns bigint
language sql begin atomic
    select parked_refuse(problem)
      from (select case
                when num_nonnulls(new_topic, new_key, new_headers, new_payload, new_payload_bytes, new_partition) = 0
                     and not (no_key or no_headers or no_payload or no_partition)
                    then 'say what to change: new_topic, new_key, new_headers, new_payload, new_payload_bytes, new_partition, no_key, no_headers, no_payload or no_partition'
                when new_key is not null and no_key then 'new_key and no_key exclude each other'
                when new_headers is not null and no_headers then 'new_headers and no_headers exclude each other'
                when new_partition is not null and no_partition then 'new_partition and no_partition exclude each other'
                when num_nonnulls(new_payload, new_payload_bytes, nullif(no_payload, false)) > 1
                    then 'new_payload, new_payload_bytes and no_payload exclude each other'
                when not (new_topic ~ '^[a-zA-Z0-9._-]+$' and length(new_topic) <= 249 and new_topic <> '.' and new_topic <> '..')
                    then format('%s is no topic name: Kafka takes 1 to 249 letters, digits, dots, underscores and dashes', quote_literal(new_topic))
                when json_typeof(new_headers) <> 'object' then 'new_headers is no JSON object'
                when new_partition < 0 then 'new_partition is negative: partitions are counted from 0'
            end as problem) checked
     where problem is not null;

    -- Lock it first: the statement after this one sees what whoever had the lock made of it.
    select from parked p
     where p.id = parked_edit.id and p.state <> 'replay' and (parked_edit.relay is null or p.name = parked_edit.relay)
       and (parked_edit.seq is null or p.seq = parked_edit.seq)
       for update;
    select parked_refuse(format('%s parked events have the id %s (%s): say which one by relay or seq',
               count(*), parked_edit.id, string_agg(format('relay %s seq %s', p.name, p.seq), ', ' order by p.name, p.seq)))
      from parked p
     where p.id = parked_edit.id and p.state <> 'replay' and (parked_edit.relay is null or p.name = parked_edit.relay)
       and (parked_edit.seq is null or p.seq = parked_edit.seq)
    having count(*) > 1;

    with said as (
        select array_remove(array[
                   case when new_topic is not null then 'topic' end,
                   case when new_key is not null or no_key then 'key' end,
                   case when new_headers is not null or no_headers then 'headers' end,
                   case when num_nonnulls(new_payload, new_payload_bytes) > 0 or no_payload then 'payload' end,
                   case when new_partition is not null or no_partition then 'partition' end], null) as parts),
    was as (
        select p.parked_no, p.name, p.id, p.state, p.topic, p.key, p.headers, p.payload, p.payload_bytes, p.partition,
               p.state = 'dead' or p.state in ('held', 'behind') and (coalesce(new_topic, p.topic), case when no_key then null
                   else coalesce(new_key, p.key) end) is distinct from (p.topic, p.key) as freed
          from parked p
         where p.id = parked_edit.id and p.state <> 'replay' and (parked_edit.relay is null or p.name = parked_edit.relay)
           and (parked_edit.seq is null or p.seq = parked_edit.seq)),
    became as (
        update parked p
           set parked_no     = default,
               topic         = coalesce(new_topic, p.topic),
               key           = case when no_key then null else coalesce(new_key, p.key) end,
               headers       = case when no_headers then null else coalesce(new_headers, p.headers) end,
               payload       = case when no_payload or new_payload_bytes is not null then null else coalesce(new_payload, p.payload) end,
               payload_bytes = case when no_payload or new_payload is not null then null else coalesce(new_payload_bytes, p.payload_bytes) end,
               partition     = case when no_partition then null else coalesce(new_partition, p.partition) end,
               state         = case when was.freed then 'held' else p.state end,
               reason        = case when was.freed
                                    then format('edited: %s by an operator', array_to_string(said.parts, ', ')) else p.reason end,
               lettered_at   = null
          from was, said
         where p.parked_no = was.parked_no
        returning p.topic, p.key, p.headers, p.payload, p.payload_bytes, p.partition)
    select coalesce((
        select parked_operation('edit', array[was.id], array[was.state], coalesce(parked_edit.note, '{}') || jsonb_build_object(
                   'relay', was.name,
                   'changes', (select jsonb_object_agg(part, jsonb_build_object('before', before, 'after', after))
                                 from (values
                                     ('topic', to_jsonb(was.topic), to_jsonb(became.topic)),
                                     ('key', to_jsonb(was.key), to_jsonb(became.key)),
                                     ('partition', to_jsonb(was.partition), to_jsonb(became.partition)),
                                     ('headers', parked_part(convert_to(was.headers::text, 'UTF8')),
                                                 parked_part(convert_to(became.headers::text, 'UTF8'))),
                                     ('payload', parked_part(coalesce(convert_to(was.payload::text, 'UTF8'), was.payload_bytes)),
                                                 parked_part(coalesce(convert_to(became.payload::text, 'UTF8'), became.payload_bytes)))
                                 ) change(part, before, after)
                                where part = any(said.parts))))
          from said, was, became), 0);
end;
-- +goose StatementEnd

insert into relay_migrations (version) values (3) on conflict do nothing;

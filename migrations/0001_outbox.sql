-- +goose Up
-- The outbox: what applications insert into (events) and what the relay keeps about it.
--
-- Names are unqualified: whoever runs this file picks the schema with search_path. It can be run again, also
-- after later files have changed what is made here (psql -f, or a runner that has no record of it): what exists is
-- left as it is. So there is no "create or replace" in this file, and an index is looked for before it is made,
-- because "create index if not exists" would still wait for every open writer.

-- What was applied. Each file records itself in its last statement, whoever runs it; `relay migrate up` adds the
-- checksum of the text it ran.
create table if not exists relay_migrations (
    version    bigint      primary key,
    checksum   text,
    applied_at timestamptz not null default now()
);

create sequence if not exists events_seq as bigint cache 1;

-- The ring slot of a new row: eight slots of four hours by the clock of the row's transaction. Writers move
-- from slot to slot by themselves, so no insert ever waits for a partition to be created.
--
-- The same call is the doorbell. A sleeping relay holds the advisory lock (7090210, events_seq) exclusively, so
-- the shared try fails and the transaction notifies when it commits. While the relay is awake, or polls, nobody
-- holds the lock and no insert notifies. The lock key is the sequence's oid, which differs between schemas.
-- +goose StatementBegin
do $guard$ begin
if to_regprocedure(format('%I.ring_slot(regclass)', current_schema())) is null then
    create function ring_slot(doorbell regclass) returns smallint
    language sql volatile parallel unsafe
    return case
        when pg_try_advisory_xact_lock_shared(7090210, (doorbell::oid::bigint - 2147483648)::integer)
          or pg_notify('outbox_' || doorbell::oid, '') is not null
        then (extract(epoch from now())::bigint / 14400 % 8)::smallint
    end;
end if;
end $guard$;
-- +goose StatementEnd

create table if not exists events (
    xid           xid8        not null default pg_current_xact_id(),
    -- The CASE draws the number after the transaction has its xid, whatever the order in which an INSERT names
    -- the columns. A plain nextval default loses events: a late xid with an early number.
    seq           bigint      not null default case when pg_current_xact_id() is not null then nextval('events_seq') end,
    slot          smallint    not null default ring_slot('events_seq'),
    id            uuid        not null default gen_random_uuid(),
    topic         text        not null,
    key           text,
    type          text,
    payload       json,
    payload_bytes bytea,
    headers       json,
    partition     integer,
    deliver_at    timestamptz,
    created_at    timestamptz not null default now(),
    constraint events_one_payload check (payload is null or payload_bytes is null),
    -- Kafka's rule. The length stands apart: '{1,249}' in the expression costs each insert 25 µs, this 0.4.
    constraint events_topic_name check (topic ~ '^[a-zA-Z0-9._-]+$' and length(topic) <= 249 and topic <> '.' and topic <> '..'),
    constraint events_headers_object check (json_typeof(headers) = 'object'),
    constraint events_partition_number check (partition >= 0)
) partition by list (slot);

create table if not exists events_0 partition of events for values in (0);
create table if not exists events_1 partition of events for values in (1);
create table if not exists events_2 partition of events for values in (2);
create table if not exists events_3 partition of events for values in (3);
create table if not exists events_4 partition of events for values in (4);
create table if not exists events_5 partition of events for values in (5);
create table if not exists events_6 partition of events for values in (6);
create table if not exists events_7 partition of events for values in (7);

-- One row a relay name: the lease and the cursor, in one row so that one row lock decides both.
create table if not exists relays (
    name              text        primary key,
    -- lease
    epoch             bigint      not null default 0,
    holder            text,
    expires_at        timestamptz not null default '-infinity',
    -- the database cluster the cursor belongs to
    system_identifier text,
    timeline          integer,
    -- cursor: all that window_from shows is settled; of the rows window_to shows besides, those with seq <= after_seq
    window_from       pg_snapshot not null default '3:3:',
    window_to         pg_snapshot,
    after_seq         bigint      not null default 0,
    -- where a scan may begin: no row past the cursor has seq <= floor_seq;
    -- a transaction newer than anchor_xid has drawn no seq <= anchor_seq
    floor_seq         bigint      not null default 0,
    anchor_xid        xid8        not null default '0',
    anchor_seq        bigint      not null default 0,
    -- for people
    delivered         bigint      not null default 0,
    settled_at        timestamptz,
    last_error        text,
    last_error_at     timestamptz
) with (fillfactor = 50);

-- Events that cannot go now, copied in the statement that moves the cursor past them.
create table if not exists parked (
    parked_no     bigint      generated always as identity primary key,
    name          text        not null,
    seq           bigint      not null,
    state         text        not null constraint parked_state check (state in ('scheduled', 'held', 'dead', 'behind', 'replay')),
    reason        text        not null default '',
    due_at        timestamptz not null default now(),
    attempts      integer     not null default 0,
    parked_at     timestamptz not null default now(),
    id            uuid        not null,
    topic         text        not null,
    key           text,
    type          text,
    payload       json,
    payload_bytes bytea,
    headers       json,
    partition     integer,
    deliver_at    timestamptz,
    created_at    timestamptz not null
);

-- The books: how many rows of a ring slot are settled and the sum of their seqs, written with the cursor.
create table if not exists slots (
    name         text     not null,
    slot         smallint not null,
    settled_rows bigint   not null default 0,
    settled_sum  numeric  not null default 0,
    last_seq     bigint   not null default 0,
    primary key (name, slot)
) with (fillfactor = 50);

-- For consumers: a message is new when its row can be inserted in the consumer's own transaction.
create table if not exists inbox (
    consumer    text        not null,
    message_id  text        not null,
    received_at timestamptz not null default now(),
    primary key (consumer, message_id)
);

-- +goose StatementBegin
do $guard$
declare
    home text := quote_ident(current_schema()) || '.';
begin
    if to_regclass(home || 'events_by_seq') is null then create index events_by_seq on events (seq); end if;
    if to_regclass(home || 'parked_once') is null then create unique index parked_once on parked (name, seq) where state <> 'replay'; end if;
    if to_regclass(home || 'parked_due') is null then create index parked_due on parked (name, state, due_at, seq); end if;
    if to_regclass(home || 'parked_by_key') is null then create index parked_by_key on parked (name, topic, key, seq); end if;
    if to_regclass(home || 'parked_by_id') is null then create index parked_by_id on parked (id); end if;
    if to_regclass(home || 'inbox_by_age') is null then create index inbox_by_age on inbox (received_at); end if;
end $guard$;
-- +goose StatementEnd

-- +goose StatementBegin
do $guard$ begin

-- One row an event and relay name. Before a relay has ever run there is no name, and every event is pending.
if to_regclass(format('%I.delivery', current_schema())) is null then
    create view delivery as
    select r.name, e.id, e.seq, e.topic, e.key, e.type, e.created_at, e.deliver_at,
           case
               when p.state is not null then p.state
               when pg_visible_in_snapshot(e.xid, r.window_from) then 'delivered'
               when pg_visible_in_snapshot(e.xid, r.window_to) and e.seq <= r.after_seq then 'delivered'
               else 'pending'
           end as status,
           p.reason
      from events e
      left join relays r on true
      left join lateral (select state, reason from parked
                          where name = r.name and seq = e.seq order by state = 'replay' limit 1) p on true;
end if;

-- One row a relay name; before a relay has ever run one row without a name, counting all there is.
if to_regclass(format('%I.lag', current_schema())) is null then
    create view lag as
    select r.name,
           count(e.seq) as pending,
           min(e.created_at) as oldest_created_at,
           coalesce(extract(epoch from clock_timestamp() - min(e.created_at)), 0)::double precision as lag_seconds
      from (select) one
      left join relays r on true
      left join events e
        on e.seq > coalesce(r.floor_seq, 0)
       and pg_visible_in_snapshot(e.xid, r.window_from) is not true
       and (e.seq <= r.after_seq and pg_visible_in_snapshot(e.xid, r.window_to)) is not true
     group by r.name;
end if;

end $guard$;
-- +goose StatementEnd

insert into relay_migrations (version) values (1) on conflict do nothing;

-- +goose Up
-- What emptying the ring, the audit and replays need. Apply it before the new relays start; older ones work with it.

-- The books know of each settled row its version too: xmin, the transaction that wrote the row as it is. An UPDATE of a
-- row gives it another one, so an edited payload shows in the sum, and it costs neither the writer nor the relay a hash.
-- version_rows says of how many rows it is known: a relay older than this file enters none.
-- difference is what the last audit found; null: the books and the table agree.
alter table slots
    add column if not exists version_rows bigint  not null default 0,
    add column if not exists version_sum  numeric not null default 0,
    add column if not exists audited_at   timestamptz,
    add column if not exists difference   jsonb;

-- How long the relay of this name wants events kept. The ring is there for all names, so the longest counts.
alter table relays add column if not exists keep interval;

-- How long writers stay in one slot. ring_slot has the same number in its body, where it costs an insert nothing.
create table if not exists ring (
    one            boolean     primary key default true constraint ring_one check (one),
    period_seconds integer     not null,
    changed_at     timestamptz not null default now()
);
insert into ring (period_seconds) values (14400) on conflict do nothing;

-- Delivered events that a person asked for again, and how far that has come. The events go through parked, in batches.
create table if not exists replays (
    replay_no   bigint      generated always as identity primary key,
    name        text        not null,
    state       text        not null default 'running' constraint replays_state check (state in ('running', 'stopped', 'done')),
    -- which: all conditions that are not null must hold
    topic       text,
    key         text,
    since       timestamptz,
    until       timestamptz,
    slot        smallint,
    seqs        bigint[],
    -- where to, and how fast; 0: as fast as it goes
    to_topic    text,
    rate        integer     not null default 0,
    -- the cursor when it was asked for: what it did not cover then is no replay
    window_from pg_snapshot not null,
    window_to   pg_snapshot,
    cursor_seq  bigint      not null,
    -- progress: of the events up to to_seq, those up to after_seq are in parked or beyond
    after_seq   bigint      not null default 0,
    to_seq      bigint      not null,
    events      bigint      not null,
    queued      bigint      not null default 0,
    who         text        not null default session_user,
    at          timestamptz not null default now(),
    touched_at  timestamptz not null default now()
);

alter table parked add column if not exists replay_no bigint;

-- +goose StatementBegin
do $guard$
declare
    home text := quote_ident(current_schema()) || '.';
begin
    if to_regclass(home || 'parked_of_replay') is null then
        create index parked_of_replay on parked (replay_no) where replay_no is not null;
    end if;
    if to_regclass(home || 'operations_by_age') is null then create index operations_by_age on operations (at); end if;
end $guard$;
-- +goose StatementEnd

-- ring_fit makes the period fit the longest relays.keep: a fifth of it, at least a minute. A slot has six periods from
-- its last insert until it is the next one, so one fifth of keep is left to empty it in. It returns the period.
--
-- The period is a constant in ring_slot's body, which an insert's plan takes in; replacing the function makes writers
-- plan once more and keeps nobody waiting. A slot may be written again before its time then, and is emptied later.
--
-- operations_prune forgets operations and ended replays that are older than a year, up to 1,000 of each in a call.
--
-- Both run with the owner's rights and take no argument: the relay's role may call them, and change nothing else.
-- +goose StatementBegin
do $guard$ begin
execute format($make$
create or replace function ring_fit() returns integer
language plpgsql security definer set search_path = %1$I, pg_temp as $body$
declare
    was integer;
    fit integer;
begin
    select period_seconds into was from ring for update;
    select greatest(60, least(ceil(extract(epoch from max(keep)) / 300) * 60, 2000000000))::integer into fit
      from relays where keep is not null;
    if fit is null or fit = was then
        return was;
    end if;
    execute format($replace$
        create or replace function ring_slot(doorbell regclass) returns smallint
        language sql volatile parallel unsafe
        return case
            when pg_try_advisory_xact_lock_shared(7090210, (doorbell::oid::bigint - 2147483648)::integer)
              or pg_notify('outbox_' || doorbell::oid, '') is not null
            then (extract(epoch from now())::bigint / %%s %%%% 8)::smallint
        end$replace$, fit);
    update ring set period_seconds = fit, changed_at = now();
    return fit;
end $body$;

create or replace function operations_prune() returns bigint
language sql security definer set search_path = %1$I, pg_temp as $body$
    with old as (
        delete from operations where op_no in (
            select op_no from operations where at < now() - interval '1 year' order by at limit 1000) returning 1),
    ended as (
        delete from replays where replay_no in (
            select replay_no from replays where state <> 'running' and touched_at < now() - interval '1 year'
             order by replay_no limit 1000) returning 1)
    select (select count(*) from old) + (select count(*) from ended);
$body$;
$make$, current_schema());
end $guard$;
-- +goose StatementEnd

revoke all on function ring_fit(), operations_prune() from public;

insert into relay_migrations (version) values (5) on conflict do nothing;

-- +goose Up
-- What the parked runner needs: the order in which events that stand aside are released, which dead events were
-- copied to a dead-letter topic, and a record of what people did to parked events.

alter table parked add column if not exists lettered_at timestamptz;

create table if not exists operations (
    op_no  bigint      generated always as identity primary key,
    at     timestamptz not null default clock_timestamp(),
    who    text        not null default session_user,
    verb   text        not null,
    events bigint      not null,
    detail jsonb       not null default '{}'
);

-- +goose StatementBegin
do $guard$
declare
    home text := quote_ident(current_schema()) || '.';
begin
    -- The order of release: the time at which an event stood aside, then seq. For a scheduled event that is its own
    -- time, so it stands behind an event that was there before.
    if to_regclass(home || 'parked_in_order') is null then
        create index parked_in_order on parked (name, topic, due_at, seq) where state in ('held', 'behind');
    end if;
    if to_regclass(home || 'parked_of_key') is null then
        create index parked_of_key on parked (name, topic, key, due_at, seq) where state in ('held', 'behind', 'dead');
    end if;
    if to_regclass(home || 'parked_to_letter') is null then
        create index parked_to_letter on parked (name, parked_no) where state = 'dead' and lettered_at is null;
    end if;
end $guard$;
-- +goose StatementEnd

drop index if exists parked_by_key;

insert into relay_migrations (version) values (2) on conflict do nothing;

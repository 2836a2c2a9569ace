-- +goose Up
-- Tables of other layouts whose rows become events: what `relay adopt` makes and `relay unadopt` takes away.

-- One row a table. Its trigger function is in this schema, with the owner's rights.
create table if not exists adoptions (
    adoption_no bigint      generated always as identity primary key,
    source      regclass    not null constraint adoptions_source unique,
    source_name text        not null, -- as it was called then, for people
    function    text        not null,
    map         jsonb       not null, -- field of the event → column, template or constant
    order_by    text,                 -- the column that says what came first; null: the order in which rows come
    -- backfilling: older rows are copied; draining: the events of rows that came meanwhile go to events
    state       text        not null constraint adoptions_state check (state in ('backfilling', 'draining', 'live')),
    -- the backfill: how many rows are copied, null when none was asked for; and the last one, by order_by and key
    backfilled  bigint,
    position    text[],
    who         text        not null default session_user,
    at          timestamptz not null default now(),
    touched_at  timestamptz not null default now()
);

-- Events of rows that came while older rows of their table were still being copied. They go to events when that is
-- over, in the order of no. row_key is the row's primary key: a row that waits here is none of the older ones.
create table if not exists adopted_waiting (
    no            bigint  generated always as identity primary key,
    adoption_no   bigint  not null,
    row_key       text    not null,
    id            uuid    not null default gen_random_uuid(),
    topic         text    not null,
    key           text,
    type          text,
    payload       json,
    payload_bytes bytea,
    headers       json,
    partition     integer,
    deliver_at    timestamptz
);

-- +goose StatementBegin
do $guard$ begin
    if to_regclass(format('%I.adopted_waiting_row', current_schema())) is null then
        create index adopted_waiting_row on adopted_waiting (adoption_no, row_key);
    end if;
end $guard$;
-- +goose StatementEnd

-- adopt_refuse ends an insert into an adopted table whose row gives no event. The name of the table and the field tell
-- people where to look; of the row only the value is shown that is wrong.
-- +goose StatementBegin
do $guard$ begin
if to_regprocedure(format('%I.adopt_refuse(text, text, text)', current_schema())) is null then
    create function adopt_refuse(source text, field text, value text) returns text language plpgsql as $body$
    begin
        raise exception using
            errcode = 'check_violation',
            message = format('relay adopt: a row of %s cannot become an event: its %s is %s', source, field,
                             coalesce(quote_literal(left(value, 300)), 'null')),
            detail = case field
                when 'topic' then 'A topic is 1 to 249 of a-z A-Z 0-9 . _ -, and neither . nor ..'
                when 'headers' then 'Headers are a JSON object.'
                else 'A partition is a number from 0 on.' end,
            hint = format('Correct the row; or let relay adopt %1$s --replace take the %2$s from elsewhere; or end it with relay unadopt %1$s.',
                          source, field);
    end $body$;
end if;
end $guard$;
-- +goose StatementEnd

insert into relay_migrations (version) values (6) on conflict do nothing;

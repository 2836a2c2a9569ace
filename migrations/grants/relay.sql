-- What the role of `relay run` needs. It owns nothing and cannot change or delete an event, only truncate a slot of
-- the ring.
-- psql -v schema=outbox -v role=relay -f migrations/grants/relay.sql
grant usage on schema :"schema" to :"role";
grant select on :"schema".events, :"schema".events_seq, :"schema".delivery, :"schema".lag, :"schema".relay_migrations to :"role";
grant select, truncate on
    :"schema".events_0, :"schema".events_1, :"schema".events_2, :"schema".events_3,
    :"schema".events_4, :"schema".events_5, :"schema".events_6, :"schema".events_7 to :"role";
grant select, insert, update on :"schema".relays, :"schema".slots to :"role";
grant select, insert, update, delete on :"schema".parked to :"role";
grant select, insert on :"schema".operations to :"role";
grant select on :"schema".ring to :"role";
grant select, insert, update on :"schema".replays to :"role";
grant select, delete on :"schema".inbox to :"role";
grant select on :"schema".adoptions to :"role";
grant execute on function
    :"schema".parked_retry, :"schema".parked_retry_where, :"schema".parked_drop, :"schema".parked_drop_where, :"schema".parked_edit,
    :"schema".parked_operation, :"schema".parked_check_selection, :"schema".parked_refuse, :"schema".parked_part,
    :"schema".ring_slot, :"schema".ring_fit, :"schema".operations_prune to :"role";

-- What the role of a person needs who looks after parked events, with `relay parked`, `relay status` or psql: the verbs
-- and what they write. It cannot change what an operation says of who and when. Of events it reads only what the status
-- counts: their numbers and times, not what is in them.
-- psql -v schema=outbox -v role=alice -f migrations/grants/operator.sql
grant usage on schema :"schema" to :"role";
grant select on :"schema".parked, :"schema".operations, :"schema".relays, :"schema".slots, :"schema".ring, :"schema".lag, :"schema".relay_migrations to :"role";
grant select (seq, xid, created_at) on :"schema".events to :"role";
grant select on :"schema".events_seq to :"role";
grant delete, update (parked_no, state, reason, due_at, topic, key, headers, payload, payload_bytes, partition, lettered_at)
    on :"schema".parked to :"role";
grant insert (verb, events, detail) on :"schema".operations to :"role";
grant execute on function
    :"schema".parked_retry, :"schema".parked_retry_where, :"schema".parked_drop, :"schema".parked_drop_where, :"schema".parked_edit,
    :"schema".parked_operation, :"schema".parked_check_selection, :"schema".parked_refuse, :"schema".parked_part to :"role";

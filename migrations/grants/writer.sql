-- What an application's role needs to write events, and no more: the columns that are the application's.
-- psql -v schema=outbox -v role=shop -f migrations/grants/writer.sql
grant usage on schema :"schema" to :"role";
grant insert (id, topic, key, type, payload, payload_bytes, headers, partition, deliver_at) on :"schema".events to :"role";
grant usage on sequence :"schema".events_seq to :"role";
grant execute on function :"schema".ring_slot(regclass) to :"role";

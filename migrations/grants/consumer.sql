-- What a consumer's role needs to keep its inbox in this schema.
-- psql -v schema=outbox -v role=billing -f migrations/grants/consumer.sql
grant usage on schema :"schema" to :"role";
grant select, insert on :"schema".inbox to :"role";

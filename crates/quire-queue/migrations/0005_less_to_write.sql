-- Less is written for each task: what a row of `ready` is found by fits in two words of the index, which is written
-- from left to right, and payloads are kept as they were sent.

drop index queue.ready_place;
alter table queue.ready alter column run_token drop default;
alter table queue.ready
    alter column run_token type bigint using run_token << 16,
    alter column payload type json using payload::json;
-- The transaction that wrote the row, times 65,536, and which row of it: owners find what is new by it.
alter table queue.ready
    alter column run_token set default (pg_current_xact_id()::text::bigint << 16) | (random() * 65535)::bigint;
-- Finds what is new, and with the id every single row; a second index would be a third of all that is written.
create index ready_place on queue.ready (shard, run_token) with (fillfactor = 100, deduplicate_items = off);

alter table queue.deferred alter column payload type json using payload::json;
alter table queue.dead alter column payload type json using payload::json;
alter table queue.keyed alter column payload type json using payload::json;
alter table queue.schedules alter column payload type json using payload::json;

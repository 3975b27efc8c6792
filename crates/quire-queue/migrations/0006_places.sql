-- A receipt names what was handed out by the places of the rows, so that what it says of one attempt is never taken for
-- another one, and by less: the token of a row, and of the task's id only a part, which tells apart rows of
-- one transaction that had to share a token.
alter table queue.receipts
    add column tokens bigint[] not null default '{}',
    add column tails integer[] not null default '{}';
update queue.receipts r set tokens = n.tokens, tails = n.tails
from (
    select o.id, array_agg(q.run_token) as tokens, array_agg(
        ('x' || substr(q.id::text, 10, 4) || substr(q.id::text, 15, 4))::bit(32)::integer) as tails
    from queue.receipts o
    cross join lateral unnest(o.tasks, o.attempts) as t (id, attempt)
    join queue.ready q on q.id = t.id and q.attempt + 1 = t.attempt
    group by o.id
) n
where n.id = r.id;
alter table queue.receipts drop column tasks, drop column attempts;

-- Small tables in which every beat and every batch leaves dead rows; a pass over them costs next to nothing. Cutting their
-- ends off would lock out everybody who works.
alter table queue.workers set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
alter table queue.shards set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
alter table queue.receipts set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- Finds the few schedules that fire no more among the many that do.
create index schedules_broken on queue.schedules (tenant_id, id) where problem is not null;

-- The id of a task says where its row was written. Rows that have moved since are few and have an index; for this it counts
-- as a move when a row was written by anything but the adding of a task.
alter table queue.ready add column is_moved boolean not null default true;
create index ready_moved on queue.ready (id) where is_moved;
create index deferred_ids on queue.deferred (id);
create index dead_ids on queue.dead (id);

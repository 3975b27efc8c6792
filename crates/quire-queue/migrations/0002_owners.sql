-- The queue as it is worked by owners. Every tenant belongs to one of 64 shards and every shard to one
-- worker process, which keeps the order of its ready tasks in memory. A row of `ready` is written once and
-- deleted once: that a task was handed out is a note in `receipts`, never an update, so a snapshot that
-- somebody holds open for hours slows nothing down. Payloads name things by id and hold no content, so
-- the worker role may read across tenants; the application role reaches its own tenant's only.

-- Who works on what. A worker proves that it lives by its lease; whoever takes a shard from another one
-- raises the epoch, and what the other one still says about the shard is refused.
create table queue.workers (
    id          uuid primary key,
    name        text not null,
    seats       integer not null,
    -- Set for a worker that serves one tenant only.
    dedicated   uuid,
    is_draining boolean not null default false,
    started_at  timestamptz not null default now(),
    lease_until timestamptz not null,
    -- What the worker last said about itself: see quire_queue::stats.
    report      jsonb not null default '{}'
) with (fillfactor = 50);

create table queue.shards (
    shard        smallint primary key,
    -- The one tenant whose tasks are here; null for the shared shards 0 to 63.
    reserved_for uuid unique,
    owner        uuid,
    epoch        bigint not null default 0
) with (fillfactor = 50);
insert into queue.shards (shard) select generate_series(0, 63);

-- Tasks handed to a worker and not yet settled, a batch a row: what a worker was doing when it died.
create table queue.receipts (
    id       uuid primary key,
    worker   uuid not null,
    tasks    uuid[] not null,
    -- The number of the attempt, for each task.
    attempts smallint[] not null
);

create table queue.kinds (
    kind         text primary key,
    is_paused    boolean not null default false,
    most_running integer check (most_running > 0)
);

create table queue.tenants (
    tenant_id    uuid primary key,
    weight       integer not null default 1 check (weight between 1 and 1000),
    most_running integer check (most_running > 0),
    is_paused    boolean not null default false,
    shard        smallint,
    changed_at   timestamptz not null default now()
);
create index tenants_changed on queue.tenants (changed_at);

create table queue.ready (
    tenant_id  uuid not null,
    id         uuid not null,
    -- The transaction that wrote the row: owners find what is new by it.
    run_token  bigint not null default pg_current_xact_id()::text::bigint,
    deadline   timestamptz,
    cost_ms    integer,
    shard      smallint not null,
    priority   smallint not null check (priority between 0 and 4),
    -- Attempts that ended.
    attempt    smallint not null default 0,
    kind       text not null check (length(kind) between 1 and 64),
    key        text check (length(key) between 1 and 200),
    -- Null when the payload is in `keyed`.
    payload    jsonb,
    error_kind text,
    error      text
) with (fillfactor = 100, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0);
-- Finds what is new and every single row; a second index would be a third of all that is written.
create index ready_place on queue.ready (shard, run_token, id);

create table queue.deferred (
    tenant_id  uuid not null,
    id         uuid not null,
    run_at     timestamptz not null,
    deadline   timestamptz,
    cost_ms    integer,
    shard      smallint not null,
    priority   smallint not null check (priority between 0 and 4),
    attempt    smallint not null default 0,
    kind       text not null check (length(kind) between 1 and 64),
    key        text check (length(key) between 1 and 200),
    payload    jsonb,
    error_kind text,
    error      text,
    primary key (tenant_id, id)
);
create index deferred_due on queue.deferred (run_at);

create table queue.dead (
    tenant_id  uuid not null,
    id         uuid not null,
    died_at    timestamptz not null default now(),
    shard      smallint not null,
    priority   smallint not null,
    attempt    smallint not null,
    kind       text not null,
    key        text,
    payload    jsonb,
    error_kind text not null,
    error      text not null,
    -- The error without the parts that differ from task to task.
    signature  text not null,
    primary key (tenant_id, id)
);
create index dead_groups on queue.dead (kind, signature);
create index dead_age on queue.dead (died_at);

-- Tasks that exist once while they wait. The payload is here, where a producer and the owner that hands
-- the task out meet at one row lock.
create table queue.keyed (
    tenant_id  uuid not null,
    id         uuid not null,
    unique_key text not null check (length(unique_key) between 1 and 200),
    is_waiting boolean not null default true,
    payload    jsonb not null,
    primary key (tenant_id, id)
);
create unique index keyed_waiting on queue.keyed (tenant_id, unique_key) where is_waiting;

create table queue.schedules (
    tenant_id  uuid not null,
    id         uuid not null,
    name       text not null check (length(name) between 1 and 200),
    kind       text not null check (length(kind) between 1 and 64),
    priority   smallint not null check (priority between 0 and 4),
    payload    jsonb not null,
    -- `cron <expression>`, `every <seconds>` or `once`.
    rule       text not null check (length(rule) between 1 and 200),
    time_zone  text not null default 'UTC',
    jitter_s   integer not null default 0 check (jitter_s between 0 and 86400),
    missed     text not null default 'once' check (missed in ('skip', 'once', 'all')),
    is_paused  boolean not null default false,
    -- The due time without jitter, which the next one is computed from; null when there is none any more.
    due_at     timestamptz,
    -- When it fires.
    next_at    timestamptz,
    fired_at   timestamptz,
    problem    text,
    primary key (tenant_id, id),
    unique (tenant_id, name)
);
create index schedules_due on queue.schedules (next_at) where not is_paused;

-- What was done, a row for each worker, minute, tenant and kind; dropped by the day.
create table queue.work (
    tenant_id uuid not null,
    minute    timestamptz not null,
    kind      text not null,
    priority  smallint not null,
    done      integer not null,
    failed    integer not null,
    dead      integer not null,
    busy_ms   bigint not null,
    waited_ms bigint not null
) partition by range (minute);

-- What an operator should look at.
create table queue.events (
    tenant_id uuid not null,
    id        uuid not null,
    at        timestamptz not null default now(),
    what      text not null,
    detail    jsonb not null,
    primary key (tenant_id, id)
);
create index events_at on queue.events (at);

do $$
declare
    name text;
begin
    foreach name in array array['tenants', 'ready', 'deferred', 'dead', 'keyed', 'schedules', 'work', 'events'] loop
        execute format('alter table queue.%I enable row level security', name);
        execute format('alter table queue.%I force row level security', name);
        execute format(
            'create policy tenant on queue.%I to quire_app
                 using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                 with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('create policy system on queue.%I to quire_worker using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on queue.%I to quire_worker', name);
    end loop;
end $$;
grant select, insert, update, delete on queue.workers, queue.shards, queue.receipts, queue.kinds to quire_worker;
grant select on queue.tenants to quire_app;
-- Delete: a task may end inside the transaction of its own effect.
grant select, insert, delete on queue.ready to quire_app;
grant select, insert on queue.deferred to quire_app;
grant select, insert, update, delete on queue.keyed to quire_app;
grant select, insert, update, delete on queue.schedules to quire_app;

-- The tasks of before. A running one was interrupted by this very update, so its attempt counts.
insert into queue.ready (tenant_id, id, shard, priority, attempt, kind, payload, error_kind, error)
select tenant_id, id, get_byte(uuid_send(tenant_id), 15) % 64, priority, attempts, kind, payload, error_kind, error
from queue.tasks where state in ('ready', 'running');
insert into queue.dead (tenant_id, id, shard, priority, attempt, kind, payload, error_kind, error, signature)
select tenant_id, id, get_byte(uuid_send(tenant_id), 15) % 64, priority, attempts, kind, payload,
       coalesce(error_kind, 'internal'), coalesce(error, 'unknown'), coalesce(error, 'unknown')
from queue.tasks where state = 'dead';
drop table queue.tasks;

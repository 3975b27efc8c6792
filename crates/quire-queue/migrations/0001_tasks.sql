-- Tasks of all tenants. A payload names things by id and holds no content, so the worker role may read
-- across tenants; the application role sees and adds its own tenant's only.

create table queue.tasks (
    tenant_id    uuid not null,
    id           uuid not null,
    kind         text not null check (length(kind) between 1 and 64),
    payload      jsonb not null,
    priority     smallint not null default 2 check (priority between 0 and 4),
    state        text not null default 'ready' check (state in ('ready', 'running', 'dead')),
    run_at       timestamptz not null default now(),
    attempts     integer not null default 0,
    max_attempts integer not null check (max_attempts > 0),
    -- Proves that whoever reports an outcome still is the one the task was handed to.
    lease_token  uuid,
    lease_until  timestamptz,
    error_kind   text,
    error        text,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, id)
);
create index tasks_ready on queue.tasks (priority, run_at) where state = 'ready';
create index tasks_running on queue.tasks (lease_until) where state = 'running';

alter table queue.tasks enable row level security;
alter table queue.tasks force row level security;
create policy tenant on queue.tasks to quire_app
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
create policy system on queue.tasks to quire_worker using (true) with check (true);

grant usage on schema queue to quire_app, quire_worker;
grant select, insert on queue.tasks to quire_app;
grant select, update, delete on queue.tasks to quire_worker;

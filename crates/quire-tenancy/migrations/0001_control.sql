-- What tenants may use, what they have reserved and what they used. The worker role works here across
-- tenants; the application role may only add what a tenant used, in the transaction of its own work.
-- Money is in nano-dollars.

-- Plans and prices, as the text that an operator applied; the newest counts.
create table control.catalogues (
    version    bigint generated always as identity primary key,
    document   text not null,
    applied_at timestamptz not null default now()
);

-- A limit that is not the plan's.
create table control.overrides (
    tenant_id  uuid not null references directory.tenants (id) on delete cascade,
    name       text not null,
    value      text not null,
    changed_at timestamptz not null default now(),
    primary key (tenant_id, name)
);

create table control.features (
    name    text primary key check (name ~ '^[a-z0-9-]{1,64}$'),
    percent smallint not null check (percent between 0 and 100)
);

create table control.switches (
    tenant_id uuid not null references directory.tenants (id) on delete cascade,
    feature   text not null check (feature ~ '^[a-z0-9-]{1,64}$'),
    is_on     boolean not null,
    primary key (tenant_id, feature)
);

-- GCRA: the theoretical arrival time of each rate, in microseconds since 1970. Unlogged: after a crash
-- every rate starts anew, which lets through one burst.
create unlogged table control.rates (
    tenant_id uuid not null,
    -- `tenant`, `tokens`, `key:<id>`, `user:<name>`.
    name      text not null,
    arrival   bigint not null,
    primary key (tenant_id, name)
) with (fillfactor = 50);

-- spent + held <= limit after every admission; held is the sum of open holds.
create table control.budgets (
    tenant_id uuid not null,
    -- What is counted and for whom: `cost/tenant/day`, `cost/user:<name>/month`, `questions/tenant/month`.
    scope     text not null,
    starts_on date not null,
    spent     bigint not null default 0,
    held      bigint not null default 0,
    primary key (tenant_id, scope, starts_on)
) with (fillfactor = 70);
create index budgets_age on control.budgets (starts_on);

-- What a process has taken out of budgets and not yet accounted for. The arrays belong together.
create table control.holds (
    tenant_id  uuid not null,
    id         uuid not null,
    scopes     text[] not null,
    starts     date[] not null,
    amounts    bigint[] not null,
    expires_at timestamptz not null,
    -- Set once the process was given up on: what was charged in its place.
    charged    bigint[],
    primary key (tenant_id, id)
) with (fillfactor = 70);
create index holds_expiry on control.holds (expires_at);

-- Every attempt at a provider and every piece of local work, once. The id is made from what was done, so
-- that telling it twice changes nothing.
create table control.usage_events (
    tenant_id        uuid not null,
    -- The day of the request or task, the same however often it is told.
    day              date not null,
    id               uuid not null,
    at               timestamptz not null,
    recorded_at      timestamptz not null default now(),
    kind             text not null check (length(kind) between 1 and 32),
    request          uuid not null,
    attempt          smallint not null default 1,
    user_name        text,
    notebook_id      uuid,
    provider         text,
    model            text,
    hold             uuid,
    -- Still running: the cost is what was reserved, and stays so if nobody ever says more.
    is_open          boolean not null default false,
    -- The provider never said what it used.
    is_estimated     boolean not null default false,
    input_tokens     bigint not null default 0,
    cached_tokens    bigint not null default 0,
    output_tokens    bigint not null default 0,
    reasoning_tokens bigint not null default 0,
    pages            bigint not null default 0,
    images           bigint not null default 0,
    audio_ms         bigint not null default 0,
    characters       bigint not null default 0,
    stored_bytes     bigint not null default 0,
    cost             bigint not null default 0 check (cost >= 0),
    primary key (tenant_id, day, id)
) partition by range (day);
create index usage_events_hold on control.usage_events (tenant_id, hold) where hold is not null;

-- What partitions have no room for: days long ago or far ahead.
create table control.usage_events_rest partition of control.usage_events default;
alter table control.usage_events_rest enable row level security;
alter table control.usage_events_rest force row level security;

-- Days whose sums are older than their events. Written with the events, removed with the sums.
create table control.unsummed (
    tenant_id uuid not null,
    day       date not null,
    primary key (tenant_id, day)
);

-- Sums of the events, by day and by month; always computed anew from what they sum.
create table control.usage (
    tenant_id        uuid not null,
    period           text not null check (period in ('day', 'month')),
    starts_on        date not null,
    questions        bigint not null,
    searches         bigint not null,
    sources          bigint not null,
    input_tokens     bigint not null,
    cached_tokens    bigint not null,
    output_tokens    bigint not null,
    reasoning_tokens bigint not null,
    pages            bigint not null,
    images           bigint not null,
    audio_ms         bigint not null,
    characters       bigint not null,
    stored_bytes     bigint not null,
    cost             bigint not null,
    -- {"<model>": {"calls": n, "cost": nano-dollars}}
    models           jsonb not null default '{}',
    primary key (tenant_id, period, starts_on)
);
create index usage_top on control.usage (period, starts_on, cost desc);

-- What an operator should look at: cost spikes, noisy neighbours, throttled tenants. Once per hour and level.
create table control.notices (
    tenant_id uuid not null,
    kind      text not null,
    hour      timestamptz not null,
    level     integer not null,
    at        timestamptz not null default now(),
    detail    jsonb not null,
    primary key (tenant_id, kind, hour, level)
);
create index notices_at on control.notices (at);

do $$
declare
    name text;
begin
    foreach name in array array['overrides', 'switches', 'rates', 'budgets', 'holds', 'usage_events', 'unsummed',
                                'usage', 'notices'] loop
        execute format('alter table control.%I enable row level security', name);
        execute format('alter table control.%I force row level security', name);
        execute format(
            'create policy tenant on control.%I to quire_app
                 using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                 with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('create policy system on control.%I to quire_worker using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on control.%I to quire_worker', name);
    end loop;
end $$;
grant usage on schema control to quire_worker, quire_app;
grant select, insert on control.catalogues to quire_worker;
grant select, insert, update, delete on control.features to quire_worker;
grant insert, select on control.usage_events to quire_app;
grant insert, select, update on control.unsummed to quire_app;

-- Who may do what is remembered by every process; this tells them to look again.
create function control.tell_tenant() returns trigger language plpgsql as $$
begin
    perform pg_notify('quire_control', coalesce(to_jsonb(new), to_jsonb(old)) ->> tg_argv[0]);
    return null;
end $$;
create function control.tell_all() returns trigger language plpgsql as $$
begin
    perform pg_notify('quire_control', 'all');
    return null;
end $$;
create trigger tell after update or delete on directory.tenants
    for each row execute function control.tell_tenant('id');
create trigger tell after update or delete on directory.api_keys
    for each row execute function control.tell_tenant('tenant_id');
create trigger tell after update or delete on directory.admin_keys
    for each statement execute function control.tell_all();
create trigger tell after insert or update or delete on control.overrides
    for each row execute function control.tell_tenant('tenant_id');
create trigger tell after insert or update or delete on control.switches
    for each row execute function control.tell_tenant('tenant_id');
create trigger tell after insert or update or delete on control.features
    for each statement execute function control.tell_all();
create trigger tell after insert on control.catalogues
    for each statement execute function control.tell_all();

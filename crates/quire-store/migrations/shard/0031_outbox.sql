-- What happened here and who wants to hear of it. An event is written in the transaction of what happened,
-- together with one row for each endpoint that it goes to.
create table shard.endpoints (
    tenant_id        uuid not null,
    id               uuid not null,
    url              text not null check (length(url) between 1 and 2000),
    description      text not null default '' check (length(description) <= 500),
    -- Types of events it wants; none means all.
    types            text[] not null default '{}',
    -- Events that came from there are not sent back.
    origin           text,
    secret           bytea not null,
    old_secret       bytea,
    old_secret_until timestamptz,
    state            text not null check (state in ('active', 'paused', 'disabled')),
    reason           text,
    failing_since    timestamptz,
    created_at       timestamptz not null default now(),
    primary key (tenant_id, id)
);

create table shard.outbox (
    tenant_id  uuid not null,
    id         uuid not null,
    type       text not null,
    origin     text,
    data       jsonb not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
create index outbox_time on shard.outbox (tenant_id, created_at);

create table shard.deliveries (
    tenant_id   uuid not null,
    endpoint_id uuid not null,
    event_id    uuid not null,
    state       text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
    attempts    integer not null default 0,
    next_at     timestamptz not null default now(),
    status      integer,
    error       text,
    took_ms     integer,
    updated_at  timestamptz not null default now(),
    primary key (tenant_id, endpoint_id, event_id),
    foreign key (tenant_id, endpoint_id) references shard.endpoints (tenant_id, id) on delete cascade,
    foreign key (tenant_id, event_id) references shard.outbox (tenant_id, id) on delete cascade
);
create index deliveries_due on shard.deliveries (tenant_id, endpoint_id, next_at) where state = 'waiting';
create index deliveries_event on shard.deliveries (tenant_id, event_id);

do $$
declare
    name text;
begin
    foreach name in array array['endpoints', 'outbox', 'deliveries'] loop
        execute format('alter table shard.%I enable row level security', name);
        execute format('alter table shard.%I force row level security', name);
        execute format(
            'create policy tenant on shard.%I
                using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('grant select, insert, update, delete on shard.%I to quire_app', name);
    end loop;
end $$;

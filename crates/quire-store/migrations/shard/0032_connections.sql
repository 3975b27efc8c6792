-- Accounts elsewhere that content flows in from, how far each has been read, and what was made of what.
create table shard.connections (
    tenant_id       uuid not null,
    id              uuid not null,
    kind            text not null check (length(kind) between 1 and 40),
    name            text not null check (length(name) between 1 and 200),
    notebook_id     uuid,
    settings        jsonb not null,
    secret          bytea not null,
    -- How far it has been read; written together with what was read.
    cursor          jsonb not null default '{}',
    state           text not null check (state in ('active', 'paused', 'failed')),
    reason          text,
    last_success_at timestamptz,
    last_error      text,
    last_error_at   timestamptz,
    created_at      timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint connections_name_key unique (tenant_id, name),
    foreign key (tenant_id, notebook_id) references shard.notebooks (tenant_id, id)
        on delete set null (notebook_id)
);

create table shard.connection_items (
    tenant_id     uuid not null,
    connection_id uuid not null,
    external_id   text not null check (length(external_id) between 1 and 300),
    -- What the other side calls this state of it; the same one is not read again.
    version       text not null,
    url           text,
    source_id     uuid,
    -- The round in which it was last seen; what a whole round did not see is gone.
    round         bigint not null,
    primary key (tenant_id, connection_id, external_id),
    foreign key (tenant_id, connection_id) references shard.connections (tenant_id, id) on delete cascade,
    foreign key (tenant_id, source_id) references shard.sources (tenant_id, id)
        on delete set null (source_id)
);
create index connection_items_source on shard.connection_items (tenant_id, source_id) where source_id is not null;

-- Ids of messages that came in, so that none counts twice.
create table shard.heard_messages (
    tenant_id     uuid not null,
    connection_id uuid not null,
    message_id    text not null check (length(message_id) between 1 and 300),
    heard_at      timestamptz not null default now(),
    primary key (tenant_id, connection_id, message_id),
    foreign key (tenant_id, connection_id) references shard.connections (tenant_id, id) on delete cascade
);
create index heard_messages_time on shard.heard_messages (tenant_id, connection_id, heard_at);

do $$
declare
    name text;
begin
    foreach name in array array['connections', 'connection_items', 'heard_messages'] loop
        execute format('alter table shard.%I enable row level security', name);
        execute format('alter table shard.%I force row level security', name);
        execute format(
            'create policy tenant on shard.%I
                using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('grant select, insert, update, delete on shard.%I to quire_app', name);
    end loop;
end $$;

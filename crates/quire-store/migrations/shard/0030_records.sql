-- Records: what another product tells about its jobs, invoices, clients. A row is the newest state that was
-- heard of, whatever order the news came in; a task makes a source of it that search finds.

-- The content of a source is an object, or a text that is small and was made by quire.
alter table shard.source_versions alter column object_key drop not null;
alter table shard.source_versions add column body text;
alter table shard.source_versions add constraint source_versions_content_check
    check ((object_key is null) <> (body is null));

-- What records are about; each gets a notebook when its first record is made searchable.
create table shard.entities (
    tenant_id    uuid not null,
    type         text not null check (length(type) between 1 and 60),
    external_id  text not null check (length(external_id) between 1 and 200),
    name         text,
    -- The version of the event that named it; newer ones name it anew.
    name_version bigint not null default -9223372036854775808,
    notebook_id  uuid,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, type, external_id),
    foreign key (tenant_id, notebook_id) references shard.notebooks (tenant_id, id)
        on delete set null (notebook_id)
);
create index entities_notebook on shard.entities (tenant_id, notebook_id) where notebook_id is not null;

create table shard.records (
    tenant_id    uuid not null,
    type         text not null check (length(type) between 1 and 60),
    external_id  text not null check (length(external_id) between 1 and 200),
    id           uuid not null,
    entity_type  text,
    entity_id    text,
    -- These three are the order of events: one counts when it is greater than what is here.
    version      bigint not null,
    is_deleted   boolean not null,
    content_hash bytea not null,
    fields       jsonb not null,
    origin       text,
    lane         smallint not null,
    state        text not null check (state in ('queued', 'searchable', 'failed', 'deleted')),
    reason       text,
    source_id    uuid,
    changed_at   timestamptz not null default now(),
    primary key (tenant_id, type, external_id),
    constraint records_id_key unique (tenant_id, id),
    foreign key (tenant_id, source_id) references shard.sources (tenant_id, id)
        on delete set null (source_id)
);
create index records_queued on shard.records (tenant_id, lane, changed_at) where state = 'queued';
create index records_source on shard.records (tenant_id, source_id) where source_id is not null;

-- The fields of records as typed rows, for rules and statistics.
create table shard.record_values (
    tenant_id uuid not null,
    record_id uuid not null,
    -- Names of nested fields are joined by dots; items of a list are numbered from 0.
    name      text not null,
    text      text,
    number    numeric,
    time      timestamptz,
    bool      boolean,
    primary key (tenant_id, record_id, name),
    foreign key (tenant_id, record_id) references shard.records (tenant_id, id) on delete cascade
);
create index record_values_number on shard.record_values (tenant_id, name, number) where number is not null;
create index record_values_time on shard.record_values (tenant_id, name, time) where time is not null;

-- Templates of the tenant's own, in place of those that ship.
create table shard.record_types (
    tenant_id  uuid not null,
    name       text not null check (length(name) between 1 and 60),
    template   text not null check (length(template) between 1 and 20000),
    sample     jsonb not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, name)
);

do $$
declare
    name text;
begin
    foreach name in array array['entities', 'records', 'record_values', 'record_types'] loop
        execute format('alter table shard.%I enable row level security', name);
        execute format('alter table shard.%I force row level security', name);
        execute format(
            'create policy tenant on shard.%I
                using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('grant select, insert, update, delete on shard.%I to quire_app', name);
    end loop;
end $$;

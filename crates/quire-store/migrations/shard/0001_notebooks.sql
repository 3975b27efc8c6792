-- A shard holds the content of its tenants. Every table is led by tenant_id and forced under
-- row-level security; quire_app owns nothing and sees one tenant at a time.

create table shard.notebooks (
    tenant_id  uuid not null,
    id         uuid not null,
    name       text not null check (length(name) between 1 and 200),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint notebooks_name_key unique (tenant_id, name)
);

-- The state and the content hash are those of the latest version; live_version is what search sees.
create table shard.sources (
    tenant_id      uuid not null,
    id             uuid not null,
    notebook_id    uuid not null,
    name           text not null check (length(name) between 1 and 500),
    media_type     text,
    state          text not null check (state in ('queued', 'extracting', 'embedding', 'searchable', 'failed')),
    reason         text,
    latest_version integer not null,
    live_version   integer,
    content_hash   bytea not null,
    size_bytes     bigint not null,
    passages       integer not null default 0,
    pages          integer,
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, notebook_id) references shard.notebooks (tenant_id, id) on delete cascade,
    constraint sources_name_key unique (tenant_id, notebook_id, name)
);
create index sources_content on shard.sources (tenant_id, notebook_id, content_hash);
create index sources_page on shard.sources (tenant_id, notebook_id, id);

create table shard.source_versions (
    tenant_id    uuid not null,
    source_id    uuid not null,
    version      integer not null,
    content_hash bytea not null,
    object_key   text not null,
    size_bytes   bigint not null,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, source_id, version),
    foreign key (tenant_id, source_id) references shard.sources (tenant_id, id) on delete cascade
);

-- Only what search may see: the passages of a version are inserted, and those of the version before
-- deleted, in one transaction.
create table shard.passages (
    tenant_id    uuid not null,
    id           uuid not null,
    notebook_id  uuid not null,
    source_id    uuid not null,
    version      integer not null,
    ordinal      integer not null,
    context      text not null,
    body         text not null,
    page         integer,
    heading_path text[] not null,
    char_start   integer not null,
    char_end     integer not null,
    embedding    bytea not null,
    primary key (tenant_id, id),
    constraint passages_ordinal_key unique (tenant_id, source_id, version, ordinal),
    foreign key (tenant_id, source_id, version)
        references shard.source_versions (tenant_id, source_id, version) on delete cascade
);

-- The corpus version of a tenant grows with every change that search can see. Whoever holds an older
-- one reads the changes after it. Writers of one tenant queue on the corpora row, so versions become
-- visible in order and without gaps.
create table shard.corpora (
    tenant_id uuid primary key,
    version   bigint not null
);

create table shard.corpus_changes (
    tenant_id      uuid not null,
    version        bigint not null,
    change         text not null check (change in ('added', 'removed')),
    source_id      uuid not null,
    source_version integer not null,
    primary key (tenant_id, version, change, source_id, source_version)
);

-- Answers to writes that carried an Idempotency-Key, kept for a day.
create table shard.idempotency_keys (
    tenant_id    uuid not null,
    key          text not null check (length(key) between 1 and 255),
    fingerprint  bytea not null,
    locked_until timestamptz not null,
    status       smallint,
    body         jsonb,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, key)
);

do $$
declare
    name text;
begin
    foreach name in array array['notebooks', 'sources', 'source_versions', 'passages', 'corpora', 'corpus_changes', 'idempotency_keys'] loop
        execute format('alter table shard.%I enable row level security', name);
        execute format('alter table shard.%I force row level security', name);
        execute format(
            'create policy tenant on shard.%I
                using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('grant select, insert, update, delete on shard.%I to quire_app', name);
    end loop;
end $$;

grant usage on schema shard to quire_app;

-- Another embedding model for a tenant: every passage is embedded again, page by page, into segments beside those
-- that search reads.

-- What makes every vector of the tenant; null where it is the model that ships with quire.
alter table shard.corpora add column embedding text;

-- The build that a segment is made for. Search does not read it before that build is switched.
alter table shard.segments add column built_by uuid;
create index segments_built on shard.segments (tenant_id, built_by) where built_by is not null;

-- A build that embeds anew says by which model, and which one the vectors before were of. `undoes` is the build
-- that it is the way back from.
alter table shard.index_builds
    add column embeds           boolean not null default false,
    add column embedding        text,
    add column embedding_before text,
    add column dimension_before integer,
    add column undoes           uuid;

-- Which versions a build has embedded so far, and the segment that holds them.
create table shard.embedded_sources (
    tenant_id  uuid not null,
    build_id   uuid not null,
    source_id  uuid not null,
    version    integer not null,
    segment_id uuid not null,
    primary key (tenant_id, build_id, source_id),
    foreign key (tenant_id, segment_id) references shard.segments (tenant_id, id) on delete cascade
);
create index embedded_segments on shard.embedded_sources (tenant_id, segment_id);

alter table shard.embedded_sources enable row level security;
alter table shard.embedded_sources force row level security;
create policy tenant on shard.embedded_sources
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
grant select, insert, update, delete on shard.embedded_sources to quire_app;

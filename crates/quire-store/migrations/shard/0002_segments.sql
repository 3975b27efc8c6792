-- What search keeps on the object store. A version of a source that search sees is in exactly one place: in
-- the tail (rows of shard.passages) or in the segment that its source names. A row of a segment is alive only
-- while a source names the segment, so deleting or replacing a source needs no second step, and no
-- rewrite of a segment can bring back what was deleted meanwhile.
create table shard.segments (
    tenant_id  uuid not null,
    id         uuid not null,
    rows       integer not null check (rows > 0),
    bytes      bigint not null check (bytes > 0),
    dimension  integer not null check (dimension > 0),
    footer     bytea not null,
    created_at timestamptz not null default now(),
    -- Nothing names it any more; its object is kept until the recovery window has passed.
    retired_at timestamptz,
    primary key (tenant_id, id)
);
create index segments_retired on shard.segments (tenant_id, retired_at) where retired_at is not null;

alter table shard.sources add column segment_id uuid;
alter table shard.sources add constraint sources_segment_fkey
    foreign key (tenant_id, segment_id) references shard.segments (tenant_id, id);
create index sources_segment on shard.sources (tenant_id, segment_id) where segment_id is not null;

-- What is in the tail, which is little of all sources.
create index sources_tail on shard.sources (tenant_id)
    where segment_id is null and live_version is not null;

-- The generation grows when passages move between tail and segments, which changes no answer.
-- The dimension is that of the first vector; others are refused. The language is what words are reduced
-- with; null where it is the installation's.
alter table shard.corpora add column generation bigint not null default 0;
alter table shard.corpora add column dimension integer;
alter table shard.corpora add column language text;

alter table shard.segments enable row level security;
alter table shard.segments force row level security;
create policy tenant on shard.segments
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
grant select, insert, update, delete on shard.segments to quire_app;

-- Upkeep of what search keeps on the object store.

-- Once its object is about to be removed, a retired segment can't come back.
alter table shard.segments add column condemned_at timestamptz;

-- Each time a tenant's segments were made anew, beside those that search read meanwhile. What they are made
-- like is written down in full, so that a build can also differ in its vectors one day.
create table shard.index_builds (
    tenant_id       uuid not null,
    id              uuid not null,
    -- 'failed' is a build that was broken off, or that a later one took the place of.
    state           text not null check (state in ('building', 'switched', 'refused', 'failed', 'rolled_back')),
    old_segments    uuid[] not null,
    new_segments    uuid[] not null default '{}',
    dimension       integer,
    rotation_seed   bigint not null,
    -- The tenant's language from the switch on; null where it stays what it is.
    language        text,
    -- What it was before; a rollback brings it back.
    language_before text,
    rows_done       bigint not null default 0,
    rows_total      bigint not null,
    recall          double precision,
    started_at      timestamptz not null default now(),
    -- The last sign of life while it builds.
    told_at         timestamptz not null default now(),
    finished_at     timestamptz,
    primary key (tenant_id, id)
);

-- Originals that no row named when a sweep looked. A row may have gone a moment before, and its bytes are kept
-- for a while after it, so they go only when a later sweep, a window on, finds the same.
create table shard.orphans (
    tenant_id  uuid not null,
    object_key text not null,
    found_at   timestamptz not null,
    primary key (tenant_id, object_key)
);

do $$
declare
    name text;
begin
    foreach name in array array['index_builds', 'orphans'] loop
        execute format('alter table shard.%I enable row level security', name);
        execute format('alter table shard.%I force row level security', name);
        execute format(
            'create policy tenant on shard.%I
                using (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)
                with check (tenant_id = nullif(current_setting(''quire.tenant'', true), '''')::uuid)', name);
        execute format('grant select, insert, update, delete on shard.%I to quire_app', name);
    end loop;
end $$;

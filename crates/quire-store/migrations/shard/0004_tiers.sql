-- What a notebook costs while nobody asks it.

-- An archive holds the passages of one notebook and is not opened by search. Its sources name it as they name
-- any segment, so that deleting or replacing one of them works the same way.
alter table shard.segments add column archive_of uuid;
create index segments_archive on shard.segments (tenant_id, archive_of) where archive_of is not null;

-- The state of what the notebook is about, as its owner tells it; null where nobody does.
alter table shard.notebooks add column status text check (status in ('active', 'completed'));
alter table shard.notebooks add column tier text not null default 'hot'
    check (tier in ('hot', 'warm', 'cold', 'archived'));
alter table shard.notebooks add column tier_since timestamptz not null default now();
-- An administrator's choice, which no rule changes.
alter table shard.notebooks add column tier_pinned boolean not null default false;
-- When a question last found something in it, to half a day.
alter table shard.notebooks add column asked_at timestamptz;

-- How far the reading of the latest version of a source has come: the task that does it, percent of the stage that
-- its state names, and when each stage began. Null for what was read before this was kept, and for texts that
-- are published without being queued.
alter table shard.sources
    add column task_id       uuid,
    add column percent       smallint not null default 0 check (percent between 0 and 100),
    add column queued_at     timestamptz,
    add column extracting_at timestamptz,
    add column embedding_at  timestamptz,
    add column ended_at      timestamptz;

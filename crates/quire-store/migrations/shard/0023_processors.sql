-- The version of the reader that made what search sees of a source. What was read before this was kept was read by
-- the first one.
alter table shard.sources add column processor smallint not null default 1;

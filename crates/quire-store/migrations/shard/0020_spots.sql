-- Where in the original a passage stands when that is no page: attachment, slide, cells, time. Null for
-- everything that was read before such places were known.
alter table shard.passages add column spot jsonb;

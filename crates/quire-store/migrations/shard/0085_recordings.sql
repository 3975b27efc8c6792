-- Recordings and films that a source is or has attached: what a plan counts.
alter table shard.sources add column recordings integer not null default 0;
update shard.sources set recordings = 1 where media_type in ('audio', 'video');

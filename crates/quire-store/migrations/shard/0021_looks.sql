-- What is known of pictures and recordings beside their text. Copies of a picture, in another size or
-- compression, differ in few bits of the hash; each names the first of them.
alter table shard.sources
    add column duration_ms  bigint,
    add column picture_hash bigint,
    add column similar_to   uuid,
    add constraint sources_similar foreign key (tenant_id, similar_to)
        references shard.sources (tenant_id, id) on delete set null (similar_to);
create index sources_pictures on shard.sources (tenant_id, id) where picture_hash is not null;
create index sources_similar on shard.sources (tenant_id, similar_to) where similar_to is not null;

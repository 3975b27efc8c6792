-- Records that a connection reads from the tables of a product, so that what is gone there is found out.
alter table shard.records
    add column connection_id uuid,
    add constraint records_connection_fkey foreign key (tenant_id, connection_id)
        references shard.connections (tenant_id, id) on delete set null (connection_id);
create index records_connection on shard.records (tenant_id, connection_id, type, id)
    where connection_id is not null;

-- Wishes to look at everything, counted, and how many of them were heard when reading began: one that comes while
-- a page is being read is not lost when that page notes where to go on.
alter table shard.connections
    add column wishes bigint not null default 0,
    add column wishes_heard bigint not null default 0;

-- How often the tenant's cache of answers was emptied: a part of the key of every entry.
alter table shard.corpora add column purges bigint not null default 0;

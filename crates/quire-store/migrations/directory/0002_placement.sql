-- Where a tenant is put when it comes: its region by its country, a shard and a pool of that region.

-- ISO 3166-1 codes; {*} takes every country that no other region names.
alter table directory.regions add column countries text[] not null default '{}';
update directory.regions set countries = '{*}' where id = 'local';

alter table directory.shards
    -- The one tenant whose rows may be here.
    add column reserved_for uuid;

-- One AI project: credentials, region and quota at a provider.
create table directory.pools (
    id           text primary key check (id ~ '^[a-z0-9-]{1,32}$'),
    region       text not null references directory.regions (id),
    state        text not null default 'active' check (state in ('active', 'full', 'maintenance')),
    reserved_for uuid
);
insert into directory.pools (id, region) values ('local', 'local');

alter table directory.tenants
    add column country text check (country ~ '^[A-Z]{2}$'),
    add column pool text not null default 'local' references directory.pools (id),
    -- Null until its first notebook, keys and templates are there.
    add column ready_at timestamptz,
    drop constraint tenants_state_check,
    add constraint tenants_state_check check (state in ('active', 'suspended', 'closing', 'closed'));
update directory.tenants set ready_at = created_at;

-- What a plan says is in the catalogue; here is only what tenants may refer to.
alter table directory.plans drop column limits;

grant select, insert, update on directory.regions, directory.shards, directory.pools to quire_worker;
grant select, insert, update, delete on directory.plans to quire_worker;

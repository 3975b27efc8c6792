-- The directory places tenants and knows their keys. It holds no content of any tenant.

create table directory.regions (
    id   text primary key check (id ~ '^[a-z0-9-]{1,32}$'),
    name text not null
);

create table directory.shards (
    id     smallint primary key,
    region text not null references directory.regions (id),
    state  text not null default 'active' check (state in ('active', 'full', 'maintenance'))
);

create table directory.plans (
    id     text primary key check (id ~ '^[a-z0-9-]{1,32}$'),
    name   text not null,
    limits jsonb not null default '{}'
);

create table directory.tenants (
    id          uuid primary key,
    slug        text not null,
    name        text not null check (length(name) between 1 and 200),
    region      text not null references directory.regions (id),
    shard       smallint not null references directory.shards (id),
    plan        text not null references directory.plans (id),
    -- Random at every (re)creation and part of every object key and cache key, so that a re-created
    -- tenant can never meet what an earlier one left behind.
    incarnation uuid not null,
    state       text not null default 'active' check (state in ('active', 'suspended', 'closing')),
    created_at  timestamptz not null default now(),
    constraint tenants_slug_key unique (slug),
    constraint tenants_slug_form check (slug ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$')
);

create table directory.admin_keys (
    id          uuid primary key,
    name        text not null,
    secret_hash bytea not null,
    created_at  timestamptz not null default now(),
    revoked_at  timestamptz
);

create table directory.api_keys (
    tenant_id   uuid not null references directory.tenants (id) on delete cascade,
    id          uuid not null,
    role        text not null check (role in ('tenant', 'notebook', 'read-only')),
    notebook_id uuid,
    name        text not null check (length(name) between 1 and 200),
    secret_hash bytea not null,
    created_at  timestamptz not null default now(),
    revoked_at  timestamptz,
    primary key (tenant_id, id),
    constraint api_keys_notebook check (role <> 'notebook' or notebook_id is not null)
);
-- A presented key names its id before anybody knows the tenant.
create index api_keys_id on directory.api_keys (id);

alter table directory.api_keys enable row level security;
alter table directory.api_keys force row level security;
create policy tenant on directory.api_keys
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
create policy system on directory.api_keys to quire_worker using (true) with check (true);

grant usage on schema directory to quire_worker;
grant select on directory.regions, directory.shards, directory.plans to quire_worker;
grant select, insert, update, delete
    on directory.tenants, directory.admin_keys, directory.api_keys to quire_worker;

insert into directory.regions (id, name) values ('local', 'this machine');
insert into directory.shards (id, region) values (0, 'local');
insert into directory.plans (id, name) values ('standard', 'Standard');

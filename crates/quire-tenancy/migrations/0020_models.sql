-- What models there are beside those that ship, as the text that an operator applied; the newest counts.
create table control.registries (
    version    bigint generated always as identity primary key,
    document   text not null,
    applied_at timestamptz not null default now()
);
grant select, insert on control.registries to quire_worker;
create trigger tell after insert on control.registries
    for each statement execute function control.tell_all();

-- A pool that can be called: whose it is, its key (sealed, see quire-store/src/sealed.rs) and its quota.
-- A pool without a provider only places tenants.
alter table directory.pools
    add column provider   text,
    add column base_url   text,
    add column key        bytea,
    add column models     text[] not null default '{}',
    add column quota      jsonb not null default '{}',
    add column changed_at timestamptz not null default now();
grant delete on directory.pools to quire_worker;
create trigger tell after insert or update or delete on directory.pools
    for each statement execute function control.tell_all();

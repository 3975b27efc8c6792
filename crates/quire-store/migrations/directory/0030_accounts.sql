-- Whose account elsewhere a message is about that comes to one address for all tenants.
create table directory.accounts (
    tenant_id     uuid not null references directory.tenants (id) on delete cascade,
    connection_id uuid not null,
    kind          text not null check (length(kind) between 1 and 40),
    account       text not null check (length(account) between 1 and 200),
    primary key (tenant_id, connection_id)
);
-- Several tenants may have been let into one account; each of them was.
create index accounts_account on directory.accounts (kind, account);

alter table directory.accounts enable row level security;
alter table directory.accounts force row level security;
create policy tenant on directory.accounts
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
create policy system on directory.accounts to quire_worker using (true) with check (true);
grant select, insert, update, delete on directory.accounts to quire_worker;

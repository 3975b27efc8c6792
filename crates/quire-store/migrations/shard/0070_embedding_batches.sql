-- Batches of texts at a provider, out of which the vectors of a build come: written down before they are sent, so that
-- nothing is sent twice.
create table shard.embedding_batches (
    tenant_id   uuid not null,
    -- Also the mark by which the provider finds it again.
    id          uuid not null,
    build_id    uuid not null,
    -- The pool whose key it is asked for with.
    pool        text not null,
    -- What it is embedded by.
    model       text not null,
    dimension   integer,
    texts       bigint not null,
    state       text not null default 'preparing' check (state in ('preparing', 'sent', 'done', 'failed')),
    -- What the provider calls it.
    remote      text,
    created_at  timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    check ((state = 'sent') <= (remote is not null)),
    check ((state in ('done', 'failed')) = (finished_at is not null))
);
-- One at a time.
create unique index embedding_batches_live on shard.embedding_batches (tenant_id, build_id)
    where state in ('preparing', 'sent');
alter table shard.embedding_batches enable row level security;
alter table shard.embedding_batches force row level security;
create policy tenant on shard.embedding_batches
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
grant select, insert, update, delete on shard.embedding_batches to quire_app;

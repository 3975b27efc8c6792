-- Questions for whose answers nobody waits, and what came of them.
create table shard.questions (
    tenant_id   uuid not null,
    id          uuid not null,
    -- The tenant's own name of the person who asked.
    user_name   text,
    -- As it was asked, in the form of the layer that answers.
    question    jsonb not null,
    state       text not null default 'queued' check (state in ('queued', 'answered', 'failed')),
    answer      jsonb,
    reason      text,
    created_at  timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, id),
    check ((state = 'answered') = (answer is not null)),
    check ((state = 'queued') = (finished_at is null))
);
create index questions_queued on shard.questions (tenant_id) where state = 'queued';
alter table shard.questions enable row level security;
alter table shard.questions force row level security;
create policy tenant on shard.questions
    using (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)
    with check (tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid);
grant select, insert, update, delete on shard.questions to quire_app;

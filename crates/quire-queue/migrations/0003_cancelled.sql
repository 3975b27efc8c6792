-- A cancelled task moves to a new place, where it waits for its kind to be told and never runs.
alter table queue.ready add column is_cancelled boolean not null default false;
alter table queue.deferred add column is_cancelled boolean not null default false;

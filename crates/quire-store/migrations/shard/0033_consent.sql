-- Accounts that somebody over there has still to open, and things of which nothing could be made.
alter table shard.connections
    drop constraint connections_state_check,
    add constraint connections_state_check check (state in ('waiting', 'active', 'paused', 'failed'));
-- Why this version of it became no source.
alter table shard.connection_items add column reason text;

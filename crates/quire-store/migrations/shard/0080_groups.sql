-- Who sees a source: everybody where groups is null, else people in one of these groups, as the tenant or the account
-- that it came from calls them. Search has the same as a mask.
alter table shard.sources add column groups text[];

-- A change of who sees a version of a source, told like its coming and going.
alter table shard.corpus_changes
    drop constraint corpus_changes_change_check,
    add constraint corpus_changes_change_check check (change in ('added', 'regrouped', 'removed'));

-- What a transaction may see that acts for somebody: quire.groups has the groups of that person, as an array. It is not set
-- where everything may be seen. The policies only take away from what the tenant's own lets through.
create policy seen on shard.sources as restrictive for select
    using (groups is null
           or coalesce(current_setting('quire.groups', true), '') = ''
           or groups && nullif(current_setting('quire.groups', true), '')::text[]);

-- An answer that is made later is for whoever sees at least what the one who asked saw; null is everything.
alter table shard.questions add column groups text[];
create policy seen on shard.questions as restrictive for select
    using (coalesce(current_setting('quire.groups', true), '') = ''
           or groups <@ nullif(current_setting('quire.groups', true), '')::text[]);

-- Of records, as the product tells; of everything that a connection brings; and of one thing, as the account tells.
alter table shard.records add column groups text[];
alter table shard.connections add column groups text[];
alter table shard.connection_items add column groups text[];

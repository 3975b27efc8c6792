-- Every way in which the schema could let one tenant reach another's rows. No row means: none.
-- Run as a role that sees the catalog; it reads no table of quire.
with rel as (
    select c.oid, c.oid::regclass::text as name, c.relkind as kind, c.relispartition as is_partition,
           c.relowner, c.reloptions,
           c.relrowsecurity and c.relforcerowsecurity as is_forced,
           (select attnum from pg_attribute a
            where a.attrelid = c.oid and attname = 'tenant_id' and not attisdropped) as tenant_column
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^(pg_|information_schema)'
),
-- What may exist without a tenant: the directory itself and the migrator's notes.
shared (name) as (
    values ('directory.regions'), ('directory.shards'), ('directory.plans'), ('directory.readers'), ('directory.installation'),
           ('directory.tenants'),
           ('directory.admin_keys'), ('directory.migrations'), ('shard.migrations'), ('queue.migrations'),
           ('directory.pools'), ('control.registries'), ('control.catalogues'), ('control.features'), ('control.migrations'),
           ('queue.workers'), ('queue.shards'), ('queue.receipts'), ('queue.kinds')
),
app (oid, name) as (
    select oid, rolname::text from pg_roles where rolname in ('quire_app', 'quire_worker')
)
select name, 'has no tenant_id and is not on the list of shared tables' as why
from rel where kind in ('r', 'p', 'f') and tenant_column is null and name not in (select name from shared)
union all
select name, 'row-level security is not enabled and forced'
from rel where tenant_column > 0 and kind in ('r', 'p', 'f') and not is_forced
union all
select rel.name, 'no policy compares the tenant in both USING and WITH CHECK'
from rel
where tenant_column > 0 and kind in ('r', 'p') and not is_partition
  and not exists (
      select from pg_policy p
      where p.polrelid = rel.oid
        and pg_get_expr(p.polqual, p.polrelid) =
            '(tenant_id = (NULLIF(current_setting(''quire.tenant''::text, true), ''''::text))::uuid)'
        and pg_get_expr(p.polwithcheck, p.polrelid) = pg_get_expr(p.polqual, p.polrelid))
union all
select rel.name, 'policy ' || p.polname || ' lets quire_app past the tenant'
from rel
join pg_policy p on p.polrelid = rel.oid
join app on app.name = 'quire_app'
-- A restrictive policy only takes away.
where p.polpermissive
  and exists (select from unnest(p.polroles) as r (oid) where r.oid = 0 or pg_has_role(app.oid, r.oid, 'member'))
  and (pg_get_expr(p.polqual, p.polrelid) is distinct from
           '(tenant_id = (NULLIF(current_setting(''quire.tenant''::text, true), ''''::text))::uuid)'
       or coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid))
          is distinct from pg_get_expr(p.polqual, p.polrelid))
union all
select rel.name, 'quire_app reaches what all tenants share'
from rel
join shared on shared.name = rel.name
join app on app.name = 'quire_app'
where has_any_column_privilege(app.oid, rel.oid, 'select,insert,update')
   or has_table_privilege(app.oid, rel.oid, 'delete')
union all
select rel.name, app.name || ' reaches content across tenants'
from rel
join app on app.name = 'quire_worker'
where rel.name like 'shard.%' and kind in ('r', 'p', 'f', 'v', 'm')
  and (has_any_column_privilege(app.oid, rel.oid, 'select,insert,update')
       or has_table_privilege(app.oid, rel.oid, 'delete'))
union all
select rel.name, app.name || ' can touch a partition directly'
from rel cross join app
where is_partition
  and (has_any_column_privilege(app.oid, rel.oid, 'select,insert,update')
       or has_table_privilege(app.oid, rel.oid, 'delete'))
union all
select rel.name, app.name || ' can truncate'
from rel cross join app
where kind in ('r', 'p', 'f') and has_table_privilege(app.oid, rel.oid, 'truncate')
union all
select name, 'view without security_invoker'
from rel where kind = 'v' and not coalesce('security_invoker=true' = any(reloptions), false)
union all
select name, 'materialized view'
from rel where kind = 'm'
union all
select p.oid::regprocedure::text, 'security definer function that ' || app.name || ' can call'
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
cross join app
where p.prosecdef and n.nspname !~ '^(pg_|information_schema)' and has_function_privilege(app.oid, p.oid, 'execute')
union all
select rel.name, 'key does not start with tenant_id: ' || i.indexrelid::regclass
from rel
join pg_index i on i.indrelid = rel.oid
where tenant_column > 0 and (i.indisunique or i.indisexclusion) and i.indkey[0] <> tenant_column
union all
select rel.name, 'foreign key without tenant_id: ' || conname
from rel
join pg_constraint f on f.conrelid = rel.oid
where tenant_column > 0 and f.contype = 'f' and not tenant_column = any(f.conkey)
union all
select app.name, 'owns a relation, bypasses row-level security or is a member of the owner'
from app
join pg_roles r on r.oid = app.oid
where r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, 'quire_owner', 'member')
   or exists (select from rel where relowner = r.oid)

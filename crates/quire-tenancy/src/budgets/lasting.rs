//! Work at a provider that outlives the process that asked for it, such as a batch that takes a day: what it costs at
//! the most is charged when it begins, in one statement with its usage event, and corrected when it ends.
//!
//! No process holds anything meanwhile, so none can die with it. Telling the beginning or the end twice changes
//! nothing.

use sqlx::PgConnection;

use quire_store::Store;

use super::rows::{create, exhausted, names, starts, sweep_where};
use super::{Counted, Exhausted, Need, Owner, Period, Scope};
use crate::Error;
use crate::usage::Event;

/// Charges an event that is open, and writes it down; or says which budget lacks what it needs.
pub(crate) async fn begin(
    store: &Store,
    event: &Event,
    needs: &[Need],
) -> Result<Result<(), Exhausted>, Error> {
    let tenant = event.tenant;
    // Each step is a transaction of its own, as for a hold.
    if try_begin(&mut *store.statement().await?, event, needs).await? {
        return Ok(Ok(()));
    }
    if create(&mut *store.statement().await?, tenant, needs).await?
        && try_begin(&mut *store.statement().await?, event, needs).await?
    {
        return Ok(Ok(()));
    }
    if sweep_where(&mut *store.statement().await?, Some(tenant)).await? > 0
        && try_begin(&mut *store.statement().await?, event, needs).await?
    {
        return Ok(Ok(()));
    }
    let exhausted = exhausted(&mut *store.statement().await?, tenant, needs, 1).await?;
    Ok(Err(exhausted))
}

async fn try_begin(
    connection: &mut PgConnection,
    event: &Event,
    needs: &[Need],
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "with wanted as materialized (
             select * from unnest($12::text[], $13::date[], $14::bigint[]) as w (scope, starts_on, most)
         ), known as materialized (
             select from control.usage_events where tenant_id = $1 and day = $2 and id = $3
         ), locked as (
             select b.scope, b.starts_on
             from control.budgets b join wanted w on w.scope = b.scope and w.starts_on = b.starts_on
             where b.tenant_id = $1 and b.spent + b.held + $11 <= w.most and not exists (select from known)
             order by b.scope, b.starts_on
             for update of b
         ), verdict as (
             select count(*) = cardinality($12) and not exists (select from known) as passes from locked
         ), written as (
             insert into control.usage_events
                 (tenant_id, day, id, at, kind, request, attempt, user_name, provider, model, cost, is_open,
                  is_estimated)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, true, true
             from verdict where passes
             on conflict do nothing
             returning 1
         ), marked as (
             insert into control.unsummed (tenant_id, day)
             select $1, $2 from written
             on conflict (tenant_id, day) do update set day = excluded.day
         ), charged as (
             update control.budgets b set spent = b.spent + $11
             from locked
             where b.tenant_id = $1 and b.scope = locked.scope and b.starts_on = locked.starts_on
               and exists (select from written)
         )
         select passes or exists (select from known) from verdict",
    )
    .bind(event.tenant.uuid())
    .bind(event.day())
    .bind(event.id)
    .bind(event.at)
    .bind(&event.kind)
    .bind(event.request)
    .bind(event.attempt)
    .bind(&event.user)
    .bind(&event.provider)
    .bind(&event.model)
    .bind(event.cost.nanos())
    .bind(names(needs))
    .bind(starts(needs))
    .bind(needs.iter().map(|need| need.limit).collect::<Vec<_>>())
    .fetch_one(connection)
    .await?)
}

/// Ends an event with what it really took, and gives the budgets back what it did not.
pub(crate) async fn end(store: &Store, event: &Event) -> Result<(), Error> {
    let scopes = scopes(event);
    let names: Vec<String> = scopes.iter().map(Scope::name).collect();
    let starts: Vec<_> = scopes.iter().map(|scope| scope.starts_on).collect();
    sqlx::query(
        "with open as materialized (
             select cost from control.usage_events
             where tenant_id = $1 and day = $2 and id = $3 and is_open
             for update
         ), ended as (
             update control.usage_events e
             set is_open = false, is_estimated = $5, cost = $4, input_tokens = $6, characters = $7
             from open where e.tenant_id = $1 and e.day = $2 and e.id = $3
         ), marked as (
             insert into control.unsummed (tenant_id, day)
             select $1, $2 from open
             on conflict (tenant_id, day) do update set day = excluded.day
         ), locked as (
             select b.scope, b.starts_on, open.cost
             from open, control.budgets b
             join unnest($8::text[], $9::date[]) as w (scope, starts_on)
               on w.scope = b.scope and w.starts_on = b.starts_on
             where b.tenant_id = $1
             order by b.scope, b.starts_on
             for update of b
         )
         update control.budgets b set spent = b.spent + $4 - locked.cost
         from locked
         where b.tenant_id = $1 and b.scope = locked.scope and b.starts_on = locked.starts_on",
    )
    .bind(event.tenant.uuid())
    .bind(event.day())
    .bind(event.id)
    .bind(event.cost.nanos())
    .bind(event.is_estimated)
    .bind(event.quantities.input_tokens)
    .bind(event.quantities.characters)
    .bind(names)
    .bind(starts)
    .execute(&mut *store.statement().await?)
    .await?;
    Ok(())
}

/// Every budget that may have been charged; those without a limit have no row.
fn scopes(event: &Event) -> Vec<Scope> {
    let mut owners = vec![Owner::Tenant];
    owners.extend(event.user.clone().map(Owner::User));
    let scopes = owners.into_iter().flat_map(|owner| {
        let scope = move |period| Scope::new(Counted::Cost, owner.clone(), period, event.day());
        [Period::Day, Period::Month].map(scope)
    });
    scopes.collect()
}

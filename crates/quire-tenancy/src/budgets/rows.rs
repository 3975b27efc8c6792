//! Budgets and holds as rows. Each step is one statement that locks the rows of budgets in the order of their
//! keys. Does not know how a hold is shared out among requests.

use std::time::Duration;

use chrono::NaiveDate;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use quire_store::{Store, SystemTx};
use quire_types::TenantId;

use super::{Account, Exhausted, Need, Owner, Period};
use crate::Error;

/// How long a hold is believed in while nobody says anything about it.
const HOLD_LIFE: Duration = Duration::from_secs(120);
/// The part of what is left that a hold ahead of time may take.
const SHARE_AHEAD: i64 = 8;
/// How long a swept hold is remembered.
const SWEPT_KEPT: Duration = Duration::from_secs(86_400);
/// Holds that are swept at once.
const SWEEP_ROWS: i64 = 5_000;

/// Holds `size` times what is needed, or says which budget lacks it. What the period's events say counts for
/// a budget that nobody has asked before.
pub(crate) async fn hold(
    store: &Store,
    tenant: TenantId,
    needs: &[Need],
    size: i64,
) -> Result<Result<Uuid, Exhausted>, Error> {
    let held = try_hold(&mut *store.statement().await?, tenant, needs, size).await?;
    if let Some(id) = held {
        return Ok(Ok(id));
    }
    // Each step is a transaction of its own: one that locked the rows of two steps would not lock them in order.
    if create(&mut *store.statement().await?, tenant, needs).await? {
        let held = try_hold(&mut *store.statement().await?, tenant, needs, size).await?;
        if let Some(id) = held {
            return Ok(Ok(id));
        }
    }
    if sweep_where(&mut *store.statement().await?, Some(tenant)).await? > 0 {
        let held = try_hold(&mut *store.statement().await?, tenant, needs, size).await?;
        if let Some(id) = held {
            return Ok(Ok(id));
        }
    }
    let exhausted = exhausted(&mut *store.statement().await?, tenant, needs, size).await?;
    Ok(Err(exhausted))
}

/// Nobody waits for the disk here: whoever writes down an attempt that costs money does, before it is sent, and
/// with it everything that was committed before is on the disk. A hold that the server forgets when it crashes was
/// for work that costs none.
async fn try_hold(
    connection: &mut PgConnection,
    tenant: TenantId,
    needs: &[Need],
    size: i64,
) -> Result<Option<Uuid>, Error> {
    let id = Uuid::now_v7();
    let made = sqlx::query(
        "with wanted as materialized (
             select w.*, set_config('synchronous_commit', 'off', true)
             from unnest($3::text[], $4::date[], $5::bigint[], $6::bigint[]) as w (scope, starts_on, amount, most)
         ), locked as (
             select b.scope, b.starts_on, w.amount
             from control.budgets b join wanted w on w.scope = b.scope and w.starts_on = b.starts_on
             where b.tenant_id = $1 and b.spent + b.held + w.amount * $8 <= w.most
             order by b.scope, b.starts_on
             for update of b
         ), verdict as (
             select count(*) = cardinality($3) as passes from locked
         ), held as (
             update control.budgets b set held = b.held + locked.amount
             from locked
             where b.tenant_id = $1 and b.scope = locked.scope and b.starts_on = locked.starts_on
               and (select passes from verdict)
             returning 1
         )
         insert into control.holds (tenant_id, id, scopes, starts, amounts, expires_at)
         select $1, $2, $3, $4, $5, now() + make_interval(secs => $7)
         where (select passes from verdict) and (select count(*) from held) = cardinality($3)",
    )
    .bind(tenant.uuid())
    .bind(id)
    .bind(names(needs))
    .bind(starts(needs))
    .bind(amounts(needs, size))
    .bind(needs.iter().map(|need| need.limit).collect::<Vec<_>>())
    .bind(HOLD_LIFE.as_secs_f64())
    .bind(if size > 1 { SHARE_AHEAD } else { 1 })
    .execute(connection)
    .await?;
    Ok((made.rows_affected() == 1).then_some(id))
}

pub(super) fn names(needs: &[Need]) -> Vec<String> {
    needs.iter().map(|need| need.scope.name()).collect()
}

pub(super) fn starts(needs: &[Need]) -> Vec<NaiveDate> {
    needs.iter().map(|need| need.scope.starts_on).collect()
}

fn amounts(needs: &[Need], size: i64) -> Vec<i64> {
    needs
        .iter()
        .map(|need| need.amount.saturating_mul(size))
        .collect()
}

/// Makes the rows that are missing. Whether any was.
pub(super) async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    needs: &[Need],
) -> Result<bool, Error> {
    let scopes = || needs.iter().map(|need| &need.scope);
    let users: Vec<Option<&str>> = scopes()
        .map(|scope| match &scope.owner {
            Owner::User(name) => Some(name.as_str()),
            Owner::Tenant | Owner::Notebook(_) => None,
        })
        .collect();
    let notebooks: Vec<Option<Uuid>> = scopes()
        .map(|scope| match &scope.owner {
            Owner::Notebook(id) => Some(*id),
            Owner::Tenant | Owner::User(_) => None,
        })
        .collect();
    let ends: Vec<NaiveDate> = scopes()
        .map(|scope| scope.period.next(scope.starts_on))
        .collect();
    let counted: Vec<&str> = scopes().map(|scope| scope.counted.as_str()).collect();
    let made = sqlx::query(
        "insert into control.budgets (tenant_id, scope, starts_on, spent)
         select $1, w.scope, w.starts_on, coalesce((
             select sum(case w.counted when 'cost' then e.cost
                                       when 'questions' then (e.kind = 'question')::int
                                       else (e.kind <> 'transcribe')::int * e.audio_ms / 1000 end)
             from control.usage_events e
             where e.tenant_id = $1 and e.day >= w.starts_on and e.day < w.ends_on
               and (w.user_name is null or e.user_name = w.user_name)
               and (w.notebook_id is null or e.notebook_id = w.notebook_id)), 0)
         from unnest($2::text[], $3::date[], $4::date[], $5::text[], $6::text[], $7::uuid[])
             as w (scope, starts_on, ends_on, counted, user_name, notebook_id)
         where not exists (select from control.budgets b
                           where b.tenant_id = $1 and b.scope = w.scope and b.starts_on = w.starts_on)
         order by w.scope, w.starts_on
         on conflict do nothing",
    )
    .bind(tenant.uuid())
    .bind(names(needs))
    .bind(starts(needs))
    .bind(ends)
    .bind(counted)
    .bind(users)
    .bind(notebooks)
    .execute(connection)
    .await?;
    Ok(made.rows_affected() > 0)
}

pub(super) async fn exhausted(
    connection: &mut PgConnection,
    tenant: TenantId,
    needs: &[Need],
    size: i64,
) -> Result<Exhausted, Error> {
    let taken: Vec<(String, NaiveDate, i64)> = sqlx::query_as(
        "select b.scope, b.starts_on, b.spent + b.held
         from control.budgets b
         join unnest($2::text[], $3::date[]) as w (scope, starts_on) using (scope, starts_on)
         where b.tenant_id = $1",
    )
    .bind(tenant.uuid())
    .bind(names(needs))
    .bind(starts(needs))
    .fetch_all(connection)
    .await?;
    let taken_of = |need: &Need| {
        let name = need.scope.name();
        let row = taken
            .iter()
            .find(|(scope, start, _)| *scope == name && *start == need.scope.starts_on);
        row.map_or(0, |(_, _, taken)| *taken)
    };
    // The tightest one; between the refusal and this look another may have become free.
    let tightest = needs
        .iter()
        .min_by_key(|need| need.limit - taken_of(need) - need.amount.saturating_mul(size))
        .ok_or_else(|| Error::Invalid("a hold needs a budget".to_owned()))?;
    Ok(Exhausted {
        scope: tightest.scope.clone(),
        limit: tightest.limit,
    })
}

/// Charges what was used and frees the rest, of many holds at once. A hold that was swept meanwhile is
/// charged the difference; one that is gone altogether was charged before.
pub(crate) async fn settle(store: &Store, accounts: &[Account]) -> Result<(), Error> {
    let mut holds = Vec::new();
    let mut scopes = Vec::new();
    let mut used = Vec::new();
    let mut starts = Vec::new();
    for account in accounts {
        for (scope, amount) in account.scopes.iter().zip(&account.used) {
            holds.push(account.hold);
            scopes.push(scope.name());
            starts.push(scope.starts_on);
            used.push(*amount);
        }
    }
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = accounts
        .iter()
        .map(|account| (account.tenant.uuid(), account.hold))
        .unzip();
    let mut tx = store.system().await?;
    sqlx::query(
        "with gone as (
             delete from control.holds h using unnest($1::uuid[], $2::uuid[]) as a (tenant_id, id)
             where h.tenant_id = a.tenant_id and h.id = a.id
             returning h.tenant_id, h.id, h.scopes, h.starts, h.amounts, h.charged
         ), parts as (
             select gone.tenant_id, part.scope, part.starts_on, u.used,
                    case when gone.charged is null then part.amount else 0 end as freed,
                    case when gone.charged is null then 0 else part.charged end as charged
             from gone
             cross join unnest(gone.scopes, gone.starts, gone.amounts, gone.charged)
                 as part (scope, starts_on, amount, charged)
             join unnest($3::uuid[], $4::text[], $5::date[], $6::bigint[]) as u (id, scope, starts_on, used)
               on u.id = gone.id and u.scope = part.scope and u.starts_on = part.starts_on
         ), sums as (
             select tenant_id, scope, starts_on, sum(freed)::bigint as freed,
                    sum(used - charged)::bigint as used
             from parts group by 1, 2, 3
         ), locked as (
             select b.tenant_id, b.scope, b.starts_on, sums.freed, sums.used
             from control.budgets b join sums using (tenant_id, scope, starts_on)
             order by 1, 2, 3
             for update of b
         )
         update control.budgets b set held = b.held - locked.freed, spent = b.spent + locked.used
         from locked
         where b.tenant_id = locked.tenant_id and b.scope = locked.scope and b.starts_on = locked.starts_on",
    )
    .bind(tenants)
    .bind(ids)
    .bind(holds)
    .bind(scopes)
    .bind(starts)
    .bind(used)
    .execute(tx.connection())
    .await?;
    Ok(tx.commit().await?)
}

/// Says that these holds are still in use.
pub(crate) async fn renew(store: &Store, tenant: TenantId, holds: &[Uuid]) -> Result<(), Error> {
    let mut tx = store.system().await?;
    sqlx::query(
        "update control.holds set expires_at = now() + make_interval(secs => $3)
         where tenant_id = $1 and id = any($2)",
    )
    .bind(tenant.uuid())
    .bind(holds)
    .bind(HOLD_LIFE.as_secs_f64())
    .execute(tx.connection())
    .await?;
    Ok(tx.commit().await?)
}

/// Frees what processes held that say nothing any more, and charges what their events tell. Returns how many
/// holds that were.
pub async fn sweep(store: &Store) -> Result<u64, Error> {
    let mut tx = store.system().await?;
    let swept = sweep_where(tx.connection(), None).await?;
    sqlx::query("delete from control.holds where charged is not null and expires_at < now() - make_interval(secs => $1)")
        .bind(SWEPT_KEPT.as_secs_f64())
        .execute(tx.connection())
        .await?;
    tx.commit().await?;
    Ok(swept)
}

#[derive(FromRow)]
struct Swept {
    holds: i64,
}

pub(super) async fn sweep_where(
    connection: &mut PgConnection,
    tenant: Option<TenantId>,
) -> Result<u64, Error> {
    let swept: Swept = sqlx::query_as(
        "with old as (
             select tenant_id, id from control.holds
             where expires_at < now() and charged is null and ($1::uuid is null or tenant_id = $1)
             order by tenant_id, id limit $2
             for update skip locked
         ), parts as (
             select h.tenant_id, h.id, part.scope, part.starts_on, part.amount, part.place,
                    coalesce((select sum(case split_part(part.scope, '/', 1)
                                             when 'cost' then e.cost
                                             when 'questions' then (e.kind = 'question')::int
                                             else (e.kind <> 'transcribe')::int * e.audio_ms / 1000 end)
                              from control.usage_events e
                              where e.tenant_id = h.tenant_id and e.hold = h.id), 0)::bigint as charged
             from control.holds h join old using (tenant_id, id)
             cross join unnest(h.scopes, h.starts, h.amounts) with ordinality
                 as part (scope, starts_on, amount, place)
         ), marked as (
             update control.holds h set charged = c.charged
             from (select tenant_id, id, array_agg(charged order by place) as charged
                   from parts group by 1, 2) c
             where h.tenant_id = c.tenant_id and h.id = c.id
             returning 1
         ), sums as (
             select tenant_id, scope, starts_on, sum(amount)::bigint as freed, sum(charged)::bigint as used
             from parts group by 1, 2, 3
         ), locked as (
             select b.tenant_id, b.scope, b.starts_on, sums.freed, sums.used
             from control.budgets b join sums using (tenant_id, scope, starts_on)
             order by 1, 2, 3
             for update of b
         ), freed as (
             update control.budgets b set held = b.held - locked.freed, spent = b.spent + locked.used
             from locked
             where b.tenant_id = locked.tenant_id and b.scope = locked.scope and b.starts_on = locked.starts_on
         )
         select count(*) as holds from marked",
    )
    .bind(tenant.map(TenantId::uuid))
    .bind(SWEEP_ROWS)
    .fetch_one(connection)
    .await?;
    Ok(swept.holds.unsigned_abs())
}

/// What one budget has come to.
#[derive(Clone, Debug, FromRow)]
pub struct BudgetRow {
    /// Its name: what is counted, for whom, in which period.
    pub scope: String,
    /// The first day of the period.
    pub starts_on: NaiveDate,
    /// What was used.
    pub spent: i64,
    /// What is reserved for requests that run.
    pub held: i64,
}

/// The budgets of a tenant whose period is running: its own, and the first hundreds of its users and notebooks.
pub async fn of_tenant(
    tx: &mut SystemTx,
    tenant: TenantId,
    today: NaiveDate,
) -> Result<Vec<BudgetRow>, Error> {
    Ok(sqlx::query_as(
        "select scope, starts_on, spent, held from control.budgets
         where tenant_id = $1 and ((scope like '%/day' and starts_on = $2) or (scope like '%/month' and starts_on = $3))
         order by scope limit 200",
    )
    .bind(tenant.uuid())
    .bind(today)
    .bind(Period::Month.start(today))
    .fetch_all(tx.connection())
    .await?)
}

/// Forgets the budgets of a tenant whose limits changed, where nothing is held: the next request counts them
/// anew from the events, those of a time without limit included.
pub(crate) async fn forget(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    sqlx::query(
        "delete from control.budgets b
         using (select scope, starts_on from control.budgets where tenant_id = $1 and held = 0
                order by scope, starts_on for update) old
         where b.tenant_id = $1 and b.scope = old.scope and b.starts_on = old.starts_on and b.held = 0",
    )
    .bind(tenant.uuid())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The same for all tenants on a plan that changed.
pub(crate) async fn forget_plan(tx: &mut SystemTx, plan: &str) -> Result<(), Error> {
    sqlx::query(
        "delete from control.budgets b
         using (select b.tenant_id, b.scope, b.starts_on
                from control.budgets b join directory.tenants t on t.id = b.tenant_id
                where t.plan = $1 and b.held = 0
                order by 1, 2, 3 for update of b) old
         where b.tenant_id = old.tenant_id and b.scope = old.scope and b.starts_on = old.starts_on and b.held = 0",
    )
    .bind(plan)
    .execute(tx.connection())
    .await?;
    Ok(())
}

//! The catalogue, overrides and feature flags as rows. A change is told to every process by the database
//! itself, so it counts within a moment, however it was made.

use std::collections::BTreeMap;

use quire_queue::TenantShare;
use quire_store::SystemTx;
use quire_store::tenants::{self, Tenant};
use quire_types::{TenantId, TenantState};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::catalogue::{Catalogue, Isolation, Plan};
use crate::limit::{Limit, LimitName};
use crate::{Error, budgets};

/// Puts the shipped catalogue in where there is none yet. What an operator applied is never touched.
pub async fn ensure_catalogue(tx: &mut SystemTx) -> Result<(), Error> {
    let is_there: bool = sqlx::query_scalar("select exists (select from control.catalogues)")
        .fetch_one(tx.connection())
        .await?;
    if is_there {
        return Ok(());
    }
    apply(tx, Catalogue::SHIPPED).await.map(drop)
}

/// Makes a catalogue the one that counts. A plan that tenants are on can't be left out.
pub async fn apply(tx: &mut SystemTx, document: &str) -> Result<Catalogue, Error> {
    let catalogue = Catalogue::parse_new(document)?;
    let (ids, names): (Vec<&str>, Vec<&str>) = catalogue
        .plans
        .values()
        .map(|plan| (plan.id.as_str(), plan.name.as_str()))
        .unzip();
    // Two operators at once: the second waits, and its catalogue is the newer one.
    crate::one_at_a_time(tx, "control.catalogues").await?;
    let before = self::catalogue(tx).await?;
    sqlx::query(
        "insert into directory.plans (id, name) select * from unnest($1::text[], $2::text[])
         on conflict (id) do update set name = excluded.name",
    )
    .bind(&ids)
    .bind(&names)
    .execute(tx.connection())
    .await?;
    let left_out: Vec<(String, i64)> = sqlx::query_as(
        "select t.plan, count(*) from directory.tenants t where t.plan <> all($1) group by 1 order by 1",
    )
    .bind(&ids)
    .fetch_all(tx.connection())
    .await?;
    if let Some((plan, tenants)) = left_out.first() {
        return Err(Error::Invalid(format!(
            "{tenants} tenants are on plan '{plan}', which the new catalogue lacks: move them first"
        )));
    }
    sqlx::query("delete from directory.plans where id <> all($1)")
        .bind(&ids)
        .execute(tx.connection())
        .await?;
    sqlx::query("insert into control.catalogues (document) values ($1)")
        .bind(document)
        .execute(tx.connection())
        .await?;
    for plan in catalogue.plans.values() {
        let is_as_before = before
            .plans
            .get(&plan.id)
            .is_some_and(|before| queue_share(before, None) == queue_share(plan, None));
        if !is_as_before {
            share_queue_of_plan(tx, plan).await?;
        }
        let limits = before.plans.get(&plan.id).map(|before| &before.limits);
        if limits != Some(&plan.limits) {
            budgets::forget_plan(tx, plan.id.as_str()).await?;
        }
    }
    Ok(catalogue)
}

/// Tells the queue of a plan that changed, for all tenants on it that agreed on nothing else.
async fn share_queue_of_plan(tx: &mut SystemTx, plan: &Plan) -> Result<(), Error> {
    let tenants: Vec<Uuid> = sqlx::query_scalar(
        "select t.id from directory.tenants t
         where t.plan = $1
           and not exists (select from control.overrides o where o.tenant_id = t.id and o.name = $2)",
    )
    .bind(plan.id.as_str())
    .bind(LimitName::RunningTasks.as_str())
    .fetch_all(tx.connection())
    .await?;
    let tenants: Vec<TenantId> = tenants.into_iter().map(TenantId::from).collect();
    quire_queue::set_tenant_share(tx, &tenants, queue_share(plan, None)).await?;
    Ok(())
}

/// What a plan gives of the workers, unless a limit was agreed on.
fn queue_share(plan: &Plan, agreed: Option<Limit>) -> TenantShare {
    let running = agreed
        .or_else(|| plan.limits.get(&LimitName::RunningTasks).copied())
        .unwrap_or(LimitName::RunningTasks.default_limit());
    TenantShare {
        weight: i32::from(plan.weight),
        // None at all is said by pausing the tenant.
        most_running: running
            .most()
            .map(|most| i32::try_from(most.max(1)).unwrap_or(i32::MAX)),
    }
}

/// The catalogue that counts, as it was written.
pub async fn document(tx: &mut SystemTx) -> Result<String, Error> {
    let document: Option<String> =
        sqlx::query_scalar("select document from control.catalogues order by version desc limit 1")
            .fetch_optional(tx.connection())
            .await?;
    Ok(document.unwrap_or_else(|| Catalogue::SHIPPED.to_owned()))
}

pub(crate) async fn catalogue(tx: &mut SystemTx) -> Result<Catalogue, Error> {
    Ok(Catalogue::parse(&document(tx).await?)?)
}

/// Agrees on a limit with one tenant; none for what the plan says. What is used already stays used: a limit
/// below it refuses what is new and takes nothing away.
pub async fn set_override(
    tx: &mut SystemTx,
    tenant: TenantId,
    name: LimitName,
    value: Option<&str>,
) -> Result<(), Error> {
    match value {
        Some(value) => {
            name.parse_value(value)?;
            sqlx::query(
                "insert into control.overrides (tenant_id, name, value) values ($1, $2, $3)
                 on conflict (tenant_id, name) do update set value = excluded.value, changed_at = now()",
            )
            .bind(tenant.uuid())
            .bind(name.as_str())
            .bind(value)
            .execute(tx.connection())
            .await?;
        }
        None => {
            sqlx::query("delete from control.overrides where tenant_id = $1 and name = $2")
                .bind(tenant.uuid())
                .bind(name.as_str())
                .execute(tx.connection())
                .await?;
        }
    }
    budgets::forget(tx, tenant).await?;
    share_queue(tx, tenant).await
}

async fn overrides(tx: &mut SystemTx, tenant: TenantId) -> Result<Vec<(String, String)>, Error> {
    Ok(
        sqlx::query_as("select name, value from control.overrides where tenant_id = $1")
            .bind(tenant.uuid())
            .fetch_all(tx.connection())
            .await?,
    )
}

/// Puts a tenant on another plan, in the middle of whatever it does: what runs goes on under the old terms,
/// what comes next is under the new ones.
pub async fn set_plan(tx: &mut SystemTx, id: TenantId, plan: &str) -> Result<Tenant, Error> {
    let tenant = tenants::set_plan(tx, id, plan).await?;
    budgets::forget(tx, id).await?;
    share_queue(tx, id).await?;
    Ok(tenant)
}

/// Tells the queue what the tenant's plan gives it of the workers.
pub(crate) async fn share_queue(tx: &mut SystemTx, id: TenantId) -> Result<(), Error> {
    let tenant = tenants::get(tx, id).await?;
    let catalogue = catalogue(tx).await?;
    let plan = catalogue
        .plans
        .values()
        .find(|plan| plan.id.as_str() == tenant.plan)
        .ok_or_else(|| Error::Invalid(format!("the catalogue has no plan '{}'", tenant.plan)))?;
    let agreed = overrides(tx, id).await?;
    let running = agreed
        .iter()
        .find(|(name, _)| name == LimitName::RunningTasks.as_str())
        .and_then(|(_, value)| LimitName::RunningTasks.parse_value(value).ok());
    let share = queue_share(plan, running);
    quire_queue::set_tenant_share(tx, &[id], share).await?;
    let is_off = running.is_some_and(Limit::is_off);
    let paused = is_off || tenant.state != TenantState::Active;
    quire_queue::pause_tenant(tx, id, paused).await?;
    if plan.isolation == Isolation::Dedicated {
        quire_queue::dedicate(tx, id).await?;
    }
    Ok(())
}

/// Turns a feature on for so many percent of all tenants.
pub async fn set_feature(tx: &mut SystemTx, name: &str, percent: u8) -> Result<(), Error> {
    if percent > 100 {
        return Err(Error::Invalid(
            "a percentage is between 0 and 100".to_owned(),
        ));
    }
    check_feature(name)?;
    sqlx::query(
        "insert into control.features (name, percent) values ($1, $2)
         on conflict (name) do update set percent = excluded.percent",
    )
    .bind(name)
    .bind(i16::from(percent))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Turns a feature on or off for one tenant; none for what the percentage says.
pub async fn set_switch(
    tx: &mut SystemTx,
    tenant: TenantId,
    feature: &str,
    is_on: Option<bool>,
) -> Result<(), Error> {
    check_feature(feature)?;
    let statement = match is_on {
        Some(_) => {
            "insert into control.switches (tenant_id, feature, is_on) values ($1, $2, $3)
             on conflict (tenant_id, feature) do update set is_on = excluded.is_on"
        }
        None => "delete from control.switches where tenant_id = $1 and feature = $2 and $3 is null",
    };
    sqlx::query(statement)
        .bind(tenant.uuid())
        .bind(feature)
        .bind(is_on)
        .execute(tx.connection())
        .await?;
    Ok(())
}

fn check_feature(name: &str) -> Result<(), Error> {
    let is_word = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if is_word {
        Ok(())
    } else {
        Err(Error::Invalid(
            "a feature's name has 1 to 64 of a-z, 0-9 and hyphens".to_owned(),
        ))
    }
}

/// Every feature with its percentage.
pub async fn features(tx: &mut SystemTx) -> Result<Vec<(String, i16)>, Error> {
    Ok(
        sqlx::query_as("select name, percent from control.features order by name")
            .fetch_all(tx.connection())
            .await?,
    )
}

/// A tenant with what was agreed with it alone.
#[derive(FromRow)]
pub(crate) struct Agreed {
    #[sqlx(flatten)]
    pub(crate) tenant: Tenant,
    /// Values of limits by their names, as they were written.
    pub(crate) overrides: Json<BTreeMap<String, String>>,
    /// Whether a feature is on.
    pub(crate) switches: Json<BTreeMap<String, bool>>,
}

/// All that is known of one tenant, in one statement: the first request of a tenant waits for it.
pub(crate) async fn agreed(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Agreed, Error> {
    let agreed = sqlx::query_as(
        "select t.*,
                coalesce((select jsonb_object_agg(o.name, o.value)
                          from control.overrides o where o.tenant_id = t.id), '{}') as overrides,
                coalesce((select jsonb_object_agg(s.feature, s.is_on)
                          from control.switches s where s.tenant_id = t.id), '{}') as switches
         from directory.tenants t where t.id = $1",
    )
    .bind(tenant.uuid())
    .fetch_optional(connection)
    .await?;
    Ok(agreed.ok_or(quire_store::Error::NotFound { what: "tenant" })?)
}

/// The plan of this name.
pub async fn plan(tx: &mut SystemTx, id: &str) -> Result<Plan, Error> {
    let catalogue = catalogue(tx).await?;
    catalogue
        .plans
        .into_values()
        .find(|plan| plan.id.as_str() == id)
        .ok_or_else(|| Error::Invalid(format!("there is no plan '{id}'")))
}

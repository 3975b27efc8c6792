//! How a tenant comes, rests and goes: its place, plan and keys in one step that can be repeated, and states
//! that stop all cost at once.

use quire_store::keys::{self, ApiKey, KeyText};
use quire_store::tenants::{self, NewTenant, Tenant};
use quire_store::{Store, SystemTx};
use quire_types::{ErrorKind, KeyRole, Kind, TenantId, TenantState};

use crate::catalogue::Isolation;
use crate::{Error, placement, plans};

/// A customer that is to become a tenant.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Short name, unique in the installation; the same again is the same tenant.
    pub slug: String,
    /// Name for people; the short name if there is none.
    pub name: Option<String>,
    /// Where it is, as ISO 3166-1 code.
    pub country: Option<String>,
    /// Its plan; the catalogue's default if there is none.
    pub plan: Option<String>,
}

/// What registering a newcomer led to.
#[derive(Debug)]
pub struct Registered {
    /// The tenant.
    pub tenant: Tenant,
    /// Its first key; only when the tenant is new, since a key is shown once.
    pub key: Option<(ApiKey, KeyText)>,
}

/// Gives a newcomer its region, shard, pool, incarnation, plan and first key, in one transaction. Repeated, it
/// finds the tenant that is there; when that one differs from what is asked for, nothing changes.
pub async fn register(store: &Store, newcomer: &Newcomer) -> Result<Registered, Error> {
    let mut tx = store.system().await?;
    if let Some(tenant) = find(&mut tx, &newcomer.slug).await? {
        tx.commit().await?;
        return same(tenant, newcomer);
    }
    let made = insert(&mut tx, newcomer).await;
    match made {
        Ok(made) => {
            tx.commit().await?;
            Ok(made)
        }
        // Somebody else was registering the same one.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            drop(tx);
            let mut tx = store.system().await?;
            let there = find(&mut tx, &newcomer.slug).await?;
            tx.commit().await?;
            there.map_or(Err(error), |tenant| same(tenant, newcomer))
        }
        Err(error) => Err(error),
    }
}

async fn insert(tx: &mut SystemTx, newcomer: &Newcomer) -> Result<Registered, Error> {
    let id = TenantId::generate();
    let place = placement::choose(tx, id, newcomer.country.as_deref()).await?;
    let plan = match &newcomer.plan {
        Some(plan) => plan.clone(),
        None => plans::catalogue(tx).await?.default.to_string(),
    };
    let pool = match plans::plan(tx, &plan).await?.isolation {
        Isolation::Dedicated => placement::claim_pool(tx, id, &place.region).await?,
        Isolation::Shared => None,
    };
    let tenant = tenants::create(
        tx,
        &NewTenant {
            id,
            slug: &newcomer.slug,
            name: newcomer.name.as_deref().unwrap_or(&newcomer.slug),
            plan: &plan,
            country: newcomer.country.as_deref(),
            region: &place.region,
            shard: place.shard,
            pool: pool.as_deref().unwrap_or(&place.pool),
        },
    )
    .await?;
    plans::share_queue(tx, id).await?;
    let key = keys::create(tx, id, KeyRole::Tenant, None, None, "first key").await?;
    Ok(Registered {
        tenant,
        key: Some(key),
    })
}

async fn find(tx: &mut SystemTx, slug: &str) -> Result<Option<Tenant>, Error> {
    match tenants::by_slug(tx, slug).await {
        Ok(tenant) => Ok(Some(tenant)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn same(tenant: Tenant, newcomer: &Newcomer) -> Result<Registered, Error> {
    let differs = |asked: &Option<String>, is: Option<&str>| {
        asked.as_deref().is_some_and(|asked| Some(asked) != is)
    };
    let what = if differs(&newcomer.plan, Some(&tenant.plan)) {
        Some("plan")
    } else if differs(&newcomer.country, tenant.country.as_deref()) {
        Some("country")
    } else if differs(&newcomer.name, Some(&tenant.name)) {
        Some("name")
    } else {
        None
    };
    match what {
        Some(what) => Err(Error::Conflict(format!(
            "a tenant named '{}' exists already with another {what}",
            tenant.slug
        ))),
        None => Ok(Registered { tenant, key: None }),
    }
}

/// Moves a tenant to another state. Anything but active stops all that costs: requests and streams end, tasks
/// wait. What is closed can't be opened again.
pub async fn set_state(
    tx: &mut SystemTx,
    id: TenantId,
    state: TenantState,
) -> Result<Tenant, Error> {
    let tenant = tenants::lock(tx, id).await?;
    let may = match tenant.state {
        TenantState::Active | TenantState::Suspended => true,
        TenantState::Closing => matches!(state, TenantState::Closing | TenantState::Closed),
        TenantState::Closed => state == TenantState::Closed,
    };
    if !may {
        return Err(Error::Conflict(format!(
            "a tenant that is {} can't become {state}",
            tenant.state
        )));
    }
    let tenant = tenants::set_state(tx, id, state).await?;
    quire_queue::pause_tenant(tx, id, state != TenantState::Active).await?;
    Ok(tenant)
}

//! Pools as rows: AI projects with their region, their sealed key and their quota. A change is told to every
//! process by the database itself; a key that is replaced is used from the next call on.

use quire_models::Quota;
use quire_models::registry::Provider;
use quire_store::SystemTx;
use quire_store::sealed::{Keyring, Purpose};
use quire_types::{Secret, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Error;

/// A pool, without its key.
#[derive(Clone, Debug, FromRow)]
pub struct PoolRow {
    /// Its name.
    pub id: String,
    /// The legal area it is in.
    pub region: String,
    /// Whose it is, by its name in the registry; none for one that only places tenants.
    pub provider: Option<String>,
    /// Where it is, unless where its provider is.
    pub base_url: Option<String>,
    /// The models it has; all of its provider when it is empty.
    pub models: Vec<String>,
    /// What its provider allows it.
    quota: Json<Quota>,
    state: String,
    reserved_for: Option<Uuid>,
    /// Whether it has a key.
    pub has_key: bool,
    /// Tenants that are in it.
    pub tenants: i64,
    /// When it was last changed.
    pub changed_at: Timestamp,
}

impl PoolRow {
    /// What its provider allows it.
    pub fn quota(&self) -> Quota {
        self.quota.0
    }

    /// Whether it works, and for whom.
    pub fn state(&self) -> State {
        self.state.parse().unwrap_or(State::Maintenance)
    }

    /// The one tenant it is for.
    pub fn reserved_for(&self) -> Option<TenantId> {
        self.reserved_for.map(TenantId::from)
    }
}

/// Whether a pool works, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// For every tenant of its region.
    Active,
    /// For the tenants that are in it.
    Full,
    /// For nobody.
    Maintenance,
}

impl State {
    /// The stable name, as stored and as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Full => "full",
            Self::Maintenance => "maintenance",
        }
    }
}

impl std::str::FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Active, Self::Full, Self::Maintenance]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| {
                Error::Invalid(format!(
                    "'{text}' is no state of a pool: use active, full or maintenance"
                ))
            })
    }
}

/// A pool that is to be.
#[derive(Clone, Debug)]
pub struct NewPool {
    /// Its name: 1 to 32 of a-z, 0-9 and '-'.
    pub id: String,
    /// The legal area it is in.
    pub region: String,
    /// Whose it is, by its name in the registry.
    pub provider: String,
    /// Where it is, unless where its provider is.
    pub base_url: Option<String>,
    /// What shows who is calling; servers of your own may need none.
    pub key: Option<Secret>,
    /// The models it has; all of its provider when it is empty.
    pub models: Vec<String>,
    /// What its provider allows it.
    pub quota: Quota,
    /// The one tenant it is for.
    pub reserved_for: Option<TenantId>,
}

/// A pool as a process needs it, with its key still sealed.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct SealedPool {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) provider: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) models: Vec<String>,
    pub(crate) quota: Json<Quota>,
    pub(crate) state: String,
    pub(crate) reserved_for: Option<Uuid>,
}

/// What the key of a pool is sealed for. Its region is part of it: a key does not move to another one.
pub(crate) fn purpose(id: &str, region: &str) -> Purpose {
    Purpose::of_installation("pool", &format!("{region}/{id}"))
}

const COLUMNS: &str =
    "select p.id, p.region, p.provider, p.base_url, p.models, p.quota, p.state, p.reserved_for,
        p.key is not null as has_key, p.changed_at,
        (select count(*) from directory.tenants t where t.pool = p.id) as tenants
     from directory.pools p";

/// Every pool, by name.
pub async fn list(tx: &mut SystemTx) -> Result<Vec<PoolRow>, Error> {
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{COLUMNS} order by p.region, p.id"
    )))
    .fetch_all(tx.connection())
    .await?)
}

/// The pool of this name.
pub async fn get(tx: &mut SystemTx, id: &str) -> Result<PoolRow, Error> {
    let found = sqlx::query_as(sqlx::AssertSqlSafe(format!("{COLUMNS} where p.id = $1")))
        .bind(id)
        .fetch_optional(tx.connection())
        .await?;
    found.ok_or_else(missing)
}

fn missing() -> Error {
    quire_store::Error::NotFound { what: "pool" }.into()
}

/// Adds a pool, or gives a provider to one that only placed tenants so far.
pub async fn add(tx: &mut SystemTx, keyring: &Keyring, new: NewPool) -> Result<PoolRow, Error> {
    let registry = crate::models::registry(tx).await?;
    let provider = registry.provider(&new.provider).ok_or_else(|| {
        Error::Invalid(format!(
            "there is no provider '{}': see `quire model list`, or add it with `quire model apply`",
            new.provider
        ))
    })?;
    for model in &new.models {
        let model = registry
            .model(model)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        if model.provider != new.provider {
            return Err(Error::Invalid(format!(
                "'{}' is a model of {}, not of {}",
                model.name, model.provider, new.provider
            )));
        }
    }
    can_work(
        provider,
        &new.provider,
        new.base_url.as_ref(),
        new.key.as_ref(),
    )?;
    let is_region: bool =
        sqlx::query_scalar("select exists (select from directory.regions where id = $1)")
            .bind(&new.region)
            .fetch_one(tx.connection())
            .await?;
    if !is_region {
        return Err(Error::Invalid(format!(
            "there is no region '{}': see `quire region list`",
            new.region
        )));
    }
    // The same rule as for plans; the table holds it too.
    new.id.parse::<crate::catalogue::PlanId>().map_err(|_| {
        Error::Invalid(format!(
            "'{}' can't name a pool; use 1 to 32 of a-z, 0-9 and '-'",
            new.id
        ))
    })?;
    let key = new
        .key
        .as_ref()
        .map(|key| keyring.seal(&purpose(&new.id, &new.region), key))
        .transpose()?;
    let added = sqlx::query(
        "insert into directory.pools as p (id, region, provider, base_url, key, models, quota, reserved_for)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (id) do update
         set provider = excluded.provider, base_url = excluded.base_url, key = excluded.key,
             models = excluded.models, quota = excluded.quota, changed_at = now()
         where p.provider is null and p.region = excluded.region",
    )
    .bind(&new.id)
    .bind(&new.region)
    .bind(&new.provider)
    .bind(&new.base_url)
    .bind(key)
    .bind(&new.models)
    .bind(Json(new.quota))
    .bind(new.reserved_for.map(TenantId::uuid))
    .execute(tx.connection())
    .await?;
    if added.rows_affected() == 0 {
        return Err(Error::Conflict(format!(
            "there is a pool '{}' already: rotate its key, or remove it first",
            new.id
        )));
    }
    get(tx, &new.id).await
}

/// An address or a key that can't work is told now, not with the first question.
fn can_work(
    provider: &Provider,
    name: &str,
    base_url: Option<&String>,
    key: Option<&Secret>,
) -> Result<(), Error> {
    let base_url = base_url.or(provider.base_url.as_ref()).cloned();
    quire_models::Server::new(quire_models::ServerConfig {
        wire: provider.wire,
        base_url: base_url.ok_or_else(|| {
            Error::Invalid(format!("provider '{name}' has no address: give base_url"))
        })?,
        api_key: key.cloned(),
        patience: quire_models::Patience::default(),
    })
    .map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(())
}

/// Says for whom a pool works.
pub async fn set_state(tx: &mut SystemTx, id: &str, state: State) -> Result<PoolRow, Error> {
    let set =
        sqlx::query("update directory.pools set state = $2, changed_at = now() where id = $1")
            .bind(id)
            .bind(state.as_str())
            .execute(tx.connection())
            .await?;
    if set.rows_affected() == 0 {
        return Err(missing());
    }
    get(tx, id).await
}

/// Says what the provider allows a pool.
pub async fn set_quota(tx: &mut SystemTx, id: &str, quota: Quota) -> Result<PoolRow, Error> {
    let set =
        sqlx::query("update directory.pools set quota = $2, changed_at = now() where id = $1")
            .bind(id)
            .bind(Json(quota))
            .execute(tx.connection())
            .await?;
    if set.rows_affected() == 0 {
        return Err(missing());
    }
    get(tx, id).await
}

/// Replaces the key of a pool. Calls that run go on with the old one; every later call has the new one.
pub async fn rotate(
    tx: &mut SystemTx,
    keyring: &Keyring,
    id: &str,
    key: &Secret,
) -> Result<PoolRow, Error> {
    let pool = get(tx, id).await?;
    let Some(name) = &pool.provider else {
        return Err(Error::Invalid(format!(
            "pool '{id}' has no provider and so no key: give it one with `quire pool add`"
        )));
    };
    let registry = crate::models::registry(tx).await?;
    if let Some(provider) = registry.provider(name) {
        can_work(provider, name, pool.base_url.as_ref(), Some(key))?;
    }
    let sealed = keyring.seal(&purpose(id, &pool.region), key)?;
    sqlx::query("update directory.pools set key = $2, changed_at = now() where id = $1")
        .bind(id)
        .bind(sealed)
        .execute(tx.connection())
        .await?;
    get(tx, id).await
}

/// Removes a pool that no tenant is in.
pub async fn remove(tx: &mut SystemTx, id: &str) -> Result<(), Error> {
    let pool = get(tx, id).await?;
    let removed = sqlx::query(
        "delete from directory.pools p
         where p.id = $1 and not exists (select from directory.tenants t where t.pool = p.id)",
    )
    .bind(id)
    .execute(tx.connection())
    .await?;
    if removed.rows_affected() == 0 {
        return Err(Error::Conflict(format!(
            "{} tenants are in pool '{id}': set it to maintenance instead",
            pool.tenants
        )));
    }
    Ok(())
}

/// Seals every key again that an older master key sealed; how many there were.
pub async fn reseal(tx: &mut SystemTx, keyring: &Keyring) -> Result<usize, Error> {
    let mut resealed = 0;
    for pool in sealed(tx).await? {
        let Some(old) = pool.key else { continue };
        if keyring.is_current(&old)? {
            continue;
        }
        let purpose = purpose(&pool.id, &pool.region);
        let new = keyring.seal(&purpose, &keyring.unseal(&purpose, &old)?)?;
        // A key that was rotated meanwhile is left alone.
        sqlx::query("update directory.pools set key = $3 where id = $1 and key = $2")
            .bind(&pool.id)
            .bind(&old)
            .bind(new)
            .execute(tx.connection())
            .await?;
        resealed += 1;
    }
    Ok(resealed)
}

/// Every pool with its sealed key.
pub(crate) async fn sealed(tx: &mut SystemTx) -> Result<Vec<SealedPool>, Error> {
    Ok(sqlx::query_as(
        "select id, region, provider, base_url, key, models, quota, state, reserved_for
         from directory.pools order by id",
    )
    .fetch_all(tx.connection())
    .await?)
}

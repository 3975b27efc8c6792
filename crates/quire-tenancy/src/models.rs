//! The models of a process, kept in step with what the database says: the registry that an operator applied,
//! and the pools with their keys.
//!
//! A route is asked for with an account, never with a region: where a tenant may be answered is taken from its
//! row, so that no caller can forget it.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use tracing::warn;

use quire_models::registry::{Feature, Model, Registry};
use quire_models::{Models, Pool, PoolState, Route, Supply, Wish, Work};
use quire_store::SystemTx;
use quire_store::sealed::Keyring;
use quire_types::TenantId;

use crate::known::Account;
use crate::pools::{self, SealedPool, State};
use crate::{Control, Error};

/// The registry that counts: what ships, with what the operator applied.
pub async fn registry(tx: &mut SystemTx) -> Result<Registry, Error> {
    let shipped = Registry::shipped()?;
    let Some(document) = document(tx).await? else {
        return Ok(shipped);
    };
    // A newer quire may ship what an older document contradicts.
    shipped.with(&document).or_else(|error| {
        warn!(%error, "the registry that was applied can't be read; the shipped one counts");
        Ok(shipped)
    })
}

/// What the operator applied beside what ships, as it was written.
pub async fn document(tx: &mut SystemTx) -> Result<Option<String>, Error> {
    Ok(
        sqlx::query_scalar("select document from control.registries order by version desc limit 1")
            .fetch_optional(tx.connection())
            .await?,
    )
}

/// Adds a document to the shipped registry, in place of the one that was applied before.
pub async fn apply(tx: &mut SystemTx, document: &str) -> Result<Registry, Error> {
    let registry = Registry::shipped()?.with(document)?;
    for pool in pools::list(tx).await? {
        if let Some(provider) = pool
            .provider
            .filter(|name| registry.provider(name).is_none())
        {
            return Err(Error::Invalid(format!(
                "pool '{}' is of provider '{provider}', which the new registry lacks",
                pool.id
            )));
        }
    }
    sqlx::query("insert into control.registries (document) values ($1)")
        .bind(document)
        .execute(tx.connection())
        .await?;
    Ok(registry)
}

/// What all tenants can call, with the keys still sealed.
#[derive(Debug)]
pub(crate) struct SealedSupply {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pools: Vec<SealedPool>,
}

/// What the configuration says about the pool that every installation begins with.
#[derive(Clone, Debug)]
pub struct LocalPool {
    /// The pool; its provider is that of its models.
    pub pool: Pool,
    /// Those of its models that the registry need not know.
    pub models: Vec<Model>,
}

/// The models of this process. Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    control: Control,
    keyring: Keyring,
    models: Models,
    local: Option<Arc<LocalPool>>,
    made_of: Arc<Mutex<Option<Arc<SealedSupply>>>>,
}

/// What a model is wanted for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The name of a chain; for vectors, that of the model.
    pub chain: String,
    /// Tokens that go in, at the most.
    pub input_tokens: u64,
    /// Tokens that come out, at the most.
    pub output_tokens: u64,
    /// What is wanted of it.
    pub work: Work,
    /// What the model must be able to do beside that.
    pub features: Vec<Feature>,
}

impl Providers {
    /// Models that are called with what the database and this configuration say.
    pub fn new(
        control: Control,
        keyring: Keyring,
        models: Models,
        local: Option<LocalPool>,
    ) -> Self {
        Self {
            control,
            keyring,
            models,
            local: local.map(Arc::new),
            made_of: Arc::default(),
        }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// The models, with what happened to them so far.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The hops that a call of this tenant may make, in its region and nowhere else.
    pub async fn route(&self, account: &Account, wanted: Wanted) -> Result<Route, Error> {
        self.refresh().await?;
        let tenant = &account.tenant;
        let wish = Wish {
            chain: wanted.chain,
            tenant: tenant.id,
            region: tenant.region.clone(),
            home: tenant.pool.clone(),
            input_tokens: wanted.input_tokens,
            output_tokens: wanted.output_tokens,
            work: wanted.work,
            features: wanted.features,
        };
        Ok(self.models.route(wish, Utc::now())?)
    }

    /// Takes over what has changed. Every model of a chain must be known and have a price.
    pub async fn refresh(&self) -> Result<(), Error> {
        let sealed = self.control.supply().await?;
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if made_of
            .as_ref()
            .is_some_and(|made_of| Arc::ptr_eq(made_of, &sealed))
        {
            return Ok(());
        }
        let supply = self.unseal(&sealed)?;
        for name in self.models.chains().values().flatten() {
            let model = supply.registry.model(name)?;
            let now = Utc::now();
            model.price(now)?;
            if let Some(days) = model.days_left(now) {
                warn!(model = %name, days, "a model of a chain ends soon: choose another one");
            }
        }
        self.models.supply(Arc::new(supply))?;
        *made_of = Some(sealed);
        Ok(())
    }

    /// Opens the keys. A pool whose key can't be opened is left out: the others work on.
    fn unseal(&self, sealed: &SealedSupply) -> Result<Supply, Error> {
        let mut registry = sealed.registry.clone();
        let mut pools: Vec<Pool> = sealed
            .pools
            .iter()
            .filter_map(|row| {
                let provider = row.provider.clone()?;
                match self.pool(row, provider) {
                    Ok(pool) => Some(pool),
                    Err(error) => {
                        warn!(pool = %row.id, %error, "a pool is left out");
                        None
                    }
                }
            })
            .collect();
        if let Some(local) = &self.local
            && pools.iter().all(|pool| pool.id != local.pool.id)
        {
            let mut pool = local.pool.clone();
            let mut extended = Registry::clone(&registry);
            for model in &local.models {
                extended.add(model.clone())?;
            }
            registry = Arc::new(extended);
            if let Some(first) = pool.models.first() {
                pool.provider = registry.model(first)?.provider.clone();
                for name in &pool.models {
                    let model = registry.model(name)?;
                    if model.provider != pool.provider {
                        return Err(Error::Invalid(format!(
                            "one server can't have both '{first}' and '{name}': they are models of {} and {}",
                            pool.provider, model.provider
                        )));
                    }
                }
            }
            let row = sealed.pools.iter().find(|row| row.id == pool.id);
            pool.state = row.map_or(PoolState::Active, |row| state(&row.state));
            pools.push(pool);
        }
        Ok(Supply { registry, pools })
    }

    fn pool(&self, row: &SealedPool, provider: String) -> Result<Pool, Error> {
        let purpose = pools::purpose(&row.id, &row.region);
        let key = row
            .key
            .as_ref()
            .map(|sealed| self.keyring.unseal(&purpose, sealed))
            .transpose()?;
        Ok(Pool {
            id: row.id.clone(),
            region: row.region.clone(),
            provider,
            base_url: row.base_url.clone(),
            key,
            models: row.models.clone(),
            quota: row.quota.0,
            state: state(&row.state),
            reserved_for: row.reserved_for.map(TenantId::from),
        })
    }
}

fn state(text: &str) -> PoolState {
    match text.parse() {
        Ok(State::Active) => PoolState::Active,
        Ok(State::Full) => PoolState::Full,
        // What can't be read is not used.
        Ok(State::Maintenance) | Err(_) => PoolState::Maintenance,
    }
}

//! The cache as its operator sees it: how much processes share, and emptying it.

use quire_store::{Placement, Store, corpus};
use quire_types::TenantId;

use super::Redis;
use crate::Error;

/// What was worked out before, of all processes.
#[derive(Clone)]
pub struct Caches {
    store: Store,
    redis: Option<Redis>,
}

impl Caches {
    /// The caches of an installation.
    ///
    /// # Errors
    /// An address of Redis that is none.
    pub fn new(store: Store, redis_url: Option<&str>) -> Result<Self, Error> {
        let redis = redis_url.map(Redis::new).transpose()?;
        Ok(Self { store, redis })
    }

    /// Entries that Redis holds of a tenant, or of all; none without a Redis. Walks over all its keys.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn shared_entries(&self, tenant: Option<TenantId>) -> Result<Option<u64>, Error> {
        match &self.redis {
            Some(redis) => Ok(Some(redis.count(tenant).await?)),
            None => Ok(None),
        }
    }

    /// Empties the cache of a tenant: no process gives an answer again that it gave before this returns. Returns how
    /// many entries left Redis; memory is freed as entries grow old.
    ///
    /// # Errors
    /// Those of the database and of Redis; what the database noted counts even if Redis fails.
    pub async fn purge(&self, placement: Placement) -> Result<u64, Error> {
        let mut tx = self.store.tenant(placement).await?;
        corpus::purge_cached(&mut tx).await?;
        tx.commit().await?;
        match &self.redis {
            Some(redis) => redis.purge(Some(placement.tenant)).await,
            None => Ok(0),
        }
    }
}

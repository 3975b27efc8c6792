//! What was worked out before, for whoever needs the same again: first in the memory of this process, then in a
//! Redis that processes share.
//!
//! An entry is found by its [`Key`] alone, which holds everything that the entry rests on: nothing is ever
//! invalidated, it just is not asked for any more. So Redis may be flushed, full, slow or away at any time.

mod flight;
mod key;
mod near;
mod operate;
mod redis;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;

use quire_types::TenantId;

pub(crate) use flight::{Flights, Leading, Passenger, Place};
pub(crate) use key::{Asks, Key};
pub(crate) use near::{Asked as NearlyAsked, Near};
pub use operate::Caches;
pub(crate) use redis::Redis;

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// In the memory of this process.
    Memory,
    /// In Redis.
    Redis,
    /// With a request that was just working it out.
    Flight,
    /// With a question that is nearly the same.
    Near,
}

impl Tier {
    /// Every tier, the nearest first.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Redis, Self::Flight, Self::Near];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Flight => "flight",
            Self::Near => "near",
        }
    }
}

/// How often something was found, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheTotals {
    /// Found, by tier in the order of [`Tier::ALL`].
    pub hits: [u64; Tier::ALL.len()],
    /// Not found anywhere, and worked out.
    pub misses: u64,
}

/// One kind of thing in all tiers.
#[derive(Clone)]
pub(crate) struct Tiers<V: Send + Sync + 'static> {
    name: &'static str,
    life: Duration,
    memory: Cache<Key, Arc<V>>,
    redis: Option<Redis>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    hits: [AtomicU64; Tier::ALL.len()],
    misses: AtomicU64,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Tiers<V> {
    /// A cache of so many bytes in memory, whose entries are forgotten after `life` in every tier.
    pub(crate) fn new(
        name: &'static str,
        life: Duration,
        bytes: u64,
        weigh: fn(&V) -> u32,
        redis: Option<Redis>,
    ) -> Self {
        let memory = Cache::builder()
            .max_capacity(bytes)
            .weigher(move |_, value: &Arc<V>| weigh(value))
            .time_to_live(life)
            .build();
        Self {
            name,
            life,
            memory,
            redis,
            counts: Arc::default(),
        }
    }

    /// What this process remembers, without counting it.
    pub(crate) fn peek(&self, key: &Key) -> Option<Arc<V>> {
        self.memory.get(key)
    }

    /// What this process remembers.
    pub(crate) fn near(&self, key: &Key) -> Option<Arc<V>> {
        let found = self.memory.get(key)?;
        self.note(Some(Tier::Memory));
        Some(found)
    }

    /// What the processes remember together. Brought near when it is found.
    pub(crate) async fn far(&self, tenant: TenantId, key: &Key) -> Option<Arc<V>> {
        let bytes = self.redis.as_ref()?.get(self.name, tenant, key).await?;
        // Another version of quire may have written something else.
        let value: V = serde_json::from_slice(&bytes).ok()?;
        let value = Arc::new(value);
        self.memory.insert(*key, value.clone());
        self.note(Some(Tier::Redis));
        Some(value)
    }

    /// Remembers it in every tier. Does not wait for Redis.
    pub(crate) fn put(&self, tenant: TenantId, key: Key, value: Arc<V>) {
        if let Some(redis) = &self.redis
            && let Ok(bytes) = serde_json::to_vec(&*value)
        {
            redis.put(self.name, tenant, key, bytes, self.life);
        }
        self.memory.insert(key, value);
    }

    /// Counts where something was found, or that it was not.
    pub(crate) fn note(&self, tier: Option<Tier>) {
        let count = match tier {
            Some(tier) => self.counts.hits.get(tier as usize),
            None => Some(&self.counts.misses),
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn totals(&self) -> CacheTotals {
        CacheTotals {
            hits: std::array::from_fn(|tier| {
                let count = self.counts.hits.get(tier);
                count.map_or(0, |count| count.load(Ordering::Relaxed))
            }),
            misses: self.counts.misses.load(Ordering::Relaxed),
        }
    }
}

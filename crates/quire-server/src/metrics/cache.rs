//! The cache in this process: what was found where, and what was not.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use quire_ask::{Asker, Tier};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hit {
    cache: &'static str,
    tier: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Miss {
    cache: &'static str,
}

#[derive(Default)]
pub(super) struct CacheMetrics {
    hits: Family<Hit, Counter>,
    misses: Family<Miss, Counter>,
}

impl CacheMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let cache = Self::default();
        registry.register(
            "cache_hits",
            "What was found, by tier: memory, redis, flight (with a request that was just working it out), or near (with a question that is nearly the same)",
            cache.hits.clone(),
        );
        registry.register(
            "cache_misses",
            "What was not found and worked out",
            cache.misses.clone(),
        );
        cache
    }

    pub(super) fn update(&self, asker: &Asker) {
        let set = |counter: &Counter, count| counter.inner().store(count, Ordering::Relaxed);
        for (cache, totals) in asker.cache_totals() {
            for (tier, hits) in Tier::ALL.into_iter().zip(totals.hits) {
                let tier = tier.as_str();
                set(&self.hits.get_or_create(&Hit { cache, tier }), hits);
            }
            set(&self.misses.get_or_create(&Miss { cache }), totals.misses);
        }
    }
}

//! The views that are held in memory, within a budget of bytes. What is asked more often stays longer
//! (TinyLFU), so a sweep over all tenants does not push out those that are busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use moka::sync::Cache;

use quire_store::Placement;

use crate::view::View;

/// A tenant's place in the cache.
#[derive(Default)]
pub(crate) struct Slot {
    /// Whoever refreshes the view holds the lock, so a burst of questions to one tenant refreshes once.
    pub(crate) view: tokio::sync::Mutex<Option<Arc<View>>>,
    /// Whoever brings archived notebooks back holds the lock.
    pub(crate) waking: tokio::sync::Mutex<()>,
    bytes: AtomicU32,
}

pub(crate) struct Views {
    slots: Cache<Placement, Arc<Slot>>,
}

/// What a slot takes beside its view, about.
const SLOT_BYTES: u32 = 512;
/// Weights are counted in units, since they must fit into 32 bits.
const UNIT_BYTES: usize = 64;

impl Views {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        let slots = Cache::builder()
            .max_capacity((budget_bytes / UNIT_BYTES) as u64)
            .weigher(|_: &Placement, slot: &Arc<Slot>| {
                slot.bytes.load(Ordering::Relaxed) + SLOT_BYTES / UNIT_BYTES as u32
            })
            .build();
        Self { slots }
    }

    /// The slot of a tenant, by placement: a re-created tenant has another one.
    pub(crate) fn slot(&self, placement: Placement) -> Arc<Slot> {
        self.slots.get_with(placement, Arc::default)
    }

    /// The slot of a tenant, if it has one.
    pub(crate) fn held(&self, placement: Placement) -> Option<Arc<Slot>> {
        self.slots.get(&placement)
    }

    /// Notes how large a tenant's view is now, which may make others leave. A view in use lives on until
    /// its last reader is done.
    pub(crate) fn resized(&self, placement: Placement, slot: &Arc<Slot>, bytes: usize) {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX / 2);
        slot.bytes.store(units, Ordering::Relaxed);
        self.slots.insert(placement, slot.clone());
    }

    /// Every view that nobody refreshes right now.
    pub(crate) fn current(&self) -> impl Iterator<Item = Arc<View>> {
        let slots = self.slots.iter().map(|(_, slot)| slot);
        slots.filter_map(|slot| slot.view.try_lock().ok()?.clone())
    }

    /// Drops what is kept of a tenant.
    pub(crate) fn forget(&self, placement: Placement) {
        self.slots.invalidate(&placement);
    }

    /// Tenants and bytes held.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.slots.run_pending_tasks();
        let count = usize::try_from(self.slots.entry_count()).unwrap_or(usize::MAX);
        let units = usize::try_from(self.slots.weighted_size()).unwrap_or(usize::MAX);
        (count, units.saturating_mul(UNIT_BYTES))
    }
}

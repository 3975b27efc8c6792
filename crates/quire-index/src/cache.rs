//! The views that are held in memory, within a budget of bytes. What is asked more often stays longer
//! (TinyLFU), so a sweep over all tenants does not push out those that are busy.
//!
//! A view that is larger than the whole budget is held beside it, one at a time: reading it for every question
//! would cost more than the memory. There is one slot of a tenant as long as anybody uses it, whatever the
//! budget makes leave, so that however many ask at once, one of them reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use moka::sync::Cache;
use tokio::time::Instant;

use quire_store::Placement;

use crate::view::View;

/// A tenant's place in the cache.
#[derive(Default)]
pub(crate) struct Slot {
    /// Whoever refreshes the view holds the lock, so a burst of questions to one tenant refreshes once.
    pub(crate) view: tokio::sync::Mutex<Option<Arc<View>>>,
    /// Whoever brings archived notebooks back holds the lock. After a failure they are left alone until then.
    pub(crate) waking: tokio::sync::Mutex<Option<Instant>>,
    units: AtomicU32,
}

impl Slot {
    /// What it takes beside its view, about.
    const BYTES: usize = 512;

    fn weight(&self) -> u32 {
        self.units.load(Ordering::Relaxed) + (Self::BYTES / UNIT_BYTES) as u32
    }
}

pub(crate) struct Views {
    budget_bytes: usize,
    slots: Cache<Placement, Arc<Slot>>,
    /// The one whose view is larger than the budget.
    large: Mutex<Option<(Placement, Arc<Slot>)>>,
    /// Every slot that anybody uses, held or not.
    used: Mutex<HashMap<Placement, Weak<Slot>>>,
    has_warned: AtomicBool,
}

/// Weights are counted in units, since they must fit into 32 bits.
const UNIT_BYTES: usize = 64;

impl Views {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        let slots = Cache::builder()
            .max_capacity((budget_bytes / UNIT_BYTES) as u64)
            .weigher(|_: &Placement, slot: &Arc<Slot>| slot.weight())
            .build();
        Self {
            budget_bytes,
            slots,
            large: Mutex::default(),
            used: Mutex::default(),
            has_warned: AtomicBool::new(false),
        }
    }

    /// The slot of a tenant, by placement: a re-created tenant has another one.
    pub(crate) fn slot(&self, placement: Placement) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&placement) {
            return slot;
        }
        let mut used = locked(&self.used);
        if let Some(slot) = used.get(&placement).and_then(Weak::upgrade) {
            return slot;
        }
        if used.len() == used.capacity() {
            used.retain(|_, slot| slot.strong_count() > 0);
            // So that it is looked through again after as many more at the soonest.
            let left = used.len();
            used.reserve(left + 1);
        }
        let slot = Arc::new(Slot::default());
        used.insert(placement, Arc::downgrade(&slot));
        self.slots.insert(placement, slot.clone());
        slot
    }

    /// The slot of a tenant, if it has one.
    pub(crate) fn held(&self, placement: Placement) -> Option<Arc<Slot>> {
        let slot = self.slots.get(&placement);
        slot.or_else(|| locked(&self.used).get(&placement)?.upgrade())
    }

    /// Notes how large a tenant's view is now, which may make others leave. A view in use lives on until
    /// its last reader is done.
    pub(crate) fn resized(&self, placement: Placement, slot: &Arc<Slot>, bytes: usize) {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX / 2);
        slot.units.store(units, Ordering::Relaxed);
        let mut large = locked(&self.large);
        if bytes + Slot::BYTES > self.budget_bytes {
            *large = Some((placement, slot.clone()));
            drop(large);
            self.slots.invalidate(&placement);
            self.warn(bytes);
            return;
        }
        large.take_if(|(own, _)| *own == placement);
        drop(large);
        self.slots.insert(placement, slot.clone());
    }

    fn warn(&self, bytes: usize) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                view_bytes = bytes,
                share_bytes = self.budget_bytes,
                "what search keeps of one tenant is larger than the half of limits.search_memory_bytes that is \
                 for views: one such tenant at a time is held beside it; raise limits.search_memory_bytes"
            );
        }
    }

    /// Every view that nobody refreshes right now.
    pub(crate) fn current(&self) -> impl Iterator<Item = Arc<View>> {
        let large = locked(&self.large).as_ref().map(|(_, slot)| slot.clone());
        let slots = self.slots.iter().map(|(_, slot)| slot).chain(large);
        slots.filter_map(|slot| slot.view.try_lock().ok()?.clone())
    }

    /// Drops what is kept of a tenant.
    pub(crate) fn forget(&self, placement: Placement) {
        locked(&self.used).remove(&placement);
        locked(&self.large).take_if(|(own, _)| *own == placement);
        self.slots.invalidate(&placement);
    }

    /// Tenants and bytes held.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.slots.run_pending_tasks();
        let large = locked(&self.large);
        let large = large.as_ref().map(|(_, slot)| u64::from(slot.weight()));
        let count = self.slots.entry_count() + u64::from(large.is_some());
        let units = self.slots.weighted_size() + large.unwrap_or(0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let units = usize::try_from(units).unwrap_or(usize::MAX);
        (count, units.saturating_mul(UNIT_BYTES))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The views that are held in memory, within a budget of bytes; the one used longest ago goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use quire_store::Placement;

use crate::view::View;

/// A tenant's place in the cache. Whoever refreshes the view holds the lock, so a burst of questions
/// to one tenant refreshes once.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Arc<View>>>>;

pub(crate) struct Cache {
    budget_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Placement, Entry>,
    bytes: usize,
    tick: u64,
}

struct Entry {
    slot: Slot,
    bytes: usize,
    used: u64,
}

impl Cache {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            state: Mutex::default(),
        }
    }

    /// The slot of a tenant, by placement: a re-created tenant has another one.
    pub(crate) fn slot(&self, placement: Placement) -> Slot {
        let mut state = self.lock();
        state.tick += 1;
        let tick = state.tick;
        let entry = state.entries.entry(placement).or_insert_with(|| Entry {
            slot: Slot::default(),
            bytes: 0,
            used: tick,
        });
        entry.used = tick;
        entry.slot.clone()
    }

    /// Notes how large a tenant's view is now and makes room if that is too much. A view in use lives
    /// on until its last reader is done.
    pub(crate) fn resized(&self, placement: Placement, bytes: usize) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&placement) else {
            return;
        };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        state.bytes = state.bytes - before + bytes;
        while state.bytes > self.budget_bytes && state.entries.len() > 1 {
            let oldest = state
                .entries
                .iter()
                .filter(|(key, _)| **key != placement)
                .min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return;
            };
            if let Some(entry) = state.entries.remove(&oldest) {
                state.bytes -= entry.bytes;
            }
        }
    }

    /// Tenants and bytes held.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let state = self.lock();
        (state.entries.len(), state.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

//! What a worker knows about the shards it owns: the ready tasks in their order, and those it handed out.
//! Pure: it is told what the database said and says what to do next, so the simulation in
//! `owner/simulation.rs` drives the same code against a model of the database that loses answers, stops
//! workers in the middle and lets the dead speak.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::Priority;
use crate::policy::{Item, Policy, Seats, Ticket};
use crate::rows::{Arrival, RowPlace};

#[cfg(test)]
mod simulation;

/// A task in the memory of its owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) place: RowPlace,
    pub(crate) tenant: Uuid,
    pub(crate) priority: Priority,
    /// Attempts that ended before.
    pub(crate) attempt: i16,
    pub(crate) is_keyed: bool,
    /// It does not run; its kind is told.
    pub(crate) is_cancelled: bool,
    is_handed: bool,
    /// It was cancelled while it was being handed out.
    is_void: bool,
}

/// The shards of one worker.
pub(crate) struct Owner {
    pub(crate) policy: Policy,
    epochs: HashMap<i16, i64>,
    held: Vec<Option<Held>>,
    /// Rows that are in memory or whose end is not yet recorded: what the database shows of them is no
    /// news.
    known: HashSet<(Uuid, i64)>,
}

impl Owner {
    pub(crate) fn new(seats: Seats) -> Self {
        Self {
            policy: Policy::new(seats),
            epochs: HashMap::new(),
            held: Vec::new(),
            known: HashSet::new(),
        }
    }

    /// The shards whose tasks it hands out, with their epochs.
    pub(crate) fn epochs(&self) -> Vec<(i16, i64)> {
        self.epochs
            .iter()
            .map(|(shard, epoch)| (*shard, *epoch))
            .collect()
    }

    pub(crate) fn own(&mut self, shard: i16, epoch: i64) {
        self.epochs.insert(shard, epoch);
    }

    /// Hands out nothing more of these shards.
    pub(crate) fn disown(&mut self, shards: &[i16]) {
        if shards.is_empty() {
            return;
        }
        self.epochs.retain(|shard, _| !shards.contains(shard));
        self.drop_waiting(|held| shards.contains(&held.place.shard));
    }

    /// Hands out nothing more of what was cancelled.
    pub(crate) fn cancel(&mut self, is_cancelled: impl Fn(&Held) -> bool) {
        let cancelled = self.held.iter_mut().flatten();
        for held in cancelled.filter(|held| is_cancelled(held)) {
            held.is_void = true;
        }
        self.drop_waiting(|held| held.is_void);
    }

    /// Whether the task was cancelled while it was being handed out.
    pub(crate) fn is_void(&self, ticket: Ticket) -> bool {
        self.held[ticket.index()].is_some_and(|held| held.is_void)
    }

    fn drop_waiting(&mut self, leaves: impl Fn(&Held) -> bool) {
        let mut dropped = HashSet::new();
        for (index, slot) in self.held.iter_mut().enumerate() {
            if let Some(held) = slot.take_if(|held| !held.is_handed && leaves(held)) {
                self.known.remove(&(held.place.id, held.place.token));
                dropped.insert(index);
            }
        }
        if !dropped.is_empty() {
            self.policy
                .retain(|ticket| !dropped.contains(&ticket.index()));
        }
    }

    /// A row that the database shows. Told twice, it counts once.
    pub(crate) fn arrive(&mut self, row: &Arrival, now_ms: u64) {
        let place = row.place();
        if !self.epochs.contains_key(&place.shard) || !self.known.insert((place.id, place.token)) {
            return;
        }
        let priority = Priority::of_row(row.priority);
        // Telling goes past a pause and the limit of its tenant, and is not charged to its turn: there it is
        // somebody else.
        let tenant = match row.is_cancelled {
            true => Uuid::from_u128(!row.tenant_id.as_u128()),
            false => row.tenant_id,
        };
        let item = Item {
            tenant,
            kind: &row.kind,
            key: row.key.as_deref(),
            priority,
            cost_us: row
                .cost_ms
                .and_then(|cost| u64::try_from(cost).ok())
                .map(|cost| cost * 1_000),
        };
        let ticket = self.policy.add(&item, now_ms);
        if self.held.len() <= ticket.index() {
            self.held.resize(ticket.index() + 1, None);
        }
        self.held[ticket.index()] = Some(Held {
            place,
            tenant: row.tenant_id,
            priority,
            attempt: row.attempt,
            is_keyed: row.is_keyed,
            is_cancelled: row.is_cancelled,
            is_handed: false,
            is_void: false,
        });
    }

    /// The next tasks, at most `limit`; each keeps its seat until it ends or is put back.
    pub(crate) fn take(&mut self, limit: usize, now_ms: u64) -> Vec<(Ticket, Held)> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(ticket) = self.policy.next(now_ms) else {
                break;
            };
            if let Some(held) = &mut self.held[ticket.index()] {
                held.is_handed = true;
                taken.push((ticket, *held));
            }
        }
        taken
    }

    /// The task could not be handed out; it is ready as before, if the shard still is this worker's.
    pub(crate) fn put_back(&mut self, ticket: Ticket) {
        let Some(held) = &mut self.held[ticket.index()] else {
            return;
        };
        held.is_handed = false;
        if self.epochs.contains_key(&held.place.shard) && !held.is_void {
            self.policy.put_back(ticket);
        } else {
            self.gone(ticket);
        }
    }

    /// The task's row is gone: cancelled, or somebody else's.
    pub(crate) fn gone(&mut self, ticket: Ticket) {
        if let Some(held) = self.end(ticket, 0) {
            self.recorded(held.place);
        }
    }

    /// The task ran. Its row stays known until its end is recorded.
    pub(crate) fn end(&mut self, ticket: Ticket, took_us: u64) -> Option<Held> {
        let held = self.held.get_mut(ticket.index())?.take()?;
        // What telling takes says nothing about the work.
        if took_us > 0 && !held.is_cancelled {
            self.policy.learn(ticket, took_us);
        }
        self.policy.finish(ticket, took_us);
        Some(held)
    }

    /// The database has recorded the end, or refused it for good.
    pub(crate) fn recorded(&mut self, place: RowPlace) {
        self.known.remove(&(place.id, place.token));
    }
}

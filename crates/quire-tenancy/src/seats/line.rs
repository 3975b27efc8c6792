//! The requests of one tenant in one class that wait: users take turns, and a user's own go in the order
//! they came. Knows neither tags nor limits. Everything is removed where it stands, so that a tenant that
//! may not run for long and cancels often leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Ticket;

/// Who of a tenant waits in one class.
#[derive(Default)]
pub(super) struct Line {
    waiting: u32,
    latest_turn: u64,
    turns: BTreeMap<u64, u64>,
    users: HashMap<u64, User>,
}

/// Only users with something in the line have one of these.
#[derive(Default)]
struct User {
    turn: u64,
    tickets: BTreeSet<Ticket>,
}

impl Line {
    /// How many wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Who goes next.
    pub(super) fn head(&self) -> Option<Ticket> {
        let (_, user) = self.turns.first_key_value()?;
        self.users.get(user)?.tickets.first().copied()
    }

    /// Adds a request; a user that had none gets the last turn.
    pub(super) fn push(&mut self, user_id: u64, ticket: Ticket) {
        let user = self.users.entry(user_id).or_default();
        if user.tickets.is_empty() {
            self.latest_turn += 1;
            user.turn = self.latest_turn;
            self.turns.insert(user.turn, user_id);
        }
        if user.tickets.insert(ticket) {
            self.waiting += 1;
        }
    }

    /// Takes a request out because it runs: the user's next one has to wait for its turn.
    pub(super) fn take(&mut self, user_id: u64, ticket: Ticket) {
        if let Some(user) = self.users.get_mut(&user_id) {
            self.turns.remove(&user.turn);
            self.latest_turn += 1;
            user.turn = self.latest_turn;
            self.turns.insert(user.turn, user_id);
        }
        self.remove(user_id, ticket);
    }

    /// Takes a request out that will not run: its user keeps the turn.
    pub(super) fn remove(&mut self, user_id: u64, ticket: Ticket) {
        let Some(user) = self.users.get_mut(&user_id) else {
            return;
        };
        if user.tickets.remove(&ticket) {
            self.waiting -= 1;
        }
        if user.tickets.is_empty() {
            self.turns.remove(&user.turn);
            self.users.remove(&user_id);
        }
    }
}

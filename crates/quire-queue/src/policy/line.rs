//! The ready tasks of one tenant in one priority: a line for each kind, in which concurrency keys take
//! turns. Knows no tags of others and no limits.

use std::collections::{HashMap, VecDeque};

use super::Ticket;

/// Stands for the tasks without a key.
pub(super) const NO_KEY: u32 = u32::MAX;

/// The tasks of one tenant in one priority.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) tag: u64,
    /// Counts the moments at which flows got work after they had none.
    pub(super) came: u64,
    pub(super) queued: u32,
    pub(super) lines: Vec<Line>,
}

/// The tasks of one kind in a flow.
pub(super) struct Line {
    pub(super) kind: u16,
    /// The keys that have tasks here and are not known to be at their limit; [`NO_KEY`] is one of them.
    pub(super) turns: VecDeque<u32>,
    /// Tasks without a key.
    pub(super) free: VecDeque<Ticket>,
    pub(super) keyed: HashMap<u32, VecDeque<Ticket>>,
    /// Whether the tenant is in the order of this kind.
    pub(super) is_listed: bool,
}

#[derive(Clone, Copy)]
pub(super) enum End {
    Front,
    Back,
}

impl Flow {
    pub(super) fn line(&mut self, kind: u16) -> &mut Line {
        let index = match self.lines.iter().position(|line| line.kind == kind) {
            Some(index) => index,
            None => {
                self.lines.push(Line {
                    kind,
                    turns: VecDeque::new(),
                    free: VecDeque::new(),
                    keyed: HashMap::new(),
                    is_listed: false,
                });
                self.lines.len() - 1
            }
        };
        &mut self.lines[index]
    }

    /// The ready task that came first, among those whose turn it could be.
    pub(super) fn oldest(&self) -> Option<Ticket> {
        self.lines.iter().find_map(|line| {
            let key = line.turns.front()?;
            line.tickets(*key)?.front().copied()
        })
    }
}

impl Line {
    pub(super) fn tickets(&self, key: u32) -> Option<&VecDeque<Ticket>> {
        match key {
            NO_KEY => Some(&self.free),
            key => self.keyed.get(&key),
        }
    }

    pub(super) fn is_empty_for(&self, key: u32) -> bool {
        self.tickets(key).is_none_or(VecDeque::is_empty)
    }

    pub(super) fn push(&mut self, key: u32, ticket: Ticket, end: End) {
        let was_empty = self.is_empty_for(key);
        let tickets = match key {
            NO_KEY => &mut self.free,
            key => self.keyed.entry(key).or_default(),
        };
        match end {
            End::Front => tickets.push_front(ticket),
            End::Back => tickets.push_back(ticket),
        }
        if was_empty {
            self.turns.push_back(key);
        }
    }

    /// The first task of a key, and whether it has more.
    pub(super) fn pop(&mut self, key: u32) -> (Option<Ticket>, bool) {
        if key == NO_KEY {
            return (self.free.pop_front(), !self.free.is_empty());
        }
        let Some(tickets) = self.keyed.get_mut(&key) else {
            return (None, false);
        };
        let ticket = tickets.pop_front();
        let more = !tickets.is_empty();
        if !more {
            self.keyed.remove(&key);
        }
        (ticket, more)
    }
}

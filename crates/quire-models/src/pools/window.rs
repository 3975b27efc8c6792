//! How much was taken in the last minute or day, to a sixtieth. Pure: the time is a number.

use std::collections::VecDeque;

use super::Ms;

/// Pieces a window is counted in.
const SLOTS: u64 = 60;

/// A window that slides.
#[derive(Clone, Debug)]
pub(super) struct Window {
    slot_ms: Ms,
    /// The number of a slot since the beginning of time, and what was taken in it; the newest last.
    slots: VecDeque<(u64, u64)>,
}

impl Window {
    pub(super) fn new(length_ms: Ms) -> Self {
        Self {
            slot_ms: (length_ms / SLOTS).max(1),
            slots: VecDeque::new(),
        }
    }

    /// What was taken within the window that ends now. A slot counts until all of it is older than that.
    pub(super) fn taken(&mut self, now: Ms) -> u64 {
        let first = (now / self.slot_ms).saturating_sub(SLOTS);
        while self.slots.front().is_some_and(|(slot, _)| *slot < first) {
            self.slots.pop_front();
        }
        self.slots
            .iter()
            .fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    pub(super) fn take(&mut self, now: Ms, amount: u64) {
        let slot = now / self.slot_ms;
        match self.slots.back_mut() {
            Some((newest, taken)) if *newest >= slot => *taken = taken.saturating_add(amount),
            _ => self.slots.push_back((slot, amount)),
        }
    }

    /// Says that of what was taken at a moment so much was not needed, or more was.
    pub(super) fn correct(&mut self, at: Ms, taken: u64, used: u64) {
        let slot = at / self.slot_ms;
        if let Some((_, amount)) = self.slots.iter_mut().find(|(found, _)| *found == slot) {
            *amount = amount.saturating_sub(taken).saturating_add(used);
        }
    }
}

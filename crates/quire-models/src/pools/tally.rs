//! What happened so far with one model in one pool, for metrics.

use std::time::Duration;

use quire_types::NanoUsd;

use super::BreakerState;

/// Bounds of the times that are counted, in seconds.
const BOUNDS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// Times, by how long they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Buckets {
    pub(super) fn note(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[at.unwrap_or(BOUNDS.len())] += 1;
        self.sum += seconds;
    }

    /// All times together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many were longer than the bound before and at most this, in seconds; the last bound is infinite.
    pub fn by_bound(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::MAX]);
        bounds.zip(self.counts).collect()
    }
}

/// What happened so far with one model in one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Calls that ended well.
    pub good: u64,
    /// Calls that ended by a fault of the server.
    pub bad: u64,
    /// Calls that were refused because of a limit.
    pub limited: u64,
    /// Calls that were broken off, or refused for what was asked.
    pub other: u64,
    /// Calls that were silent for so long that another model was asked beside.
    pub hedged: u64,
    /// Of these, those that the other one answered.
    pub hedges_won: u64,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// What the calls cost whose usage is known.
    pub cost: NanoUsd,
    /// Times to the first piece of text.
    pub first_token: Buckets,
    /// Times to the end of calls that ended well.
    pub total: Buckets,
    /// Calls that run.
    pub running: u32,
    /// How often a call of 1,000 tokens in and out fits into what is left.
    pub headroom: f64,
    /// What the breaker does.
    pub breaker: Option<BreakerState>,
}

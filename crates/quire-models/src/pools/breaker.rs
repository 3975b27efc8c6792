//! A breaker for one model in one pool: what fails again and again is left alone for a while, then tried with
//! one call, two, four. Pure: the time is a number.
//!
//! Being told to slow down is no failure, and neither is a wrong question or a wrong key: those never open it.

use std::collections::VecDeque;

use super::Ms;

/// Outcomes older than this are forgotten.
const WINDOW_MS: Ms = 30_000;
/// So many failures open it, if they are half of all outcomes.
const FAILURES: usize = 5;
/// How long it stays open at first; doubled each time.
const FIRST_MS: Ms = 5_000;
const LONGEST_MS: Ms = 60_000;
/// So many successes in a row close it.
const PROOF: u32 = 4;

#[derive(Clone, Debug)]
pub(super) struct Breaker {
    state: State,
    /// How often it opened since it was last closed.
    opened: u32,
}

#[derive(Clone, Debug)]
enum State {
    Closed(VecDeque<(Ms, bool)>),
    Open {
        until: Ms,
    },
    /// Trying: so many calls may run at once, so many run, so many went well.
    Trying {
        most: u32,
        running: u32,
        good: u32,
    },
}

/// What a breaker does, as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets everything through.
    Closed,
    /// Lets nothing through.
    Open,
    /// Lets a few through, to see.
    Trying,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed(VecDeque::new()),
            opened: 0,
        }
    }

    pub(super) fn shown(&self, now: Ms) -> BreakerState {
        match &self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { until } if now < *until => BreakerState::Open,
            State::Open { .. } | State::Trying { .. } => BreakerState::Trying,
        }
    }

    /// Whether a call may begin.
    pub(super) fn lets_in(&self, now: Ms) -> bool {
        match &self.state {
            State::Closed(_) => true,
            State::Open { until } => now >= *until,
            State::Trying { most, running, .. } => running < most,
        }
    }

    /// A call that was let in begins.
    pub(super) fn begin(&mut self, now: Ms) {
        match &mut self.state {
            State::Open { until } if now >= *until => {
                self.state = State::Trying {
                    most: 1,
                    running: 1,
                    good: 0,
                };
            }
            State::Trying { running, .. } => *running += 1,
            State::Closed(_) | State::Open { .. } => {}
        }
    }

    /// A call is over; `is_good` is none when its end says nothing about the server.
    pub(super) fn end(&mut self, now: Ms, is_good: Option<bool>) {
        match (&mut self.state, is_good) {
            (State::Closed(outcomes), Some(is_good)) => {
                outcomes.push_back((now, is_good));
                while outcomes
                    .front()
                    .is_some_and(|(at, _)| *at + WINDOW_MS < now)
                {
                    outcomes.pop_front();
                }
                let failures = outcomes.iter().filter(|(_, is_good)| !is_good).count();
                if !is_good && failures >= FAILURES && failures * 2 >= outcomes.len() {
                    self.open(now);
                }
            }
            (State::Trying { .. }, Some(false)) => self.open(now),
            (
                State::Trying {
                    most,
                    running,
                    good,
                },
                Some(true),
            ) => {
                *running = running.saturating_sub(1);
                *good += 1;
                *most = (*most * 2).min(PROOF);
                if *good >= PROOF {
                    *self = Self::new();
                }
            }
            (State::Trying { running, .. }, None) => *running = running.saturating_sub(1),
            // What began before it opened says what is known already.
            (State::Open { .. }, _) | (State::Closed(_), None) => {}
        }
    }

    fn open(&mut self, now: Ms) {
        let length = FIRST_MS
            .saturating_mul(1 << self.opened.min(10))
            .min(LONGEST_MS);
        // Processes that saw the same failure don't come back together.
        let spread = length / 4 * (now % 97) / 97;
        self.opened += 1;
        self.state = State::Open {
            until: now + length - spread,
        };
    }
}

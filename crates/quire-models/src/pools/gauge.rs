//! What one model in one pool can take right now: quota, concurrency, and whether it works at all. Pure: the
//! time is a number, and nothing here waits.
//!
//! Headroom is the least of what is left of each kind, by our own count and by what the server said last, for
//! each unit that a call needs: below 1 the call does not fit.

use serde::{Deserialize, Serialize};

use super::Ms;
use super::breaker::{Breaker, BreakerState};
use super::window::Window;
use crate::server::{Remaining, Told};

const MINUTE_MS: Ms = 60_000;
const DAY_MS: Ms = 24 * 60 * MINUTE_MS;
/// Calls at once to begin with, and at the most.
const FIRST_RUNNING: f64 = 16.0;
const MOST_RUNNING: f64 = 1_000.0;
/// How long a server is left alone that does not say how long, doubled each time.
const PAUSE_MS: Ms = 1_000;
const LONGEST_PAUSE_MS: Ms = 60_000;
/// How long a pool is left alone whose key was refused, and a model that is not there.
const USELESS_MS: Ms = 30_000;

/// What a provider allows a pool, for each model. What is absent is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Requests in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens that go in, in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Tokens that come out, in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// Requests in a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
    /// Tokens of both directions in a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

impl Quota {
    /// Of requests, tokens that go in and tokens that come out.
    fn per_minute(&self) -> [Option<u64>; 3] {
        [
            self.requests_per_minute,
            self.input_tokens_per_minute,
            self.output_tokens_per_minute,
        ]
    }
}

/// What a call takes of a quota, at the most before it and really after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Tokens that go in.
    pub(super) input_tokens: u64,
    /// Tokens that come out.
    pub(super) output_tokens: u64,
}

/// How a call ended, as far as it says something about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Well.
    Good,
    /// By a fault of the server or on the way to it.
    Bad,
    /// The server wants to be left alone, for so long if it said so.
    Limited(Option<Ms>),
    /// The key is refused, or the model is not there.
    Useless,
    /// Nothing can be said: the question was wrong, or whoever asked went away.
    Unknown,
}

/// A call that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    at: Ms,
    need: Need,
    /// Whether the server has said what is left after it.
    is_heard: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Gauge {
    quota: Quota,
    minute: [Window; 3],
    day: [Window; 2],
    /// What the server said is left, less what was begun since, and until when that is believed.
    told: [Option<(u64, Ms)>; 3],
    /// What of the minute others take who use the same pool, by what the server said last, and until when that is
    /// believed.
    others: [Option<(u64, Ms)>; 3],
    /// What was begun and not heard of yet.
    unheard: [u64; 3],
    not_before: Ms,
    /// How often in a row the server wanted to be left alone.
    pauses: u32,
    running: u32,
    most_running: f64,
    breaker: Breaker,
}

impl Gauge {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            minute: std::array::from_fn(|_| Window::new(MINUTE_MS)),
            day: std::array::from_fn(|_| Window::new(DAY_MS)),
            told: [None; 3],
            others: [None; 3],
            unheard: [0; 3],
            not_before: 0,
            pauses: 0,
            running: 0,
            most_running: FIRST_RUNNING,
            breaker: Breaker::new(),
        }
    }

    pub(super) fn set_quota(&mut self, quota: Quota) {
        self.quota = quota;
    }

    /// Its key was replaced: what was refused may be allowed now.
    pub(super) fn forgive(&mut self) {
        self.not_before = 0;
    }

    pub(super) fn breaker(&self, now: Ms) -> BreakerState {
        self.breaker.shown(now)
    }

    pub(super) fn running(&self) -> u32 {
        self.running
    }

    /// How often such a call fits into what is left; below 1 it does not.
    pub(super) fn headroom(&mut self, now: Ms, need: Need) -> f64 {
        if now < self.not_before || !self.breaker.lets_in(now) {
            return 0.0;
        }
        if f64::from(self.running) >= self.most_running.floor() {
            return 0.0;
        }
        let needs = [1, need.input_tokens, need.output_tokens];
        let both = need.input_tokens.saturating_add(need.output_tokens);
        let quota = &self.quota;
        let per_minute = quota.per_minute();
        let per_day = [quota.requests_per_day, quota.tokens_per_day];
        let mut least = f64::INFINITY;
        let mut limit = |left: u64, need: u64| {
            if need > 0 {
                least = least.min(left as f64 / need as f64);
            }
        };
        for (at, window) in self.minute.iter_mut().enumerate() {
            if let Some(most) = per_minute[at] {
                let others = self.others[at].filter(|(_, until)| now < *until);
                let others = match others {
                    // They may have begun another one since.
                    Some((taken, _)) if taken > 0 => taken.saturating_add(needs[at]),
                    _ => 0,
                };
                let left = most.saturating_sub(window.taken(now));
                limit(left.saturating_sub(others), needs[at]);
            }
            if let Some((left, _)) = self.told[at].filter(|(_, until)| now < *until) {
                limit(left, needs[at]);
            }
        }
        for ((window, most), need) in self.day.iter_mut().zip(per_day).zip([1, both]) {
            if let Some(most) = most {
                limit(most.saturating_sub(window.taken(now)), need);
            }
        }
        least
    }

    /// Takes what a call needs at the most. It must fit.
    pub(super) fn begin(&mut self, now: Ms, need: Need) -> Begun {
        let needs = [1, need.input_tokens, need.output_tokens];
        for (at, need) in needs.into_iter().enumerate() {
            self.minute[at].take(now, need);
            self.unheard[at] = self.unheard[at].saturating_add(need);
            if let Some((left, _)) = &mut self.told[at] {
                *left = left.saturating_sub(need);
            }
        }
        self.day[0].take(now, 1);
        let both = need.input_tokens.saturating_add(need.output_tokens);
        self.day[1].take(now, both);
        self.running += 1;
        self.breaker.begin(now);
        Begun {
            at: now,
            need,
            is_heard: false,
        }
    }

    /// What a server said about its limits when it began to answer. Less than we thought counts at once; more
    /// does not, for what else is on its way is not in it.
    ///
    /// What is neither left nor taken by us is taken by others. They go on taking as much, as far as we know, so
    /// that of what grows old in the window we get our own part again and not theirs.
    pub(super) fn hear(&mut self, now: Ms, begun: &mut Begun, told: &Told) {
        self.no_longer_unheard(begun);
        let heard = [told.requests, told.input_tokens, told.output_tokens];
        let per_minute = self.quota.per_minute();
        for (at, heard) in heard.into_iter().enumerate() {
            let Some(Remaining { left, resets_after }) = heard else {
                continue;
            };
            let until = now + Ms::try_from(resets_after.as_millis()).unwrap_or(MINUTE_MS);
            let known = &mut self.told[at];
            *known = match *known {
                Some((ours, ours_until)) if now < ours_until => Some((ours.min(left), until)),
                _ => Some((left, until)),
            };
            if let Some(most) = per_minute[at] {
                let own = self.minute[at].taken(now).saturating_sub(self.unheard[at]);
                let others = most.saturating_sub(left).saturating_sub(own);
                self.others[at] = Some((others, now + MINUTE_MS));
            }
        }
    }

    fn no_longer_unheard(&mut self, begun: &mut Begun) {
        if !std::mem::replace(&mut begun.is_heard, true) {
            let needs = [1, begun.need.input_tokens, begun.need.output_tokens];
            for (unheard, need) in self.unheard.iter_mut().zip(needs) {
                *unheard = unheard.saturating_sub(need);
            }
        }
    }

    /// A call is over; `used` is what it really took, if that is known.
    pub(super) fn end(&mut self, now: Ms, mut begun: Begun, used: Option<Need>, outcome: Outcome) {
        self.running = self.running.saturating_sub(1);
        self.no_longer_unheard(&mut begun);
        let used = match outcome {
            // Whoever says no has not counted it.
            Outcome::Limited(_) | Outcome::Useless => Some(Need::default()),
            _ => used,
        };
        if let Some(used) = used {
            let Begun { at, need, .. } = begun;
            self.minute[1].correct(at, need.input_tokens, used.input_tokens);
            self.minute[2].correct(at, need.output_tokens, used.output_tokens);
            let both = |need: Need| need.input_tokens.saturating_add(need.output_tokens);
            self.day[1].correct(at, both(need), both(used));
        }
        match outcome {
            Outcome::Good => {
                self.pauses = 0;
                if f64::from(self.running + 1) * 2.0 >= self.most_running {
                    self.most_running = (self.most_running + 1.0).min(MOST_RUNNING);
                }
                self.breaker.end(now, Some(true));
            }
            Outcome::Bad => {
                self.slow_down();
                self.breaker.end(now, Some(false));
            }
            Outcome::Limited(after) => {
                self.slow_down();
                // As good as being told that no request is left.
                if let (Some(most), Some((others, _))) =
                    (self.quota.requests_per_minute, &mut self.others[0])
                {
                    *others = most.saturating_sub(self.minute[0].taken(now));
                }
                let own = PAUSE_MS.saturating_mul(1 << self.pauses.min(10));
                self.pauses += 1;
                let after = after.unwrap_or(own).min(LONGEST_PAUSE_MS);
                self.not_before = self.not_before.max(now + after);
                self.breaker.end(now, None);
            }
            Outcome::Useless => {
                self.not_before = self.not_before.max(now + USELESS_MS);
                self.breaker.end(now, None);
            }
            Outcome::Unknown => self.breaker.end(now, None),
        }
    }

    fn slow_down(&mut self) {
        self.most_running = (self.most_running - 1.0)
            .min(self.most_running * 0.9)
            .max(1.0);
    }

    /// A call that was never sent.
    pub(super) fn cancel(&mut self, now: Ms, begun: Begun) {
        self.end(now, begun, Some(Need::default()), Outcome::Unknown);
        self.minute[0].correct(begun.at, 1, 0);
        self.day[0].correct(begun.at, 1, 0);
    }
}

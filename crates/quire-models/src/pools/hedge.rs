//! When a second model is asked while the first one is still silent. Pure: times are numbers.
//!
//! Rare on purpose: both are paid for. A call is hedged only when its pool is slower than it almost always is, and all
//! hedges together stay below a share of all calls. Source: Dean and Barroso, The Tail at Scale (2013), hedged requests.

use std::collections::VecDeque;

use super::Ms;

/// First words that are remembered of one model in one pool.
const REMEMBERED: usize = 128;
/// So many have to be known before anything is called slow.
const KNOWN: usize = 20;
/// Percent of them that were faster than what is called slow.
const QUANTILE: usize = 95;
/// Nobody notices less than this.
const LEAST_MS: Ms = 250;
/// Hedges that are saved up at the most.
const MOST_SAVED: f64 = 3.0;

/// How long the first words of one model in one pool took last.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(VecDeque<Ms>);

impl Pace {
    pub(super) fn note(&mut self, took: Ms) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// After how long a call is slow; none while too little is known.
    pub(super) fn slow_after(&self) -> Option<Ms> {
        if self.0.len() < KNOWN {
            return None;
        }
        let mut sorted: Vec<Ms> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let slow = sorted.get(sorted.len() * QUANTILE / 100).copied();
        slow.map(|slow| slow.max(LEAST_MS))
    }
}

/// How many hedges all calls together may make: each call saves up a part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hedges {
    share: f64,
    saved: f64,
}

impl Hedges {
    /// Hedges for at most this share of all calls; none at zero.
    pub(super) fn new(share: f64) -> Self {
        Self { share, saved: 0.0 }
    }

    /// Whether there are any.
    pub(super) fn are_on(&self) -> bool {
        self.share > 0.0
    }

    /// A call begins.
    pub(super) fn note_call(&mut self) {
        self.saved = (self.saved + self.share).min(MOST_SAVED);
    }

    /// Takes one, if one is saved up.
    pub(super) fn take(&mut self) -> bool {
        let has_one = self.saved >= 1.0;
        if has_one {
            self.saved -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    //! The policy over made-up calls.

    use super::*;

    /// What came of many calls: how many were hedged, and the time to the first word that 99 of 100 did not exceed.
    struct Outcome {
        calls: usize,
        hedged: usize,
        p99: Ms,
    }

    /// Calls to a pool of which every `hangs_of`th is silent for ten seconds, beside a second one that is sound.
    fn run(share: f64, hangs_of: usize) -> Outcome {
        let mut seed: u64 = 11;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let (mut pace, mut hedges) = (Pace::default(), Hedges::new(share));
        let (mut times, mut hedged) = (Vec::new(), 0);
        for call in 0..20_000 {
            let usual = 200 + random(300);
            let first = match call % hangs_of {
                0 => 10_000,
                _ => usual,
            };
            hedges.note_call();
            let slow = pace.slow_after().filter(|slow| first > *slow);
            let time = match slow {
                Some(slow) if hedges.take() => {
                    hedged += 1;
                    let second = slow + 200 + random(300);
                    // Whoever is cancelled says nothing of its pace.
                    if first <= second {
                        pace.note(first);
                    }
                    first.min(second)
                }
                _ => {
                    pace.note(first);
                    first
                }
            };
            times.push(time);
        }
        let calls = times.len();
        times.sort_unstable();
        Outcome {
            calls,
            hedged,
            p99: times[calls * 99 / 100],
        }
    }

    #[test]
    fn few_hedges_take_the_tail_away() {
        let without = run(0.0, 67);
        assert_eq!((without.hedged, without.p99), (0, 10_000));
        let with = run(0.05, 67);
        assert!(with.p99 < 2_000, "{} ms", with.p99);
        assert!(with.hedged * 20 <= with.calls, "{} hedges", with.hedged);
    }

    #[test]
    fn a_pool_that_became_slow_altogether_is_not_asked_twice_by_everybody() {
        // Every second call hangs: hedging can't help, and stays within its share.
        for share in [0.02, 0.05] {
            let outcome = run(share, 2);
            let most = (outcome.calls as f64 * share).ceil() as usize;
            assert!(outcome.hedged <= most, "{} of {most}", outcome.hedged);
        }
    }

    #[test]
    fn nothing_is_slow_before_it_is_known_and_nobody_notices_a_moment() {
        let mut pace = Pace::default();
        for _ in 0..KNOWN - 1 {
            pace.note(3);
        }
        assert_eq!(pace.slow_after(), None);
        pace.note(3);
        assert_eq!(pace.slow_after(), Some(LEAST_MS));
        for _ in 0..REMEMBERED {
            pace.note(900);
        }
        assert_eq!(pace.slow_after(), Some(900));
    }
}

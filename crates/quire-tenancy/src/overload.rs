//! When there is more to do than can be done: an answer from the cache, then a cheaper way to answer, then a
//! refusal that says when to come back; and for whoever comes all the same, a pause.
//!
//! Every threshold is configuration. Knows no request and does no I/O.

use std::time::{Duration, Instant};

/// At what point each step begins.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    /// How full the room to wait may be, from 0 to 1, before answers are made the cheaper way.
    pub cheaper_at: f64,
    /// Refusals in a minute, beyond which a tenant is held off.
    pub throttle_after: u32,
    /// For how long.
    pub throttle_for: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            cheaper_at: 0.5,
            throttle_after: 600,
            throttle_for: Duration::from_secs(60),
        }
    }
}

const WINDOW: Duration = Duration::from_secs(60);

/// How often a tenant was refused lately.
#[derive(Default)]
pub(crate) struct Insistence {
    /// The start of the window and the refusals in it.
    window: Option<(Instant, u32)>,
    until: Option<Instant>,
}

impl Insistence {
    /// For how much longer the tenant is held off.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        self.until
            .and_then(|until| until.checked_duration_since(now))
            .filter(|pause| !pause.is_zero())
    }

    /// Counts a refusal. Whether the tenant is held off from now on.
    pub(crate) fn refused(&mut self, now: Instant, ladder: &Ladder) -> bool {
        let count = match self.window {
            Some((start, count)) if now.duration_since(start) < WINDOW => {
                self.window = Some((start, count + 1));
                count + 1
            }
            _ => {
                self.window = Some((now, 1));
                1
            }
        };
        let is_first = count > ladder.throttle_after;
        if is_first {
            self.window = None;
            self.until = Some(now + ladder.throttle_for);
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_coming_is_held_off_for_a_time_and_then_let_in_again() {
        let ladder = Ladder {
            throttle_after: 3,
            ..Ladder::default()
        };
        let start = Instant::now();
        let mut tenant = Insistence::default();
        assert!(!(0..3).any(|_| tenant.refused(start, &ladder)));
        assert_eq!(tenant.pause(start), None);
        assert!(tenant.refused(start, &ladder));
        assert_eq!(tenant.pause(start), Some(ladder.throttle_for));
        let later = start + ladder.throttle_for;
        assert_eq!(tenant.pause(later), None);
        assert!(
            !tenant.refused(later, &ladder),
            "counted from the beginning"
        );
    }

    #[test]
    fn refusals_far_apart_are_no_insistence() {
        let ladder = Ladder {
            throttle_after: 3,
            ..Ladder::default()
        };
        let start = Instant::now();
        let mut tenant = Insistence::default();
        for minute in 0..20 {
            assert!(!tenant.refused(start + WINDOW * minute, &ladder));
        }
    }
}

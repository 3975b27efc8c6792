//! How long to wait before the next attempt: exponential with full jitter, so that tasks which failed
//! together do not come back together.
//!
//! Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

use rand::RngExt;

const BASE: Duration = Duration::from_secs(2);
const CAP: Duration = Duration::from_secs(600);

/// A wait between zero and twice the ceiling of the attempt before. `attempt` counts from 1.
pub(crate) fn delay(attempt: i32, rng: &mut impl rand::Rng) -> Duration {
    let ceiling = ceiling(attempt);
    Duration::from_millis(
        rng.random_range(0..=u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX)),
    )
}

fn ceiling(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(0)
        .min(16);
    (BASE * 2_u32.pow(doublings)).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let seconds: Vec<u64> = [-1, 0, 1, 2, 3, 9, 10, 1_000]
            .map(|attempt| ceiling(attempt).as_secs())
            .into();
        assert_eq!(seconds, [2, 2, 2, 4, 8, 512, 600, 600]);
    }

    #[test]
    fn waits_are_spread_below_the_ceiling() {
        let mut rng = rand::rng();
        let waits: Vec<Duration> = (0..1_000).map(|_| delay(4, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(16)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(4)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(12)));
    }
}

//! How long to wait before the next attempt: exponential with full jitter, so that tasks which failed
//! together do not come back together.
//!
//! Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

use rand::RngExt;

use crate::{Failure, Retry};

/// Whoever asks for a longer wait gets this one.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// When to try again after attempt `number`, counted from 1: between zero and the ceiling of that attempt.
/// A wait that the other side asked for is kept, with a tenth on top to spread those who were told the same.
pub(crate) fn delay(
    retry: Retry,
    number: i16,
    failure: &Failure,
    rng: &mut impl rand::Rng,
) -> Duration {
    match failure.retry_after {
        Some(wait) => {
            let wait = wait.min(LONGEST);
            wait + up_to(wait / 10, rng)
        }
        None => up_to(ceiling(retry, number), rng),
    }
}

fn up_to(most: Duration, rng: &mut impl rand::Rng) -> Duration {
    Duration::from_millis(rng.random_range(0..=u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
}

fn ceiling(retry: Retry, number: i16) -> Duration {
    let doublings = u32::try_from(number.saturating_sub(1)).unwrap_or(0).min(16);
    retry
        .base
        .saturating_mul(2_u32.pow(doublings))
        .min(retry.cap)
}

#[cfg(test)]
mod tests {
    use quire_types::ErrorKind;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let seconds: Vec<u64> = [-1, 0, 1, 2, 3, 9, 10, 1_000]
            .map(|number| ceiling(Retry::DEFAULT, number).as_secs())
            .into();
        assert_eq!(seconds, [2, 2, 2, 4, 8, 512, 600, 600]);
    }

    #[test]
    fn waits_are_spread_below_the_ceiling_and_above_what_was_asked_for() {
        let mut rng = rand::rng();
        let mut waits = |failure: &Failure| -> Vec<Duration> {
            (0..1_000)
                .map(|_| delay(Retry::DEFAULT, 4, failure, &mut rng))
                .collect()
        };
        let failure = Failure::new(ErrorKind::Unavailable, "down");
        let free = waits(&failure);
        assert!(free.iter().all(|wait| *wait <= Duration::from_secs(16)));
        assert!(free.iter().any(|wait| *wait < Duration::from_secs(4)));
        assert!(free.iter().any(|wait| *wait > Duration::from_secs(12)));
        let asked = waits(&failure.retry_after(Duration::from_secs(30)));
        let range = Duration::from_secs(30)..=Duration::from_secs(33);
        assert!(asked.iter().all(|wait| range.contains(wait)));
    }
}

//! The policies of pools over many made-up histories: providers with true quotas, failures and recoveries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::Ms;
use super::breaker::BreakerState;
use super::choice::{Candidate, choose};
use super::gauge::{Gauge, Need, Outcome, Quota};
use super::retries::Retries;
use crate::server::{Remaining, Told};

fn per_minute(requests: u64) -> Quota {
    Quota {
        requests_per_minute: Some(requests),
        ..Quota::default()
    }
}

/// A provider that counts requests in a sliding minute.
struct Provider {
    quota: u64,
    taken: VecDeque<Ms>,
    refused: u64,
}

impl Provider {
    fn new(quota: u64) -> Self {
        Self {
            quota,
            taken: VecDeque::new(),
            refused: 0,
        }
    }

    /// What is left after it, if the request is let in.
    fn take(&mut self, now: Ms) -> Option<u64> {
        while self.taken.front().is_some_and(|at| at + 60_000 <= now) {
            self.taken.pop_front();
        }
        if self.taken.len() as u64 >= self.quota {
            self.refused += 1;
            return None;
        }
        self.taken.push_back(now);
        Some(self.quota - self.taken.len() as u64)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u16),
    Begin(u16, u16),
    /// Ends the oldest call: by what outcome, and whether its usage is known.
    End(u8, bool),
    Cancel,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5_000_u16).prop_map(Step::Wait),
        6 => (1..2_000_u16, 1..500_u16).prop_map(|(input, output)| Step::Begin(input, output)),
        5 => (0..5_u8, any::<bool>()).prop_map(|(outcome, known)| Step::End(outcome, known)),
        1 => Just(Step::Cancel),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_let_in_never_exceeds_the_quota(steps in steps(), requests in 1..40_u64, tokens in 500..20_000_u64) {
        let quota = Quota {
            requests_per_minute: Some(requests),
            input_tokens_per_minute: Some(tokens),
            ..Quota::default()
        };
        let mut gauge = Gauge::new(quota);
        let mut now = 1;
        let mut running = VecDeque::new();
        let mut begun_at: Vec<(Ms, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += Ms::from(ms),
                Step::Begin(input, output) => {
                    let need = Need { input_tokens: input.into(), output_tokens: output.into() };
                    if gauge.headroom(now, need) >= 1.0 {
                        prop_assert!(gauge.breaker(now) != BreakerState::Open);
                        running.push_back((gauge.begin(now, need), begun_at.len()));
                        begun_at.push((now, input.into()));
                    }
                }
                Step::End(outcome, is_known) => {
                    let Some((begun, at)) = running.pop_front() else { continue };
                    let outcome = match outcome {
                        0 => Outcome::Bad,
                        1 => Outcome::Limited(None),
                        2 => Outcome::Unknown,
                        _ => Outcome::Good,
                    };
                    // What it really took is never more than what it needed at the most.
                    let used = is_known.then(|| Need { input_tokens: begun_at[at].1 / 2, output_tokens: 1 });
                    gauge.end(now, begun, used, outcome);
                    if matches!(outcome, Outcome::Limited(_)) {
                        begun_at[at].1 = 0;
                    } else if is_known {
                        begun_at[at].1 /= 2;
                    }
                }
                Step::Cancel => {
                    if let Some((begun, at)) = running.pop_front() {
                        gauge.cancel(now, begun);
                        begun_at[at] = (0, 0);
                    }
                }
            }
            let recent = begun_at.iter().filter(|(at, _)| *at > 0 && at + 60_000 > now);
            let (count, sum) = recent.fold((0, 0), |(count, sum), (_, input)| (count + 1, sum + input));
            prop_assert!(count <= requests, "{count} requests of {requests}");
            prop_assert!(sum <= tokens, "{sum} tokens of {tokens}");
            prop_assert_eq!(gauge.running() as usize, running.len());
        }
    }

    #[test]
    fn a_breaker_is_never_stuck_and_never_open_to_a_provider_that_is_well(failing in 0..60_000_u64, every in 20..500_u64) {
        let mut gauge = Gauge::new(Quota::default());
        let mut now = 1;
        let mut asked_while_failing = 0;
        while now < failing {
            if gauge.headroom(now, Need::default()) >= 1.0 {
                let begun = gauge.begin(now, Need::default());
                gauge.end(now, begun, None, Outcome::Bad);
                asked_while_failing += 1;
            }
            now += every;
        }
        // Five to open it, then one for each time it is tried.
        prop_assert!(asked_while_failing <= 5 + 5, "{asked_while_failing} calls");
        let well_since = now;
        while gauge.breaker(now) != BreakerState::Closed {
            if gauge.headroom(now, Need::default()) >= 1.0 {
                let begun = gauge.begin(now, Need::default());
                gauge.end(now, begun, None, Outcome::Good);
            }
            now += every;
            prop_assert!(now < well_since + 70_000, "still {:?}", gauge.breaker(now));
        }
    }

    #[test]
    fn second_tries_are_few_while_everything_fails(outcomes in prop::collection::vec(any::<bool>(), 1..2_000)) {
        let mut retries = Retries::new();
        let (mut tries, mut good) = (0.0, 0.0);
        for is_good in outcomes {
            retries.note(is_good);
            good += f64::from(u8::from(is_good));
            if !is_good && retries.allows() {
                // The second try fails, too.
                retries.note(false);
                tries += 1.0;
            }
        }
        prop_assert!(tries <= 5.0 + good * 0.1, "{tries} second tries, {good} went well");
    }

    #[test]
    fn a_call_goes_where_it_fits_and_home_while_it_fits_there(
        rooms in prop::collection::vec((0.0..3.0_f64, any::<u64>()), 1..8), random in any::<u64>()
    ) {
        let candidates: Vec<Candidate> = rooms
            .iter()
            .map(|(headroom, liking)| Candidate { headroom: *headroom, liking: *liking })
            .collect();
        let home = (0..candidates.len()).max_by_key(|at| candidates[*at].liking).unwrap();
        match choose(&candidates, random) {
            None => prop_assert!(candidates.iter().all(|candidate| candidate.headroom < 1.0)),
            Some(taken) => {
                prop_assert!(candidates[taken].headroom >= 1.0);
                prop_assert!(taken == home || candidates[home].headroom < 1.0);
            }
        }
    }
}

#[test]
fn to_be_told_to_wait_opens_nothing_and_is_obeyed() {
    let mut gauge = Gauge::new(Quota::default());
    let mut now = 1;
    for after in [Some(7_000), None, None] {
        let begun = gauge.begin(now, Need::default());
        gauge.end(now, begun, None, Outcome::Limited(after));
        assert_eq!(gauge.breaker(now), BreakerState::Closed);
        assert!(gauge.headroom(now, Need::default()) < 1.0);
        let wait = after.unwrap_or(1_000);
        assert!(gauge.headroom(now + wait - 1, Need::default()) < 1.0);
        now += 10_000;
        assert!(gauge.headroom(now, Need::default()) >= 1.0);
    }
}

/// What became of calls to uneven pools.
struct Shared {
    sent: u64,
    served: u64,
    /// Times that a provider said no, of which a call may meet several.
    refused: u64,
}

fn shared_by(processes: usize) -> Shared {
    let quotas = [600, 120, 60, 20];
    let mut providers = quotas.map(Provider::new);
    let gauges = || quotas.iter().map(|quota| Gauge::new(per_minute(*quota)));
    let mut processes: Vec<Vec<Gauge>> = (0..processes).map(|_| gauges().collect()).collect();
    let (mut sent, mut served) = (0_u64, 0_u64);
    // Ten minutes at 95 % of what all pools together allow, from tenants that like pools evenly.
    let all: u64 = quotas.iter().sum();
    let gap = 60_000.0 / (all as f64 * 0.95);
    for number in 0_u64.. {
        let now = 1 + (number as f64 * gap) as Ms;
        if now > 600_000 {
            break;
        }
        sent += 1;
        let turn = number as usize % processes.len();
        let gauges = &mut processes[turn];
        let mut tried = Vec::new();
        loop {
            let mix = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            let candidates: Vec<Candidate> = (0..quotas.len())
                .map(|at| Candidate {
                    headroom: match tried.contains(&at) {
                        true => 0.0,
                        false => gauges[at].headroom(now, Need::default()),
                    },
                    liking: mix(number % 50 * 8 + at as u64),
                })
                .collect();
            let Some(at) = choose(&candidates, mix(number)) else {
                break;
            };
            tried.push(at);
            let mut begun = gauges[at].begin(now, Need::default());
            match providers[at].take(now) {
                Some(left) => {
                    let remaining = Remaining {
                        left,
                        resets_after: Duration::from_secs(1),
                    };
                    gauges[at].hear(
                        now,
                        &mut begun,
                        &Told {
                            requests: Some(remaining),
                            ..Told::default()
                        },
                    );
                    gauges[at].end(now, begun, None, Outcome::Good);
                    served += 1;
                    break;
                }
                None => gauges[at].end(now, begun, None, Outcome::Limited(Some(1_000))),
            }
        }
    }
    let refused = providers.iter().map(|provider| provider.refused).sum();
    Shared {
        sent,
        served,
        refused,
    }
}

#[test]
fn one_process_shares_uneven_pools_almost_without_a_refusal() {
    let one = shared_by(1);
    assert!(one.refused * 100 <= one.sent, "{} refused", one.refused);
    // A window is counted in parts, so a little of each quota stays unused.
    assert!(one.served * 100 >= one.sent * 95, "{} served", one.served);
}

/// Each counts what it sends itself and hears of the others only what the provider tells. What a pool refuses is
/// served by another one.
#[test]
fn processes_that_know_nothing_of_each_other_are_seldom_refused() {
    for (processes, refused_pct) in [(2, 1), (10, 2)] {
        let shared = shared_by(processes);
        let most = shared.sent * refused_pct / 100;
        assert!(shared.refused <= most, "{} refused", shared.refused);
        assert!(
            shared.served * 100 >= shared.sent * 97,
            "{} served",
            shared.served
        );
    }
}

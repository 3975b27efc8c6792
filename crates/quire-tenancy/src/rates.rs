//! Rates: how many requests and tokens in a minute, exact over all processes.
//!
//! The generic cell rate algorithm keeps one number for each rate, the theoretical arrival time of the next
//! unit, in PostgreSQL and by its clock, so the clocks of processes do not matter. A process that uses much
//! takes several units at once and spends them here: the sum of what all processes were given never
//! exceeds the rate. Units that were not spent within seconds go back with the next taking; so a pause
//! can't turn them into a burst. All rates of a request are taken together or not at all.
//!
//! Source: ITU-T I.371, annex A. `arrival' = max(arrival, now) + units × step`, allowed when
//! `arrival' − now ≤ burst × step`. Knows no plan and no money.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use quire_store::Store;
use quire_types::TenantId;

use crate::{Error, Limit};

mod postgres;
pub(crate) mod redis;

/// How long units that were taken ahead are good for.
const SLICE_LIFE: Duration = Duration::from_secs(5);
const MINUTE_US: u64 = 60_000_000;
/// A rate of n a minute lets n / 4 through at once.
const BURST_SHARE: u64 = 4;
/// Rates that were not used for this long are gone from memory.
const IDLE: Duration = Duration::from_secs(60);

/// One rate that a request counts against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Of whom: `tenant`, `tokens`, `key:<id>`, `user:<name>`.
    pub(crate) name: String,
    /// Units in a minute, at least one.
    pub(crate) per_minute: u64,
    /// What this request takes.
    pub(crate) units: u64,
}

impl Rate {
    /// A rate, unless there is no limit. A request larger than the whole burst takes the burst: it can't be
    /// told apart from the rate being used up, and would never pass.
    pub(crate) fn of(name: impl Into<String>, limit: Limit, units: u64) -> Option<Self> {
        match limit {
            Limit::Unlimited => None,
            Limit::At(per_minute) => {
                let mut rate = Self {
                    name: name.into(),
                    per_minute: per_minute.max(1),
                    units,
                };
                rate.units = units.min(rate.burst());
                Some(rate)
            }
        }
    }

    /// Microseconds from one unit to the next.
    fn step_us(&self) -> u64 {
        (MINUTE_US / self.per_minute).max(1)
    }

    /// Units that may come at once.
    fn burst(&self) -> u64 {
        self.per_minute.div_ceil(BURST_SHARE)
    }

    /// The most that is taken ahead: what the rate gives in the life of a slice, but never the whole burst,
    /// which other processes want to share.
    fn most_ahead(&self) -> u64 {
        let per_life = self.per_minute * SLICE_LIFE.as_secs() / 60;
        per_life.min(self.burst() / 4)
    }
}

/// What a tenant's rate has left, for the headers of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// Requests in a minute.
    pub per_minute: u64,
    /// Requests that would pass now, as far as this process knows.
    pub remaining: u64,
    /// When all of the burst is there again.
    pub reset: Duration,
}

/// A rate that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedUp {
    pub(crate) name: String,
    pub(crate) wait: Duration,
}

/// The units that this process has taken for one tenant.
#[derive(Default)]
pub(crate) struct Slices {
    by_name: HashMap<String, Slice>,
    /// Rates that do not have so many units, until then.
    dry: HashMap<String, (Instant, u64)>,
}

struct Slice {
    left: u64,
    until: Instant,
    /// For how many requests was taken ahead: doubled while that is used up in time.
    ahead: u64,
    /// How many were taken last, with those left from before.
    taken: u64,
    /// Units of the burst that remained when they were last taken.
    room: u64,
}

impl Slices {
    /// Takes from what is here, if all of it is.
    pub(crate) fn spend(&mut self, now: Instant, rates: &[Rate]) -> bool {
        let has_all = rates.iter().all(|rate| {
            self.by_name
                .get(&rate.name)
                .is_some_and(|slice| slice.until > now && slice.left >= rate.units)
        });
        if has_all {
            for rate in rates {
                if let Some(slice) = self.by_name.get_mut(&rate.name) {
                    slice.left -= rate.units;
                }
            }
        }
        has_all
    }

    /// A rate that is known to be used up; nobody has to be asked.
    pub(crate) fn used_up(&mut self, now: Instant, rates: &[Rate]) -> Option<UsedUp> {
        if self.dry.is_empty() {
            return None;
        }
        self.dry.retain(|_, (until, _)| *until > now);
        rates.iter().find_map(|rate| {
            let (until, units) = self.dry.get(&rate.name)?;
            (rate.units >= *units).then(|| UsedUp {
                name: rate.name.clone(),
                wait: *until - now,
            })
        })
    }

    /// What to ask for in order to serve `rates`. What is left here goes with the order, so that nobody
    /// spends it meanwhile; [`Slices::put_back`] takes it back if nothing comes of it.
    pub(crate) fn order(&mut self, now: Instant, rates: &[Rate]) -> Vec<Order> {
        self.by_name.retain(|_, slice| slice.until + IDLE > now);
        rates
            .iter()
            .map(|rate| {
                let slice = self.by_name.get_mut(&rate.name);
                let (left, ahead) = slice.map_or((0, 0), |slice| {
                    let left = std::mem::take(&mut slice.left);
                    // Used up before its time: more is wanted.
                    let is_hot = slice.until > now;
                    (
                        left,
                        if is_hot {
                            slice.ahead * 2 + 1
                        } else {
                            slice.ahead / 2
                        },
                    )
                });
                let ahead = ahead.min(rate.most_ahead() / rate.units.max(1));
                Order {
                    name: rate.name.clone(),
                    step_us: rate.step_us(),
                    tolerance_us: rate.burst() * rate.step_us(),
                    back: left,
                    need: rate.units,
                    want: rate.units * (1 + ahead),
                    ahead,
                }
            })
            .collect()
    }

    /// Keeps what was given beyond what the request itself takes.
    pub(crate) fn keep(&mut self, now: Instant, orders: Vec<Order>, given: &[Given]) {
        for (order, given) in orders.into_iter().zip(given) {
            let slice = Slice {
                left: given.units - order.need,
                taken: given.units,
                until: now + SLICE_LIFE,
                ahead: order.ahead,
                room: given.room,
            };
            self.by_name.insert(order.name, slice);
        }
    }

    /// After an order that was refused.
    pub(crate) fn put_back(&mut self, now: Instant, orders: &[Order], used_up: &UsedUp) {
        let needed = orders.iter().find(|order| order.name == used_up.name);
        let units = needed.map_or(1, |order| order.need);
        self.dry
            .insert(used_up.name.clone(), (now + used_up.wait, units));
        for order in orders {
            if let Some(slice) = self.by_name.get_mut(&order.name) {
                slice.left += order.back;
            }
        }
    }

    /// After a request that was not let in for another reason.
    pub(crate) fn give_back(&mut self, rates: &[Rate]) {
        for rate in rates {
            self.give_back_units(&rate.name, rate.units);
        }
    }

    /// Units of one rate that were taken and not needed.
    pub(crate) fn give_back_units(&mut self, name: &str, units: u64) {
        if let Some(slice) = self.by_name.get_mut(name) {
            // Never more than were there, however much was asked for.
            slice.left = (slice.left + units).min(slice.taken);
        }
    }

    /// Whether nothing was taken lately.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.by_name.values().all(|slice| slice.until + IDLE < now)
    }

    /// What the first of a request's rates has left.
    pub(crate) fn state(&self, rate: &Rate) -> RateState {
        let slice = self.by_name.get(&rate.name);
        let remaining = slice.map_or(rate.burst(), |slice| slice.left + slice.room);
        let missing = rate.burst().saturating_sub(remaining);
        RateState {
            per_minute: rate.per_minute,
            remaining,
            reset: Duration::from_micros(missing * rate.step_us()),
        }
    }
}

/// What is asked of one rate.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    name: String,
    step_us: u64,
    tolerance_us: u64,
    /// Units that were taken before and not spent.
    back: u64,
    need: u64,
    want: u64,
    ahead: u64,
}

/// What one rate gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    units: u64,
    room: u64,
}

/// Where the numbers are kept that all processes share.
pub(crate) enum Counters {
    /// In PostgreSQL.
    Postgres,
    /// In Redis; while it does not answer, in PostgreSQL.
    Redis(Box<redis::Counters>),
}

impl Counters {
    /// Takes units of all rates, or of none.
    pub(crate) async fn take(
        &self,
        store: &Store,
        tenant: TenantId,
        orders: &[Order],
    ) -> Result<Result<Vec<Given>, UsedUp>, Error> {
        let answers = match self {
            Self::Postgres => postgres::take(store, tenant, orders).await?,
            Self::Redis(counters) => match counters.take(tenant, orders).await {
                Some(answers) => answers,
                // The numbers there are older: at worst one burst more, once.
                None => postgres::take(store, tenant, orders).await?,
            },
        };
        let refused = answers
            .iter()
            .filter(|answer| answer.wait_us > 0)
            .max_by_key(|answer| answer.wait_us);
        if let Some(refused) = refused {
            return Ok(Err(UsedUp {
                name: refused.name.clone(),
                wait: Duration::from_micros(refused.wait_us.unsigned_abs()),
            }));
        }
        let given = orders
            .iter()
            .map(|order| {
                let answer = answers.iter().find(|answer| answer.name == order.name);
                answer.map_or(
                    Given {
                        units: order.need,
                        room: 0,
                    },
                    |answer| Given {
                        units: answer.given.unsigned_abs(),
                        room: answer.room.unsigned_abs(),
                    },
                )
            })
            .collect();
        Ok(Ok(given))
    }
}

/// What one rate says to an order.
#[derive(sqlx::FromRow)]
struct Answer {
    name: String,
    given: i64,
    /// Units of the burst that are left.
    room: i64,
    /// Until the need of this rate could be met; zero when it can be now.
    wait_us: i64,
}

/// One number of each order, as both backends count: signed.
fn column(orders: &[Order], value: fn(&Order) -> u64) -> Vec<i64> {
    orders
        .iter()
        .map(|order| i64::try_from(value(order)).unwrap_or(i64::MAX / 4))
        .collect()
}

//! Seats for requests that somebody waits for: the order of [`crate::seats`] with a clock and a way to wait.
//!
//! A waiter sleeps on a channel of its own and is woken once, by whoever frees a seat. Dropping it while it
//! waits takes it out of the order; dropping a [`Seat`] frees it with the time it took. So a client that goes
//! away gives back whatever it had got so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::error::{Reason, Refusal};
use crate::seats::{Class, Count, Refused, SeatPlan, Seats, Share, Ticket, Wanted};

/// How many requests this process works on at once, and for whom it keeps seats.
#[derive(Clone, Copy, Debug)]
pub struct GateConfig {
    /// Requests at once.
    pub seats: u32,
    /// Seats that each class gets before others borrow them.
    pub guaranteed: [u32; Class::COUNT],
    /// Requests that may wait, of all tenants.
    pub most_waiting: u32,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            seats: 64,
            guaranteed: [32, 12, 8, 8, 4],
            most_waiting: 2_000,
        }
    }
}

/// What a request asks of the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) class: Class,
    pub(crate) tenant: Uuid,
    pub(crate) user: u64,
    pub(crate) share: Share,
    pub(crate) estimate: Duration,
    pub(crate) patience: Duration,
}

pub(crate) struct Gate {
    line: Mutex<Line>,
    start: Instant,
    most_waiting: u32,
}

struct Line {
    seats: Seats,
    waiters: HashMap<Ticket, oneshot::Sender<()>>,
}

impl Gate {
    pub(crate) fn new(config: GateConfig) -> Arc<Self> {
        let plan = SeatPlan {
            seats: config.seats.max(1),
            guaranteed: config.guaranteed,
            most_waiting: config.most_waiting.max(1),
        };
        Arc::new(Self {
            line: Mutex::new(Line {
                seats: Seats::new(plan),
                waiters: HashMap::new(),
            }),
            start: Instant::now(),
            most_waiting: config.most_waiting.max(1),
        })
    }

    /// Waits for a seat, no longer than the entry has patience.
    pub(crate) async fn enter(self: &Arc<Self>, entry: Entry) -> Result<Seat, Refusal> {
        let began = Instant::now();
        let deadline = began + entry.patience;
        let (mut waiter, woken) = {
            let now = self.now();
            let wanted = Wanted {
                class: entry.class,
                tenant: entry.tenant,
                user: entry.user,
                share: entry.share,
                estimate_us: micros(entry.estimate),
                deadline_us: now.saturating_add(micros(entry.patience)),
            };
            let mut line = self.line();
            let ticket = line.seats.ask(now, &wanted).map_err(|refused| {
                refusal(refused, line.seats.wait_us(entry.class, entry.tenant))
            })?;
            let (wake, woken) = oneshot::channel();
            line.waiters.insert(ticket, wake);
            line.serve(now);
            let waiter = Waiter {
                gate: self.clone(),
                ticket: Some(ticket),
            };
            (waiter, woken)
        };
        let came = tokio::time::timeout_at(deadline.into(), woken).await;
        if !matches!(came, Ok(Ok(()))) {
            let wait = self.line().seats.wait_us(entry.class, entry.tenant);
            return Err(refusal(Refused::Late, wait));
        }
        let seat = waiter.ticket.take().map(|ticket| Seat {
            gate: self.clone(),
            ticket,
            began: Instant::now(),
            waited: began.elapsed(),
        });
        seat.ok_or_else(|| refusal(Refused::Late, 0))
    }

    /// Tells of a tenant that may come, so that its dedicated seats are free when it does.
    pub(crate) fn expect(&self, tenant: Uuid, share: Share) {
        let now = self.now();
        self.line().seats.know(now, tenant, share);
    }

    /// How full the room to wait is for this class, from 0 to 1.
    pub(crate) fn crowding(&self) -> f64 {
        f64::from(self.line().seats.waiting()) / f64::from(self.most_waiting)
    }

    /// Requests of a class.
    pub(crate) fn count(&self, class: Class) -> Count {
        self.line().seats.count(class)
    }

    /// What each tenant was served since the last call, in microseconds of seats.
    pub(crate) fn take_served(&self) -> Vec<(Uuid, u64)> {
        let mut line = self.line();
        // Also lets go of seats that were kept for a tenant that does not come any more.
        line.serve(self.now());
        line.seats.take_served()
    }

    fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in here can be left half done by a panic of its holder.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Wakes whoever is next, and whoever waited in vain.
    fn serve(&mut self, now: u64) {
        for ticket in self.seats.overdue(now) {
            self.waiters.remove(&ticket);
        }
        while let Some(ticket) = self.seats.next(now) {
            let woke = self
                .waiters
                .remove(&ticket)
                .is_some_and(|wake| wake.send(()).is_ok());
            if !woke {
                self.seats.cancel(now, ticket);
            }
        }
    }
}

/// Somebody in the order who has no seat yet.
struct Waiter {
    gate: Arc<Gate>,
    ticket: Option<Ticket>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let now = self.gate.now();
            let mut line = self.gate.line();
            line.waiters.remove(&ticket);
            line.seats.cancel(now, ticket);
            line.serve(now);
        }
    }
}

/// A seat, until it is dropped.
pub(crate) struct Seat {
    gate: Arc<Gate>,
    ticket: Ticket,
    began: Instant,
    /// How long it took to get it.
    pub(crate) waited: Duration,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = self.gate.now();
        let took = micros(self.began.elapsed());
        let mut line = self.gate.line();
        line.seats.finish(now, self.ticket, took);
        line.serve(now);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn refusal(refused: Refused, wait_us: u64) -> Refusal {
    let wait = Duration::from_micros(wait_us).max(Duration::from_secs(1));
    match refused {
        Refused::Full => Refusal::new(
            Reason::Seats,
            "too many requests wait already; try again later",
        )
        .after(wait),
        Refused::TenantFull => Refusal::new(
            Reason::Seats,
            "as many requests of this tenant wait as its plan allows; try again later",
        )
        .after(wait),
        Refused::Suspended => Refusal::new(Reason::Plan, "the plan allows no requests"),
        Refused::Late => {
            Refusal::new(Reason::Seats, "no seat came free in time; try again later").after(wait)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn entry(tenant: u128) -> Entry {
        Entry {
            class: Class::Interactive,
            tenant: Uuid::from_u128(tenant),
            user: 0,
            share: Share {
                weight: 1,
                most_running: 8,
                most_waiting: 100,
                dedicated: 0,
            },
            estimate: Duration::from_millis(10),
            patience: Duration::from_secs(5),
        }
    }

    fn gate(seats: u32) -> Arc<Gate> {
        Gate::new(GateConfig {
            seats,
            most_waiting: 50,
            ..GateConfig::default()
        })
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_leaves_no_seat_behind() {
        let gate = gate(1);
        let first = gate.enter(entry(1)).await.unwrap();
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(entry(2)).await.map(drop) }
        });
        while gate.count(Class::Interactive).waiting == 0 {
            tokio::task::yield_now().await;
        }
        second.abort();
        assert!(second.await.is_err());
        assert_eq!(gate.count(Class::Interactive).waiting, 0);
        drop(first);
        assert_eq!(gate.count(Class::Interactive).running, 0);
        drop(gate.enter(entry(3)).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_they_said() {
        let gate = gate(1);
        let seat = gate.enter(entry(1)).await.unwrap();
        let hasty = Entry {
            patience: Duration::from_millis(30),
            ..entry(2)
        };
        let refused = gate.enter(hasty).await.err().unwrap();
        assert_eq!(refused.reason, Reason::Seats);
        assert!(refused.retry_after.is_some());
        drop(seat);
        assert_eq!(gate.count(Class::Interactive), Count::default());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_seat_comes_back_whatever_happens_to_its_holder() {
        let gate = gate(4);
        let tasks: Vec<_> = (0..200_u64)
            .map(|number| {
                let gate = gate.clone();
                let task = tokio::spawn(async move {
                    let patience = Duration::from_millis(number % 7 * 3);
                    let wanted = Entry {
                        patience,
                        ..entry(u128::from(number % 5))
                    };
                    if let Ok(_seat) = gate.enter(wanted).await {
                        tokio::time::sleep(Duration::from_millis(number % 3)).await;
                        assert_ne!(number % 11, 0, "some holders panic");
                    }
                });
                if number.is_multiple_of(13) {
                    task.abort();
                }
                task
            })
            .collect();
        for task in tasks {
            drop(task.await);
        }
        assert_eq!(gate.count(Class::Interactive), Count::default());
        assert!(gate.line().waiters.is_empty());
    }
}

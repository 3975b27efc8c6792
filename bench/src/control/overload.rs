//! Ten times as much as can be done, in a process of its own: what the refused are told, what it takes of
//! memory, and whether everything comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Control, Ladder, LimitName};
use serde::{Deserialize, Serialize};

use super::scene::{
    Arrivals, CENT, Customer, Dice, Limits, Running, caller, customers, few_seats, open, process,
    question, resident_mib, tell,
};
use crate::failure::Failure;
use crate::lab::{Address, Lab, number};
use crate::report::{line, note};

/// So many that none of them comes often enough to be held off, which would be the end of the overload.
const TENANTS: usize = 1_000;
const WORK: Duration = Duration::from_millis(20);
/// Eight seats and questions of 20 ms make 400 a second.
const PER_S: f64 = 4_000.0;
/// One of ten tenants meets its rate first, the others the seats.
const TIGHT: &Limits = &[
    (LimitName::RequestsPerMinute, "12"),
    (LimitName::CostPerMonth, "$1000"),
];
const WIDE: &Limits = &[
    (LimitName::RequestsPerMinute, "unlimited"),
    (LimitName::KeyRequestsPerMinute, "unlimited"),
    (LimitName::CostPerMonth, "$1000"),
];
/// After the last arrival nobody has to wait longer than this.
const END: Duration = Duration::from_secs(30);

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Overload {
    pub(super) untyped: u32,
    pub(super) rss_growth_mib: f64,
    rss_mib: f64,
    came: u32,
    admitted: u32,
    refused: BTreeMap<String, u32>,
    most_at_once: u32,
    requests_left: u32,
    holds_left: i64,
}

impl Overload {
    pub(super) fn left_over(&self) -> f64 {
        f64::from(self.requests_left) + self.holds_left as f64
    }
}

pub(super) async fn run(lab: &Lab, seconds: u32) -> Result<Overload, Failure> {
    note(format!(
        "control: {PER_S} questions a second where 400 can be answered, for {seconds} s"
    ));
    let (address, _store) = open(lab).await?;
    let found: Overload = process(&address, "flood", seconds)?.hear().await?;
    let refused: Vec<String> = found
        .refused
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    line(format!(
        "overload         {} came, {} admitted, refused: {} · at most {} at once · {:.0} MiB in the end · left over: {} \
         requests, {} holds",
        found.came,
        found.admitted,
        refused.join(", "),
        found.most_at_once,
        found.rss_mib,
        found.requests_left,
        found.holds_left
    ));
    Ok(found)
}

/// What happened to the questions so far.
#[derive(Default)]
struct Tally {
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    admitted: AtomicU32,
    untyped: AtomicU32,
    refused: Mutex<BTreeMap<&'static str, u32>>,
}

/// Comes and is refused for a while, and says how it went.
pub(super) async fn flood(address: &Address, seconds: u32) -> Result<(), Failure> {
    let store = address.connect().await?;
    let terms = |number: usize| {
        let limits = if number.is_multiple_of(10) {
            TIGHT
        } else {
            WIDE
        };
        ("standard", limits)
    };
    let customers = customers(&store, "crowd", TENANTS, terms).await?;
    let running = Running::start(&store, few_seats(), Ladder::default());
    let tally = Arc::new(Tally::default());
    let mut dice = Dice::new(2);
    let lasting = Duration::from_secs(u64::from(seconds));
    let began = Instant::now();
    let mut arrivals = Arrivals::new(PER_S, lasting);
    let mut warm_mib = None;
    let mut came = 0;
    while arrivals.next(&mut dice).await {
        came += 1;
        if warm_mib.is_none() && began.elapsed() > lasting / 4 {
            warm_mib = Some(resident_mib());
        }
        let customer = customers[dice.below(TENANTS)].clone();
        let (control, tally) = (running.control.clone(), tally.clone());
        let takes = dice.exponential(WORK);
        tokio::spawn(async move { tally.ask(&control, &customer, takes).await });
    }
    let rss_mib = resident_mib();

    let ended = Instant::now();
    while tally.at_once.load(Ordering::Relaxed) > 0 && ended.elapsed() < END {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seats = running.control.queue();
    let seats: u32 = seats
        .iter()
        .map(|(_, waiting, running)| waiting + running)
        .sum();
    running.stop().await?;
    let held = "select (select count(*) from control.holds) + (select count(*) from control.budgets where held <> 0)";
    let refused = tally
        .refused
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let admitted = tally.admitted.load(Ordering::Relaxed);
    let answered = admitted + refused.values().sum::<u32>();
    tell(&Overload {
        // Whoever got no answer at all, because something panicked or hangs, was not told either.
        untyped: tally.untyped.load(Ordering::Relaxed) + (came - answered),
        rss_growth_mib: rss_mib - warm_mib.unwrap_or(f64::NAN),
        rss_mib,
        came,
        admitted,
        refused: refused
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect(),
        most_at_once: tally.most_at_once.load(Ordering::Relaxed),
        requests_left: seats + tally.at_once.load(Ordering::Relaxed),
        holds_left: number(&store, held).await?,
    })
}

impl Tally {
    async fn ask(&self, control: &Control, customer: &Customer, takes: Duration) {
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        self.answer(control, customer, takes).await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
    }

    async fn answer(&self, control: &Control, customer: &Customer, takes: Duration) {
        let Ok(caller) = caller(control, &customer.key).await else {
            // Not even a refusal.
            self.refuse("lookup failed", false);
            return;
        };
        match control.admit(&caller, question(CENT)).await {
            Ok(admitted) => {
                self.admitted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(takes).await;
                admitted.note(Kind::Question, Quantities::default());
            }
            Err(refusal) => self.refuse(refusal.reason.as_str(), refusal.retry_after.is_some()),
        }
    }

    fn refuse(&self, reason: &'static str, says_when: bool) {
        if !says_when {
            self.untyped.fetch_add(1, Ordering::Relaxed);
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason).or_default() += 1;
    }
}

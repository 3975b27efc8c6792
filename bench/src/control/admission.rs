//! What letting a request in adds to its time: who, rates, budgets, a seat, the note of what was used, and
//! giving everything back.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Call, Control, GateConfig, Ladder, LimitName};
use quire_types::NotebookId;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::scene::{Arrivals, CENT, Customer, Dice, Running, caller, customers, open, question};
use crate::failure::Failure;
use crate::lab::{Lab, Waits, number};
use crate::report::{line, note};

const TENANTS: usize = 600;
const USERS: u32 = 3;
const PER_S: f64 = 400.0;
/// How long a request holds its seat; not part of what is measured.
const WORK: Duration = Duration::from_millis(20);
/// What a question with its passages takes, in tokens.
const TOKENS: u64 = 1_500;
const TRANSACTIONS: &str =
    "select xact_commit from pg_stat_database where datname = current_database()";

pub(super) struct Admission {
    pub(super) all: Waits,
    /// First requests of a tenant, and later ones.
    pub(super) cold: Waits,
    pub(super) warm: Waits,
}

/// Questions of tenants on paid plans, a few of whom ask much and most little, all within their rates. They
/// may name a user and a notebook, which have rates and budgets of their own.
pub(super) async fn run(lab: &Lab, seconds: u32, names: bool) -> Result<Admission, Failure> {
    let named = if names {
        " with users and notebooks"
    } else {
        ""
    };
    note(format!(
        "control: {PER_S} questions a second of {TENANTS} tenants{named}"
    ));
    let (_, store) = open(lab).await?;
    let plan = |number: usize| {
        let premium = number.is_multiple_of(2);
        (if premium { "premium" } else { "enterprise" }, &[][..])
    };
    let customers = customers(&store, "payer", TENANTS, plan).await?;
    let running = Running::start(&store, GateConfig::default(), Ladder::default());

    let mut dice = Dice::new(1);
    let mut crowd = Crowd::new(&running.control, &customers).await?;
    let warm_up = Duration::from_secs(u64::from(seconds) / 2);
    let lasting = warm_up + Duration::from_secs(u64::from(seconds));
    let before = number(&store, TRANSACTIONS).await?;
    let mut arrivals = Arrivals::new(PER_S, lasting);
    let began = Instant::now();
    let mut seen = HashSet::new();
    let mut requests = JoinSet::new();
    while arrivals.next(&mut dice).await {
        let Some((place, asked)) = crowd.next(&mut dice) else {
            return Err(Failure::failed("the tenants' rates are too small for this"));
        };
        let customer = customers[place].clone();
        let mut call = Call {
            tokens: TOKENS,
            ..question(CENT)
        };
        if names {
            let user = asked % USERS;
            call.user = Some(format!("user-{user}"));
            call.notebook = Some(NotebookId::from_uuid(Uuid::from_u128(user.into())));
        }
        let is_first = seen.insert(place);
        let counts = began.elapsed() >= warm_up;
        let request = one(running.control.clone(), customer, call, Instant::now());
        requests.spawn(async move { request.await.map(|took| (took, is_first, counts)) });
    }
    let asked = requests.len();
    let (mut all, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for request in requests.join_all().await {
        let (took, is_first, counts) = request?;
        if is_first {
            cold.push(took);
        } else if counts {
            warm.push(took);
        }
        if counts {
            all.push(took);
        }
    }
    running.stop().await?;
    // The statistics of a connection come a moment after it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let transactions = number(&store, TRANSACTIONS).await? - before;
    line(format!(
        "admission        {asked} questions{named}, {} of them a tenant's first · {:.2} transactions each",
        cold.len(),
        // The pool looks at each connection that comes back, which counts as one more.
        transactions as f64 / 2.0 / asked as f64
    ));
    Ok(Admission {
        all: Waits::of(all),
        cold: Waits::of(cold),
        warm: Waits::of(warm),
    })
}

/// One question from its arrival on, without the work itself.
async fn one(
    control: Control,
    customer: Customer,
    call: Call,
    came: Instant,
) -> Result<Duration, Failure> {
    let caller = caller(&control, &customer.key).await?;
    let admitted = control.admit(&caller, call).await?;
    let before = came.elapsed();
    tokio::time::sleep(WORK).await;
    let done = Instant::now();
    admitted.note(Kind::Question, Quantities::default());
    drop(admitted);
    Ok(before + done.elapsed())
}

/// Who asks next: by Zipf's law, and never beyond what the plan of the tenant allows.
struct Crowd {
    /// The part of all questions that the tenants up to this one ask.
    cumulated: Vec<f64>,
    paces: Vec<Pace>,
}

impl Crowd {
    async fn new(control: &Control, customers: &[Customer]) -> Result<Self, Failure> {
        let weights: Vec<f64> = (1..=customers.len())
            .map(|rank| 1.0 / rank as f64)
            .collect();
        let sum: f64 = weights.iter().sum();
        let cumulated = weights.iter().scan(0.0, |until, weight| {
            *until += weight / sum;
            Some(*until)
        });
        let mut paces = Vec::with_capacity(2);
        // Tenants with an even number have one plan, the others the other one.
        for customer in customers.iter().take(2) {
            let account = control.account(customer.id).await?;
            let limit = account.terms.limit(LimitName::RequestsPerMinute);
            paces.push(Pace::new(limit.most().unwrap_or(u64::MAX)));
            control.forget(customer.id);
        }
        Ok(Self {
            cumulated: cumulated.collect(),
            paces: (0..customers.len())
                .map(|number| paces[number % 2].clone())
                .collect(),
        })
    }

    /// A tenant, and how many questions it has asked with this one.
    fn next(&mut self, dice: &mut Dice) -> Option<(usize, u32)> {
        let now = Instant::now();
        (0..10_000).find_map(|_| {
            let share = dice.share();
            let place = self.cumulated.partition_point(|until| *until < share);
            let place = place.min(self.paces.len() - 1);
            self.paces[place].take(now).then(|| {
                let pace = &mut self.paces[place];
                pace.asked += 1;
                (place, pace.asked)
            })
        })
    }
}

/// The rate of one tenant, a little slower than the plan's, so that clocks need not agree.
#[derive(Clone)]
struct Pace {
    step: Duration,
    burst: u32,
    arrival: Instant,
    asked: u32,
}

impl Pace {
    fn new(per_minute: u64) -> Self {
        Self {
            step: Duration::from_secs_f64(60.0 / per_minute as f64 / 0.9),
            burst: u32::try_from(per_minute / 4).unwrap_or(u32::MAX),
            arrival: Instant::now(),
            asked: 0,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let arrival = self.arrival.max(now) + self.step;
        let passes = arrival <= now + self.step * self.burst;
        if passes {
            self.arrival = arrival;
        }
        passes
    }
}

//! What the scenarios share: a prepared database, customers, a control plane that runs, requests, chance.

use std::time::{Duration, Instant};

use quire_store::{Store, tenants};
use quire_tenancy::lifecycle::Newcomer;
use quire_tenancy::{
    Call, Caller, Class, Control, ControlConfig, GateConfig, Ladder, LimitName, Who, lifecycle,
    plans,
};
use quire_types::{NanoUsd, RequestId, TenantId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::lab::{Address, Lab, Process};
use crate::report::line;

/// A fresh database with the shipped plans and the partitions of the month.
pub(crate) async fn open(lab: &Lab) -> Result<(Address, Store), Failure> {
    let (name, store) = lab.database().await?;
    let mut tx = store.system().await?;
    plans::ensure_catalogue(&mut tx).await?;
    tx.commit().await?;
    quire_tenancy::care(&store).await?;
    Ok((lab.address(&name), store))
}

/// A tenant with its first key.
#[derive(Clone)]
pub(crate) struct Customer {
    pub(super) id: TenantId,
    pub(crate) key: String,
}

/// What was agreed beside the plan.
pub(crate) type Limits = [(LimitName, &'static str)];

/// Tenants named by a word and a number; what plan and limits each has depends on the number.
pub(super) async fn customers(
    store: &Store,
    word: &str,
    count: usize,
    terms: impl Fn(usize) -> (&'static str, &'static Limits),
) -> Result<Vec<Customer>, Failure> {
    let mut customers = Vec::with_capacity(count);
    for number in 0..count {
        let (plan, limits) = terms(number);
        customers.push(customer(store, format!("{word}-{number}"), plan, limits).await?);
    }
    Ok(customers)
}

pub(crate) async fn customer(
    store: &Store,
    slug: impl Into<String>,
    plan: &str,
    limits: &Limits,
) -> Result<Customer, Failure> {
    let newcomer = Newcomer {
        slug: slug.into(),
        name: None,
        country: None,
        plan: Some(plan.to_owned()),
    };
    let made = lifecycle::register(store, &newcomer).await?;
    let id = made.tenant.id;
    if !limits.is_empty() {
        let mut tx = store.system().await?;
        for (name, value) in limits {
            plans::set_override(&mut tx, id, *name, Some(value)).await?;
        }
        tx.commit().await?;
    }
    let key = made.key.map(|(_, text)| text.expose().to_owned());
    Ok(Customer {
        id,
        key: key.unwrap_or_default(),
    })
}

/// The tenant of this short name, in a process that did not make it.
pub(super) async fn find(store: &Store, slug: &str) -> Result<TenantId, Failure> {
    let mut tx = store.system().await?;
    let tenant = tenants::by_slug(&mut tx, slug).await?;
    tx.commit().await?;
    Ok(tenant.id)
}

/// A control plane of this process.
pub(crate) struct Running {
    pub(crate) control: Control,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(store: &Store, gate: GateConfig, ladder: Ladder) -> Self {
        let store = store.clone();
        let control = Control::new(ControlConfig {
            store,
            gate,
            ladder,
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(control.clone().run(stop.clone()));
        Self {
            control,
            stop,
            task,
        }
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        let ended = self.task.await;
        ended.map_err(Failure::doing("stopping the control plane"))
    }
}

/// Nobody is held off for insisting: the scenario insists.
pub(super) fn patient() -> Ladder {
    Ladder {
        throttle_after: u32::MAX,
        ..Ladder::default()
    }
}

/// Few seats, so that they are what is scarce and not the machine.
pub(super) fn few_seats() -> GateConfig {
    GateConfig {
        seats: 8,
        ..GateConfig::default()
    }
}

/// Whoever shows this key.
pub(crate) async fn caller(control: &Control, key: &str) -> Result<Caller, Failure> {
    match control.who(key).await? {
        Some(Who::Tenant(caller, _)) => Ok(caller),
        _ => Err(Failure::failed("the key of a tenant is not known")),
    }
}

/// A tenant without a key, as a command of the operator has it.
pub(super) async fn keyless(control: &Control, tenant: TenantId) -> Result<Caller, Failure> {
    let account = control.account(tenant).await?;
    Ok(Caller { account, key: None })
}

/// A question that costs so much at most.
pub(super) fn question(cost: NanoUsd) -> Call {
    Call {
        questions: 1,
        cost,
        ..Call::new(RequestId::generate().uuid(), Class::Interactive)
    }
}

pub(super) const CENT: NanoUsd = NanoUsd::from_nanos(10_000_000);

/// Starts a process that plays this role for so long.
pub(super) fn process(address: &Address, role: &str, seconds: u32) -> Result<Process, Failure> {
    let arguments = ["--role", role, "--seconds", &seconds.to_string()];
    Process::start("control-worker", address, &arguments)
}

/// What a process says to whoever started it.
pub(super) fn tell(said: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(said).map_err(Failure::doing("telling a result"))?);
    Ok(())
}

/// The memory of this process, in MiB.
pub(super) fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// How even: 1 when all have the same.
pub(super) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// Chance that falls the same in every run.
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.random()
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// How long something takes that takes this long on average: service times, pauses between arrivals.
    pub(super) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.share()).ln())
    }

    /// Part of an amount, at least a hundredth.
    pub(super) fn part(&mut self, most: NanoUsd) -> NanoUsd {
        let part = self.share().max(0.01);
        NanoUsd::from_nanos((most.nanos() as f64 * part) as i64)
    }
}

/// Arrivals that wait for nobody: the moments at which they come, by chance, so many a second on average.
pub(super) struct Arrivals {
    next: Instant,
    until: Instant,
    pause: Duration,
}

impl Arrivals {
    pub(super) fn new(per_s: f64, lasting: Duration) -> Self {
        let now = Instant::now();
        Self {
            next: now,
            until: now + lasting,
            pause: Duration::from_secs_f64(1.0 / per_s),
        }
    }

    /// Waits for the next one; false when there is none.
    pub(super) async fn next(&mut self, dice: &mut Dice) -> bool {
        self.next += dice.exponential(self.pause);
        if self.next < self.until {
            tokio::time::sleep_until(self.next.into()).await;
        }
        self.next < self.until
    }
}

//! Spenders in several processes on the same money, which suffices for a part of what they want. Processes
//! are killed while they spend.

use std::time::{Duration, Instant};

use quire_store::Store;
use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Control, GateConfig, LimitName, Route, budgets};
use quire_types::{NanoUsd, NotebookId, TenantId};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::scene::{
    Dice, Running, customers, find, keyless, open, patient, process, question, tell,
};
use crate::failure::Failure;
use crate::lab::{Address, Lab, number, sql};
use crate::report::{line, note};

const PROCESSES: usize = 4;
/// In each process.
const SPENDERS: u64 = 50;
const TENANTS: usize = 3;
const USERS: usize = 3;
const NOTEBOOKS: usize = 3;
/// The most that one attempt may cost.
const DEAREST: NanoUsd = NanoUsd::from_nanos(50_000_000);
/// Money of a tenant, and of each of its users and notebooks.
const LIMITS: [(LimitName, &str); 7] = [
    (LimitName::CostPerMonth, "$30"),
    (LimitName::UserCostPerMonth, "$15"),
    (LimitName::NotebookCostPerMonth, "$15"),
    (LimitName::RequestsPerMinute, "unlimited"),
    (LimitName::UserRequestsPerMinute, "unlimited"),
    (LimitName::RunningRequests, "1000"),
    (LimitName::WaitingRequests, "1000"),
];
/// The same money, as the rows of the budgets are named.
const OVERSHOOT: &str = "select coalesce(max(spent + held
    - case when scope like 'cost/tenant/%' then 30 else 15 end * 1000000000::bigint), 0)::bigint
    from control.budgets where scope like 'cost/%'";
/// How far what was charged is from what the events say.
const MISMATCH: &str = "select coalesce(max(abs(b.spent - (
        select coalesce(sum(e.cost), 0) from control.usage_events e
        where e.tenant_id = b.tenant_id
          and b.scope in ('cost/tenant/month', 'cost/user:' || e.user_name || '/month',
                          'cost/notebook:' || replace(e.notebook_id::text, '-', '') || '/month')))), 0)::bigint
    from control.budgets b where b.scope like 'cost/%'";
const FREE: &str =
    "select count(*) from control.usage_events where provider is not null and cost <= 0";
const DEADLOCKS: &str = "select deadlocks from pg_stat_database where datname = current_database()";

pub(super) struct Budget {
    pub(super) overshoot_nanos: f64,
    pub(super) mismatch_nanos: f64,
    pub(super) free: f64,
    pub(super) deadlocks: f64,
}

pub(super) async fn run(lab: &Lab, seconds: u32) -> Result<Budget, Failure> {
    note(format!(
        "control: {PROCESSES} processes with {SPENDERS} spenders each for {seconds} s"
    ));
    let (address, store) = open(lab).await?;
    customers(&store, "spender", TENANTS, |_| ("standard", &LIMITS)).await?;
    let began = Instant::now();
    let left = || seconds.saturating_sub(began.elapsed().as_secs() as u32);
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(process(&address, "spend", seconds)?);
    }

    let mut overshoot = 0;
    let mut killed = 0;
    let kill_every = Duration::from_secs(u64::from(seconds) / 10).max(Duration::from_secs(1));
    while left() > 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        overshoot = overshoot.max(number(&store, OVERSHOOT).await?);
        if began.elapsed() > kill_every * (killed + 1) {
            let replaced = process(&address, "spend", left())?;
            let victim = std::mem::replace(&mut processes[killed as usize % PROCESSES], replaced);
            victim.kill().await?;
            killed += 1;
        }
    }
    let mut refused = Refused::default();
    for process in &mut processes {
        refused.add(&process.hear().await?);
    }
    overshoot = overshoot.max(number(&store, OVERSHOOT).await?);

    // What the dead held is believed in for minutes.
    sql(
        &store,
        "update control.holds set expires_at = now() - interval '1 minute' where charged is null",
    )
    .await?;
    let mut swept = 0;
    loop {
        match budgets::sweep(&store).await? {
            0 => break,
            some => swept += some,
        }
    }
    // The statistics of a connection come a moment after it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    overshoot = overshoot.max(number(&store, OVERSHOOT).await?);
    let held = number(
        &store,
        "select coalesce(sum(held), 0)::bigint from control.budgets",
    )
    .await?;
    if held != 0 {
        line(format!("budget           {held} n$ are held by nobody"));
    }
    let attempts = "select count(*) from control.usage_events where provider is not null";
    let spent = "select coalesce(sum(spent), 0)::bigint from control.budgets where scope = 'cost/tenant/month'";
    line(format!(
        "budget           {} paid attempts for {} of {} · {} answered the cheaper way, {} refused, {} failed by those \
         that lived · {killed} killed, {swept} holds swept",
        number(&store, attempts).await?,
        NanoUsd::from_nanos(number(&store, spent).await?),
        NanoUsd::from_nanos(TENANTS as i64 * 30_000_000_000),
        refused.cheaper,
        refused.refused,
        refused.failed,
    ));
    Ok(Budget {
        overshoot_nanos: overshoot as f64,
        mismatch_nanos: number(&store, MISMATCH).await? as f64 + held.abs() as f64,
        free: number(&store, FREE).await? as f64,
        deadlocks: number(&store, DEADLOCKS).await? as f64,
    })
}

/// What the spenders of a process did not get.
#[derive(Default, Serialize, Deserialize)]
struct Refused {
    cheaper: u32,
    refused: u32,
    failed: u32,
}

impl Refused {
    fn add(&mut self, other: &Self) {
        self.cheaper += other.cheaper;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// Spends for a while, settles and says how it went.
pub(super) async fn spend(address: &Address, seconds: u32) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(u64::from(seconds));
    let store = address.connect().await?;
    let tenants = tenants(&store).await?;
    let gate = GateConfig {
        seats: 256,
        ..GateConfig::default()
    };
    let running = Running::start(&store, gate, patient());
    let mut spenders = JoinSet::new();
    let seed = u64::from(std::process::id()) * SPENDERS;
    for number in 0..SPENDERS {
        let (control, tenants) = (running.control.clone(), tenants.clone());
        spenders.spawn(async move {
            let mut dice = Dice::new(seed + number);
            let mut refused = Refused::default();
            while Instant::now() < until {
                match once(&control, &tenants, &mut dice).await {
                    Outcome::Paid => {}
                    Outcome::Cheaper => refused.cheaper += 1,
                    Outcome::Refused => refused.refused += 1,
                    Outcome::Failed => refused.failed += 1,
                }
            }
            refused
        });
    }
    let mut sum = Refused::default();
    for refused in spenders.join_all().await {
        sum.add(&refused);
    }
    running.stop().await?;
    tell(&sum)
}

async fn tenants(store: &Store) -> Result<Vec<TenantId>, Failure> {
    let mut tenants = Vec::new();
    for number in 0..TENANTS {
        tenants.push(find(store, &format!("spender-{number}")).await?);
    }
    Ok(tenants)
}

enum Outcome {
    Paid,
    Cheaper,
    Refused,
    Failed,
}

/// One question: an attempt that costs at most what was reserved, and sometimes ends without a word.
async fn once(control: &Control, tenants: &[TenantId], dice: &mut Dice) -> Outcome {
    let Ok(caller) = keyless(control, tenants[dice.below(tenants.len())]).await else {
        return Outcome::Failed;
    };
    let most = dice.part(DEAREST);
    let mut call = question(most);
    call.user = Some(format!("user-{}", dice.below(USERS)));
    call.notebook = Some(NotebookId::from_uuid(Uuid::from_u128(
        dice.below(NOTEBOOKS) as u128,
    )));
    let Ok(admitted) = control.admit(&caller, call).await else {
        return Outcome::Refused;
    };
    if admitted.route != Route::Full {
        drop(admitted);
        tokio::time::sleep(dice.exponential(Duration::from_millis(20))).await;
        return Outcome::Cheaper;
    }
    let input = NanoUsd::from_nanos(most.nanos() / 10);
    let attempt = admitted.attempt(Kind::Chat, 1, "bench", "model", (most, input));
    let Ok(mut attempt) = attempt.await else {
        return Outcome::Failed;
    };
    tokio::time::sleep(dice.exponential(Duration::from_millis(10))).await;
    match dice.below(10) {
        0 => drop(attempt),
        1 => attempt.began(),
        _ => attempt.close(Quantities::default(), dice.part(most)),
    }
    Outcome::Paid
}

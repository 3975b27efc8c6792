//! Several processes at full speed against the rate of one tenant.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quire_tenancy::{GateConfig, LimitName};
use quire_types::NanoUsd;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::scene::{Running, customers, find, keyless, open, patient, process, question, tell};
use crate::failure::Failure;
use crate::lab::{Address, Lab};
use crate::report::{line, note};

const PROCESSES: usize = 4;
/// Requests that each process sends at once.
const AT_ONCE: usize = 4;
const PER_MINUTE: f64 = 600.0;
/// A quarter of the minute may come at once.
const BURST: f64 = PER_MINUTE / 4.0;

/// What a process got, with the times of its first request and its last admission.
#[derive(Serialize, Deserialize)]
struct Hurried {
    sent: u32,
    admitted: u32,
    first_s: f64,
    last_s: f64,
}

/// How much more than allowed was let through, in percent.
pub(super) async fn run(lab: &Lab, seconds: u32) -> Result<f64, Failure> {
    note(format!(
        "control: {PROCESSES} processes against one rate for {seconds} s"
    ));
    let (address, store) = open(lab).await?;
    let limits = &[(LimitName::RequestsPerMinute, "600")];
    customers(&store, "hurried", 1, |_| ("standard", limits)).await?;
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(process(&address, "hurry", seconds)?);
    }
    let (mut sent, mut admitted) = (0, 0);
    let (mut first_s, mut last_s) = (f64::INFINITY, 0.0_f64);
    for process in &mut processes {
        let hurried: Hurried = process.hear().await?;
        sent += hurried.sent;
        admitted += hurried.admitted;
        first_s = first_s.min(hurried.first_s);
        last_s = last_s.max(hurried.last_s);
    }
    let allowed = BURST + PER_MINUTE / 60.0 * (last_s - first_s);
    line(format!(
        "rate             {admitted} of {sent} admitted in {:.1} s, {allowed:.1} allowed",
        last_s - first_s
    ));
    Ok(((f64::from(admitted) / allowed - 1.0) * 100.0).max(0.0))
}

/// Sends as fast as it is answered, for a while.
pub(super) async fn hurry(address: &Address, seconds: u32) -> Result<(), Failure> {
    let store = address.connect().await?;
    let tenant = find(&store, "hurried-0").await?;
    let running = Running::start(&store, GateConfig::default(), patient());
    let caller = keyless(&running.control, tenant).await?;
    let first_s = now_s();
    let until = Instant::now() + Duration::from_secs(u64::from(seconds));
    let mut senders = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (control, caller) = (running.control.clone(), caller.clone());
        senders.spawn(async move {
            let (mut sent, mut admitted, mut last_s) = (0, 0, first_s);
            while Instant::now() < until {
                sent += 1;
                if control
                    .admit(&caller, question(NanoUsd::ZERO))
                    .await
                    .is_ok()
                {
                    admitted += 1;
                    last_s = now_s();
                }
            }
            (sent, admitted, last_s)
        });
    }
    let mut hurried = Hurried {
        sent: 0,
        admitted: 0,
        first_s,
        last_s: first_s,
    };
    for (sent, admitted, last_s) in senders.join_all().await {
        hurried.sent += sent;
        hurried.admitted += admitted;
        hurried.last_s = hurried.last_s.max(last_s);
    }
    running.stop().await?;
    tell(&hurried)
}

/// A time that other processes understand.
fn now_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

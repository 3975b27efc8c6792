//! One tenant with a hundred times the load of each of 99 others: what those notice, and how evenly tenants
//! are served that all want more than there is.

use std::time::{Duration, Instant};

use quire_store::Store;
use quire_tenancy::{Control, LimitName};
use quire_types::NanoUsd;
use tokio::task::JoinSet;

use super::scene::{
    Arrivals, Customer, Dice, Limits, Running, customers, few_seats, jain, keyless, open, patient,
    question,
};
use crate::failure::Failure;
use crate::lab::{Lab, Waits};
use crate::report::{line, note};

const LIGHT: usize = 99;
/// Questions a second of a light tenant. All of them take half of the seats.
const LIGHT_PER_S: f64 = 2.0;
const TIMES: f64 = 100.0;
const WORK: Duration = Duration::from_millis(20);
/// Tenants that always have more to do, and how much each has waiting or running.
const BACKLOGGED: usize = 20;
const AT_ONCE: usize = 8;
const LIMITS: &Limits = &[
    (LimitName::RequestsPerMinute, "unlimited"),
    (LimitName::QuestionsPerMonth, "unlimited"),
];

pub(super) struct Neighbour {
    pub(super) p99_ratio: f64,
    pub(super) jain: f64,
}

pub(super) async fn run(lab: &Lab, seconds: u32) -> Result<Neighbour, Failure> {
    note("control: a tenant with a hundred times the load of the others");
    let lasting = Duration::from_secs(u64::from(seconds));
    let (_, store) = open(lab).await?;
    let light = customers(&store, "light", LIGHT, |_| ("standard", LIMITS)).await?;
    let heavy = customers(&store, "heavy", 1, |_| ("standard", LIMITS)).await?;
    let alone = waits(&store, &light, &[], lasting).await?;
    let beside = waits(&store, &light, &heavy, lasting).await?;
    line(format!(
        "neighbour        the others wait and take p50 {:.1} p99 {:.1} ms alone · p50 {:.1} p99 {:.1} ms beside it",
        alone.p50, alone.p99, beside.p50, beside.p99
    ));
    let shares = shares(&store, &light[..BACKLOGGED], lasting / 2).await?;
    Ok(Neighbour {
        p99_ratio: beside.p99 / alone.p99,
        jain: jain(&shares),
    })
}

/// How long questions of the light tenants wait and take. They come at the same moments and take as long
/// each time.
async fn waits(
    store: &Store,
    light: &[Customer],
    heavy: &[Customer],
    lasting: Duration,
) -> Result<Waits, Failure> {
    let running = Running::start(store, few_seats(), patient());
    let mut tenants = JoinSet::new();
    let light = light.iter().map(|customer| (customer, LIGHT_PER_S));
    let heavy = heavy.iter().map(|customer| (customer, LIGHT_PER_S * TIMES));
    for (number, (customer, per_s)) in light.chain(heavy).enumerate() {
        let (control, customer) = (running.control.clone(), customer.clone());
        tenants.spawn(async move {
            let took = arrive(&control, &customer, per_s, lasting, number as u64).await?;
            Ok::<_, Failure>((number, took))
        });
    }
    let mut all = Vec::new();
    for tenant in tenants.join_all().await {
        let (number, took) = tenant?;
        if number < LIGHT {
            all.extend(took);
        }
    }
    running.stop().await?;
    Ok(Waits::of(all))
}

/// The questions of one tenant, from their arrival to their end. One that is refused took as long as its
/// client waits.
async fn arrive(
    control: &Control,
    customer: &Customer,
    per_s: f64,
    lasting: Duration,
    seed: u64,
) -> Result<Vec<Duration>, Failure> {
    let caller = keyless(control, customer.id).await?;
    let mut dice = Dice::new(seed);
    let mut arrivals = Arrivals::new(per_s, lasting);
    let mut questions = JoinSet::new();
    while arrivals.next(&mut dice).await {
        let (control, caller) = (control.clone(), caller.clone());
        let takes = dice.exponential(WORK);
        questions.spawn(async move {
            let came = Instant::now();
            let call = question(NanoUsd::ZERO);
            let patience = call.patience;
            match control.admit(&caller, call).await {
                Ok(_seat) => tokio::time::sleep(takes).await,
                Err(_) => return patience,
            }
            came.elapsed()
        });
    }
    Ok(questions.join_all().await)
}

/// The time of seats that each tenant got while all of them always wanted more. Their questions take unlike
/// times, half of the mean to one and a half.
async fn shares(
    store: &Store,
    customers: &[Customer],
    lasting: Duration,
) -> Result<Vec<f64>, Failure> {
    let running = Running::start(store, few_seats(), patient());
    let until = Instant::now() + lasting;
    let mut tenants = JoinSet::new();
    for (number, customer) in customers.iter().enumerate() {
        let mean = WORK.mul_f64(0.5 + number as f64 / customers.len() as f64);
        for place in 0..AT_ONCE {
            let control = running.control.clone();
            let caller = keyless(&control, customer.id).await?;
            let mut dice = Dice::new((number * AT_ONCE + place) as u64);
            tenants.spawn(async move {
                let mut served = Duration::ZERO;
                while Instant::now() < until {
                    if let Ok(_seat) = control.admit(&caller, question(NanoUsd::ZERO)).await {
                        let sat = Instant::now();
                        tokio::time::sleep(dice.exponential(mean)).await;
                        served += sat.elapsed();
                    }
                }
                (number, served)
            });
        }
    }
    let mut shares = vec![0.0; customers.len()];
    for (number, served) in tenants.join_all().await {
        shares[number] += served.as_secs_f64();
    }
    running.stop().await?;
    Ok(shares)
}

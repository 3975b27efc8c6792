//! How many new tenants a minute.

use std::time::Instant;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use quire_store::Store;
use quire_tenancy::lifecycle::{self, Newcomer};

use super::scene::open;
use crate::failure::Failure;
use crate::lab::Lab;
use crate::report::{line, note};

const AT_ONCE: usize = 8;
const COUNTRIES: [&str; 4] = ["DE", "US", "JP", "BR"];
const PLANS: [&str; 5] = [
    "starter",
    "starter",
    "professional",
    "premium",
    "enterprise",
];

/// What makes a customer a tenant that can begin.
const ONBOARD: fn(Store, Newcomer) -> BoxFuture<'static, Result<(), Failure>> =
    |store, newcomer| {
        async move {
            lifecycle::register(&store, &newcomer).await?;
            Ok(())
        }
        .boxed()
    };

pub(super) struct Onboard {
    pub(super) per_min: f64,
    pub(super) failed: f64,
}

pub(super) async fn run(lab: &Lab, tenants: u32) -> Result<Onboard, Failure> {
    note(format!("control: {tenants} new tenants, {AT_ONCE} at once"));
    let (_, store) = open(lab).await?;
    let started = Instant::now();
    let made = (0..tenants).map(|number| {
        let newcomer = Newcomer {
            slug: format!("newcomer-{number}"),
            name: Some(format!("Newcomer {number}")),
            country: Some(COUNTRIES[number as usize % COUNTRIES.len()].to_owned()),
            plan: Some(PLANS[number as usize % PLANS.len()].to_owned()),
        };
        ONBOARD(store.clone(), newcomer)
    });
    let made: Vec<_> = stream::iter(made).buffer_unordered(AT_ONCE).collect().await;
    let took = started.elapsed().as_secs_f64();
    let failures: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
    line(format!(
        "onboarding       {tenants} tenants in {took:.1} s, {} failed",
        failures.len()
    ));
    if let Some(failure) = failures.first() {
        line(format!("                 {failure}"));
    }
    Ok(Onboard {
        per_min: (made.len() - failures.len()) as f64 / took * 60.0,
        failed: failures.len() as f64,
    })
}

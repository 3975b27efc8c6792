//! How fast usage events are written, that each counts once, and how long it takes to sum them.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quire_tenancy::sums;
use quire_tenancy::usage::{self, Event, Kind, Quantities};
use quire_types::{NanoUsd, TenantId, Timestamp};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::scene::{Dice, open};
use crate::failure::Failure;
use crate::lab::{Lab, number};
use crate::report::{line, note};

const TENANTS: usize = 1_000;
const WRITERS: u32 = 4;
const BATCH: usize = 2_000;
/// Of each batch, events that were told before.
const AGAIN: usize = BATCH / 10;
const NEW: usize = BATCH - AGAIN;

pub(super) struct Usage {
    /// New ones; those told again come on top.
    pub(super) events_per_s: f64,
    /// Events that are missing or count twice, and tenants whose sums are wrong.
    pub(super) wrong: f64,
    pub(super) sum_s: f64,
}

pub(super) async fn run(lab: &Lab, events: u32) -> Result<Usage, Failure> {
    note(format!(
        "control: {events} usage events of {TENANTS} tenants from {WRITERS} writers"
    ));
    let (_, store) = open(lab).await?;
    let tenants: Arc<Vec<TenantId>> =
        Arc::new((0..TENANTS).map(|_| TenantId::generate()).collect());
    let at: Timestamp = SystemTime::now().into();
    let batches = events.div_ceil(WRITERS * NEW as u32);
    let started = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, tenants) = (store.clone(), tenants.clone());
        writers.spawn(async move {
            let mut dice = Dice::new(u64::from(writer));
            let mut batch: Vec<Event> = Vec::new();
            for _ in 0..batches {
                // The last ones are told again.
                batch.drain(..batch.len().saturating_sub(AGAIN));
                for _ in 0..NEW {
                    let tenant = tenants[dice.below(TENANTS)];
                    batch.push(event(tenant, at, &mut dice));
                }
                usage::record(&store, &batch).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    for writer in writers.join_all().await {
        writer?;
    }
    let took = started.elapsed();
    let written = batches * WRITERS * NEW as u32;
    let found = number(&store, "select count(*) from control.usage_events").await?;

    let started = Instant::now();
    let days = sums::sum(&store, None).await?;
    let sum_s = started.elapsed().as_secs_f64();
    let wrong_sums = number(
        &store,
        "select count(*) from (select tenant_id, sum(cost) as cost, sum(input_tokens) as tokens
                               from control.usage_events group by 1) e
         full join (select * from control.usage where period = 'day') u using (tenant_id)
         where u.cost is distinct from e.cost or u.input_tokens is distinct from e.tokens",
    )
    .await?;
    line(format!(
        "usage            {written} events and a tenth again in {:.1} s, {found} found · {days} days summed in {sum_s:.2} s",
        took.as_secs_f64()
    ));
    Ok(Usage {
        events_per_s: f64::from(written) / took.as_secs_f64(),
        wrong: (found - i64::from(written)).abs() as f64 + wrong_sums as f64,
        sum_s,
    })
}

/// A question or an attempt at a model, as they are in turn.
fn event(tenant: TenantId, at: Timestamp, dice: &mut Dice) -> Event {
    if dice.below(2) == 0 {
        return Event::new(tenant, Kind::Question, Uuid::new_v4(), 1, at);
    }
    Event {
        user: Some(format!("user-{}", dice.below(10))),
        provider: Some("openai".to_owned()),
        model: Some("gpt-4o-mini".to_owned()),
        quantities: Quantities {
            input_tokens: 1_500,
            output_tokens: 200,
            ..Quantities::default()
        },
        cost: NanoUsd::from_nanos(345_000),
        ..Event::new(tenant, Kind::Chat, Uuid::new_v4(), 1, at)
    }
}

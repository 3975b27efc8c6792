//! Usage events, their sums, and what is told about them.

use chrono::{Days, TimeDelta, Utc};
use quire_tenancy::usage::{self, Event, Kind, Quantities};
use quire_tenancy::{care, invoice, notices, sums};
use quire_testkit::postgres::TestStore;
use quire_types::{NanoUsd, RequestId, TenantId, Timestamp};

use crate::support::Lab;

fn event(tenant: TenantId, at: Timestamp, cost: i64) -> Event {
    Event {
        quantities: Quantities {
            input_tokens: 10,
            ..Quantities::default()
        },
        model: Some("gpt-4o-mini".to_owned()),
        cost: NanoUsd::from_nanos(cost),
        ..Event::new(tenant, Kind::Chat, RequestId::generate().uuid(), 1, at)
    }
}

#[tokio::test]
async fn an_event_told_twice_late_or_out_of_order_counts_once_on_its_day() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("events", &[]).await;
    let now = Utc::now();
    let today: Vec<Event> = (1..=5).map(|cost| event(tenant.id, now, cost)).collect();
    usage::record(&lab.db.store, &today).await.unwrap();
    assert_eq!(lab.sum_of_today(&tenant).await.cost, 15);
    // Again, in one batch and after the sum.
    let again = [&today[..], &today[..2]].concat();
    usage::record(&lab.db.store, &again).await.unwrap();
    assert_eq!(lab.sum_of_today(&tenant).await.cost, 15);
    let sum = lab.sum_of_today(&tenant).await;
    assert_eq!(sum.quantities.input_tokens, 50);
    assert_eq!(sum.models.0["gpt-4o-mini"].calls, 5);
    // Late, for a month that has no partition.
    let late = event(tenant.id, now - TimeDelta::days(70), 100);
    usage::record(&lab.db.store, &[late.clone(), late.clone()])
        .await
        .unwrap();
    care(&lab.db.store).await.unwrap();
    usage::record(&lab.db.store, &[late]).await.unwrap();
    sums::sum(&lab.db.store, None).await.unwrap();
    let mut tx = lab.db.store.system().await.unwrap();
    let days = (
        now.date_naive() - Days::new(100),
        now.date_naive() + Days::new(1),
    );
    let months = sums::of_tenant(
        &mut tx,
        tenant.id,
        quire_tenancy::budgets::Period::Month,
        days,
    )
    .await
    .unwrap();
    assert_eq!(
        months.iter().map(|month| month.cost).collect::<Vec<_>>(),
        [15, 100]
    );
}

#[tokio::test]
async fn sums_are_right_while_events_keep_coming() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("while-coming", &[]).await;
    let now = Utc::now();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, id) = (lab.db.store.clone(), tenant.id);
            tokio::spawn(async move {
                for _ in 0..25 {
                    let batch = [event(id, now, 1), event(id, now - TimeDelta::days(1), 1)];
                    usage::record(&store, &batch).await.unwrap();
                }
            })
        })
        .collect();
    let summers: Vec<_> = (0..2)
        .map(|_| {
            let store = lab.db.store.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    sums::sum(&store, None).await.unwrap();
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(summers) {
        task.await.unwrap();
    }
    assert_eq!(lab.sum_of_today(&tenant).await.cost, 100);
    let mut tx = lab.db.store.system().await.unwrap();
    let top = sums::top(
        &mut tx,
        quire_tenancy::budgets::Period::Day,
        now.date_naive(),
        3,
    )
    .await
    .unwrap();
    assert_eq!(
        top.iter().map(|sum| sum.tenant_id).collect::<Vec<_>>(),
        [tenant.id.uuid()]
    );
}

#[tokio::test]
async fn partitions_move_what_came_before_them_and_let_nobody_in() {
    let db = TestStore::new().await;
    let tenant = db.tenant("partitions").await;
    usage::record(&db.store, &[event(tenant.id, Utc::now(), 7)])
        .await
        .unwrap();
    care(&db.store).await.unwrap();
    care(&db.store).await.unwrap();
    usage::record(&db.store, &[event(tenant.id, Utc::now(), 8)])
        .await
        .unwrap();
    let mut tx = db.store.system().await.unwrap();
    let days = (
        Utc::now().date_naive(),
        Utc::now().date_naive() + Days::new(1),
    );
    let events = usage::events(&mut tx, tenant.id, days, None, 10)
        .await
        .unwrap();
    assert_eq!(events.len(), 2);
    tx.commit().await.unwrap();
    assert_eq!(db.store.isolation_gaps().await.unwrap(), []);
}

#[tokio::test]
async fn a_tenant_adds_its_own_usage_in_its_own_transaction_and_no_other() {
    let db = TestStore::new().await;
    let (tenant, other) = (db.tenant("own").await, db.tenant("other").await);
    let mut tx = db.tx(&tenant).await;
    usage::record_in(&mut tx, &[event(tenant.id, Utc::now(), 1)])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.tx(&tenant).await;
    let planted = usage::record_in(&mut tx, &[event(other.id, Utc::now(), 1)]).await;
    assert!(planted.is_err());
}

#[tokio::test]
async fn an_hour_that_costs_far_more_than_usual_is_noted_once() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("spike", &[]).await;
    let now = Utc::now();
    // A usual day of $24 for a week: a dollar an hour.
    let usual: Vec<Event> = (1..=7)
        .map(|days| event(tenant.id, now - TimeDelta::days(days), 24_000_000_000))
        .collect();
    usage::record(&lab.db.store, &usual).await.unwrap();
    usage::record(&lab.db.store, &[event(tenant.id, now, 1_600_000_000)])
        .await
        .unwrap();
    sums::sum(&lab.db.store, None).await.unwrap();
    usage::record(&lab.db.store, &[event(tenant.id, now, 900_000_000)])
        .await
        .unwrap();
    sums::sum(&lab.db.store, None).await.unwrap();
    sums::sum(&lab.db.store, None).await.unwrap();
    let mut tx = lab.db.store.system().await.unwrap();
    let mut levels: Vec<i32> = notices::list(&mut tx, 10)
        .await
        .unwrap()
        .iter()
        .map(|notice| notice.level)
        .collect();
    levels.sort_unstable();
    assert_eq!(levels, [150, 200]);
}

#[tokio::test]
async fn a_providers_invoice_is_compared_with_what_was_counted() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("invoice", &[]).await;
    let mut known = event(tenant.id, Utc::now(), 120_000_000);
    known.provider = Some("openai".to_owned());
    usage::record(&lab.db.store, &[known]).await.unwrap();
    let today = Utc::now().date_naive();
    let invoice = invoice::Invoice::parse(&format!(
        "day,model,cost_usd\n{today},gpt-4o-mini,0.12\n{today},gpt-4o,3.00\n"
    ))
    .unwrap();
    let mut tx = lab.db.store.system().await.unwrap();
    let counted = usage::by_model(&mut tx, "openai", invoice.days().unwrap())
        .await
        .unwrap();
    let drift = invoice.compare(&counted, 1);
    assert_eq!(drift.len(), 1);
    assert_eq!(
        (drift[0].model.as_str(), drift[0].difference()),
        ("gpt-4o", 3_000_000_000)
    );
}

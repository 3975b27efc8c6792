//! However events are shuffled, repeated and cut into batches, the same records come out.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use quire_connect::records::parse;
use quire_store::records::{self, Event, Heard};
use quire_store::tenants::Tenant;
use quire_testkit::postgres::TestStore;
use quire_types::Lane;
use serde_json::{Value, json};

/// Few records and few versions, so that they meet.
fn event() -> impl Strategy<Value = Event> {
    (0..6_u8, 1..8_i64, 0..5_u8, 0..3_u8).prop_map(|(id, version, content, job)| {
        let mut event = json!({
            "type": "invoice", "id": id.to_string(), "version": version,
            "entity": { "type": "job", "id": job.to_string() },
        });
        if content == 0 {
            event["action"] = json!("delete");
        } else {
            event["action"] = json!(if version == 1 { "add" } else { "update" });
            event["fields"] = json!({ "content": content });
        }
        let (mut events, refused) = parse(event.to_string().as_bytes(), Lane::Standard).unwrap();
        assert!(refused.is_empty());
        events.remove(0)
    })
}

type Shown = BTreeMap<String, (i64, bool, Value, Option<String>)>;

async fn shown(test: &TestStore, tenant: &Tenant) -> Shown {
    let mut tx = test.tx(tenant).await;
    let page = quire_store::PageRequest {
        after: None,
        limit: 200,
    };
    let all = records::list(&mut tx, &records::Selection::default(), page)
        .await
        .unwrap();
    all.items
        .into_iter()
        .map(|record| {
            let entity = record.entity.map(|entity| entity.id);
            (
                record.key.id,
                (record.version, record.is_deleted, record.fields, entity),
            )
        })
        .collect()
}

/// What must come out: of each record the greatest event.
fn expected(events: &[Event]) -> Shown {
    let mut last: BTreeMap<String, &Event> = BTreeMap::new();
    for event in events {
        let kept = last.entry(event.key.id.clone()).or_insert(event);
        if event.order() > kept.order() {
            *kept = event;
        }
    }
    last.into_iter()
        .map(|(id, event)| {
            let entity = event.entity.as_ref().map(|entity| entity.id.clone());
            (
                id,
                (
                    event.version,
                    event.is_deleted,
                    event.fields.clone(),
                    entity,
                ),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn order_repetition_and_batches_make_no_difference() {
    let test = TestStore::new().await;
    let strategy = (vec(event(), 1..40), vec(0..1_000_usize, 60), 1..9_usize);
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let runtime = tokio::runtime::Handle::current();
    let mut number = 0;
    tokio::task::block_in_place(|| {
        for _ in 0..60 {
            let (events, picks, batch) = strategy.new_tree(&mut runner).unwrap().current();
            number += 1;
            runtime.block_on(async {
                let tenant = test.tenant(&format!("t{number}")).await;
                // Every event once in order, and others again anywhere.
                let mut sent = events.clone();
                for pick in &picks {
                    let at = pick % (sent.len() + 1);
                    sent.insert(at, events[pick % events.len()].clone());
                }
                let mut applied = 0;
                for part in sent.chunks(batch) {
                    let mut tx = test.tx(&tenant).await;
                    let heard = records::hear(&mut tx, part).await.unwrap();
                    tx.commit().await.unwrap();
                    applied += heard
                        .iter()
                        .filter(|heard| **heard == Heard::Applied)
                        .count();
                }
                assert_eq!(shown(&test, &tenant).await, expected(&events));
                assert!(applied <= events.len(), "an event counted twice");
                // All of it again changes nothing.
                let mut tx = test.tx(&tenant).await;
                let heard = records::hear(&mut tx, &sent).await.unwrap();
                assert!(heard.iter().all(|heard| *heard != Heard::Applied));
            });
        }
    });
}

#[tokio::test]
async fn two_who_tell_the_same_at_once_do_not_wait_for_each_other_for_ever() {
    let test = TestStore::new().await;
    let tenant = test.tenant("busy").await;
    let lines = |turn: usize, reverse: bool| {
        let mut lines: Vec<String> = (0..200)
            .map(|id| {
                json!({ "type": "task", "id": id.to_string(), "version": turn, "action": "update",
                        "entity": { "type": "job", "id": (id % 7).to_string(), "name": format!("job {turn}") },
                        "fields": { "turn": turn } })
                .to_string()
            })
            .collect();
        if reverse {
            lines.reverse();
        }
        parse(lines.join("\n").as_bytes(), Lane::Batch).unwrap().0
    };
    // A connection for each, since they wait for each other's rows.
    let store = test.reopened(16).await;
    let told = (1..=16).map(|turn| {
        let (store, tenant, events) = (&store, &tenant, lines(turn, turn % 2 == 0));
        async move {
            let mut tx = store.tenant(tenant.placement()).await.unwrap();
            records::hear(&mut tx, &events).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    futures::future::join_all(told).await;
    let last = shown(&test, &tenant).await;
    assert_eq!(last.len(), 200);
    assert!(last.values().all(|(version, ..)| *version == 16));
}

//! Events of records: taken, found, fair, in any order, and none while nothing happens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use quire_connect::records::parse;
use quire_store::records::{self as rows, Event, Heard, Selection};
use quire_store::{PageRequest, Placement};
use quire_types::{Lane, RecordState};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::scene::Scene;
use crate::failure::Failure;
use crate::lab::{Lab, Waits, number, sql};
use crate::report::note;

/// Events of one request.
const BATCH: usize = 500;

/// An event of a daily log, as JSON on one line.
pub(super) fn line(id: usize, version: usize, jobs: usize) -> String {
    json!({
        "type": "daily_log", "id": id.to_string(), "action": "update", "version": version,
        "entity": { "type": "job", "id": (id % jobs).to_string(), "name": format!("Job {}", id % jobs) },
        "fields": {
            "date": "2025-06-17", "author": "R. Okafor", "weather": "Clear, 71 F", "crew": id % 23,
            "work": format!("Crew {id} framed the east wall of unit {} and set headers, revision {version}.", id % 97),
        },
    })
    .to_string()
}

fn events(lines: &[String], lane: Lane) -> Result<Vec<Event>, Failure> {
    let (events, refused) =
        parse(lines.join("\n").as_bytes(), lane).map_err(Failure::doing("reading events"))?;
    match refused.first() {
        None => Ok(events),
        Some(refused) => Err(Failure::failed(refused.reason.clone())),
    }
}

pub(super) struct Speed {
    pub(super) events_per_s: f64,
    pub(super) searchable: Waits,
}

/// Reading the JSON, keeping it durably and planning the work, four senders at once.
pub(super) async fn speed(lab: &Lab, count: usize, singles: usize) -> Result<Speed, Failure> {
    note("events in batches, without a worker");
    let scene = Scene::open(lab).await?;
    let tenant = scene.tenant("fast").await?;
    let bodies: Vec<Vec<String>> = (0..count / BATCH)
        .map(|part| {
            (0..BATCH)
                .map(|at| line(part * BATCH + at, 1, 40))
                .collect()
        })
        .collect();
    let began = Instant::now();
    let share = bodies.len().div_ceil(4);
    let senders = bodies.chunks(share).map(|part| {
        let scene = &scene;
        async move {
            for body in part {
                let events = events(body, Lane::Batch)?;
                let heard = scene.connect.hear(tenant, &events).await;
                heard.map_err(Failure::doing("taking events"))?;
            }
            Ok::<_, Failure>(())
        }
    });
    try_join_all(senders).await?;
    let events_per_s = count as f64 / began.elapsed().as_secs_f64();

    note("single events until they are found");
    let other = scene.tenant("single").await?;
    sql(
        &scene.store,
        "truncate queue.ready, queue.deferred, queue.keyed",
    )
    .await?;
    let working = scene.work();
    let mut waits = Vec::new();
    for at in 0..singles + 5 {
        let wait = until_found(&scene, other, at).await?;
        // The first ones wait for the worker to start and for their notebook.
        if at >= 5 {
            waits.push(wait);
        }
    }
    working.end().await;
    Ok(Speed {
        events_per_s,
        searchable: Waits::of(waits),
    })
}

/// Tells one change and waits until search shows it.
async fn until_found(scene: &Scene, tenant: Placement, id: usize) -> Result<Duration, Failure> {
    let began = Instant::now();
    let events = events(&[line(id, 1, 1)], Lane::Realtime)?;
    scene
        .connect
        .hear(tenant, &events)
        .await
        .map_err(Failure::doing("taking an event"))?;
    let selection = Selection {
        external_id: Some(id.to_string()),
        ..Selection::default()
    };
    loop {
        let mut tx = scene.store.tenant(tenant).await?;
        let page = rows::list(&mut tx, &selection, PageRequest::first()).await?;
        tx.commit().await?;
        match page.items.first().map(|record| record.state) {
            Some(RecordState::Searchable) => return Ok(began.elapsed()),
            Some(RecordState::Failed) => return Err(Failure::failed("a record failed")),
            _ if began.elapsed() > Duration::from_secs(120) => {
                return Err(Failure::failed("a record is not found within two minutes"));
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

pub(super) struct Backfill {
    pub(super) other_tenant_s: f64,
    pub(super) records_per_s: f64,
}

/// The slowest of several updates of another tenant while a backfill runs.
pub(super) async fn backfill(lab: &Lab, count: usize, updates: usize) -> Result<Backfill, Failure> {
    note("a backfill of one tenant");
    let scene = Scene::open(lab).await?;
    let whale = scene.tenant("whale").await?;
    let other = scene.tenant("other").await?;
    for part in 0..count.div_ceil(BATCH) {
        let lines: Vec<String> = (part * BATCH..(part + 1) * BATCH)
            .map(|id| line(id, 1, 40))
            .collect();
        let events = events(&lines, Lane::Batch)?;
        scene
            .connect
            .hear(whale, &events)
            .await
            .map_err(Failure::doing("taking events"))?;
    }
    let working = scene.work();
    let done =
        "select count(*) from shard.records where state = 'searchable' and type = 'daily_log'";
    while number(&scene.store, done).await? == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (began, before) = (Instant::now(), number(&scene.store, done).await?);
    let mut slowest = Duration::ZERO;
    for at in 0..updates {
        slowest = slowest.max(until_found(&scene, other, at).await?);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let after = number(&scene.store, done).await?;
    let is_running = number(
        &scene.store,
        "select count(*) from shard.records where state = 'queued'",
    )
    .await?
        > 0;
    let elapsed = began.elapsed().as_secs_f64();
    working.end().await;
    match is_running {
        true => Ok(Backfill {
            other_tenant_s: slowest.as_secs_f64(),
            records_per_s: (after - before) as f64 / elapsed,
        }),
        false => Err(Failure::failed("the backfill ended before the updates did")),
    }
}

pub(super) struct Order {
    pub(super) events: f64,
    pub(super) lost: f64,
    pub(super) duplicated: f64,
}

/// Events of many records, each sent two or three times, all shuffled, from eight senders at once.
pub(super) async fn order(lab: &Lab, count: usize) -> Result<Order, Failure> {
    note("events shuffled and repeated");
    let scene = Scene::open(lab).await?;
    let tenant = scene.tenant("shuffled").await?;
    let mut random = StdRng::seed_from_u64(7);
    let records = count / 25;
    let mut sent: Vec<(usize, usize)> = Vec::with_capacity(count);
    while sent.len() < count {
        let event = (random.random_range(0..records), random.random_range(1..12));
        let times = random.random_range(2..4);
        sent.extend(std::iter::repeat_n(event, times));
    }
    sent.truncate(count);
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (id, version) in &sent {
        let kept = last.entry(*id).or_insert(*version);
        *kept = (*kept).max(*version);
    }
    let distinct: std::collections::HashSet<&(usize, usize)> = sent.iter().collect();
    let distinct = distinct.len();
    sent.shuffle(&mut random);
    let share = sent.len().div_ceil(8);
    let applied: Vec<usize> = try_join_all(sent.chunks(share).map(|part| {
        let scene = &scene;
        async move {
            let mut applied = 0;
            for batch in part.chunks(BATCH) {
                let lines: Vec<String> = batch
                    .iter()
                    .map(|(id, version)| line(*id, *version, 40))
                    .collect();
                let events = events(&lines, Lane::Batch)?;
                let heard = scene.connect.hear(tenant, &events).await;
                let heard = heard.map_err(Failure::doing("taking events"))?;
                applied += heard
                    .iter()
                    .filter(|heard| **heard == Heard::Applied)
                    .count();
            }
            Ok::<_, Failure>(applied)
        }
    }))
    .await?;

    let mut right = 0;
    let mut there = 0;
    let mut page = PageRequest {
        after: None,
        limit: PageRequest::MAX,
    };
    loop {
        let mut tx = scene.store.tenant(tenant).await?;
        let found = rows::list(&mut tx, &Selection::default(), page).await?;
        tx.commit().await?;
        page.after = found.items.last().map(|record| record.id.uuid());
        there += found.items.len();
        right += found
            .items
            .iter()
            .filter(|record| {
                let id: Option<usize> = record.key.id.parse().ok();
                let version = id.and_then(|id| last.get(&id)).copied();
                version.and_then(|version| i64::try_from(version).ok()) == Some(record.version)
            })
            .count();
        if !found.more {
            break;
        }
    }
    let applied: usize = applied.iter().sum();
    let twice = applied.saturating_sub(distinct) + there.saturating_sub(last.len());
    Ok(Order {
        events: sent.len() as f64,
        lost: (last.len() - right.min(last.len())) as f64,
        duplicated: twice as f64,
    })
}

/// Statements a second that a hundred thousand connections add, over what the worker does without them.
pub(super) async fn idle(lab: &Lab, connections: usize, seconds: usize) -> Result<f64, Failure> {
    note("connections that do nothing");
    let scene = Scene::open(lab).await?;
    let working = scene.work();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = transactions(&scene, seconds).await?;
    let insert = format!(
        "insert into shard.connections (tenant_id, id, kind, name, settings, secret, state)
         select gen_random_uuid(), gen_random_uuid(), 'webhook', 'CMS', '{{}}', '', 'active'
         from generate_series(1, {connections})"
    );
    sql(&scene.store, &format!("set row_security = off; {insert}")).await?;
    let after = transactions(&scene, seconds).await?;
    working.end().await;
    Ok((after - before).max(0.0))
}

async fn transactions(scene: &Scene, seconds: usize) -> Result<f64, Failure> {
    let count = "select xact_commit from pg_stat_database where datname = current_database()";
    let before = number(&scene.store, count).await?;
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let after = number(&scene.store, count).await?;
    Ok((after - before) as f64 / seconds as f64)
}

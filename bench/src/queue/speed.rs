//! How fast: no-op tasks, a held snapshot, a saturated key, a single task on an idle system.

use std::time::{Duration, Instant};

use quire_queue::Wishes;
use quire_store::{Placement, Store};

use super::lab::{Lab, Noop, Running, Timed, Waits, World, add, number, sql, tenant};
use crate::failure::Failure;
use crate::report::{line, note};

const BATCH: u32 = 500;
const SEATS: usize = 1_000;

pub(super) struct Speed {
    pub(super) end_to_end: f64,
    pub(super) added: f64,
    pub(super) drained: f64,
    /// Beyond the payload.
    pub(super) wal_bytes: f64,
}

/// Adds tasks in batches, as two producers.
async fn produce(
    store: &Store,
    tenants: &[Placement],
    tasks: u32,
    bell: Option<&Running>,
) -> Result<(), Failure> {
    let half = |part: u32| async move {
        let mut n = part * BATCH;
        while n < tasks {
            let batch: Vec<Noop> = (n..(n + BATCH).min(tasks)).map(Noop::new).collect();
            let tenant = tenants[(n / BATCH) as usize % tenants.len()];
            add(store, tenant, &batch, &Wishes::default()).await?;
            if let Some(running) = bell {
                running.bell.notify_one();
            }
            n += 2 * BATCH;
        }
        Ok::<_, Failure>(())
    };
    let (first, second) = tokio::join!(half(0), half(1));
    first.and(second)
}

pub(super) async fn noop(lab: &Lab, tasks: u32) -> Result<Speed, Failure> {
    note(format!("queue: {tasks} no-op tasks"));
    let tenants: Vec<Placement> = (0..100).map(|_| tenant()).collect();
    let rate = |elapsed: Duration| f64::from(tasks) / elapsed.as_secs_f64();

    // Alone: first all are added, then all are done.
    let (_, store) = lab.database().await?;
    let started = Instant::now();
    produce(&store, &tenants, tasks, None).await?;
    let added = rate(started.elapsed());
    let world = World::default();
    let running = Running::start(&store, &world, SEATS);
    world.until(1).await;
    let drained = rate(world.until(u64::from(tasks)).await);
    running.stop().await?;

    // Together, three times: the median counts.
    let mut rates = Vec::new();
    let mut wal_bytes = f64::NAN;
    for _ in 0..3 {
        let (_, store) = lab.database().await?;
        let world = World::default();
        let running = Running::start(&store, &world, SEATS);
        produce(&store, &tenants[..1], BATCH, Some(&running)).await?;
        world.until(u64::from(BATCH)).await;
        let wal = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
        let before = number(&store, wal).await?;
        let started = Instant::now();
        produce(&store, &tenants, tasks, Some(&running)).await?;
        world.until(u64::from(tasks + BATCH)).await;
        while number(&store, "select count(*) from queue.ready").await? > 0 {}
        rates.push(rate(started.elapsed()));
        let payload = serde_json::to_string(&Noop::new(tasks)).map_or(0, |text| text.len());
        let written = number(&store, wal).await? - before;
        wal_bytes = written as f64 / f64::from(tasks) - payload as f64;
        running.stop().await?;
    }
    rates.sort_by(f64::total_cmp);
    Ok(Speed {
        end_to_end: rates[1],
        added,
        drained,
        wal_bytes,
    })
}

/// The rate with an idle snapshot held for a while, against the rate of as long a run without one.
///
/// Each has a fresh database and as long before it: a database slows down as its tables outgrow its memory, with a
/// snapshot or without.
pub(super) async fn held_snapshot(lab: &Lab, held_s: u64) -> Result<f64, Failure> {
    note(format!(
        "queue: no-op tasks with a snapshot held for {held_s} s, and as long without"
    ));
    let without = course(lab, held_s, false).await?;
    let with = course(lab, held_s, true).await?;
    Ok(with / without)
}

/// The mean rate over so many seconds.
async fn course(lab: &Lab, seconds: u64, held: bool) -> Result<f64, Failure> {
    let (name, store) = lab.database().await?;
    let tenants: Vec<Placement> = (0..100).map(|_| tenant()).collect();
    let world = World::default();
    let running = Running::start(&store, &world, SEATS);
    let window = Duration::from_secs((seconds / 10).max(5));
    rate_for(&store, &tenants, &world, &running, window).await?;

    let other = lab.address(&name).connect().await?;
    let mut holder = match held {
        true => Some(other.tenant_snapshot(tenants[0]).await?),
        false => None,
    };
    let started = Instant::now();
    let mut slices = Vec::new();
    while started.elapsed().as_secs() < seconds {
        if let Some(holder) = &mut holder {
            // The first look takes the snapshot. The pool ends transactions that idle for a minute; this one is held.
            sqlx::query("select 1")
                .execute(holder.connection())
                .await
                .map_err(Failure::doing("holding a snapshot"))?;
        }
        slices.push(rate_for(&store, &tenants, &world, &running, window).await?);
    }
    let dead = number(&store, "select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where relname = 'ready'").await?;
    drop(holder);
    running.stop().await?;
    let shown: Vec<String> = slices.iter().map(|rate| format!("{rate:.0}")).collect();
    line(format!(
        "{} snapshot {:>6} tasks/s in slices of {} s; {dead} dead rows at the end",
        if held { "with a   " } else { "without a" },
        shown.join(" "),
        window.as_secs()
    ));
    Ok(slices.iter().sum::<f64>() / slices.len().max(1) as f64)
}

/// Tasks that may wait while more are added: without a bound producers run away from the worker beside them, and what
/// is measured is who gets the processors.
const AHEAD: u64 = 10_000;

/// Tasks done in a second while they are added as fast as they are done.
async fn rate_for(
    store: &Store,
    tenants: &[Placement],
    world: &World,
    running: &Running,
    window: Duration,
) -> Result<f64, Failure> {
    let (started, before) = (Instant::now(), world.done());
    let mut added = before;
    while started.elapsed() < window {
        produce(store, tenants, 10 * BATCH, Some(running)).await?;
        added += u64::from(10 * BATCH);
        world.until(added.saturating_sub(AHEAD)).await;
    }
    world.until(added).await;
    Ok((world.done() - before) as f64 / started.elapsed().as_secs_f64())
}

/// The rate behind ten thousand tasks of one key, which run one at a time and take long, against the
/// rate without them.
pub(super) async fn saturated_head(lab: &Lab, tasks: u32) -> Result<f64, Failure> {
    note("queue: a saturated key at the head");
    let mut rates = Vec::new();
    for saturated in [false, true, false, true] {
        let (_, store) = lab.database().await?;
        let tenants: Vec<Placement> = (0..100).map(|_| tenant()).collect();
        if saturated {
            let slow: Vec<Timed> = (0..10_000)
                .map(|_| Timed {
                    n: 0,
                    group: 0,
                    takes_us: 5_000_000,
                })
                .collect();
            let wishes = Wishes {
                key: Some("saturated".to_owned()),
                ..Wishes::default()
            };
            add(&store, tenants[0], &slow, &wishes).await?;
        }
        produce(&store, &tenants, tasks, None).await?;
        let world = World::default();
        let running = Running::start(&store, &world, SEATS);
        world.until(1).await;
        let done = world.until(u64::from(tasks)).await;
        rates.push(f64::from(tasks) / done.as_secs_f64());
        drop(running);
    }
    line(format!(
        "saturated key    {:>9.0} and {:.0} tasks/s without · {:.0} and {:.0} with",
        rates[0], rates[2], rates[1], rates[3]
    ));
    Ok((rates[1] + rates[3]) / (rates[0] + rates[2]))
}

pub(super) struct Future {
    /// The rate with millions of rows that wait for their time, against the rate without.
    pub(super) ratio: f64,
    /// How late tasks start that become due while nothing else is to do.
    pub(super) late_p95_ms: f64,
}

/// The rate beside 3.5 million deferred tasks and half a million schedules, all of next week, and how late
/// 4,000 tasks a second start that become due.
pub(super) async fn future(lab: &Lab, tasks: u32) -> Result<Future, Failure> {
    note("queue: 3.5 million tasks and 500000 schedules of next week");
    let tenants: Vec<Placement> = (0..100).map(|_| tenant()).collect();
    let mut rates = Vec::new();
    let mut late_p95_ms = f64::NAN;
    for rows in [0, 3_500_000] {
        let (_, store) = lab.database().await?;
        if rows > 0 {
            sql(&store, &format!(
                "insert into queue.deferred (tenant_id, id, run_at, shard, priority, kind, payload)
                 select md5((i % 100000)::text)::uuid, gen_random_uuid(), now() + interval '7 days' + i * interval '1 ms',
                        i % 64, 2, 'noop', '{{}}' from generate_series(1, {rows}) as i;
                 insert into queue.schedules (tenant_id, id, name, kind, priority, payload, rule, due_at, next_at)
                 select md5((i % 100000)::text)::uuid, gen_random_uuid(), i::text, 'noop', 2, '{{}}', 'every 604800',
                        now() + interval '7 days', now() + interval '7 days' + i * interval '1 ms'
                 from generate_series(1, {rows} / 7) as i"
            ))
            .await?;
        }
        let world = World::default();
        let running = Running::start(&store, &world, SEATS);
        produce(&store, &tenants[..1], BATCH, Some(&running)).await?;
        world.until(u64::from(BATCH)).await;
        let started = Instant::now();
        produce(&store, &tenants, tasks, Some(&running)).await?;
        world.until(u64::from(tasks + BATCH)).await;
        rates.push(f64::from(tasks) / started.elapsed().as_secs_f64());
        if rows > 0 {
            late_p95_ms = late(&store, &world).await?;
        }
        running.stop().await?;
    }
    line(format!(
        "future rows      {:.0} tasks/s without · {:.0} with · due ones start {late_p95_ms:.0} ms late (p95)",
        rates[0], rates[1]
    ));
    Ok(Future {
        ratio: rates[1] / rates[0],
        late_p95_ms,
    })
}

/// How late tasks start, p95 in milliseconds, when 4,000 become due each second.
async fn late(store: &Store, world: &World) -> Result<f64, Failure> {
    const EACH_SECOND: u32 = 4_000;
    const SECONDS: u32 = 5;
    let base = Instant::now() + Duration::from_secs(4);
    for second in 0..SECONDS {
        let timed: Vec<Timed> = (0..EACH_SECOND)
            .map(|n| Timed {
                n: 1 + second * EACH_SECOND + n,
                group: 0,
                takes_us: 0,
            })
            .collect();
        let delay = base + Duration::from_secs(u64::from(second)) - Instant::now();
        let wishes = Wishes {
            delay,
            ..Wishes::default()
        };
        add(store, tenant(), &timed, &wishes).await?;
    }
    let expected = (SECONDS * EACH_SECOND) as usize;
    let mut waits = Vec::new();
    while waits.len() < expected {
        if let Ok(mut begun) = world.begun.lock() {
            for (n, at) in begun.drain(..) {
                let due = base + Duration::from_secs(u64::from((n - 1) / EACH_SECOND));
                waits.push(at.saturating_duration_since(due));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Waits::of(waits).p95)
}

/// From commit to start, with nothing else to do.
pub(super) async fn pickup(lab: &Lab) -> Result<Waits, Failure> {
    note("queue: single tasks on an idle system");
    let (_, store) = lab.database().await?;
    let waits = single_waits(&store, 300, Duration::from_millis(20)).await?;
    line(format!(
        "pick-up          p50 {:.1} ms · p95 {:.1} ms · p99 {:.1} ms of 300",
        waits.p50, waits.p95, waits.p99
    ));
    Ok(waits)
}

async fn single_waits(store: &Store, samples: u32, pause: Duration) -> Result<Waits, Failure> {
    let world = World::default();
    let running = Running::start(store, &world, 100);
    // The first one waits for the worker to get its shards.
    one_wait(store, &world, &running, 1).await?;
    let mut waits = Vec::new();
    for n in 2..samples + 2 {
        waits.push(one_wait(store, &world, &running, n).await?);
        tokio::time::sleep(pause).await;
    }
    running.stop().await?;
    Ok(Waits::of(waits))
}

/// How long one task of a tenant that has no other waits after its commit.
pub(super) async fn one_wait(
    store: &Store,
    world: &World,
    running: &Running,
    n: u32,
) -> Result<Duration, Failure> {
    let task = [Timed {
        n,
        group: 0,
        takes_us: 0,
    }];
    add(store, tenant(), &task, &Wishes::default()).await?;
    let committed = Instant::now();
    running.bell.notify_one();
    loop {
        if let Ok(mut begun) = world.begun.lock()
            && let Some(index) = begun.iter().position(|(number, _)| *number == n)
        {
            let (_, at) = begun.swap_remove(index);
            return Ok(at.saturating_duration_since(committed));
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

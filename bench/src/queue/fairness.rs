//! How fair: a newcomer behind a million tasks, tenants of unlike cost, tenants that do nothing.

use std::time::{Duration, Instant};

use quire_queue::Wishes;

use super::lab::{Lab, Running, Timed, Waits, World, add, number, sql, tenant};
use super::speed::one_wait;
use crate::failure::Failure;
use crate::report::{line, note};

/// Seats and length of tasks in the fairness scenarios: the seats are what is scarce, not the machine.
const SEATS: usize = 20;
const TAKES_US: u64 = 5_000;

pub(super) struct Whale {
    pub(super) wait_ratio: f64,
    pub(super) jain: f64,
}

/// One task of a new tenant, alone and behind a backlog of 100,000 tenants of which one has 30 %.
pub(super) async fn whale(lab: &Lab, backlog: u32) -> Result<Whale, Failure> {
    note(format!(
        "queue: a newcomer behind {backlog} ready tasks of 100000 tenants"
    ));
    let (_, store) = lab.database().await?;
    let world = World::default();
    let running = Running::start(&store, &world, SEATS);
    one_wait(&store, &world, &running, 1).await?;
    let mut alone = Vec::new();
    for n in 2..202 {
        alone.push(one_wait(&store, &world, &running, n).await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await?;

    // 30 % of one tenant, 30 % of 999, 40 % of 99,000; the tenants' ids are spread over the shards.
    let fill = format!(
        "insert into queue.ready (tenant_id, id, is_moved, shard, kind, priority, payload)
         select t, gen_random_uuid(), false, get_byte(uuid_send(t), 15) % 64, 'timed', 2,
                '{{\"n\": 0, \"group\": 0, \"takes_us\": {TAKES_US}}}'
         from (select md5('tenant ' || case when i % 10 < 3 then 0
                                            when i % 10 < 6 then 1 + i / 10 % 999
                                            else 1000 + i % 99000 end)::uuid as t
               from generate_series(1, {backlog}) as i) as s"
    );
    sql(&store, &fill).await?;
    let world = World::default();
    let running = Running::start(&store, &world, SEATS);
    world.until(1_000).await;
    let mut behind = Vec::new();
    for n in 1..201 {
        behind.push(one_wait(&store, &world, &running, n).await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(running);
    let (alone, behind) = (Waits::of(alone), Waits::of(behind));
    line(format!(
        "newcomer         alone p50 {:.1} p95 {:.1} ms · behind {backlog} p50 {:.1} p95 {:.1} ms",
        alone.p50, alone.p95, behind.p50, behind.p95
    ));
    Ok(Whale {
        wait_ratio: behind.p95 / alone.p95,
        jain: jain(lab).await?,
    })
}

/// Fifty tenants with the same weight and more to do than can be done: how even is what they got?
async fn jain(lab: &Lab) -> Result<f64, Failure> {
    let shares = shares(
        lab,
        50,
        |group| 1_000 + 200 * group as u64,
        Duration::from_secs(20),
    )
    .await?;
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    Ok(sum * sum / (shares.len() as f64 * squares))
}

/// Two halves of tenants, one with tasks that take ten times as long: how far from even is their time?
pub(super) async fn skew(lab: &Lab) -> Result<f64, Failure> {
    note("queue: tenants of unlike cost");
    let takes = |group: usize| {
        if group.is_multiple_of(2) {
            2_000
        } else {
            20_000
        }
    };
    let shares = shares(lab, 10, takes, Duration::from_secs(20)).await?;
    let (cheap, dear): (Vec<_>, Vec<_>) = shares
        .iter()
        .enumerate()
        .partition(|(group, _)| group.is_multiple_of(2));
    let sum = |part: Vec<(usize, &f64)>| part.into_iter().map(|(_, share)| share).sum::<f64>();
    let (cheap, dear) = (sum(cheap), sum(dear));
    let share = cheap / (cheap + dear) * 100.0;
    line(format!(
        "unlike cost      {share:.1} % of the time for tasks of 2 ms, {:.1} % for 20 ms",
        100.0 - share
    ));
    Ok((share - 50.0).abs() * 2.0)
}

/// The time that each of some tenants got while all had work.
async fn shares(
    lab: &Lab,
    tenants: usize,
    takes_us: impl Fn(usize) -> u64,
    window: Duration,
) -> Result<Vec<f64>, Failure> {
    let (_, store) = lab.database().await?;
    let world = World::default();
    for group in 0..tenants {
        let tasks: Vec<Timed> = (0..20_000)
            .map(|_| Timed {
                n: 0,
                group,
                takes_us: takes_us(group),
            })
            .collect();
        let tenant = tenant();
        for batch in tasks.chunks(5_000) {
            add(&store, tenant, batch, &Wishes::default()).await?;
        }
    }
    let running = Running::start(&store, &world, SEATS);
    // Estimates settle first.
    world.until(2_000).await;
    let snapshot = || {
        world
            .busy
            .lock()
            .map(|busy| busy.clone())
            .unwrap_or_default()
    };
    let before = snapshot();
    let started = Instant::now();
    while started.elapsed() < window {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = snapshot();
    drop(running);
    let before = |group: usize| before.get(group).copied().unwrap_or(0);
    Ok(after
        .iter()
        .enumerate()
        .map(|(group, busy)| (busy - before(group)) as f64)
        .collect())
}

/// Transactions a second on an idle system because of 100,000 tenants that do nothing.
pub(super) async fn idle(lab: &Lab) -> Result<f64, Failure> {
    note("queue: idle tenants");
    let mut rates = Vec::new();
    for tenants in [0, 100_000] {
        let (_, store) = lab.database().await?;
        let add = format!(
            "insert into queue.tenants (tenant_id, weight, changed_at)
             select gen_random_uuid(), 2, now() - interval '1 day' from generate_series(1, {tenants})"
        );
        sql(&store, &add).await?;
        let world = World::default();
        let running = Running::start(&store, &world, SEATS);
        one_wait(&store, &world, &running, 1).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let count = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
        let before = number(&store, count).await?;
        tokio::time::sleep(Duration::from_secs(15)).await;
        rates.push((number(&store, count).await? - before) as f64 / 15.0);
        running.stop().await?;
    }
    line(format!(
        "idle             {:.1} transactions/s without tenants · {:.1} with 100000",
        rates[0], rates[1]
    ));
    Ok((rates[1] - rates[0]).max(0.0))
}

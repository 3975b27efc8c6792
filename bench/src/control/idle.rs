//! A hundred thousand tenants of whom a tenth came once: what a process keeps of them in memory, and what it
//! asks the database when nobody calls any more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Control, GateConfig, Ladder};
use quire_types::TenantId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::scene::{CENT, Running, keyless, open, process, question, resident_mib, tell};
use crate::failure::Failure;
use crate::lab::{Address, Lab, sql};
use crate::report::{line, note};

/// One of so many tenants calls.
const CALLS: i64 = 10;
/// Until what was used is summed and everything is given back.
const SETTLES: Duration = Duration::from_secs(150);
const WATCHED: Duration = Duration::from_secs(30);

pub(super) struct Idle {
    pub(super) rss_mib: f64,
    pub(super) queries_per_s: f64,
}

#[derive(Serialize, Deserialize)]
struct Visited {
    fresh_mib: f64,
    rss_mib: f64,
    requests: usize,
    took_s: f64,
}

pub(super) async fn run(lab: &Lab, tenants: u32) -> Result<Idle, Failure> {
    note(format!(
        "control: {tenants} tenants, of whom a tenth calls once"
    ));
    let (address, store) = open(lab).await?;
    sql(
        &store,
        &format!(
            "insert into directory.tenants (id, slug, name, plan, region, shard, incarnation, ready_at)
             select md5('tenant ' || i)::uuid, 'tenant-' || i, 'Tenant ' || i, 'premium', 'local', 0,
                    gen_random_uuid(), now()
             from generate_series(1, {tenants}) as i"
        ),
    )
    .await?;
    sql(&store, "analyze directory.tenants").await?;
    store.close().await;
    let mut visit = process(&address, "visit", 0)?;
    let visited: Visited = visit.hear().await?;
    note(format!(
        "control: nobody calls for {} s",
        (SETTLES + WATCHED).as_secs()
    ));
    let after = statements(lab, &address, SETTLES).await?;
    let idle = statements(lab, &address, WATCHED).await?;
    visit.kill().await?;
    line(format!(
        "idle             {} requests of as many tenants in {:.1} s · memory {:.0} MiB before, {:.0} after · {after} \
         statements in the first {} s, {idle} in the next {}",
        visited.requests,
        visited.took_s,
        visited.fresh_mib,
        visited.rss_mib,
        SETTLES.as_secs(),
        WATCHED.as_secs()
    ));
    Ok(Idle {
        rss_mib: visited.rss_mib,
        queries_per_s: idle as f64 / WATCHED.as_secs_f64(),
    })
}

/// Statements that clients begin on a database while it is watched from another one, as far as one can see
/// by looking ten times a second. The counters of the server have those of its own upkeep in them.
async fn statements(lab: &Lab, address: &Address, lasting: Duration) -> Result<usize, Failure> {
    let (_, elsewhere) = lab.database().await?;
    let mut connection = elsewhere.owner().await?;
    let failed = || Failure::doing("watching the server");
    sqlx::raw_sql("reset role")
        .execute(&mut connection)
        .await
        .map_err(failed())?;
    let mut seen = HashSet::new();
    let started = Instant::now();
    let mut known = None;
    while started.elapsed() < lasting {
        let begun: Vec<(i32, i64)> = sqlx::query_as(
            "select pid, (extract(epoch from query_start) * 1000000)::bigint from pg_stat_activity
             where datname = $1 and backend_type = 'client backend' and query_start is not null",
        )
        .bind(&address.database)
        .fetch_all(&mut connection)
        .await
        .map_err(failed())?;
        seen.extend(begun);
        known.get_or_insert(seen.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(seen.len() - known.unwrap_or(0))
}

/// Serves one request of each of some tenants, says what it has in memory, and stays.
pub(super) async fn visit(address: &Address) -> Result<(), Failure> {
    let store = address.connect().await?;
    let running = Running::start(&store, GateConfig::default(), Ladder::default());
    let fresh_mib = resident_mib();
    let mut tx = store.system().await?;
    let tenants: Vec<Uuid> = sqlx::query_scalar(
        "select id from directory.tenants order by id limit (select count(*) / $1 from directory.tenants)",
    )
    .bind(CALLS)
    .fetch_all(tx.connection())
    .await
    .map_err(Failure::doing("finding tenants"))?;
    tx.commit().await?;
    let started = Instant::now();
    stream::iter(&tenants)
        .map(|tenant| visit_one(&running.control, TenantId::from_uuid(*tenant)))
        .buffer_unordered(8)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await?;
    let took_s = started.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tell(&Visited {
        fresh_mib,
        rss_mib: resident_mib(),
        requests: tenants.len(),
        took_s,
    })?;
    std::future::pending().await
}

async fn visit_one(control: &Control, tenant: TenantId) -> Result<(), Failure> {
    let caller = keyless(control, tenant).await?;
    let admitted = control.admit(&caller, question(CENT)).await?;
    admitted.note(Kind::Question, Quantities::default());
    Ok(())
}

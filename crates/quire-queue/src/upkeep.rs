//! Keeping the queue's tables in shape: a partition of `work` for each coming day, old ones dropped, and
//! what nobody will ask about any more removed. Runs as the owner of the tables, outside any task.
//!
//! The rest needs no care. Rows of `ready` are never updated and its index grows at one end of each shard,
//! so vacuum, triggered every 5,000 dead rows, gives whole pages back.

use chrono::{Days, NaiveDate};
use sqlx::PgConnection;

use quire_store::{Store, partitions};

use crate::Error;

/// Days for which sums, events and dead tasks are kept.
pub const KEPT_DAYS: u64 = 30;
/// Days for which partitions are made ahead.
const AHEAD_DAYS: u64 = 3;

/// Brings the tables in shape. Safe to run from several processes at once.
pub async fn upkeep(store: &Store) -> Result<(), Error> {
    let mut owner = store.owner().await?;
    // A machine whose clock is wrong must not drop what others have just written.
    let today: NaiveDate = sqlx::query_scalar("select (now() at time zone 'UTC')::date")
        .fetch_one(&mut owner)
        .await?;
    let days = (0..=AHEAD_DAYS).filter_map(|ahead| today.checked_add_days(Days::new(ahead)));
    for day in days {
        make_partition(&mut owner, day).await?;
    }
    if let Some(oldest) = today.checked_sub_days(Days::new(KEPT_DAYS)) {
        let oldest = format!("queue.work_{}", oldest.format("%Y%m%d"));
        partitions::drop_before(&mut owner, "queue.work", &oldest).await?;
    }
    let mut tx = store.system().await?;
    for statement in [
        "delete from queue.events where at < now() - make_interval(days => $1)",
        "delete from queue.dead where died_at < now() - make_interval(days => $1)",
    ] {
        sqlx::query(statement)
            .bind(i32::try_from(KEPT_DAYS).unwrap_or(i32::MAX))
            .execute(tx.connection())
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn make_partition(owner: &mut PgConnection, day: NaiveDate) -> Result<(), Error> {
    let Some(next) = day.succ_opt() else {
        return Ok(());
    };
    let name = format!("queue.work_{}", day.format("%Y%m%d"));
    // Both values are dates of ours.
    let statements = format!(
        "create table {name} partition of queue.work for values from ('{day}Z') to ('{next}Z');
         alter table {name} enable row level security;
         alter table {name} force row level security"
    );
    Ok(partitions::make(owner, &name, &statements).await?)
}

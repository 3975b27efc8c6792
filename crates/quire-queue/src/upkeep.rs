//! Keeping the queue's tables in shape: a partition of `work` for each coming day, old ones dropped, and
//! what nobody will ask about any more removed. Runs as the owner of the tables, outside any task.
//!
//! The rest needs no care. Rows of `ready` are never updated and its index grows at one end of each shard,
//! so vacuum, triggered every 5,000 dead rows, gives whole pages back.

use chrono::{Days, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use quire_store::Store;

use crate::Error;

/// Days for which sums, events and dead tasks are kept.
pub const KEPT_DAYS: u64 = 30;
/// Days for which partitions are made ahead.
const AHEAD_DAYS: u64 = 3;

/// Brings the tables in shape. Safe to run from several processes at once.
pub async fn upkeep(store: &Store) -> Result<(), Error> {
    let mut owner = store.owner().await?;
    let today = Utc::now().date_naive();
    let days = (0..=AHEAD_DAYS).filter_map(|ahead| today.checked_add_days(Days::new(ahead)));
    for day in days {
        make_partition(&mut owner, day).await?;
    }
    if let Some(oldest) = today.checked_sub_days(Days::new(KEPT_DAYS)) {
        drop_partitions(&mut owner, oldest).await?;
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
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(&name)
        .fetch_one(&mut *owner)
        .await?;
    if exists {
        return Ok(());
    }
    // Both values are dates of ours; a partition by itself lets nobody in.
    let made = sqlx::raw_sql(AssertSqlSafe(format!(
        "begin;
         set local lock_timeout = '5s';
         create table {name} partition of queue.work for values from ('{day}Z') to ('{next}Z');
         alter table {name} enable row level security;
         alter table {name} force row level security;
         commit"
    )))
    .execute(&mut *owner)
    .await;
    match made {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P07") => {
            // Another process was first.
            sqlx::raw_sql("rollback").execute(owner).await?;
            Ok(())
        }
        other => {
            other?;
            Ok(())
        }
    }
}

async fn drop_partitions(owner: &mut PgConnection, oldest: NaiveDate) -> Result<(), Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits
         where inhparent = 'queue.work'::regclass and inhrelid::regclass::text < $1",
    )
    .bind(format!("queue.work_{}", oldest.format("%Y%m%d")))
    .fetch_all(&mut *owner)
    .await?;
    for name in names {
        // Readers may hold it for long; there will be another hour.
        sqlx::raw_sql(AssertSqlSafe(format!(
            "set lock_timeout = '2s'; drop table if exists {name}"
        )))
        .execute(&mut *owner)
        .await?;
    }
    Ok(())
}

//! Schedules as operators see them: when each fires next, which fire no more, and holding them back.

use sqlx::FromRow;
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::{ScheduleId, TenantId, Timestamp};

use crate::Error;

macro_rules! rows {
    () => {
        "select tenant_id, id, name, kind, priority, rule, time_zone, missed, is_paused, next_at, fired_at, problem
         from queue.schedules
         where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2) and ($3::text is null or kind = $3)"
    };
}

/// A schedule.
#[derive(Clone, Debug, FromRow)]
pub struct ScheduleRow {
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its id.
    pub id: Uuid,
    /// Its name, unique for the tenant.
    pub name: String,
    /// The kind of the tasks that it adds.
    pub kind: String,
    /// Their priority, from 0, the most urgent.
    pub priority: i16,
    /// `cron <expression>`, `every <seconds>` or `once <time>`.
    pub rule: String,
    /// The zone that a cron expression is meant in.
    pub time_zone: String,
    /// What happens to moments that were missed: `skip`, `once` or `all`.
    pub missed: String,
    /// It is held back.
    pub is_paused: bool,
    /// When it fires next; none when it fires no more.
    pub next_at: Option<Timestamp>,
    /// When it fired last.
    pub fired_at: Option<Timestamp>,
    /// Why it fires no more.
    pub problem: Option<String>,
}

/// Which schedules are meant. What is left out lets everything through.
#[derive(Clone, Debug, Default)]
pub struct ScheduleSelection {
    /// One schedule.
    pub schedule: Option<ScheduleId>,
    /// Of one tenant.
    pub tenant: Option<TenantId>,
    /// Of one kind.
    pub kind: Option<String>,
    /// Only those that fire no more because something is wrong with them.
    pub is_broken: bool,
}

/// Schedules by tenant, oldest first.
pub async fn schedules(
    tx: &mut SystemTx,
    selection: &ScheduleSelection,
    limit: i64,
) -> Result<Vec<ScheduleRow>, Error> {
    if !(1..=1_000).contains(&limit) {
        return Err(Error::Invalid("a list has 1 to 1000 schedules".to_owned()));
    }
    if selection
        .kind
        .as_ref()
        .is_some_and(|kind| kind.contains('\0'))
    {
        return Err(Error::Invalid("a kind holds no NUL character".to_owned()));
    }
    // In two texts, so that those few are found by their own index.
    let statement = match selection.is_broken {
        true => concat!(
            rows!(),
            " and problem is not null order by tenant_id, id limit $4"
        ),
        false => concat!(rows!(), " order by tenant_id, id limit $4"),
    };
    let rows = sqlx::query_as(statement)
        .bind(selection.schedule.map(ScheduleId::uuid))
        .bind(selection.tenant.map(TenantId::uuid))
        .bind(&selection.kind)
        .bind(limit)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows)
}

/// Holds a schedule back or lets it go. What came meanwhile was missed; what happens to that its policy says, within a
/// minute.
pub async fn pause_schedule(
    tx: &mut SystemTx,
    schedule: ScheduleId,
    paused: bool,
) -> Result<(), Error> {
    let changed = sqlx::query("update queue.schedules set is_paused = $2 where id = $1")
        .bind(schedule.uuid())
        .bind(paused)
        .execute(tx.connection())
        .await?;
    match changed.rows_affected() {
        0 => Err(Error::NotFound("schedule")),
        _ => Ok(()),
    }
}

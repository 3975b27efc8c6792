//! Partitions by time: made ahead, dropped as a whole. Runs as the owner of the tables, from any process.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::Error;

/// Makes a partition by these statements, unless it is there. Nobody but its parent lets anybody in. `name` and
/// `statements` are the caller's own text.
pub async fn make(owner: &mut PgConnection, name: &str, statements: &str) -> Result<(), Error> {
    let is_there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(name)
        .fetch_one(&mut *owner)
        .await?;
    if is_there {
        return Ok(());
    }
    // Statements that are sent together are one transaction, which an error ends.
    let made = sqlx::raw_sql(AssertSqlSafe(format!(
        "set local lock_timeout = '5s'; {statements}"
    )))
    .execute(owner)
    .await;
    match made {
        // Another process was first, or is at it.
        Err(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P07" | "42710" | "23505")) =>
        {
            Ok(())
        }
        other => {
            other?;
            Ok(())
        }
    }
}

/// Drops the partitions of `parent` that are named like one and sort before `oldest`.
pub async fn drop_before(
    owner: &mut PgConnection,
    parent: &str,
    oldest: &str,
) -> Result<(), Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits
         where inhparent = $1::regclass
           and inhrelid::regclass::text ~ '_[0-9]+$' and inhrelid::regclass::text < $2",
    )
    .bind(parent)
    .bind(oldest)
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

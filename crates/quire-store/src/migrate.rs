//! Migrations: forward only, one schema per set, applied as the owner role. Two processes that start
//! at once wait for each other on the migrator's lock.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr};

use crate::{Error, roles};

/// The tables of one schema.
pub struct MigrationSet {
    /// The schema, created when absent and owned by `quire_owner`.
    pub schema: &'static str,
    /// Number, name and SQL of each step, in order. A released step is never edited; numbers may leave gaps,
    /// so that branches that grow side by side don't take the same one.
    pub steps: &'static [(i64, &'static str, &'static str)],
}

const DIRECTORY: MigrationSet = MigrationSet {
    schema: "directory",
    steps: &[
        (
            1,
            "directory",
            include_str!("../migrations/directory/0001_directory.sql"),
        ),
        (
            2,
            "placement",
            include_str!("../migrations/directory/0002_placement.sql"),
        ),
        (
            20,
            "readers",
            include_str!("../migrations/directory/0020_readers.sql"),
        ),
        (
            30,
            "accounts",
            include_str!("../migrations/directory/0030_accounts.sql"),
        ),
        (
            40,
            "installation",
            include_str!("../migrations/directory/0040_installation.sql"),
        ),
        (
            80,
            "groups",
            include_str!("../migrations/directory/0080_groups.sql"),
        ),
    ],
};

const SHARD: MigrationSet = MigrationSet {
    schema: "shard",
    steps: &[
        (
            1,
            "notebooks",
            include_str!("../migrations/shard/0001_notebooks.sql"),
        ),
        (
            2,
            "segments",
            include_str!("../migrations/shard/0002_segments.sql"),
        ),
        (
            3,
            "index_builds",
            include_str!("../migrations/shard/0003_index_builds.sql"),
        ),
        (
            4,
            "tiers",
            include_str!("../migrations/shard/0004_tiers.sql"),
        ),
        (
            15,
            "purges",
            include_str!("../migrations/shard/0015_purges.sql"),
        ),
        (
            20,
            "spots",
            include_str!("../migrations/shard/0020_spots.sql"),
        ),
        (
            21,
            "looks",
            include_str!("../migrations/shard/0021_looks.sql"),
        ),
        (
            22,
            "progress",
            include_str!("../migrations/shard/0022_progress.sql"),
        ),
        (
            23,
            "processors",
            include_str!("../migrations/shard/0023_processors.sql"),
        ),
        (
            30,
            "records",
            include_str!("../migrations/shard/0030_records.sql"),
        ),
        (
            31,
            "outbox",
            include_str!("../migrations/shard/0031_outbox.sql"),
        ),
        (
            32,
            "connections",
            include_str!("../migrations/shard/0032_connections.sql"),
        ),
        (
            33,
            "consent",
            include_str!("../migrations/shard/0033_consent.sql"),
        ),
        (
            40,
            "pulled_records",
            include_str!("../migrations/shard/0040_pulled_records.sql"),
        ),
        (
            46,
            "embedding",
            include_str!("../migrations/shard/0046_embedding.sql"),
        ),
        (
            50,
            "questions",
            include_str!("../migrations/shard/0050_questions.sql"),
        ),
        (
            70,
            "embedding_batches",
            include_str!("../migrations/shard/0070_embedding_batches.sql"),
        ),
        (
            80,
            "groups",
            include_str!("../migrations/shard/0080_groups.sql"),
        ),
        (
            85,
            "recordings",
            include_str!("../migrations/shard/0085_recordings.sql"),
        ),
    ],
};

pub(crate) async fn run(admin: &mut PgConnection, more: &[MigrationSet]) -> Result<(), Error> {
    for set in [&DIRECTORY, &SHARD].into_iter().chain(more) {
        let create = format!(
            "create schema if not exists {} authorization {}",
            set.schema,
            roles::OWNER
        );
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut *admin)
            .await?;
        sqlx::raw_sql(AssertSqlSafe(format!("set role {}", roles::OWNER)))
            .execute(&mut *admin)
            .await?;
        let result = migrator(set).run_direct(None, &mut *admin, false).await;
        sqlx::raw_sql("reset role").execute(&mut *admin).await?;
        result?;
    }
    Ok(())
}

fn migrator(set: &MigrationSet) -> Migrator {
    let steps = set.steps.iter().map(|(version, name, sql)| {
        Migration::new(
            *version,
            (*name).into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.dangerous_set_table_name(format!("{}.migrations", set.schema));
    migrator
}

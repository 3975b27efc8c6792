//! What notebooks cost while nobody asks them: their tiers, what decides about them, and archives.
//!
//! An archive is a segment that search does not open and that one notebook's sources name. Passages move
//! into it and back as they move between segments: in one transaction, and only those that are still where
//! they were read. Decides nothing about when.

use uuid::Uuid;

use quire_types::{NotebookId, NotebookStatus, SegmentId, SourceId, Tier, Timestamp};

use crate::segments::{self, NewSegment, Segment};
use crate::sources::decode;
use crate::{Error, TenantTx, corpus};

/// A notebook with all that its tier depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotebookTier {
    /// The notebook.
    pub notebook: NotebookId,
    /// Its name.
    pub name: String,
    /// Where it is now.
    pub tier: Tier,
    /// Since when.
    pub since: Timestamp,
    /// Whether an administrator chose the tier.
    pub is_pinned: bool,
    /// The state of what it is about; none where nobody tells.
    pub status: Option<NotebookStatus>,
    /// When a question last found something in it, to half a day.
    pub asked_at: Option<Timestamp>,
    /// When something in it last changed, or when it was created.
    pub changed_at: Timestamp,
    /// When its newest recording was added.
    pub recorded_at: Option<Timestamp>,
    /// Its passages, archived ones included.
    pub passages: i64,
    /// Those that are in an archive.
    pub archived: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    tier: String,
    tier_since: Timestamp,
    tier_pinned: bool,
    status: Option<String>,
    asked_at: Option<Timestamp>,
    changed_at: Timestamp,
    recorded_at: Option<Timestamp>,
    passages: i64,
    archived: i64,
}

/// The tiers of all notebooks, or of one, in order of creation.
pub async fn tiers(
    tx: &mut TenantTx,
    only: Option<NotebookId>,
) -> Result<Vec<NotebookTier>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select n.id, n.name, n.tier, n.tier_since, n.tier_pinned, n.status, n.asked_at,
                greatest(n.created_at, max(s.updated_at)) as changed_at,
                max(s.created_at) filter (where s.media_type in ('audio', 'video')) as recorded_at,
                coalesce(sum(s.passages), 0)::bigint as passages,
                coalesce(sum(s.passages) filter (where g.id is not null), 0)::bigint as archived
         from shard.notebooks n
         left join shard.sources s on s.tenant_id = $1 and s.notebook_id = n.id
         left join shard.segments g
           on g.tenant_id = $1 and g.id = s.segment_id and g.archive_of is not null
         where n.tenant_id = $1 and ($2::uuid is null or n.id = $2)
         group by n.tenant_id, n.id order by n.id",
    )
    .bind(tx.tenant_id())
    .bind(only.map(|id| id.uuid()))
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Row::decoded).collect()
}

impl Row {
    fn decoded(self) -> Result<NotebookTier, Error> {
        Ok(NotebookTier {
            notebook: self.id.into(),
            name: self.name,
            tier: decode(self.tier)?,
            since: self.tier_since,
            is_pinned: self.tier_pinned,
            status: self.status.map(decode).transpose()?,
            asked_at: self.asked_at,
            changed_at: self.changed_at,
            recorded_at: self.recorded_at,
            passages: self.passages,
            archived: self.archived,
        })
    }
}

/// Notes where a notebook is now.
pub async fn set(tx: &mut TenantTx, notebook: NotebookId, tier: Tier) -> Result<(), Error> {
    let updated = sqlx::query(
        "update shard.notebooks
         set tier = $3, tier_since = case when tier = $3 then tier_since else now() end
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(tier.as_str())
    .execute(tx.connection())
    .await?;
    found(updated.rows_affected())
}

/// Notes whether a notebook is to stay where it is, whatever the rules say.
pub async fn pin(tx: &mut TenantTx, notebook: NotebookId, is_pinned: bool) -> Result<(), Error> {
    let updated =
        sqlx::query("update shard.notebooks set tier_pinned = $3 where tenant_id = $1 and id = $2")
            .bind(tx.tenant_id())
            .bind(notebook.uuid())
            .bind(is_pinned)
            .execute(tx.connection())
            .await?;
    found(updated.rows_affected())
}

/// Notes the state of what a notebook is about; none when nobody tells any more.
pub async fn set_status(
    tx: &mut TenantTx,
    notebook: NotebookId,
    status: Option<NotebookStatus>,
) -> Result<(), Error> {
    let updated =
        sqlx::query("update shard.notebooks set status = $3 where tenant_id = $1 and id = $2")
            .bind(tx.tenant_id())
            .bind(notebook.uuid())
            .bind(status.map(NotebookStatus::as_str))
            .execute(tx.connection())
            .await?;
    found(updated.rows_affected())
}

fn found(rows: u64) -> Result<(), Error> {
    let missing = Error::NotFound { what: "notebook" };
    (rows > 0).then_some(()).ok_or(missing)
}

/// Notes that questions found something in these notebooks, at most every half day for each. Returns how many
/// that was news for.
pub async fn note_asked(tx: &mut TenantTx, notebooks: &[NotebookId]) -> Result<u64, Error> {
    let ids: Vec<Uuid> = notebooks.iter().map(|id| id.uuid()).collect();
    let noted = sqlx::query(
        "update shard.notebooks set asked_at = now()
         where tenant_id = $1 and id = any($2)
           and (asked_at is null or asked_at < now() - interval '12 hours')",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .execute(tx.connection())
    .await?;
    Ok(noted.rows_affected())
}

/// An archive, as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The notebook whose passages it holds.
    pub notebook: NotebookId,
    /// Its object.
    pub segment: Segment,
}

/// The archives of all notebooks, or of one, oldest first.
pub async fn archives(tx: &mut TenantTx, only: Option<NotebookId>) -> Result<Vec<Archive>, Error> {
    #[derive(sqlx::FromRow)]
    struct Found {
        archive_of: Uuid,
        #[sqlx(flatten)]
        segment: Segment,
    }
    let rows: Vec<Found> = sqlx::query_as(
        "select archive_of, id, rows, bytes, dimension, footer, created_at from shard.segments
         where tenant_id = $1 and retired_at is null and archive_of is not null
           and ($2::uuid is null or archive_of = $2)
         order by id",
    )
    .bind(tx.tenant_id())
    .bind(only.map(|id| id.uuid()))
    .fetch_all(tx.connection())
    .await?;
    let archive = |row: Found| Archive {
        notebook: row.archive_of.into(),
        segment: row.segment,
    };
    Ok(rows.into_iter().map(archive).collect())
}

/// Makes a new archive the place of these versions of a notebook's sources, which were in `from`: they leave
/// search. Otherwise like [`segments::install`].
pub async fn archive(
    tx: &mut TenantTx,
    notebook: NotebookId,
    new: &NewSegment,
    versions: &[(SourceId, i32)],
    from: &[SegmentId],
) -> Result<i64, Error> {
    let moved = segments::install(tx, new, versions, Some(from)).await?;
    if moved > 0 {
        sqlx::query("update shard.segments set archive_of = $3 where tenant_id = $1 and id = $2")
            .bind(tx.tenant_id())
            .bind(new.id.uuid())
            .bind(notebook.uuid())
            .execute(tx.connection())
            .await?;
        corpus::move_on(tx).await?;
    }
    Ok(moved)
}

/// Makes a new segment the place of versions that were in these archives: search sees them again. Otherwise
/// like [`segments::install`].
pub async fn bring_back(
    tx: &mut TenantTx,
    new: &NewSegment,
    versions: &[(SourceId, i32)],
    from: &[SegmentId],
) -> Result<i64, Error> {
    let moved = segments::install(tx, new, versions, Some(from)).await?;
    if moved > 0 {
        corpus::move_on(tx).await?;
    }
    Ok(moved)
}

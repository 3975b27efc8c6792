//! How far sources have come: which task reads them, percent and times of their stages, and a notebook summed up.

use std::time::Duration;

use uuid::Uuid;

use quire_types::{NotebookId, SourceId, SourceState, TaskId, Timestamp};

use crate::sources::{Source, decode};
use crate::{Error, TenantTx};

/// One stage of reading a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which one: queued, extracting or embedding.
    pub state: SourceState,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took, or takes until now.
    pub took: Duration,
}

impl Source {
    /// The stages of the latest version so far, in order.
    pub fn stages(&self, now: Timestamp) -> Vec<Stage> {
        let is_over = matches!(self.state, SourceState::Searchable | SourceState::Failed);
        let began = [
            (SourceState::Queued, self.queued_at),
            (SourceState::Extracting, self.extracting_at),
            (SourceState::Embedding, self.embedding_at),
        ];
        let began: Vec<(SourceState, Timestamp)> = began
            .into_iter()
            .filter_map(|(state, at)| Some((state, at?)))
            .collect();
        let end = match self.ended_at {
            Some(at) => at,
            None if is_over => return Vec::new(),
            None => now,
        };
        let ends = began.iter().skip(1).map(|(_, at)| *at).chain([end]);
        began
            .iter()
            .zip(ends)
            .map(|(&(state, began_at), end)| Stage {
                state,
                began_at,
                took: (end - began_at).to_std().unwrap_or_default(),
            })
            .collect()
    }
}

/// Notes which task reads the latest version of a source.
pub async fn note_task(tx: &mut TenantTx, id: SourceId, task: TaskId) -> Result<bool, Error> {
    let done =
        sqlx::query("update shard.sources set task_id = $3 where tenant_id = $1 and id = $2")
            .bind(tx.tenant_id())
            .bind(id.uuid())
            .bind(task.uuid())
            .execute(tx.connection())
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes how much of its stage a version has behind it. Never goes back, and says nothing about a version that
/// is not being read.
pub async fn note_percent(
    tx: &mut TenantTx,
    id: SourceId,
    version: i32,
    state: SourceState,
    percent: u8,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.sources set percent = $5, updated_at = now()
         where tenant_id = $1 and id = $2 and latest_version = $3 and state = $4 and percent < $5",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(version)
    .bind(state.as_str())
    .bind(i16::from(percent.min(100)))
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sources of a notebook summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many there are in each state that occurs.
    pub states: Vec<(SourceState, i64)>,
    /// Passages that search sees of them.
    pub passages: i64,
    /// How much of all the work is done: reading and embedding are half of a source each.
    pub percent: u8,
}

impl Summary {
    /// All sources.
    pub fn total(&self) -> i64 {
        self.states.iter().map(|(_, count)| count).sum()
    }

    /// How many are in a state.
    pub fn count(&self, state: SourceState) -> i64 {
        let mut states = self.states.iter();
        states
            .find(|(other, _)| *other == state)
            .map_or(0, |(_, count)| *count)
    }

    /// Sources that are still being worked on.
    pub fn open(&self) -> i64 {
        self.total() - self.count(SourceState::Searchable) - self.count(SourceState::Failed)
    }
}

/// Sums up a notebook, or the given sources in it.
pub async fn summary(
    tx: &mut TenantTx,
    notebook: NotebookId,
    only: Option<&[SourceId]>,
) -> Result<Summary, Error> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select state, count(*), coalesce(sum(passages), 0)::bigint, coalesce(sum(percent), 0)::bigint
         from shard.sources
         where tenant_id = $1 and notebook_id = $2 and ($3::uuid[] is null or id = any($3))
         group by state order by state",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(only.map(uuids))
    .fetch_all(tx.connection())
    .await?;
    let mut summary = Summary::default();
    let mut done = 0;
    for (state, count, passages, percent) in rows {
        let state = decode(state)?;
        done += match state {
            SourceState::Queued => 0,
            SourceState::Extracting => percent / 2,
            SourceState::Embedding => 50 * count + percent / 2,
            SourceState::Searchable | SourceState::Failed => 100 * count,
        };
        summary.passages += passages;
        summary.states.push((state, count));
    }
    summary.percent = match summary.total() {
        0 => 100,
        total => u8::try_from(done / total).unwrap_or(100),
    };
    Ok(summary)
}

/// Sources of a notebook that are still being worked on, or the given ones in any state, oldest first.
pub async fn sources(
    tx: &mut TenantTx,
    notebook: NotebookId,
    only: Option<&[SourceId]>,
    limit: i64,
) -> Result<Vec<Source>, Error> {
    let found = sqlx::query_as(
        "select * from shard.sources
         where tenant_id = $1 and notebook_id = $2
           and case when $3::uuid[] is null then state not in ('searchable', 'failed') else id = any($3) end
         order by id limit $4",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(only.map(uuids))
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

fn uuids(ids: &[SourceId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

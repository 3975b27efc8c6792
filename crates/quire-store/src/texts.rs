//! Sources whose content is a small text that quire made itself: out of records, pages, transcripts.
//!
//! They have no object and no reading task of their own: many are published in one step, and search gets
//! one new version for all of them. Everywhere else they are sources like others.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use quire_types::{Groups, MediaType, NotebookId, SourceId};

use crate::corpus::{self, Change};
use crate::passages::{self, NewPassage};
use crate::{Error, TenantTx};

/// A text that is to be what search sees of a source.
#[derive(Clone, Debug)]
pub struct NewText {
    /// The source it was before; none, or one that is gone or in another notebook, makes a new one.
    pub source: Option<SourceId>,
    /// The notebook it is in.
    pub notebook: NotebookId,
    /// Its name; when another source of the notebook has it, a number is added.
    pub name: String,
    /// The text.
    pub body: String,
    /// How it is read.
    pub media: MediaType,
    /// Who sees it; everybody where there are none.
    pub groups: Option<Groups>,
    /// The text in passages.
    pub passages: Vec<NewPassage>,
    /// The model of their vectors, as the corpus names it.
    pub model: Option<String>,
}

/// What was there before.
#[derive(sqlx::FromRow)]
struct Old {
    id: Uuid,
    notebook_id: Uuid,
    live_version: Option<i32>,
    latest_version: i32,
}

/// Where a text goes.
struct Target<'a> {
    text: &'a NewText,
    id: SourceId,
    version: i32,
    name: String,
}

/// Makes texts searchable and takes others out of search, in one step. Returns the sources of the texts in
/// their order. Fails when a notebook is gone.
pub async fn publish(
    tx: &mut TenantTx,
    texts: &[NewText],
    removed: &[SourceId],
) -> Result<Vec<SourceId>, Error> {
    let dimension = passages::dimension(texts.iter().flat_map(|text| &text.passages))?;
    lock_notebooks(tx, texts).await?;
    let old = lock_sources(tx, texts, removed).await?;
    let names = names(tx, texts).await?;
    let targets: Vec<Target> = texts
        .iter()
        .zip(names)
        .map(|(text, name)| {
            let kept = text
                .source
                .and_then(|id| old.get(&id.uuid()))
                .filter(|old| old.notebook_id == text.notebook.uuid());
            Target {
                text,
                id: kept.map_or_else(SourceId::generate, |old| old.id.into()),
                version: kept.map_or(1, |old| old.latest_version + 1),
                name,
            }
        })
        .collect();
    let stays: HashSet<Uuid> = targets.iter().map(|target| target.id.uuid()).collect();
    let gone: Vec<Uuid> = old
        .keys()
        .filter(|id| !stays.contains(*id))
        .copied()
        .collect();
    let live: Vec<(SourceId, i32)> = old
        .values()
        .filter_map(|old| Some((old.id.into(), old.live_version?)))
        .collect();
    corpus::record(tx, Change::Removed, &live).await?;
    sqlx::query("delete from shard.sources where tenant_id = $1 and id = any($2)")
        .bind(tx.tenant_id())
        .bind(&gone)
        .execute(tx.connection())
        .await?;
    write(tx, &targets).await?;
    let added: Vec<(SourceId, i32)> = targets
        .iter()
        .map(|target| (target.id, target.version))
        .collect();
    corpus::record(tx, Change::Added, &added).await?;
    if let Some(dimension) = dimension {
        let model = texts.first().and_then(|text| text.model.as_deref());
        let agreed = corpus::agree(tx, dimension).await;
        corpus::of_model(tx, model, agreed).await?;
    }
    Ok(targets.iter().map(|target| target.id).collect())
}

/// Passages that search sees of these sources.
pub async fn passages_of(tx: &mut TenantTx, ids: &[SourceId]) -> Result<i64, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let count = sqlx::query_scalar(
        "select coalesce(sum(passages), 0)::bigint from shard.sources
         where tenant_id = $1 and id = any($2)",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .fetch_one(tx.connection())
    .await?;
    Ok(count)
}

/// Notebooks come before sources, as in every other change of both.
async fn lock_notebooks(tx: &mut TenantTx, texts: &[NewText]) -> Result<(), Error> {
    let wanted: HashSet<Uuid> = texts.iter().map(|text| text.notebook.uuid()).collect();
    let wanted: Vec<Uuid> = wanted.into_iter().collect();
    let locked = sqlx::query(
        "select from shard.notebooks where tenant_id = $1 and id = any($2) order by id for key share",
    )
    .bind(tx.tenant_id())
    .bind(&wanted)
    .execute(tx.connection())
    .await?;
    if locked.rows_affected() < wanted.len() as u64 {
        return Err(Error::NotFound { what: "notebook" });
    }
    Ok(())
}

async fn lock_sources(
    tx: &mut TenantTx,
    texts: &[NewText],
    removed: &[SourceId],
) -> Result<HashMap<Uuid, Old>, Error> {
    let ids: Vec<Uuid> = texts
        .iter()
        .filter_map(|text| text.source)
        .chain(removed.iter().copied())
        .map(SourceId::uuid)
        .collect();
    let rows: Vec<Old> = sqlx::query_as(
        "select id, notebook_id, live_version, latest_version from shard.sources
         where tenant_id = $1 and id = any($2) order by id for update",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|old| (old.id, old)).collect())
}

/// A name for each text that no other source of its notebook has.
async fn names(tx: &mut TenantTx, texts: &[NewText]) -> Result<Vec<String>, Error> {
    let notebooks: Vec<Uuid> = texts.iter().map(|text| text.notebook.uuid()).collect();
    let wanted: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
    let own: Vec<Uuid> = texts
        .iter()
        .filter_map(|text| text.source.map(SourceId::uuid))
        .collect();
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "select s.notebook_id, s.name from shard.sources s
         join unnest($2::uuid[], $3::text[]) as w (notebook_id, name) using (notebook_id, name)
         where s.tenant_id = $1 and s.id <> all($4)",
    )
    .bind(tx.tenant_id())
    .bind(notebooks)
    .bind(wanted)
    .bind(own)
    .fetch_all(tx.connection())
    .await?;
    let mut taken: HashSet<(Uuid, String)> = rows.into_iter().collect();
    Ok(texts
        .iter()
        .map(|text| {
            let notebook = text.notebook.uuid();
            let mut name: String = text.name.chars().take(490).collect();
            // A short piece of a random id, since other numbers may be taken as well.
            while !taken.insert((notebook, name.clone())) {
                let id = Uuid::new_v4().simple().to_string();
                let cut: String = text.name.chars().take(480).collect();
                name = format!("{cut} ({})", &id[..8]);
            }
            name
        })
        .collect())
}

async fn write(tx: &mut TenantTx, targets: &[Target<'_>]) -> Result<(), Error> {
    let column = |of: fn(&Target) -> i64| targets.iter().map(of).collect::<Vec<_>>();
    let ids: Vec<Uuid> = targets.iter().map(|target| target.id.uuid()).collect();
    let versions: Vec<i32> = targets.iter().map(|target| target.version).collect();
    let hashes: Vec<Vec<u8>> = targets
        .iter()
        .map(|target| Sha256::digest(target.text.body.as_bytes()).to_vec())
        .collect();
    let sizes = column(|target| i64::try_from(target.text.body.len()).unwrap_or(i64::MAX));
    let bodies: Vec<&str> = targets
        .iter()
        .map(|target| target.text.body.as_str())
        .collect();
    let notebooks: Vec<Uuid> = targets
        .iter()
        .map(|target| target.text.notebook.uuid())
        .collect();
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let media: Vec<&str> = targets
        .iter()
        .map(|target| target.text.media.as_str())
        .collect();
    let counts = column(|target| i64::try_from(target.text.passages.len()).unwrap_or(i64::MAX));
    // Arrays of arrays must be of one length; no name has a comma.
    let groups: Vec<Option<String>> = targets
        .iter()
        .map(|target| Some(target.text.groups.as_ref()?.names().join(",")))
        .collect();
    sqlx::query(
        "insert into shard.sources
             (tenant_id, id, notebook_id, name, media_type, state, latest_version, live_version, content_hash,
              size_bytes, passages, groups)
         select $1, t.id, t.notebook_id, t.name, t.media_type, 'searchable', t.version, t.version, t.hash, t.bytes,
                t.passages, string_to_array(t.groups, ',')
         from unnest($2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::bytea[], $7::bigint[], $8::bigint[], $9::text[],
                     $10::text[])
              as t (id, notebook_id, name, version, hash, bytes, passages, media_type, groups)
         on conflict (tenant_id, id) do update
         set name = excluded.name, state = 'searchable', reason = null, media_type = excluded.media_type,
             latest_version = excluded.latest_version, live_version = excluded.live_version,
             content_hash = excluded.content_hash, size_bytes = excluded.size_bytes,
             passages = excluded.passages, pages = null, segment_id = null, groups = excluded.groups,
             updated_at = now()",
    )
    .bind(tx.tenant_id())
    .bind(&ids)
    .bind(&notebooks)
    .bind(&names)
    .bind(&versions)
    .bind(&hashes)
    .bind(&sizes)
    .bind(&counts)
    .bind(&media)
    .bind(&groups)
    .execute(tx.connection())
    .await?;
    // Their passages go with them.
    sqlx::query("delete from shard.source_versions where tenant_id = $1 and source_id = any($2)")
        .bind(tx.tenant_id())
        .bind(&ids)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "insert into shard.source_versions (tenant_id, source_id, version, content_hash, body, size_bytes)
         select $1, * from unnest($2::uuid[], $3::int[], $4::bytea[], $5::text[], $6::bigint[])",
    )
    .bind(tx.tenant_id())
    .bind(&ids)
    .bind(&versions)
    .bind(&hashes)
    .bind(&bodies)
    .bind(&sizes)
    .execute(tx.connection())
    .await?;
    for target in targets {
        let Target {
            text, id, version, ..
        } = target;
        passages::insert(tx, text.notebook.uuid(), *id, *version, &text.passages).await?;
    }
    Ok(())
}

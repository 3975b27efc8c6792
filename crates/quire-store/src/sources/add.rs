//! Content that becomes a source, or a version of one.

use quire_types::{Groups, NotebookId, SourceId, SourceState};

use super::{Source, by_name};
use crate::{Error, ObjectKey, TenantTx, notebooks};

/// Content that was uploaded and is not a source yet.
#[derive(Clone, Debug)]
pub struct NewContent<'a> {
    /// The name of the source it belongs to.
    pub name: &'a str,
    /// SHA-256 of the bytes.
    pub content_hash: &'a [u8],
    /// How many bytes.
    pub size_bytes: i64,
    /// Where the bytes are.
    pub object: &'a ObjectKey,
}

/// What adding content led to.
#[derive(Clone, Debug)]
pub enum Added {
    /// A source that did not exist.
    Created(Source),
    /// A new version of a source of that name; the objects of older versions are no longer needed once
    /// the new one is searchable.
    Updated(Source),
    /// The notebook has this content already; nothing changed.
    Duplicate(Source),
}

impl Added {
    /// The source in every case.
    pub fn source(&self) -> &Source {
        match self {
            Self::Created(source) | Self::Updated(source) | Self::Duplicate(source) => source,
        }
    }
}

/// Adds content to a notebook under a name. The same content twice is one source; other content under
/// a known name is a new version. Content whose reading failed counts as new, so adding it again
/// tries again. Everybody sees what is new; who sees what is known stays.
pub async fn add(
    tx: &mut TenantTx,
    notebook: NotebookId,
    content: &NewContent<'_>,
) -> Result<Added, Error> {
    add_for(tx, notebook, content, None).await
}

/// The same for people in these groups, if any are named: they alone see what is new. A known name for others is a
/// conflict, since they would see the content of before, or these the content of after. What others see under another
/// name is another source, whatever its content.
pub async fn add_for(
    tx: &mut TenantTx,
    notebook: NotebookId,
    content: &NewContent<'_>,
    groups: Option<&Groups>,
) -> Result<Added, Error> {
    notebooks::lock(tx, notebook).await?;
    if let Some(source) = by_name(tx, notebook, content.name).await? {
        if groups.is_some() && source.groups.as_ref() != groups {
            return Err(Error::Conflict(
                "a source of this name is there for other groups: change these first, or take another name"
                    .to_owned(),
            ));
        }
        if source.content_hash == content.content_hash && source.state != SourceState::Failed {
            return Ok(Added::Duplicate(source));
        }
        let source: Source = sqlx::query_as(
            "update shard.sources
             set latest_version = latest_version + 1, state = 'queued', reason = null,
                 content_hash = $3, size_bytes = $4, percent = 0, queued_at = now(), extracting_at = null,
                 embedding_at = null, ended_at = null, updated_at = now()
             where tenant_id = $1 and id = $2
             returning *",
        )
        .bind(tx.tenant_id())
        .bind(source.id.uuid())
        .bind(content.content_hash)
        .bind(content.size_bytes)
        .fetch_one(tx.connection())
        .await?;
        insert_version(tx, &source, content).await?;
        return Ok(Added::Updated(source));
    }

    let same: Option<Source> = sqlx::query_as(
        "select * from shard.sources
         where tenant_id = $1 and notebook_id = $2 and content_hash = $3 and state <> 'failed'
           and groups is not distinct from $4
         order by id limit 1",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(content.content_hash)
    .bind(groups.map(Groups::names))
    .fetch_optional(tx.connection())
    .await?;
    if let Some(source) = same {
        return Ok(Added::Duplicate(source));
    }

    let source: Source = sqlx::query_as(
        "insert into shard.sources
             (tenant_id, id, notebook_id, name, state, latest_version, content_hash, size_bytes, queued_at, groups)
         values ($1, $2, $3, $4, 'queued', 1, $5, $6, now(), $7)
         returning *",
    )
    .bind(tx.tenant_id())
    .bind(SourceId::generate().uuid())
    .bind(notebook.uuid())
    .bind(content.name)
    .bind(content.content_hash)
    .bind(content.size_bytes)
    .bind(groups.map(Groups::names))
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("sources_name_check") => {
            Error::Invalid("a source's name has 1 to 500 characters".to_owned())
        }
        _ => error.into(),
    })?;
    insert_version(tx, &source, content).await?;
    Ok(Added::Created(source))
}

async fn insert_version(
    tx: &mut TenantTx,
    source: &Source,
    content: &NewContent<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.source_versions (tenant_id, source_id, version, content_hash, object_key, size_bytes)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tx.tenant_id())
    .bind(source.id.uuid())
    .bind(source.latest_version)
    .bind(content.content_hash)
    .bind(content.object.as_str())
    .bind(content.size_bytes)
    .execute(tx.connection())
    .await?;
    Ok(())
}

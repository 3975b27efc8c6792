//! Passages: what search finds and citations point at. Rows are those of the tail; the others are in
//! segments, which the search engine reads.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{MediaType, NotebookId, PassageId, Place, SourceId, SourceState, Spot};

use crate::corpus::{self, Change};
use crate::sources::decode;
use crate::{Error, TenantTx};

/// A passage that is to become searchable.
#[derive(Clone, Debug)]
pub struct NewPassage {
    /// Title and headings above the text; found by search, not quoted.
    pub context: String,
    /// The text, exactly as it stands in the extracted source.
    pub body: String,
    /// Where it stands.
    pub place: Place,
    /// Its vector; only its direction counts.
    pub embedding: Vec<f32>,
}

/// Replaces what search sees of a source by the passages of `version`, in one step. Does nothing, and
/// says so, when the version is no longer the latest, is searchable already, or the source is gone.
/// Returns the number of the version that was replaced, if one was. Vectors that no angle can be
/// measured to, or of another dimension than those the tenant has, are refused.
pub async fn publish(
    tx: &mut TenantTx,
    source: SourceId,
    version: i32,
    media_type: MediaType,
    pages: Option<i32>,
    passages: &[NewPassage],
) -> Result<Published, Error> {
    // The row lock orders this against deletion and against newer versions.
    let row: Option<(Uuid, Option<i32>, i32, String)> = sqlx::query_as(
        "select notebook_id, live_version, latest_version, state from shard.sources
         where tenant_id = $1 and id = $2 for update",
    )
    .bind(tx.tenant_id())
    .bind(source.uuid())
    .fetch_optional(tx.connection())
    .await?;
    let dimension = dimension(passages)?;
    let Some((notebook, live, latest, state)) = row else {
        return Ok(Published::Obsolete);
    };
    let is_done = decode::<SourceState>(state)? == SourceState::Searchable;
    if latest != version || is_done {
        return Ok(Published::Obsolete);
    }
    if let Some(live) = live {
        sqlx::query("delete from shard.passages where tenant_id = $1 and source_id = $2")
            .bind(tx.tenant_id())
            .bind(source.uuid())
            .execute(tx.connection())
            .await?;
        corpus::record(tx, Change::Removed, &[(source, live)]).await?;
    }
    insert(tx, notebook, source, version, passages).await?;
    sqlx::query(
        "update shard.sources
         set state = 'searchable', reason = null, live_version = $3, media_type = $4, pages = $5,
             passages = $6, segment_id = null, percent = 100, ended_at = now(), updated_at = now()
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(source.uuid())
    .bind(version)
    .bind(media_type.as_str())
    .bind(pages)
    .bind(i32::try_from(passages.len()).unwrap_or(i32::MAX))
    .execute(tx.connection())
    .await?;
    corpus::record(tx, Change::Added, &[(source, version)]).await?;
    if let Some(dimension) = dimension {
        corpus::agree(tx, dimension).await?;
    }
    Ok(Published::Searchable { replaced: live })
}

/// The dimension that all vectors have; none when there are none.
pub(crate) fn dimension<'a>(
    passages: impl IntoIterator<Item = &'a NewPassage>,
) -> Result<Option<i32>, Error> {
    let mut agreed = None;
    for (at, passage) in passages.into_iter().enumerate() {
        let vector = &passage.embedding;
        let square: f32 = vector.iter().map(|value| value * value).sum();
        if !square.is_normal() {
            return Err(Error::Invalid(format!(
                "the vector of passage {at} has no direction: it is zero, or not a number"
            )));
        }
        let first = *agreed.get_or_insert(vector.len());
        if vector.len() != first {
            return Err(Error::Invalid(format!(
                "the vector of passage {at} has {} dimensions, that of the first {first}",
                vector.len(),
            )));
        }
    }
    Ok(agreed.and_then(|dimension| i32::try_from(dimension).ok()))
}

/// What publishing led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The version is what search sees now.
    Searchable {
        /// The version it took the place of.
        replaced: Option<i32>,
    },
    /// Somebody else was first, or the source is gone.
    Obsolete,
}

pub(crate) async fn insert(
    tx: &mut TenantTx,
    notebook: Uuid,
    source: SourceId,
    version: i32,
    passages: &[NewPassage],
) -> Result<(), Error> {
    let base = PassageId::generate();
    // Bounded statements keep the memory of both sides bounded for a source of any length.
    for (first, part) in (0_i32..)
        .step_by(INSERT_ROWS)
        .zip(passages.chunks(INSERT_ROWS))
    {
        let ordinals: Vec<i32> = (first..).take(part.len()).collect();
        let ids: Vec<Uuid> = ordinals
            .iter()
            .map(|ordinal| base.nth(ordinal.unsigned_abs()).uuid())
            .collect();
        let contexts: Vec<&str> = part
            .iter()
            .map(|passage| passage.context.as_str())
            .collect();
        let bodies: Vec<&str> = part.iter().map(|passage| passage.body.as_str()).collect();
        let pages: Vec<Option<i32>> = part
            .iter()
            .map(|passage| passage.place.page.map(signed))
            .collect();
        // A two-dimensional array must be rectangular, so headings travel as JSON.
        let headings: Vec<sqlx::types::Json<&[String]>> = part
            .iter()
            .map(|passage| sqlx::types::Json(passage.place.heading_path.as_slice()))
            .collect();
        let starts: Vec<i32> = part
            .iter()
            .map(|passage| signed(passage.place.char_start))
            .collect();
        let ends: Vec<i32> = part
            .iter()
            .map(|passage| signed(passage.place.char_end))
            .collect();
        let spots: Vec<Option<sqlx::types::Json<&Spot>>> = part
            .iter()
            .map(|passage| Some(&passage.place.spot).filter(|spot| !spot.is_empty()))
            .map(|spot| spot.map(sqlx::types::Json))
            .collect();
        let embeddings: Vec<Vec<u8>> = part
            .iter()
            .map(|passage| to_bytes(&passage.embedding))
            .collect();
        sqlx::query(
            "insert into shard.passages
                 (tenant_id, id, notebook_id, source_id, version, ordinal, context, body, page,
                  heading_path, char_start, char_end, spot, embedding)
             select $1, p.id, $2, $3, $4, p.ordinal, p.context, p.body, p.page,
                    array(select jsonb_array_elements_text(p.headings)), p.char_start, p.char_end, p.spot,
                    p.embedding
             from unnest($5::uuid[], $6::int[], $7::text[], $8::text[], $9::int[], $10::jsonb[],
                         $11::int[], $12::int[], $13::jsonb[], $14::bytea[])
                  as p (id, ordinal, context, body, page, headings, char_start, char_end, spot, embedding)",
        )
        .bind(tx.tenant_id())
        .bind(notebook)
        .bind(source.uuid())
        .bind(version)
        .bind(&ids)
        .bind(&ordinals)
        .bind(&contexts)
        .bind(&bodies)
        .bind(&pages)
        .bind(&headings)
        .bind(&starts)
        .bind(&ends)
        .bind(&spots)
        .bind(&embeddings)
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

const INSERT_ROWS: usize = 500;

fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A vector as it is stored: of unit length, whatever the model made of it.
fn to_bytes(vector: &[f32]) -> Vec<u8> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector
        .iter()
        .flat_map(|value| (value / length).to_le_bytes())
        .collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

/// A passage of the tail, as search needs it.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Its id.
    pub id: PassageId,
    /// The source it is part of.
    pub source: SourceId,
    /// The version of the source.
    pub source_version: i32,
    /// Its number within the version, from 0.
    pub ordinal: i32,
    /// Title and headings above the text.
    pub context: String,
    /// The text.
    pub body: String,
    /// Where it stands.
    pub place: Place,
    /// Its vector.
    pub embedding: Vec<f32>,
}

impl sqlx::FromRow<'_, PgRow> for Indexed {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            source: row.try_get::<Uuid, _>("source_id")?.into(),
            source_version: row.try_get("version")?,
            ordinal: row.try_get("ordinal")?,
            context: row.try_get("context")?,
            body: row.try_get("body")?,
            place: place(row)?,
            embedding: from_bytes(row.try_get("embedding")?),
        })
    }
}

/// The tail: what search sees and no segment holds yet, of the given sources or of the whole tenant.
/// `after` and `limit` page through it by id.
pub async fn tail(
    tx: &mut TenantTx,
    only: Option<&[SourceId]>,
    after: Option<PassageId>,
    limit: i64,
) -> Result<Vec<Indexed>, Error> {
    let only: Option<Vec<Uuid>> =
        only.map(|sources| sources.iter().map(|source| source.uuid()).collect());
    let found = sqlx::query_as(
        "select id, source_id, version, ordinal, context, body, page, heading_path, char_start,
                char_end, spot, embedding
         from shard.passages
         where tenant_id = $1 and ($2::uuid[] is null or source_id = any($2)) and id > $3
         order by id limit $4",
    )
    .bind(tx.tenant_id())
    .bind(only)
    .bind(after.map_or(Uuid::nil(), PassageId::uuid))
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

fn place(row: &PgRow) -> Result<Place, sqlx::Error> {
    let unsigned = |name: &str| -> Result<u32, sqlx::Error> {
        let value: i32 = row.try_get(name)?;
        Ok(value.unsigned_abs())
    };
    Ok(Place {
        page: row
            .try_get::<Option<i32>, _>("page")?
            .map(i32::unsigned_abs),
        spot: row
            .try_get::<Option<sqlx::types::Json<Spot>>, _>("spot")?
            .map_or_else(Spot::default, |spot| spot.0),
        heading_path: row.try_get("heading_path")?,
        char_start: unsigned("char_start")?,
        char_end: unsigned("char_end")?,
    })
}

/// A passage as a person sees it.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Its id.
    pub id: PassageId,
    /// The notebook it is in.
    pub notebook: NotebookId,
    /// The source it is part of.
    pub source: SourceId,
    /// The version of the source.
    pub source_version: i32,
    /// The name of the source.
    pub source_name: String,
    /// Its number within the source, from 0.
    pub ordinal: i32,
    /// Title and headings above the text.
    pub context: String,
    /// The text.
    pub body: String,
    /// Where it stands.
    pub place: Place,
}

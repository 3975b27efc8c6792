//! A source, and a place in it, as JSON.

use chrono::Utc;
use serde::Serialize;
use utoipa::ToSchema;

use quire_store::passages::Passage;
use quire_store::progress::Stage;
use quire_store::sources::Source;
use quire_types::Place;

use crate::body::time;
use crate::caller::Reader;

/// A source.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct SourceOut {
    #[schema(example = "src_0198c0de00007000a000000000000001")]
    id: String,
    notebook: String,
    #[schema(example = "contract.pdf")]
    name: String,
    /// `pdf`, `docx`, `xlsx`, `email`, …: what the content is, whatever its name; absent until the content was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// `queued`, `extracting`, `embedding`, `searchable` or `failed`; that of the latest version.
    state: String,
    /// Why it failed or is not being read yet, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How much of the stage that `state` names is done.
    #[schema(minimum = 0, maximum = 100)]
    percent: i16,
    /// What the latest version went through so far, in order.
    stages: Vec<StageOut>,
    latest_version: i32,
    /// The version that search sees; an older one stays until a newer one is searchable.
    #[serde(skip_serializing_if = "Option::is_none")]
    live_version: Option<i32>,
    /// SHA-256 of the content, in hex.
    content_sha256: String,
    size_bytes: i64,
    /// Passages that search sees.
    passages: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pages: Option<i32>,
    /// How long a recording is.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
    /// The first picture of yours that this one is a copy of, whatever its size or compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    similar_to: Option<String>,
    /// Where a person finds it in the account that it came from; told when one source is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The groups of people who see it; absent where everybody does. Not told to who acts for people in groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    created_at: String,
    updated_at: String,
}

/// A stage of reading a source.
#[derive(Serialize, ToSchema)]
pub(super) struct StageOut {
    /// `queued`, `extracting` or `embedding`.
    stage: String,
    began_at: String,
    /// How long it took, or has taken until now.
    took_ms: u64,
}

impl StageOut {
    fn of(stage: Stage) -> Self {
        Self {
            stage: stage.state.to_string(),
            began_at: time(stage.began_at),
            took_ms: u64::try_from(stage.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl SourceOut {
    /// What somebody may know of a source that he sees: no other groups, and no other source.
    pub(in crate::routes) fn seen_by(caller: &Reader, source: Source) -> Self {
        let all = Self::of(source);
        match caller.groups() {
            None => all,
            Some(_) => Self {
                groups: None,
                similar_to: None,
                ..all
            },
        }
    }

    /// The same with where a person finds it in the account that it came from.
    pub(super) fn found_at(self, url: Option<String>) -> Self {
        Self { url, ..self }
    }

    pub(super) fn of(source: Source) -> Self {
        Self {
            percent: source.percent,
            stages: source
                .stages(Utc::now())
                .into_iter()
                .map(StageOut::of)
                .collect(),
            id: source.id.to_string(),
            notebook: source.notebook.to_string(),
            name: source.name,
            media_type: source.media_type.map(|media| media.to_string()),
            state: source.state.to_string(),
            reason: source.reason,
            latest_version: source.latest_version,
            live_version: source.live_version,
            content_sha256: source
                .content_hash
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            size_bytes: source.size_bytes,
            passages: source.passages,
            pages: source.pages,
            duration_ms: source.duration_ms,
            similar_to: source.similar_to.map(|id| id.to_string()),
            url: None,
            groups: source.groups.map(Vec::from),
            created_at: time(source.created_at),
            updated_at: time(source.updated_at),
        }
    }
}

/// A passage of a source.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct PassageOut {
    #[schema(example = "psg_0198c0de00007000a000000000000001")]
    id: String,
    ordinal: i32,
    /// Title and headings above the text.
    context: String,
    text: String,
    place: PlaceOut,
}

impl PassageOut {
    pub(super) fn of(passage: Passage) -> Self {
        Self {
            id: passage.id.to_string(),
            ordinal: passage.ordinal,
            context: passage.context,
            text: passage.body,
            place: PlaceOut::of(passage.place),
        }
    }
}

/// Where something stands in the text of its source.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct PlaceOut {
    /// Page, from 1, where the source has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<u32>,
    /// The attachment of an e-mail; one inside the other with ` › ` between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    /// Slide, from 1, in a presentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    slide: Option<u32>,
    /// The name of the sheet, in a workbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    sheet: Option<String>,
    /// Cells of the sheet or table.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "A2:F9")]
    cells: Option<String>,
    /// Where it begins in a recording, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ms: Option<u64>,
    /// Where it ends in a recording, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_ms: Option<u64>,
    /// Headings above it, outermost first.
    heading_path: Vec<String>,
    /// First character of the extracted text, from 0.
    char_start: u32,
    /// One past the last character.
    char_end: u32,
}

impl PlaceOut {
    pub(in crate::routes) fn of(place: Place) -> Self {
        Self {
            page: place.page,
            part: place.spot.part,
            slide: place.spot.slide,
            sheet: place.spot.sheet,
            cells: place.spot.cells.map(|cells| cells.to_string()),
            start_ms: place.spot.time.map(|time| time.start_ms),
            end_ms: place.spot.time.map(|time| time.end_ms),
            heading_path: place.heading_path,
            char_start: place.char_start,
            char_end: place.char_end,
        }
    }
}

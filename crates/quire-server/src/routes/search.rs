//! Search without an answer, and the conditions it shares with questions.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_index::{Filter, Hit, Mode};
use quire_types::{NotebookId, Timestamp};

use super::sources::PlaceOut;
use crate::body::Body;
use crate::caller::Reader;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::rate::{rate_headers, refused};
use crate::state::App;

/// Which passages may be used. What is left out lets everything through.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FilterIn {
    /// Only in these notebooks, 1 to 100.
    pub(super) notebooks: Option<Vec<String>>,
    /// Only in sources of these types: `text`, `markdown`, `html`, `pdf`, `docx`.
    media_types: Option<Vec<String>>,
    /// Only what was added at this instant or later (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    added_from: Option<Timestamp>,
    /// Only what was added before this instant (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    added_before: Option<Timestamp>,
}

impl FilterIn {
    /// The filter within the caller's reach. Every notebook that is named must exist there.
    pub(super) async fn check(self, app: &App, caller: &Reader) -> ApiResult<Filter> {
        let notebooks = match self.notebooks {
            Some(names) => {
                if names.is_empty() || names.len() > 100 {
                    return Err(ApiError::invalid(
                        "notebooks names 1 to 100 notebooks, or is left out",
                    ));
                }
                let mut tx = app.store.tenant(caller.placement()).await?;
                let mut ids = Vec::with_capacity(names.len());
                for name in names {
                    let id: NotebookId =
                        name.parse().map_err(|_| ApiError::not_found("notebook"))?;
                    ids.push(caller.notebook(&mut tx, id).await?.id);
                }
                tx.commit().await?;
                Some(ids)
            }
            None => caller.only_notebook().map(|only| vec![only]),
        };
        let media_types = self
            .media_types
            .map(|names| {
                names
                    .iter()
                    .map(|name| {
                        name.parse()
                            .map_err(|_| ApiError::invalid(format!("'{name}' is no media type")))
                    })
                    .collect::<ApiResult<Vec<_>>>()
            })
            .transpose()?;
        Ok(Filter {
            notebooks,
            media_types,
            added_from: self.added_from,
            added_before: self.added_before,
        })
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchIn {
    #[schema(example = "retainage percentage")]
    query: String,
    /// How many passages, 1 to 100.
    #[schema(minimum = 1, maximum = 100, default = 10)]
    limit: Option<usize>,
    /// `hybrid` (both paths, the default), `lexical` or `dense`.
    #[schema(value_type = Option<String>, example = "hybrid")]
    mode: Option<Mode>,
    #[serde(default)]
    filter: FilterIn,
}

/// A passage that was found.
#[derive(Serialize, ToSchema)]
pub(super) struct HitOut {
    /// Its rank, from 1.
    rank: u32,
    passage: String,
    source: String,
    source_name: String,
    source_version: i32,
    notebook: String,
    /// Title and headings above the text.
    context: String,
    text: String,
    place: PlaceOut,
    /// What the list is ordered by.
    score: f32,
    /// BM25; absent when no word of the question occurs.
    #[serde(skip_serializing_if = "Option::is_none")]
    lexical_score: Option<f32>,
    /// Cosine of the angle between question and passage.
    dense_score: f32,
}

impl HitOut {
    pub(super) fn of(rank: u32, hit: Hit) -> Self {
        let passage = hit.passage;
        Self {
            rank,
            passage: passage.id.to_string(),
            source: passage.source.to_string(),
            source_name: passage.source_name,
            source_version: passage.source_version,
            notebook: passage.notebook.to_string(),
            context: passage.context,
            text: passage.body,
            place: PlaceOut::of(passage.place),
            score: hit.scores.fused,
            lexical_score: hit.scores.lexical,
            dense_score: hit.scores.dense,
        }
    }
}

/// What was found.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchOut {
    /// Best first.
    hits: Vec<HitOut>,
    /// Whether a part of the sources could not be read just now, so that better passages may be missing.
    degraded: bool,
}

/// Find passages.
#[utoipa::path(post, path = "/v1/search", tag = "questions", security(("tenant_key" = [])), request_body = SearchIn,
    responses((status = 200, body = SearchOut), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn search(
    caller: Reader,
    State(app): State<App>,
    Body(wanted): Body<SearchIn>,
) -> ApiResult<Response> {
    let limit = wanted.limit.unwrap_or(10);
    if !(1..=100).contains(&limit) {
        return Err(ApiError::invalid("limit must be between 1 and 100"));
    }
    let filter = wanted.filter.check(&app, &caller).await?;
    let mode = wanted.mode.unwrap_or_default();
    let found = app
        .asker
        .search(&caller.asking(), &wanted.query, filter, limit, mode)
        .await
        .map_err(refused)?;
    let degraded = found.is_degraded;
    let hits = (1..)
        .zip(found.hits)
        .map(|(rank, hit)| HitOut::of(rank, hit))
        .collect();
    Ok((rate_headers(found.rate), Json(SearchOut { hits, degraded })).into_response())
}

//! Search without an answer, and the conditions it shares with questions.

use std::ops::Range;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_index::{Explained, Filter, Hit, Mode, highlight};
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
            groups: caller.groups().cloned(),
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
    /// Say what decided the order, and where in each text the words of the question are.
    #[serde(default)]
    explain: bool,
}

/// A part of a text.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct SpanOut {
    /// First character, counted in Unicode scalar values from 0 as in `place`.
    char_start: u32,
    /// One past the last character.
    char_end: u32,
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
    /// Where the words of the question are in `text`, in any inflection; only when `explain` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    highlights: Option<Vec<SpanOut>>,
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
            highlights: None,
        }
    }
}

/// What the two lists of a question showed.
#[derive(Serialize, ToSchema)]
pub(super) struct SignalsOut {
    /// Best BM25 for a question of this length and a corpus of this size; absent when no word was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    gain: Option<f32>,
    /// Standard deviation of the best cosines; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<f32>,
    /// Whether a word of the question looks like a number or code.
    has_identifier: bool,
}

/// What decided the order of the hits.
#[derive(Serialize, ToSchema)]
pub(super) struct ExplainOut {
    /// The share of the vectors, from 0 (words alone) to 1 (vectors alone).
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f32>,
    /// `asked` (by `mode`), `only_path` (one path alone found something), `mixed` (by the signals),
    /// `weak_words` or `weak_vectors` (that path showed too little to count).
    #[schema(value_type = String)]
    reason: quire_index::Reason,
    signals: SignalsOut,
}

impl ExplainOut {
    fn of(explained: Explained) -> Self {
        Self {
            weight: explained.weight,
            reason: explained.reason,
            signals: SignalsOut {
                gain: explained.signals.gain,
                spread: explained.signals.spread,
                has_identifier: explained.signals.has_identifier,
            },
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
    /// Only when it was asked for, and absent when a quoted phrase decided the order, or nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ExplainOut>,
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
    let mut out = SearchOut {
        hits: (1..)
            .zip(found.hits)
            .map(|(rank, hit)| HitOut::of(rank, hit))
            .collect(),
        degraded: found.is_degraded,
        explain: None,
    };
    if wanted.explain {
        let language = app.asker.language(caller.placement()).await?;
        for hit in &mut out.hits {
            let ranges = highlight(&hit.text, &wanted.query, language);
            hit.highlights = Some(spans(&hit.text, &ranges));
        }
        out.explain = found.explained.map(ExplainOut::of);
    }
    Ok((rate_headers(found.rate), Json(out)).into_response())
}

/// Ranges of bytes, in order and apart, as ranges of characters.
fn spans(text: &str, ranges: &[Range<usize>]) -> Vec<SpanOut> {
    let (mut byte, mut chars) = (0, 0);
    let mut chars_until = |end: usize| {
        chars += text.get(byte..end).map_or(0, |part| part.chars().count());
        byte = end;
        u32::try_from(chars).unwrap_or(u32::MAX)
    };
    let span = |range: &Range<usize>| SpanOut {
        char_start: chars_until(range.start),
        char_end: chars_until(range.end),
    };
    ranges.iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_characters() {
        let text = "Grüße, größte Straße";
        let word = |word: &str| {
            let start = text.find(word).unwrap_or_default();
            start..start + word.len()
        };
        let spans = spans(text, &[word("Grüße"), word("Straße")]);
        let pairs: Vec<(u32, u32)> = spans
            .iter()
            .map(|span| (span.char_start, span.char_end))
            .collect();
        assert_eq!(pairs, [(0, 5), (14, 20)]);
    }
}

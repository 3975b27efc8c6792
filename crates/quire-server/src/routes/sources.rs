//! Sources: adding, watching, reading back, removing.

mod add;
mod shape;

use axum::Json;
use axum::body::Body as StreamBody;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use quire_ingest::explain;
use quire_ingest::extract::Wanted;
use quire_store::connections;
use quire_store::sources::{self as rows, Content, Source};
use quire_types::{Groups, PassageId, SourceId};

use crate::body::{Body, ListOut, Paged, Params};
use crate::caller::{ReadNotebook, ReadSource, Reader, WriteSource};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

pub(super) use add::{__path_add, add};
use shape::PassageOut;
pub(super) use shape::{PlaceOut, SourceOut};

/// List the sources of a notebook.
#[utoipa::path(get, path = "/v1/notebooks/{notebook}/sources", tag = "sources", security(("tenant_key" = [])),
    params(("notebook" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<SourceOut>), (status = 404, body = Problem)))]
pub(super) async fn list(
    ReadNotebook { caller, notebook }: ReadNotebook,
    State(app): State<App>,
    page: Paged<SourceId>,
) -> ApiResult<Json<ListOut<SourceOut>>> {
    let mut tx = caller.tx(&app).await?;
    let mut page = rows::list(&mut tx, notebook.id, page.request).await?;
    tx.commit().await?;
    explain(&app.store, caller.placement(), &mut page.items).await?;
    Ok(Json(ListOut::of(
        page,
        |source| source.id.to_string(),
        |source| SourceOut::seen_by(&caller, source),
    )))
}

/// Get a source with its state: how far it is, and why it is not being read yet.
#[utoipa::path(get, path = "/v1/sources/{source}", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path)),
    responses((status = 200, body = SourceOut), (status = 404, body = Problem)))]
pub(super) async fn get(
    ReadSource { caller, mut source }: ReadSource,
    State(app): State<App>,
) -> ApiResult<Json<SourceOut>> {
    let one = std::slice::from_mut(&mut source);
    explain(&app.store, caller.placement(), one).await?;
    let mut tx = app.store.tenant(caller.placement()).await?;
    let url = connections::url(&mut tx, source.id).await?;
    tx.commit().await?;
    Ok(Json(SourceOut::seen_by(&caller, source).found_at(url)))
}

/// What is to be different about a source.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourcePatch {
    /// The groups of people who see it; `null` is everybody, an empty list nobody whose groups are told.
    // Only what is named is changed, and there is nothing else yet.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, example = json!(["field crew", "dana@northgate.example"]))]
    groups: Option<Vec<String>>,
}

/// Set who sees a source. Searches and questions go by it from the moment this answers.
#[utoipa::path(patch, path = "/v1/sources/{source}", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path)), request_body = SourcePatch,
    responses((status = 200, body = SourceOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn change(
    WriteSource { caller, source }: WriteSource,
    State(app): State<App>,
    Body(patch): Body<SourcePatch>,
) -> ApiResult<Json<SourceOut>> {
    let groups = patch.groups.map(Groups::new).transpose();
    let groups = groups.map_err(|error| ApiError::invalid(error.to_string()))?;
    let mut tx = app.store.tenant(caller.placement()).await?;
    let source = rows::set_groups(&mut tx, source.id, groups.as_ref()).await?;
    tx.commit().await?;
    Ok(Json(explained(&app, &caller, source).await?))
}

/// Delete a source. It can't be found from the moment this answers.
#[utoipa::path(delete, path = "/v1/sources/{source}", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn delete(
    WriteSource { caller, source }: WriteSource,
    State(app): State<App>,
) -> ApiResult<StatusCode> {
    app.ingest
        .delete_source(caller.placement(), source.id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the passages of a source that search sees, in reading order.
#[utoipa::path(get, path = "/v1/sources/{source}/passages", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<PassageOut>), (status = 404, body = Problem)))]
pub(super) async fn passages(
    ReadSource { caller, source }: ReadSource,
    State(app): State<App>,
    page: Paged<PassageId>,
) -> ApiResult<Json<ListOut<PassageOut>>> {
    let page = app
        .search
        .passages(caller.placement(), source.id, page.request)
        .await?;
    Ok(Json(ListOut::of(
        page,
        |passage| passage.id.to_string(),
        PassageOut::of,
    )))
}

/// Which version of a source.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContentQuery {
    version: Option<i32>,
}

/// Download the bytes of a source as they were added: of the version that search sees and citations are of, or of
/// `version`. Before any can be searched, those of the latest. A version is kept until a newer one is searchable.
#[utoipa::path(get, path = "/v1/sources/{source}/content", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path), ("version" = Option<i32>, Query)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(super) async fn content(
    ReadSource { caller, source }: ReadSource,
    State(app): State<App>,
    Params(query): Params<ContentQuery>,
) -> ApiResult<impl IntoResponse> {
    let seen = source.live_version.unwrap_or(source.latest_version);
    let version = query.version.unwrap_or(seen);
    let mut tx = app.store.tenant(caller.placement()).await?;
    let (content, size) = rows::sized_content(&mut tx, source.id, version).await?;
    tx.commit().await?;
    let body = match content {
        Content::Object(object) => {
            StreamBody::from_stream(app.store.objects().stream(&object).await?)
        }
        Content::Text(text) => StreamBody::from(text),
    };
    // Never shown in place: the bytes are somebody's file and may be a page with a script.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, disposition(&source.name)),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, body))
}

/// Which picture of a source.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PictureQuery {
    #[serde(default)]
    page: u32,
    #[serde(default)]
    at_ms: u64,
    #[serde(default)]
    size: Size,
}

/// How large it is drawn.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Size {
    /// At most 1,600 pixels long.
    #[default]
    Large,
    /// A thumbnail: at most 320.
    Small,
}

/// Show a citation in place: a page of a PDF, a picture, or a moment of a film, as PNG.
#[utoipa::path(get, path = "/v1/sources/{source}/picture", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path), ("page" = Option<u32>, Query), ("at_ms" = Option<u64>, Query),
        ("size" = Option<String>, Query, description = "`small` for a thumbnail, at most 320 pixels long")),
    responses((status = 200, body = Vec<u8>, content_type = "image/png"), (status = 404, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn picture(
    ReadSource { caller, source }: ReadSource,
    State(app): State<App>,
    Params(query): Params<PictureQuery>,
) -> ApiResult<impl IntoResponse> {
    let wanted = Wanted {
        page: query.page,
        at_ms: query.at_ms,
        is_small: matches!(query.size, Size::Small),
    };
    let png = app.ingest.draw(caller.placement(), &source, wanted).await?;
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    Ok((headers, png))
}

/// RFC 6266: the last part of the name, percent-encoded, so that no name can break out of the header.
fn disposition(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or("source");
    let encoded: String = last
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("attachment; filename*=UTF-8''{encoded}")
}

/// Try a failed source again.
#[utoipa::path(post, path = "/v1/sources/{source}/retry", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path)),
    responses((status = 202, body = SourceOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn retry(
    WriteSource { caller, source }: WriteSource,
    State(app): State<App>,
) -> ApiResult<Response> {
    let source = app.ingest.retry(caller.placement(), source.id).await?;
    let source = explained(&app, &caller, source).await?;
    Ok((StatusCode::ACCEPTED, Json(source)).into_response())
}

/// A source as it is now, with why it is not being read yet.
async fn explained(app: &App, caller: &Reader, source: Source) -> ApiResult<SourceOut> {
    let now = now(app, caller, &[source.id]).await?;
    Ok(SourceOut::of(now.into_iter().next().unwrap_or(source)))
}

/// Those of these sources that are still there, with why they are not being read yet.
async fn now(app: &App, caller: &Reader, ids: &[SourceId]) -> ApiResult<Vec<Source>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let mut sources = rows::by_ids(&mut tx, ids).await?;
    tx.commit().await?;
    explain(&app.store, caller.placement(), &mut sources).await?;
    Ok(sources)
}

//! Sources: adding, watching, reading back, removing.

use axum::Json;
use axum::body::{Body as StreamBody, Bytes, to_bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_ingest::extract::Wanted;
use quire_ingest::{StreamError, explain};
use quire_store::progress::Stage;
use quire_store::sources::{self as rows, Added, Content, Source};
use quire_store::{connections, passages};
use quire_types::{ErrorKind, Groups, PassageId, Place, SourceId};

use crate::body::{Body, ListOut, Paged, Params, time};
use crate::caller::{ReadNotebook, ReadSource, Reader, WriteNotebook, WriteSource};
use crate::idempotent::{Reply, fingerprint, once};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A source.
#[derive(Serialize, ToSchema)]
pub(super) struct SourceOut {
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
    pub(super) fn seen_by(caller: &Reader, source: Source) -> Self {
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

    fn of(source: Source) -> Self {
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

/// A text to add, or the address of a file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TextIn {
    /// The name of the source; an ending of `.md` makes a text Markdown. May be left out for an address.
    #[schema(example = "notes.md")]
    name: Option<String>,
    /// The text.
    #[schema(example = "# Site meeting\n\nThe slab is poured on May 4.")]
    text: Option<String>,
    /// Instead of a text: where a file is on the public Internet. It is fetched once.
    url: Option<String>,
}

/// Who is to see what is added.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AddParams {
    /// Only people in these groups, with commas between them. Left out, everybody sees what is new.
    groups: Option<String>,
}

impl AddParams {
    fn groups(&self) -> ApiResult<Option<Groups>> {
        let groups = self.groups.as_deref().map(Groups::parse).transpose();
        groups.map_err(|error| ApiError::invalid(error.to_string()))
    }
}

/// What a JSON body asks for.
enum Wish {
    Text { name: String, text: String },
    Link { name: Option<String>, url: String },
}

impl TextIn {
    fn wish(self) -> ApiResult<Wish> {
        match (self.name, self.text, self.url) {
            (Some(name), Some(text), None) => Ok(Wish::Text { name, text }),
            (name, None, Some(url)) => Ok(Wish::Link { name, url }),
            _ => Err(ApiError::invalid(
                "the body can't be read: send a name and a text, or a url",
            )),
        }
    }
}

/// Files to add.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form for the OpenAPI document")]
struct FilesIn {
    /// One or more files; the file name is the name of the source.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
}

/// A source that was added.
#[derive(Serialize, ToSchema)]
pub(super) struct AddedOut {
    #[serde(flatten)]
    source: SourceOut,
    /// `created`, `updated` (a new version) or `duplicate` (the notebook has this content already).
    added: String,
}

/// A file that was not added.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusedOut {
    name: String,
    code: String,
    detail: String,
}

/// What became of the files.
#[derive(Serialize, ToSchema)]
pub(super) struct AddOut {
    sources: Vec<AddedOut>,
    /// Files that were not added; the others are not affected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedOut>,
}

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

/// Add files, a text, or what is at an address. Answers when they are durable and queued; the state of each source tells when
/// it can be found. The same content twice is one source; other content under a known name is a new
/// version. A known name for other groups is a conflict.
#[utoipa::path(post, path = "/v1/notebooks/{notebook}/sources", tag = "sources", security(("tenant_key" = [])),
    params(("notebook" = String, Path), AddParams, ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((TextIn = "application/json"), (FilesIn = "multipart/form-data"))),
    responses((status = 202, body = AddOut), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn add(
    target: WriteNotebook,
    State(app): State<App>,
    Params(params): Params<AddParams>,
    headers: HeaderMap,
    request: Request,
) -> ApiResult<Response> {
    let groups = params.groups()?;
    app.control.admit_upload(&target.caller.caller).await?;
    app.pressure.check(&app.store).await?;
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("multipart/form-data")) {
        // Content is recognised by its hash, so a form that is sent again changes nothing and needs no key.
        let form = Multipart::from_request(request, &app)
            .await
            .map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
        return Ok(add_files(&app, &target, groups.as_ref(), form)
            .await?
            .into_response());
    }
    let wish = text_of(request, app.limits.json_bytes).await?.wish()?;
    let notebook = target.notebook.id.to_string();
    let [name, content] = match &wish {
        Wish::Text { name, text } => [name.as_str(), text],
        Wish::Link { name, url } => [name.as_deref().unwrap_or_default(), url],
    };
    let fingerprint = fingerprint(&[
        b"POST sources",
        notebook.as_bytes(),
        name.as_bytes(),
        content.as_bytes(),
        params.groups.as_deref().unwrap_or_default().as_bytes(),
    ]);
    once(
        &app.clone(),
        target.caller.placement(),
        &headers,
        fingerprint,
        async move {
            let (name, bytes) = match wish {
                Wish::Text { name, text } => (name, Bytes::from(text)),
                Wish::Link { name, url } => {
                    let linked = app.connect.fetch(&url).await?;
                    (name.unwrap_or(linked.name), linked.bytes.into())
                }
            };
            let bytes = stream::once(async { Ok::<_, std::io::Error>(bytes) }).boxed();
            let placement = target.caller.placement();
            let added = app
                .ingest
                .add_for(placement, target.notebook.id, &name, groups.as_ref(), bytes)
                .await?;
            Reply::new(
                StatusCode::ACCEPTED,
                &AddOut {
                    sources: vec![added_out(added)],
                    refused: Vec::new(),
                },
            )
        },
    )
    .await
}

/// The JSON form; the route as a whole accepts as much as a file may have.
async fn text_of(request: Request, limit_bytes: usize) -> ApiResult<TextIn> {
    let bytes = to_bytes(request.into_body(), limit_bytes).await.map_err(|_| {
        ApiError::new(
            ErrorKind::TooLarge,
            format!("the body is cut off or larger than {limit_bytes} bytes: send the text as a file"),
        )
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::invalid(format!("the body can't be read: {error}")))
}

async fn add_files(
    app: &App,
    target: &WriteNotebook,
    groups: Option<&Groups>,
    mut form: Multipart,
) -> ApiResult<Reply> {
    let mut out = AddOut {
        sources: Vec::new(),
        refused: Vec::new(),
    };
    let mut first_error = None;
    loop {
        let field = form.next_field().await.map_err(form_error)?;
        let Some(field) = field else { break };
        let Some(name) = field.file_name().map(str::to_owned) else {
            continue;
        };
        match add_file(app, target, groups, &name, field).await {
            Ok(added) => out.sources.push(added_out(added)),
            // What is wrong with one file says nothing about the next; what is wrong with us does.
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => {
                out.refused.push(RefusedOut {
                    name,
                    code: error.kind().as_str().to_owned(),
                    detail: error.problem("", "").detail().to_owned(),
                });
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if out.sources.is_empty() => Err(error),
        None if out.sources.is_empty() => Err(ApiError::invalid(
            "the form holds no file: send each file in a part with a file name",
        )),
        _ => Reply::new(StatusCode::ACCEPTED, &out),
    }
}

async fn add_file(
    app: &App,
    target: &WriteNotebook,
    groups: Option<&Groups>,
    name: &str,
    field: Field<'_>,
) -> ApiResult<Added> {
    let bytes = field.map(|part| part.map_err(stream_error)).boxed();
    let placement = target.caller.placement();
    Ok(app
        .ingest
        .add_for(placement, target.notebook.id, name, groups, bytes)
        .await?)
}

fn form_error(error: MultipartError) -> ApiError {
    stream_error(error).into()
}

fn stream_error(error: MultipartError) -> StreamError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message =
            "the request is larger than the limit: send fewer or smaller files".to_owned();
        return StreamError {
            kind: ErrorKind::TooLarge,
            message,
        };
    }
    StreamError {
        kind: ErrorKind::Invalid,
        message: format!("the form can't be read: {}", error.body_text()),
    }
}

fn added_out(added: Added) -> AddedOut {
    let word = match &added {
        Added::Created(_) => "created",
        Added::Updated(_) => "updated",
        Added::Duplicate(_) => "duplicate",
    };
    let (Added::Created(source) | Added::Updated(source) | Added::Duplicate(source)) = added;
    AddedOut {
        source: SourceOut::of(source),
        added: word.to_owned(),
    }
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
    Ok(Json(SourceOut {
        url,
        ..SourceOut::seen_by(&caller, source)
    }))
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
    Ok(Json(SourceOut::of(source)))
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

/// A passage of a source.
#[derive(Serialize, ToSchema)]
pub(super) struct PassageOut {
    #[schema(example = "psg_0198c0de00007000a000000000000001")]
    id: String,
    ordinal: i32,
    /// Title and headings above the text.
    context: String,
    text: String,
    place: PlaceOut,
}

/// Where something stands in the text of its source.
#[derive(Serialize, ToSchema)]
pub(super) struct PlaceOut {
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
    pub(super) fn of(place: Place) -> Self {
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
    let out = |passage: passages::Passage| PassageOut {
        id: passage.id.to_string(),
        ordinal: passage.ordinal,
        context: passage.context,
        text: passage.body,
        place: PlaceOut::of(passage.place),
    };
    Ok(Json(ListOut::of(
        page,
        |passage| passage.id.to_string(),
        out,
    )))
}

/// Download the bytes of the latest version as they were added.
#[utoipa::path(get, path = "/v1/sources/{source}/content", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(super) async fn content(
    ReadSource { caller, source }: ReadSource,
    State(app): State<App>,
) -> ApiResult<impl IntoResponse> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let content = rows::content(&mut tx, source.id, source.latest_version).await?;
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
        (header::CONTENT_LENGTH, source.size_bytes.to_string()),
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
}

/// Show a citation in place: a page of a PDF, a picture, or a moment of a film, as PNG.
#[utoipa::path(get, path = "/v1/sources/{source}/picture", tag = "sources", security(("tenant_key" = [])),
    params(("source" = String, Path), ("page" = Option<u32>, Query), ("at_ms" = Option<u64>, Query)),
    responses((status = 200, body = Vec<u8>, content_type = "image/png"), (status = 404, body = Problem)))]
pub(super) async fn picture(
    ReadSource { caller, source }: ReadSource,
    State(app): State<App>,
    Params(query): Params<PictureQuery>,
) -> ApiResult<impl IntoResponse> {
    let wanted = Wanted {
        page: query.page,
        at_ms: query.at_ms,
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
    Ok((StatusCode::ACCEPTED, Json(SourceOut::of(source))).into_response())
}

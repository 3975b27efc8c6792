//! Adding sources: files in a form, a text, or what is at an address.

use axum::body::{Bytes, to_bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_ingest::StreamError;
use quire_store::sources::Added;
use quire_types::{ErrorKind, Groups, SourceId};

use super::shape::SourceOut;
use crate::body::Params;
use crate::caller::WriteNotebook;
use crate::idempotent::{Reply, fingerprint, once};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A text to add, or the address of a file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::routes) struct TextIn {
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
pub(in crate::routes) struct AddParams {
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
pub(in crate::routes) struct AddedOut {
    #[serde(flatten)]
    source: SourceOut,
    /// `created`, `updated` (a new version) or `duplicate` (the notebook has this content already).
    added: String,
}

/// A file that was not added.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct RefusedOut {
    name: String,
    code: String,
    detail: String,
}

/// What became of the files.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct AddOut {
    sources: Vec<AddedOut>,
    /// Files that were not added; the others are not affected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedOut>,
}

/// Add files, a text, or what is at an address. Answers when they are durable and queued; the state of each source
/// tells when it can be found. The same content twice is one source; other content under a known name is a new
/// version. A known name for other groups is a conflict.
#[utoipa::path(post, path = "/v1/notebooks/{notebook}/sources", tag = "sources", security(("tenant_key" = [])),
    params(("notebook" = String, Path), AddParams, ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((TextIn = "application/json"), (FilesIn = "multipart/form-data"))),
    responses((status = 202, body = AddOut), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub(in crate::routes) async fn add(
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
            let sources = added_out(&app, &target, vec![added]).await?;
            let refused = Vec::new();
            Reply::new(StatusCode::ACCEPTED, &AddOut { sources, refused })
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
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    let mut first_error = None;
    loop {
        let field = form.next_field().await.map_err(form_error)?;
        let Some(field) = field else { break };
        let Some(name) = field.file_name().map(str::to_owned) else {
            continue;
        };
        match add_file(app, target, groups, &name, field).await {
            Ok(added) => all.push(added),
            // What is wrong with one file says nothing about the next; what is wrong with us does.
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => {
                refused.push(RefusedOut {
                    name,
                    code: error.kind().as_str().to_owned(),
                    detail: error.problem("", "").detail().to_owned(),
                });
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if all.is_empty() => Err(error),
        None if all.is_empty() => Err(ApiError::invalid(
            "the form holds no file: send each file in a part with a file name",
        )),
        _ => {
            let sources = added_out(app, target, all).await?;
            Reply::new(StatusCode::ACCEPTED, &AddOut { sources, refused })
        }
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

/// What became of files, each with why it is not being read yet.
async fn added_out(app: &App, target: &WriteNotebook, all: Vec<Added>) -> ApiResult<Vec<AddedOut>> {
    let ids: Vec<SourceId> = all.iter().map(|added| added.source().id).collect();
    let now = super::now(app, &target.caller, &ids).await?;
    let out = all.into_iter().map(|added| {
        let word = match &added {
            Added::Created(_) => "created",
            Added::Updated(_) => "updated",
            Added::Duplicate(_) => "duplicate",
        };
        let known = now.iter().find(|source| source.id == added.source().id);
        AddedOut {
            source: SourceOut::of(known.unwrap_or(added.source()).clone()),
            added: word.to_owned(),
        }
    });
    Ok(out.collect())
}

//! Records of other products: taking events in, seeing what became of them, and the templates that make text
//! of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use quire_connect::records::{self as connect, Refused, template};
use quire_store::records::{self as rows, Heard, Record};
use quire_types::{Lane, RecordId, RecordState};

use crate::body::{Body, ListOut, Paged, Params, Raw, time};
use crate::caller::{TenantReader, Writer};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A change of a record in another product.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body for the OpenAPI document")]
pub(super) struct RecordEventIn {
    /// What it is: one of the types that ship, one with a template of your own, or any other word.
    #[schema(example = "invoice")]
    r#type: String,
    /// Its id in the product.
    #[schema(example = "INV-1042")]
    id: String,
    /// What it is about; its notebook is made when needed. Only a deletion may leave it out.
    entity: Option<EntityIn>,
    /// `add`, `update` (both carry the whole record) or `delete`.
    #[schema(example = "update")]
    action: String,
    /// The whole record as it is now.
    #[schema(value_type = Object, example = json!({ "number": "1042", "vendor": "Lakeland Lumber", "amount": 48250 }))]
    fields: Option<Value>,
    /// Grows with every change of the record. Give this or `time`, always the same one.
    version: Option<i64>,
    /// When it changed, RFC 3339.
    time: Option<String>,
    /// `realtime`, `standard` or `batch`.
    lane: Option<String>,
    /// Who made the change; passed on with events about it, so that its own echo can be told.
    origin: Option<String>,
    /// The groups of people who see it; left out, everybody does.
    groups: Option<Vec<String>>,
}

/// A thing that records are about.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body for the OpenAPI document")]
pub(super) struct EntityIn {
    /// `job`, `client`, `vendor`, `company`, or another word.
    #[schema(example = "job")]
    r#type: String,
    #[schema(example = "4711")]
    id: String,
    /// The name of its notebook.
    #[schema(example = "Riverside Clinic")]
    name: Option<String>,
}

/// What became of events.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct HeardOut {
    /// The newest state of their records.
    applied: usize,
    /// Older than what is known; nothing changed.
    stale: usize,
    /// Heard before; nothing changed.
    duplicate: usize,
    /// Of no use; the others are not affected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedEventOut>,
}

/// An event that was not taken in.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusedEventOut {
    /// Its number among those that were sent, from 0.
    index: usize,
    reason: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LaneParams {
    /// For events that name none: `realtime`, `standard` or `batch`.
    #[param(value_type = Option<String>)]
    lane: Option<Lane>,
}

/// Tell one change. Answers when it is kept; it is found a moment later. May be sent again, and may be
/// overtaken by a newer one.
#[utoipa::path(post, path = "/v1/records", tag = "records", security(("tenant_key" = [])), request_body = RecordEventIn,
    responses((status = 202, body = HeardOut), (status = 400, body = Problem), (status = 413, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn tell(
    writer: Writer,
    State(app): State<App>,
    Raw(body): Raw,
) -> ApiResult<(StatusCode, Json<HeardOut>)> {
    let heard = hear(&writer, &app, &body, Lane::Realtime).await?;
    match heard.refused.into_iter().next() {
        Some(refused) => Err(ApiError::invalid(format!(
            "the event can't be used: {}",
            refused.reason
        ))),
        None => Ok((
            StatusCode::ACCEPTED,
            Json(HeardOut {
                refused: Vec::new(),
                ..heard
            }),
        )),
    }
}

/// Tell up to 10,000 changes: a JSON array, or one JSON object a line. For a backfill use `lane=batch`.
#[utoipa::path(post, path = "/v1/records/batch", tag = "records", security(("tenant_key" = [])), params(LaneParams),
    request_body(content((Vec<RecordEventIn> = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 202, body = HeardOut), (status = 400, body = Problem), (status = 413, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn tell_many(
    writer: Writer,
    State(app): State<App>,
    Params(params): Params<LaneParams>,
    Raw(body): Raw,
) -> ApiResult<(StatusCode, Json<HeardOut>)> {
    let lane = params.lane.unwrap_or(Lane::Standard);
    let heard = hear(&writer, &app, &body, lane).await?;
    Ok((StatusCode::ACCEPTED, Json(heard)))
}

async fn hear(writer: &Writer, app: &App, body: &[u8], lane: Lane) -> ApiResult<HeardOut> {
    let Writer(caller) = writer;
    app.control.admit_upload(&caller.caller).await?;
    let (events, refused) = connect::parse(body, lane)?;
    let heard = app.connect.hear(caller.placement(), &events).await?;
    let count = |which| heard.iter().filter(|heard| **heard == which).count();
    Ok(HeardOut {
        applied: count(Heard::Applied),
        stale: count(Heard::Stale),
        duplicate: count(Heard::Duplicate),
        refused: refused
            .into_iter()
            .map(|Refused { index, reason }| RefusedEventOut { index, reason })
            .collect(),
    })
}

/// A record.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordOut {
    #[schema(example = "rec_0198c0de00007000a000000000000001")]
    id: String,
    r#type: String,
    /// Its id in the product.
    external_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<EntityOut>,
    /// Of its newest event; a time is counted in microseconds since 1970.
    version: i64,
    /// `queued`, `searchable`, `failed` or `deleted`.
    state: String,
    /// Why it failed, or what was odd.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The source that search finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// The groups of people who see it; absent where everybody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    changed_at: String,
    #[schema(value_type = Object)]
    fields: Value,
}

/// What a record is about.
#[derive(Serialize, ToSchema)]
pub(super) struct EntityOut {
    r#type: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its notebook, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    notebook: Option<String>,
}

impl RecordOut {
    fn of(record: Record) -> Self {
        let (name, notebook) = (record.entity_name, record.notebook);
        Self {
            id: record.id.to_string(),
            r#type: record.key.kind,
            external_id: record.key.id,
            entity: record.entity.map(|entity| EntityOut {
                r#type: entity.kind,
                id: entity.id,
                name,
                notebook: notebook.map(|notebook| notebook.to_string()),
            }),
            version: record.version,
            state: record.state.to_string(),
            reason: record.reason,
            source: record.source.map(|source| source.to_string()),
            origin: record.origin,
            groups: record.groups.map(Vec::from),
            changed_at: time(record.changed_at),
            fields: record.fields,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordParams {
    /// Only of this type.
    r#type: Option<String>,
    /// Only the one with this id in the product.
    id: Option<String>,
    /// Only about an entity of this type.
    entity_type: Option<String>,
    /// Only about the entity with this id.
    entity_id: Option<String>,
    /// Only in this state.
    #[param(value_type = Option<String>)]
    state: Option<RecordState>,
}

/// List records in the order in which they were first heard of.
#[utoipa::path(get, path = "/v1/records", tag = "records", security(("tenant_key" = [])),
    params(RecordParams, ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<RecordOut>), (status = 400, body = Problem)))]
pub(super) async fn list(
    TenantReader(caller): TenantReader,
    State(app): State<App>,
    Params(params): Params<RecordParams>,
    page: Paged<RecordId>,
) -> ApiResult<Json<ListOut<RecordOut>>> {
    let selection = rows::Selection {
        kind: params
            .r#type
            .map(|name| template::name(&name))
            .transpose()?,
        external_id: params.id,
        entity_type: params.entity_type,
        entity_id: params.entity_id,
        state: params.state,
    };
    let mut tx = app.store.tenant(caller.placement()).await?;
    let page = rows::list(&mut tx, &selection, page.request).await?;
    tx.commit().await?;
    Ok(Json(ListOut::of(
        page,
        |record| record.id.to_string(),
        RecordOut::of,
    )))
}

/// Get a record.
#[utoipa::path(get, path = "/v1/records/{record}", tag = "records", security(("tenant_key" = [])),
    params(("record" = String, Path)),
    responses((status = 200, body = RecordOut), (status = 404, body = Problem)))]
pub(super) async fn get(
    TenantReader(caller): TenantReader,
    State(app): State<App>,
    Path(id): Path<String>,
) -> ApiResult<Json<RecordOut>> {
    let id: RecordId = id.parse().map_err(|_| ApiError::not_found("record"))?;
    let mut tx = app.store.tenant(caller.placement()).await?;
    let record = rows::get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(RecordOut::of(record)))
}

/// How the records of a tenant are.
#[derive(Serialize, ToSchema)]
pub(super) struct SummaryOut {
    /// Records by type and state.
    counts: Vec<CountOut>,
    /// How long the oldest queued one waits, in seconds; 0 when nothing waits.
    lag_s: i64,
}

/// Records of one type in one state.
#[derive(Serialize, ToSchema)]
pub(super) struct CountOut {
    r#type: String,
    state: String,
    count: i64,
}

/// See how many records there are and how far behind search is.
#[utoipa::path(get, path = "/v1/records/summary", tag = "records", security(("tenant_key" = [])),
    responses((status = 200, body = SummaryOut)))]
pub(super) async fn summary(
    TenantReader(caller): TenantReader,
    State(app): State<App>,
) -> ApiResult<Json<SummaryOut>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let summary = rows::summary(&mut tx).await?;
    tx.commit().await?;
    let lag = summary.queued_since.map(|since| chrono::Utc::now() - since);
    Ok(Json(SummaryOut {
        counts: summary
            .counts
            .into_iter()
            .map(|(kind, state, count)| CountOut {
                r#type: kind,
                state: state.to_string(),
                count,
            })
            .collect(),
        lag_s: lag.map_or(0, |lag| lag.num_seconds().max(0)),
    }))
}

/// How many records were queued.
#[derive(Serialize, ToSchema)]
pub(super) struct QueuedOut {
    queued: u64,
}

/// Try failed records again, after the plan got room for example.
#[utoipa::path(post, path = "/v1/records/retry", tag = "records", security(("tenant_key" = [])),
    responses((status = 202, body = QueuedOut)))]
pub(super) async fn retry(
    Writer(caller): Writer,
    State(app): State<App>,
) -> ApiResult<(StatusCode, Json<QueuedOut>)> {
    let queued = app.connect.retry_records(caller.placement()).await?;
    Ok((StatusCode::ACCEPTED, Json(QueuedOut { queued })))
}

/// A type of records with its template.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordTypeOut {
    r#type: String,
    /// Whether it is the tenant's own; the others ship with quire.
    is_own: bool,
    /// Jinja; the first line is the title.
    template: String,
}

/// List the types that have a template. Records of other types are shown as a list of their fields.
#[utoipa::path(get, path = "/v1/record-types", tag = "records", security(("tenant_key" = [])),
    responses((status = 200, body = Vec<RecordTypeOut>)))]
pub(super) async fn types(
    TenantReader(caller): TenantReader,
    State(app): State<App>,
) -> ApiResult<Json<Vec<RecordTypeOut>>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let own = rows::types(&mut tx).await?;
    tx.commit().await?;
    let shipped = template::shipped().filter(|(name, _)| own.iter().all(|own| own.name != *name));
    let mut types: Vec<RecordTypeOut> = shipped
        .map(|(name, template)| RecordTypeOut {
            r#type: name.to_owned(),
            is_own: false,
            template: template.to_owned(),
        })
        .collect();
    types.extend(own.iter().map(|own| RecordTypeOut {
        r#type: own.name.clone(),
        is_own: true,
        template: own.template.clone(),
    }));
    types.sort_by(|one, two| one.r#type.cmp(&two.r#type));
    Ok(Json(types))
}

/// A template with what it is tried on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordTypeIn {
    #[schema(example = "permit")]
    r#type: String,
    #[schema(example = "Permit {{ number }}\nIssued: {{ issued_on }}")]
    template: String,
    /// Fields of such a record.
    #[schema(value_type = Object, example = json!({ "number": "B-77", "issued_on": "2025-05-04" }))]
    sample: Value,
}

/// What a template made of its sample.
#[derive(Serialize, ToSchema)]
pub(super) struct TriedOut {
    r#type: String,
    title: String,
    text: String,
    /// Records that are queued to be rendered by it.
    queued: u64,
}

/// Set the template of a type. It is tried on the sample first; records that are there are rendered again.
#[utoipa::path(put, path = "/v1/record-types", tag = "records", security(("tenant_key" = [])),
    request_body = RecordTypeIn,
    responses((status = 200, body = TriedOut), (status = 400, body = Problem)))]
pub(super) async fn set_type(
    Writer(caller): Writer,
    State(app): State<App>,
    Body(new): Body<RecordTypeIn>,
) -> ApiResult<Json<TriedOut>> {
    let name = template::name(&new.r#type)?;
    let tried = template::try_out(&name, &new.template, &new.sample)?;
    let set = Some((new.template.as_str(), &new.sample));
    let queued = app
        .connect
        .set_template(caller.placement(), &name, set)
        .await?;
    Ok(Json(TriedOut {
        r#type: name,
        title: tried.title,
        text: tried.text,
        queued,
    }))
}

/// Try a template without setting it.
#[utoipa::path(post, path = "/v1/record-types/try", tag = "records", security(("tenant_key" = [])),
    request_body = RecordTypeIn,
    responses((status = 200, body = TriedOut), (status = 400, body = Problem)))]
pub(super) async fn try_type(
    _: Writer,
    Body(new): Body<RecordTypeIn>,
) -> ApiResult<Json<TriedOut>> {
    let name = template::name(&new.r#type)?;
    let tried = template::try_out(&name, &new.template, &new.sample)?;
    Ok(Json(TriedOut {
        r#type: name,
        title: tried.title,
        text: tried.text,
        queued: 0,
    }))
}

/// Remove the tenant's own template of a type. The one that ships counts again, if there is one.
#[utoipa::path(delete, path = "/v1/record-types/{type}", tag = "records", security(("tenant_key" = [])),
    params(("type" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn unset_type(
    Writer(caller): Writer,
    State(app): State<App>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    let name = template::name(&name).map_err(|_| ApiError::not_found("record type"))?;
    app.connect
        .set_template(caller.placement(), &name, None)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

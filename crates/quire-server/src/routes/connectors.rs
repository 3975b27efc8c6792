//! Connections to accounts elsewhere: making, trying, pausing, renewing, removing.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use quire_connect::connections::{Told, Wanted};
use quire_store::connections::{self as rows, Connection};
use quire_types::{ConnectionId, Groups, NotebookId, Secret};

use crate::body::{Body, ListOut, Paged, Params, path, time};
use crate::caller::{Reader, TenantReader, Writer};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A connection the caller may see.
pub(super) struct SeenConnection {
    caller: Reader,
    connection: Connection,
}

/// A connection the caller may change.
pub(super) struct OwnConnection(SeenConnection);

async fn find(caller: Reader, parts: &mut Parts, app: &App) -> ApiResult<SeenConnection> {
    let id: ConnectionId = path(parts, app, "connection").await?;
    let mut tx = app.store.tenant(caller.placement()).await?;
    let connection = rows::get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(SeenConnection { caller, connection })
}

impl FromRequestParts<App> for SeenConnection {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let TenantReader(caller) = TenantReader::from_request_parts(parts, app).await?;
        find(caller, parts, app).await
    }
}

impl FromRequestParts<App> for OwnConnection {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let Writer(caller) = Writer::from_request_parts(parts, app).await?;
        Ok(Self(find(caller, parts, app).await?))
    }
}

/// A connection.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionOut {
    #[schema(example = "con_0198c0de00007000a000000000000001")]
    id: String,
    /// `notion`, `postgres`, `teams`, `zoom` or `webhook`.
    kind: String,
    name: String,
    /// Where its sources go; a webhook or a database brings records, which go to the notebooks of their entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    notebook: Option<String>,
    /// The groups of people who see what it brings, beside those whom the account names; absent where that is everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    #[schema(value_type = Object)]
    settings: Value,
    /// `waiting` (for consent), `active`, `paused` or `failed`.
    state: String,
    /// Why it failed and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When reading last came to an end; how far behind it is at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<String>,
    /// Where a webhook is to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<String>,
    created_at: String,
}

impl ConnectionOut {
    fn of(caller: &Reader, connection: Connection) -> Self {
        let hook = format!("/hooks/{}/{}", caller.tenant().id, connection.id);
        Self {
            hook: (connection.kind == "webhook").then_some(hook),
            id: connection.id.to_string(),
            kind: connection.kind,
            name: connection.name,
            notebook: connection.notebook.map(|notebook| notebook.to_string()),
            groups: connection.groups.map(Vec::from),
            settings: connection.settings,
            state: connection.state.to_string(),
            reason: connection.reason,
            last_success_at: connection.last_success_at.map(time),
            last_error: connection.last_error,
            last_error_at: connection.last_error_at.map(time),
            created_at: time(connection.created_at),
        }
    }
}

/// A connection to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionIn {
    /// `notion`, `teams`, `zoom`, `postgres` for records in tables, or `webhook` for records by signed webhooks.
    #[schema(example = "notion")]
    kind: String,
    /// Unique in the tenant, and the name of its notebook where none is given.
    #[schema(example = "Team wiki")]
    name: String,
    /// Where its sources go.
    notebook: Option<String>,
    /// The groups of people who see what it brings; left out, everybody does. Records name groups of their own instead.
    groups: Option<Vec<String>>,
    /// Its token, or the address of a database with its password; kept sealed and never shown. For a webhook one is
    /// made when it is left out; `teams` and `zoom` have none.
    secret: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Option<Value>,
}

/// A connection that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectedOut {
    #[serde(flatten)]
    connection: ConnectionOut,
    /// Whose account it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Shown once: what senders of webhooks sign with.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Where somebody with the account has to agree, within a quarter of an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorize_url: Option<String>,
}

/// List connections.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", security(("tenant_key" = [])),
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<ConnectionOut>)))]
pub(super) async fn list(
    TenantReader(caller): TenantReader,
    State(app): State<App>,
    page: Paged<ConnectionId>,
) -> ApiResult<Json<ListOut<ConnectionOut>>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let page = rows::list(&mut tx, page.request).await?;
    tx.commit().await?;
    let id = |connection: &Connection| connection.id.to_string();
    Ok(Json(ListOut::of(page, id, |connection| {
        ConnectionOut::of(&caller, connection)
    })))
}

/// Connect an account. Its token is tried first; reading begins at once, or when somebody followed `authorize_url`.
#[utoipa::path(post, path = "/v1/connections", tag = "connections", security(("tenant_key" = [])),
    request_body = ConnectionIn,
    responses((status = 201, body = ConnectedOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn create(
    Writer(caller): Writer,
    State(app): State<App>,
    Body(new): Body<ConnectionIn>,
) -> ApiResult<(StatusCode, Json<ConnectedOut>)> {
    let notebook = new.notebook.as_deref().map(str::parse::<NotebookId>);
    let notebook = notebook
        .transpose()
        .map_err(|_| ApiError::not_found("notebook"))?;
    let groups = groups(new.groups)?;
    let settings = new.settings.unwrap_or_else(|| json!({}));
    let secret = new.secret.as_deref().map(Secret::new);
    let wanted = Wanted {
        kind: &new.kind,
        name: &new.name,
        notebook,
        groups: groups.as_ref(),
        settings: &settings,
        secret: secret.as_ref(),
    };
    let (connection, told) = app.connect.connect(caller.placement(), &wanted).await?;
    let mut out = ConnectedOut {
        connection: ConnectionOut::of(&caller, connection),
        account: None,
        secret: None,
        authorize_url: None,
    };
    match told {
        Told::Account(account) => out.account = Some(account),
        Told::Signing(secret) => out.secret = secret.map(|secret| secret.expose().to_owned()),
        Told::Link(link) => out.authorize_url = Some(link),
    }
    Ok((StatusCode::CREATED, Json(out)))
}

/// Get a connection: its state, when it was last read, and what went wrong.
#[utoipa::path(get, path = "/v1/connections/{connection}", tag = "connections", security(("tenant_key" = [])),
    params(("connection" = String, Path)),
    responses((status = 200, body = ConnectionOut), (status = 404, body = Problem)))]
pub(super) async fn get(found: SeenConnection) -> Json<ConnectionOut> {
    Json(ConnectionOut::of(&found.caller, found.connection))
}

/// What is to be different.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionPatch {
    /// Whether it is read.
    is_active: Option<bool>,
    /// A new token, tried first; a connection that failed goes on with it.
    secret: Option<String>,
    /// Other settings, all of them, tried first; everything is looked at by them.
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
    /// The groups of people who see what it brought and brings; `null` is everybody.
    #[serde(default, deserialize_with = "told")]
    groups: Option<Option<Vec<String>>>,
}

/// Tells `null` from what is not there.
fn told<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(value).map(Some)
}

fn groups(names: Option<Vec<String>>) -> ApiResult<Option<Groups>> {
    let groups = names.map(Groups::new).transpose();
    groups.map_err(|error| ApiError::invalid(error.to_string()))
}

/// Pause or resume a connection, give it a new token or other settings, or set who sees what it brings.
#[utoipa::path(patch, path = "/v1/connections/{connection}", tag = "connections", security(("tenant_key" = [])),
    params(("connection" = String, Path)), request_body = ConnectionPatch,
    responses((status = 200, body = ConnectionOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn change(
    OwnConnection(found): OwnConnection,
    State(app): State<App>,
    Body(patch): Body<ConnectionPatch>,
) -> ApiResult<Json<ConnectionOut>> {
    let SeenConnection {
        caller,
        mut connection,
    } = found;
    if let Some(secret) = patch.secret {
        let secret = Secret::new(&secret);
        connection = app
            .connect
            .renew_connection(caller.placement(), connection.id, &secret)
            .await?;
    }
    if let Some(settings) = patch.settings {
        connection = app
            .connect
            .configure_connection(caller.placement(), connection.id, &settings)
            .await?;
    }
    if let Some(names) = patch.groups {
        let groups = groups(names)?;
        connection = app
            .connect
            .regroup_connection(caller.placement(), connection.id, groups.as_ref())
            .await?;
    }
    if let Some(is_active) = patch.is_active {
        connection = app
            .connect
            .set_connection(caller.placement(), connection.id, is_active)
            .await?;
    }
    Ok(Json(ConnectionOut::of(&caller, connection)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DisconnectParams {
    /// Whether its sources go as well.
    #[serde(default)]
    purge: bool,
}

/// Remove a connection with its token. Its sources stay, unless `purge=true`.
#[utoipa::path(delete, path = "/v1/connections/{connection}", tag = "connections", security(("tenant_key" = [])),
    params(("connection" = String, Path), DisconnectParams),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(
    OwnConnection(found): OwnConnection,
    State(app): State<App>,
    Params(params): Params<DisconnectParams>,
) -> ApiResult<StatusCode> {
    let placement = found.caller.placement();
    app.connect
        .disconnect(placement, found.connection.id, params.purge)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A link.
#[derive(Serialize, ToSchema)]
pub(super) struct ConsentOut {
    /// Where somebody with the account has to agree, within a quarter of an hour.
    authorize_url: String,
}

/// Ask for a link by which somebody opens the account, for the first time or again.
#[utoipa::path(post, path = "/v1/connections/{connection}/authorize", tag = "connections",
    security(("tenant_key" = [])), params(("connection" = String, Path)),
    responses((status = 200, body = ConsentOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn authorize(
    OwnConnection(found): OwnConnection,
    State(app): State<App>,
) -> ApiResult<Json<ConsentOut>> {
    let placement = found.caller.placement();
    let authorize_url = app
        .connect
        .consent_link(placement, found.connection.id)
        .await?;
    Ok(Json(ConsentOut { authorize_url }))
}

/// Whether a connection works.
#[derive(Serialize, ToSchema)]
pub(super) struct TestedOut {
    /// Whose account it is.
    account: String,
}

/// Try a connection.
#[utoipa::path(post, path = "/v1/connections/{connection}/test", tag = "connections",
    security(("tenant_key" = [])), params(("connection" = String, Path)),
    responses((status = 200, body = TestedOut), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn test(
    OwnConnection(found): OwnConnection,
    State(app): State<App>,
) -> ApiResult<Json<TestedOut>> {
    let placement = found.caller.placement();
    let account = app
        .connect
        .test_connection(placement, found.connection.id)
        .await?;
    Ok(Json(TestedOut { account }))
}

/// Read a connection now instead of within the next minutes, and look at everything on the other side.
#[utoipa::path(post, path = "/v1/connections/{connection}/sync", tag = "connections",
    security(("tenant_key" = [])), params(("connection" = String, Path)),
    responses((status = 202), (status = 404, body = Problem)))]
pub(super) async fn sync(
    OwnConnection(found): OwnConnection,
    State(app): State<App>,
) -> ApiResult<StatusCode> {
    let placement = found.caller.placement();
    app.connect.sync_now(placement, found.connection.id).await?;
    Ok(StatusCode::ACCEPTED)
}

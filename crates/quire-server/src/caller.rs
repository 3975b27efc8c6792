//! Who is calling, as argument types.
//!
//! A handler that takes an [`Admin`], a [`Reader`], a [`Writer`] or one of the checked resources can't
//! run for anybody else. A notebook or source of another tenant, outside the key's own notebook, or for groups
//! that the caller is not in, is looked up like one that does not exist and answers so.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use quire_ask::Asking;
use quire_store::keys::ApiKey;
use quire_store::notebooks::{self, Notebook};
use quire_store::sources::{self, Source};
use quire_store::tenants::Tenant;
use quire_store::{Placement, TenantTx};
use quire_tenancy::{Caller, Who};
use quire_types::{ErrorKind, Groups, KeyRole, NotebookId, RequestId, SourceId, TenantState};

use crate::body::path;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// The operator of the installation.
pub(crate) struct Admin;

/// Anybody with a tenant's key.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) caller: Caller,
    key: Arc<ApiKey>,
    user: Option<String>,
    groups: Option<Groups>,
    request: RequestId,
}

/// Somebody with a key for all notebooks, whomever he acts for.
pub(crate) struct AllNotebooks(pub(crate) Reader);

/// Somebody who may see everything in the tenant.
pub(crate) struct TenantReader(pub(crate) Reader);

/// Somebody who may change everything in the tenant.
pub(crate) struct Writer(pub(crate) Reader);

/// A notebook the caller may read.
pub(crate) struct ReadNotebook {
    pub(crate) caller: Reader,
    pub(crate) notebook: Notebook,
}

/// A notebook the caller may change.
pub(crate) struct WriteNotebook {
    pub(crate) caller: Reader,
    pub(crate) notebook: Notebook,
}

/// A source the caller may read.
pub(crate) struct ReadSource {
    pub(crate) caller: Reader,
    pub(crate) source: Source,
}

/// A source the caller may change.
pub(crate) struct WriteSource {
    pub(crate) caller: Reader,
    pub(crate) source: Source,
}

impl Reader {
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.caller.account.tenant
    }

    pub(crate) fn placement(&self) -> Placement {
        self.tenant().placement()
    }

    /// The only notebook the key reaches, if it is bound to one.
    pub(crate) fn only_notebook(&self) -> Option<NotebookId> {
        self.key.notebook
    }

    /// The groups of the person behind the request: besides what is for everybody, only their sources are seen. None
    /// sees everything.
    pub(crate) fn groups(&self) -> Option<&Groups> {
        self.groups.as_ref()
    }

    /// A transaction that sees of sources and questions what the caller may see.
    pub(crate) async fn tx(&self, app: &App) -> ApiResult<TenantTx> {
        Ok(app
            .store
            .tenant_seen_by(self.placement(), self.groups())
            .await?)
    }

    /// Whether a notebook is within the key's reach.
    pub(crate) fn reaches(&self, notebook: NotebookId) -> bool {
        self.only_notebook().is_none_or(|only| only == notebook)
    }

    /// Who asks, for whatever costs something.
    pub(crate) fn asking(&self) -> Asking {
        Asking {
            caller: self.caller.clone(),
            user: self.user.clone(),
            request: self.request,
        }
    }

    /// What is about everybody is for nobody in particular.
    fn must_see_everything(&self) -> ApiResult<()> {
        match self.groups {
            None => Ok(()),
            Some(_) => Err(ApiError::new(
                ErrorKind::Forbidden,
                "who acts for people in groups reads and asks, nothing else: leave Quire-Groups out, or use a key \
                 without groups",
            )),
        }
    }

    fn must_write(&self) -> ApiResult<()> {
        self.must_see_everything()?;
        match self.key.role {
            KeyRole::ReadOnly => Err(ApiError::new(
                ErrorKind::Forbidden,
                "a read-only key can't change anything",
            )),
            KeyRole::Tenant | KeyRole::Notebook => Ok(()),
        }
    }

    /// A notebook within the key's reach.
    pub(crate) async fn notebook(&self, tx: &mut TenantTx, id: NotebookId) -> ApiResult<Notebook> {
        if !self.reaches(id) {
            return Err(ApiError::not_found("notebook"));
        }
        Ok(notebooks::get(tx, id).await?)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

async fn who(parts: &Parts, app: &App) -> ApiResult<Who> {
    let refused = |text: &str| ApiError::new(ErrorKind::Unauthenticated, text);
    let presented = bearer(&parts.headers)
        .ok_or_else(|| refused("no key was sent: add the header 'Authorization: Bearer qk_…'"))?;
    let who = app.control.who(presented).await?;
    who.ok_or_else(|| refused("the key is mistyped, unknown or revoked"))
}

/// The tenant's own name of the person behind a request, for limits by person.
const USER: &str = "quire-user";

fn user(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get(USER) else {
        return Ok(None);
    };
    let is_name = |name: &str| {
        (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str().ok().filter(|name| is_name(name)) {
        Some(name) => Ok(Some(name.to_owned())),
        None => Err(ApiError::invalid(
            "a Quire-User has 1 to 128 visible characters without spaces",
        )),
    }
}

/// The groups that the person behind a request is in.
const GROUPS: &str = "quire-groups";

/// What the header tells; an empty one is somebody in no group.
fn told_groups(headers: &HeaderMap) -> ApiResult<Option<Groups>> {
    let mut names = Vec::new();
    for value in headers.get_all(GROUPS) {
        let value = value.to_str().map_err(|_| {
            ApiError::invalid("Quire-Groups has names of groups in ASCII, with commas between them")
        })?;
        names.extend(
            value
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty()),
        );
    }
    if !headers.contains_key(GROUPS) {
        return Ok(None);
    }
    match Groups::new(names) {
        Ok(groups) => Ok(Some(groups)),
        Err(error) => Err(ApiError::invalid(format!("Quire-Groups: {error}"))),
    }
}

/// A key for some people never sees more than they do; a header may narrow it.
fn groups(key: &ApiKey, headers: &HeaderMap) -> ApiResult<Option<Groups>> {
    Ok(match (&key.groups, told_groups(headers)?) {
        (Some(of_key), Some(told)) => Some(of_key.common(&told)),
        (Some(of_key), None) => Some(of_key.clone()),
        (None, told) => told,
    })
}

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        match who(parts, app).await? {
            Who::Admin(_) => Ok(Self),
            Who::Tenant(..) => Err(ApiError::new(
                ErrorKind::Forbidden,
                "this needs the operator's key, not a tenant's",
            )),
        }
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let Who::Tenant(caller, key) = who(parts, app).await? else {
            return Err(ApiError::new(
                ErrorKind::Forbidden,
                "this needs a tenant's key: the operator's key does not reach content",
            ));
        };
        match caller.account.tenant.state {
            TenantState::Active => {}
            state => {
                return Err(ApiError::new(
                    ErrorKind::Forbidden,
                    format!("the tenant is {state}"),
                ));
            }
        }
        Ok(Self {
            groups: groups(&key, &parts.headers)?,
            key,
            user: user(&parts.headers)?,
            request: RequestId::generate(),
            caller,
        })
    }
}

impl FromRequestParts<App> for TenantReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let AllNotebooks(caller) = AllNotebooks::from_request_parts(parts, app).await?;
        caller.must_see_everything()?;
        Ok(Self(caller))
    }
}

impl FromRequestParts<App> for AllNotebooks {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let caller = Reader::from_request_parts(parts, app).await?;
        match caller.only_notebook() {
            None => Ok(Self(caller)),
            Some(_) => Err(ApiError::new(
                ErrorKind::Forbidden,
                "this needs a key for the whole tenant",
            )),
        }
    }
}

impl FromRequestParts<App> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let caller = Reader::from_request_parts(parts, app).await?;
        caller.must_write()?;
        match caller.key.role {
            KeyRole::Tenant => Ok(Self(caller)),
            KeyRole::Notebook | KeyRole::ReadOnly => Err(ApiError::new(
                ErrorKind::Forbidden,
                "this needs a key for the whole tenant",
            )),
        }
    }
}

impl FromRequestParts<App> for ReadNotebook {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let caller = Reader::from_request_parts(parts, app).await?;
        let id: NotebookId = path(parts, app, "notebook").await?;
        let mut tx = app.store.tenant(caller.placement()).await?;
        let notebook = caller.notebook(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Self { caller, notebook })
    }
}

impl FromRequestParts<App> for WriteNotebook {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let ReadNotebook { caller, notebook } =
            ReadNotebook::from_request_parts(parts, app).await?;
        caller.must_write()?;
        Ok(Self { caller, notebook })
    }
}

impl FromRequestParts<App> for ReadSource {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let caller = Reader::from_request_parts(parts, app).await?;
        let id: SourceId = path(parts, app, "source").await?;
        let mut tx = caller.tx(app).await?;
        let source = sources::get(&mut tx, id).await?;
        tx.commit().await?;
        if !caller.reaches(source.notebook) {
            return Err(ApiError::not_found("source"));
        }
        Ok(Self { caller, source })
    }
}

impl FromRequestParts<App> for WriteSource {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let ReadSource { caller, source } = ReadSource::from_request_parts(parts, app).await?;
        caller.must_write()?;
        Ok(Self { caller, source })
    }
}

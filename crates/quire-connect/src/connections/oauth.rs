//! Accounts that are opened by consent (OAuth 2.0, RFC 6749): the link that somebody follows, the way back, and
//! tokens that wear out.
//!
//! The link carries a sealed state that names tenant and connection, so the way back leads nowhere else, whoever
//! takes it. The first account that is let in stays the account of the connection. A token that is refreshed is
//! written at once, in a transaction of its own: providers take the old one back. Microsoft lets an organisation in
//! rather than a person, so its tokens are asked for in our own name ([`teams`]).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use quire_store::connections::{self as rows, Connection};
use quire_store::sealed::Purpose;
use quire_store::{Placement, accounts};
use quire_types::{ConnectionId, Secret, TenantId};

use super::{TEAMS, ZOOM, api, purpose, start, teams, unopened, zoom};
use crate::{Connect, Error};

/// How long a link may be followed.
const LINK_S: i64 = 15 * 60;

/// A token that is good for less than this is refreshed first.
const FRESH_S: i64 = 5 * 60;

/// What a provider knows of quire, as the operator registered it.
#[derive(Clone, Debug)]
pub struct App {
    /// The id of the app.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What the provider signs its webhooks with, or repeats something made of in them.
    pub webhook_secret: Secret,
    /// Where people agree and tokens are given.
    pub login_url: String,
    /// Where content is read.
    pub api_url: String,
}

/// Who may come back from a link, and until when.
#[derive(Deserialize, Serialize)]
struct State {
    tenant: TenantId,
    connection: ConnectionId,
    expires_at: i64,
}

/// What a provider gave; kept sealed.
#[derive(Deserialize, Serialize)]
struct Tokens {
    access: String,
    refresh: String,
    expires_at: i64,
}

/// What a provider answers when it gives tokens.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    expires_in: i64,
    /// Who agreed, as OpenID Connect tells it.
    #[serde(default)]
    id_token: String,
}

impl Granted {
    fn tokens(self) -> Tokens {
        Tokens {
            access: self.access_token,
            refresh: self.refresh_token,
            expires_at: Utc::now().timestamp() + self.expires_in,
        }
    }
}

/// An account that was opened.
struct Opened {
    account: String,
    /// What people call it.
    shown: String,
    tokens: Tokens,
}

/// Whether accounts of this kind are opened by consent.
pub(super) fn is_used_by(kind: &str) -> bool {
    [ZOOM, TEAMS].contains(&kind)
}

fn state_purpose(kind: &str) -> Purpose {
    Purpose::of_installation("oauth", kind)
}

impl Connect {
    /// The app of this installation at a provider.
    pub(super) fn app(&self, kind: &str) -> Result<&App, Error> {
        let (app, provider) = match kind {
            TEAMS => (&self.config.teams, "Microsoft"),
            _ => (&self.config.zoom, "Zoom"),
        };
        app.as_ref().ok_or_else(|| {
            Error::Invalid(format!(
                "this installation is not known to {provider}: set connect.{kind} and connect.public_url"
            ))
        })
    }

    /// Where others reach a path of this service.
    pub(super) fn public_address(&self, path: &str) -> Result<String, Error> {
        let public = self.config.public_url.as_deref().ok_or_else(|| {
            Error::Invalid("nobody could come back here: set connect.public_url".to_owned())
        })?;
        Ok(format!("{}{path}", public.trim_end_matches('/')))
    }

    fn redirect_url(&self, kind: &str) -> Result<String, Error> {
        self.public_address(&format!("/oauth/{kind}"))
    }

    /// The link that somebody with the account follows to open it to a connection; good for a quarter of an hour.
    pub async fn consent_link(
        &self,
        placement: Placement,
        id: ConnectionId,
    ) -> Result<String, Error> {
        let connection = self.connection(placement, id).await?;
        if !is_used_by(&connection.kind) {
            return Err(Error::Invalid(format!(
                "a {} connection is not opened by a link: give it its secret",
                connection.kind
            )));
        }
        self.link(placement, &connection.kind, id)
    }

    pub(super) fn link(
        &self,
        placement: Placement,
        kind: &str,
        id: ConnectionId,
    ) -> Result<String, Error> {
        let app = self.app(kind)?;
        let state = State {
            tenant: placement.tenant,
            connection: id,
            expires_at: Utc::now().timestamp() + LINK_S,
        };
        let state = Secret::new(json!(state).to_string());
        let state = self.config.keyring.seal(&state_purpose(kind), &state)?;
        let state = URL_SAFE_NO_PAD.encode(state);
        match kind {
            TEAMS => {
                let scope = teams::scope(app)?;
                let parameters = [("scope", scope.as_str())];
                self.address(
                    kind,
                    "/organizations/v2.0/adminconsent",
                    &state,
                    &parameters,
                )
            }
            _ => {
                let parameters = [("response_type", "code")];
                self.address(kind, "/oauth/authorize", &state, &parameters)
            }
        }
    }

    /// An administrator came back from Microsoft having agreed: the link on, to where they say who they are. That they
    /// agreed, and for whom, is only what their browser says, and means nothing.
    pub fn sign_in_link(&self, state: &str) -> Result<String, Error> {
        self.opened(TEAMS, state)?;
        let parameters = [
            ("response_type", "code"),
            ("response_mode", "query"),
            ("scope", "openid profile"),
        ];
        self.address(
            TEAMS,
            "/organizations/oauth2/v2.0/authorize",
            state,
            &parameters,
        )
    }

    /// An address of a provider that people are sent to and come back from.
    fn address(
        &self,
        kind: &str,
        path: &str,
        state: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, Error> {
        let app = self.app(kind)?;
        let redirect = self.redirect_url(kind)?;
        let common = [
            ("client_id", app.client_id.as_str()),
            ("redirect_uri", &redirect),
            ("state", state),
        ];
        let parameters = parameters.iter().chain(&common);
        let link = Url::parse_with_params(&format!("{}{path}", app.login_url), parameters);
        link.map(String::from)
            .map_err(|error| Error::Invalid(format!("connect.{kind}.login_url: {error}")))
    }

    /// Somebody came back from the link with a code: the connection is open now. Returns its name and the account.
    pub async fn consented(
        &self,
        kind: &str,
        state: &str,
        code: &str,
    ) -> Result<(String, String), Error> {
        let state = self.opened(kind, state)?;
        let placement = self.placement_of(state.tenant).await?.ok_or_else(stale)?;
        self.connection(placement, state.connection).await?;
        let Opened {
            account,
            shown,
            tokens,
        } = self.open(kind, code).await?;
        let connection = self.connection(placement, state.connection).await?;
        let known = connection.settings["account"].as_str();
        if known.is_some_and(|known| known != account) {
            return Err(Error::Invalid(
                "this connection belongs to another account: make a connection of its own for this one"
                    .to_owned(),
            ));
        }
        // A note of a connection that has no tokens yet leads nowhere, so it may come first.
        let mut tx = self.config.store.system().await?;
        let tenant = placement.tenant;
        accounts::note(&mut tx, tenant, connection.id, kind, &account).await?;
        tx.commit().await?;

        let sealed = self.sealed(placement, connection.id, &tokens)?;
        let mut settings = connection.settings;
        settings["account"] = account.into();
        let mut tx = self.config.store.tenant(placement).await?;
        rows::set_settings(&mut tx, connection.id, &settings).await?;
        let connection = rows::set_secret(&mut tx, connection.id, &sealed).await?;
        start(&mut tx, &connection).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok((connection.name, shown))
    }

    /// Whose account a code stands for, and tokens for it.
    async fn open(&self, kind: &str, code: &str) -> Result<Opened, Error> {
        let (app, egress) = (self.app(kind)?, &self.config.egress);
        let redirect = self.redirect_url(kind)?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
        ];
        if kind == TEAMS {
            let granted = self.grant(kind, "organizations", &form).await?;
            let (account, shown) = teams::administrator(app, &granted.id_token)?;
            let tokens = self.own_tokens(app, &account).await?;
            let access = Secret::new(&tokens.access);
            let graph = teams::Graph::new(egress.clone(), app, access)?;
            graph.test().await.map_err(not_yet)?;
            return Ok(Opened {
                account,
                shown,
                tokens,
            });
        }
        let tokens = self.grant(kind, "", &form).await?.tokens();
        let (account, shown) = zoom::whose(egress, app, &Secret::new(&tokens.access)).await?;
        Ok(Opened {
            account,
            shown,
            tokens,
        })
    }

    /// Tokens in our own name for an organisation whose administrator agreed.
    async fn own_tokens(&self, app: &App, account: &str) -> Result<Tokens, Error> {
        let scope = teams::scope(app)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", scope.as_str()),
        ];
        Ok(self.grant(TEAMS, account, &form).await?.tokens())
    }

    /// A token in our own name for an organisation.
    pub(super) async fn own_token(&self, app: &App, account: &str) -> Result<Secret, Error> {
        Ok(Secret::new(self.own_tokens(app, account).await?.access))
    }

    fn opened(&self, kind: &str, state: &str) -> Result<State, Error> {
        let sealed = URL_SAFE_NO_PAD.decode(state).map_err(|_| stale())?;
        let text = self.config.keyring.unseal(&state_purpose(kind), &sealed);
        let text = text.map_err(|_| stale())?;
        let state: State = serde_json::from_str(text.expose()).map_err(|_| stale())?;
        match state.expires_at >= Utc::now().timestamp() {
            true => Ok(state),
            false => Err(stale()),
        }
    }

    /// A token that is good for a while, refreshed where it has to be.
    pub(super) async fn access_token(
        &self,
        placement: Placement,
        connection: &Connection,
    ) -> Result<Secret, Error> {
        let tokens = self.tokens(placement, connection)?;
        if tokens.expires_at > Utc::now().timestamp() + FRESH_S {
            return Ok(Secret::new(tokens.access));
        }
        let connection = self.refresh(placement, connection).await?;
        Ok(Secret::new(self.tokens(placement, &connection)?.access))
    }

    /// Gets new tokens for old ones and keeps them. Returns the connection with them.
    pub(super) async fn refresh(
        &self,
        placement: Placement,
        connection: &Connection,
    ) -> Result<Connection, Error> {
        let old = self.tokens(placement, connection)?;
        let granted = match connection.settings["account"].as_str() {
            Some(account) if connection.kind == TEAMS => {
                self.own_tokens(self.app(TEAMS)?, account).await
            }
            _ => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", old.refresh.as_str()),
                ];
                let granted = self.grant(&connection.kind, "", &form).await;
                granted.map(Granted::tokens)
            }
        };
        let mut tx = self.config.store.tenant(placement).await?;
        if let Ok(tokens) = &granted {
            let sealed = self.sealed(placement, connection.id, tokens)?;
            rows::succeed_secret(&mut tx, connection.id, &connection.secret, &sealed).await?;
        }
        let now = rows::get(&mut tx, connection.id).await?;
        tx.commit().await?;
        match granted {
            // Refused, but another process was first and has new ones.
            Err(error) if now.secret == connection.secret => Err(error),
            _ => Ok(now),
        }
    }

    fn tokens(&self, placement: Placement, connection: &Connection) -> Result<Tokens, Error> {
        if connection.secret.is_empty() {
            return Err(unopened());
        }
        let purpose = purpose(placement.tenant, connection.id);
        let text = self.config.keyring.unseal(&purpose, &connection.secret)?;
        serde_json::from_str(text.expose()).map_err(|_| {
            Error::Stopped("its tokens can't be understood: open the account anew".to_owned())
        })
    }

    fn sealed(
        &self,
        placement: Placement,
        id: ConnectionId,
        tokens: &Tokens,
    ) -> Result<Vec<u8>, Error> {
        let text = Secret::new(json!(tokens).to_string());
        let purpose = purpose(placement.tenant, id);
        Ok(self.config.keyring.seal(&purpose, &text)?)
    }

    /// Asks for tokens, of an organisation where the provider wants to know which. A refusal is told as 401: what was
    /// shown is not good any more.
    async fn grant(
        &self,
        kind: &str,
        organisation: &str,
        form: &[(&str, &str)],
    ) -> Result<Granted, Error> {
        let app = self.app(kind)?;
        let mut body = Url::parse("form://").map_err(|error| Error::Invalid(error.to_string()))?;
        body.query_pairs_mut().extend_pairs(form);
        let secret = app.client_secret.expose();
        let request = match kind {
            TEAMS => {
                let own = [
                    ("client_id", app.client_id.as_str()),
                    ("client_secret", secret),
                ];
                body.query_pairs_mut().extend_pairs(own);
                let path = format!("/{}/oauth2/v2.0/token", api::encode(organisation));
                let url = format!("{}{path}", app.login_url);
                self.config.egress.request(Method::POST, &url)?
            }
            _ => {
                let url = format!("{}/oauth/token", app.login_url);
                let request = self.config.egress.request(Method::POST, &url)?;
                request.basic_auth(&app.client_id, Some(secret))
            }
        };
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(api::TIMEOUT)
            .body(body.query().unwrap_or_default().to_owned());
        match api::send(request).await {
            Err(Error::Status {
                status: 400 | 403, ..
            }) => Err(Error::Status {
                status: 401,
                retry_after: None,
            }),
            answer => answer,
        }
    }
}

/// What was agreed to takes a moment to be known everywhere.
fn not_yet(error: Error) -> Error {
    match error {
        Error::Status {
            status: 401 | 403, ..
        } => Error::Invalid(
            "Microsoft does not let quire in yet: wait a minute and follow the link again"
                .to_owned(),
        ),
        error => error,
    }
}

fn stale() -> Error {
    Error::Invalid("the link is not good any more: ask for a new one".to_owned())
}

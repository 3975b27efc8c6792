//! Accounts that are opened by consent (OAuth 2.0, RFC 6749): the link that somebody follows, the way back, and
//! tokens that wear out.
//!
//! The link carries a sealed state that names tenant and connection, so the way back leads nowhere else, whoever
//! takes it. The first account that is let in stays the account of the connection. A token that is refreshed is
//! written at once, in a transaction of its own: providers take the old one back.

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

use super::{ZOOM, purpose, start, unopened, zoom};
use crate::egress::{retry_after, unreachable};
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
    /// What the provider signs its webhooks with.
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
    refresh_token: String,
    expires_in: i64,
}

/// Whether accounts of this kind are opened by consent.
pub(super) fn is_used_by(kind: &str) -> bool {
    kind == ZOOM
}

fn state_purpose() -> Purpose {
    Purpose::of_installation("oauth", ZOOM)
}

impl Connect {
    /// The app of this installation at Zoom.
    pub(super) fn zoom(&self) -> Result<&App, Error> {
        self.config.zoom.as_ref().ok_or_else(|| {
            Error::Invalid(
                "this installation is not known to Zoom: set connect.zoom and connect.public_url"
                    .to_owned(),
            )
        })
    }

    fn redirect_url(&self) -> Result<String, Error> {
        let public = self.config.public_url.as_deref().ok_or_else(|| {
            Error::Invalid("nobody could come back here: set connect.public_url".to_owned())
        })?;
        Ok(format!("{}/oauth/{ZOOM}", public.trim_end_matches('/')))
    }

    /// The link that somebody with the account follows to open it to a connection; good for a quarter of an hour.
    pub async fn consent_link(
        &self,
        placement: Placement,
        id: ConnectionId,
    ) -> Result<String, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::get(&mut tx, id).await?;
        tx.commit().await?;
        if !is_used_by(&connection.kind) {
            return Err(Error::Invalid(format!(
                "a {} connection is not opened by a link: give it its secret",
                connection.kind
            )));
        }
        self.link(placement, id)
    }

    pub(super) fn link(&self, placement: Placement, id: ConnectionId) -> Result<String, Error> {
        let app = self.zoom()?;
        let state = State {
            tenant: placement.tenant,
            connection: id,
            expires_at: Utc::now().timestamp() + LINK_S,
        };
        let state = Secret::new(json!(state).to_string());
        let state = self.config.keyring.seal(&state_purpose(), &state)?;
        let redirect = self.redirect_url()?;
        let state = URL_SAFE_NO_PAD.encode(state);
        let parameters = [
            ("response_type", "code"),
            ("client_id", &app.client_id),
            ("redirect_uri", &redirect),
            ("state", &state),
        ];
        let link =
            Url::parse_with_params(&format!("{}/oauth/authorize", app.login_url), parameters);
        link.map(String::from)
            .map_err(|error| Error::Invalid(format!("connect.zoom.login_url: {error}")))
    }

    /// Somebody came back from the link with a code: the connection is open now. Returns its name and the account.
    pub async fn consented(&self, state: &str, code: &str) -> Result<(String, String), Error> {
        let state = self.opened(state)?;
        let placement = self.placement_of(state.tenant).await?.ok_or_else(stale)?;
        let app = self.zoom()?;
        let redirect = self.redirect_url()?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
        ];
        let mut tx = self.config.store.tenant(placement).await?;
        rows::get(&mut tx, state.connection).await?;
        tx.commit().await?;
        let tokens = self.grant(app, &form).await?;
        let (account, shown) =
            zoom::whose(&self.config.egress, app, &Secret::new(&tokens.access)).await?;

        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::get(&mut tx, state.connection).await?;
        tx.commit().await?;
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
        accounts::note(&mut tx, tenant, connection.id, ZOOM, &account).await?;
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

    fn opened(&self, state: &str) -> Result<State, Error> {
        let sealed = URL_SAFE_NO_PAD.decode(state).map_err(|_| stale())?;
        let text = self.config.keyring.unseal(&state_purpose(), &sealed);
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
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", old.refresh.as_str()),
        ];
        let granted = self.grant(self.zoom()?, &form).await;
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

    /// Asks for tokens. A refusal is told as 401: what was shown is not good any more.
    async fn grant(&self, app: &App, form: &[(&str, &str)]) -> Result<Tokens, Error> {
        let url = format!("{}/oauth/token", app.login_url);
        let mut body = Url::parse("form://").map_err(|error| Error::Invalid(error.to_string()))?;
        body.query_pairs_mut().extend_pairs(form);
        let response = self
            .config
            .egress
            .request(Method::POST, &url)?
            .basic_auth(&app.client_id, Some(app.client_secret.expose()))
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(zoom::TIMEOUT)
            .body(body.query().unwrap_or_default().to_owned())
            .send()
            .await
            .map_err(unreachable)?;
        match response.status().as_u16() {
            200..=299 => {
                let granted: Granted = response.json().await.map_err(unreachable)?;
                Ok(Tokens {
                    access: granted.access_token,
                    refresh: granted.refresh_token,
                    expires_at: Utc::now().timestamp() + granted.expires_in,
                })
            }
            400 | 401 | 403 => Err(Error::Status {
                status: 401,
                retry_after: None,
            }),
            status => Err(Error::Status {
                status,
                retry_after: retry_after(&response),
            }),
        }
    }
}

fn stale() -> Error {
    Error::Invalid("the link is not good any more: ask for a new one".to_owned())
}

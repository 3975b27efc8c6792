//! Who may open an organisation: one of its administrators, as the token of their sign-in says.
//!
//! That token comes from Microsoft itself, over TLS and for a code that is good once, so its signature adds nothing
//! (OpenID Connect Core 1.0, 3.1.3.7). What a browser says about an organisation is never believed: it would let
//! anybody into every organisation that is open already.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde::Deserialize;

use super::super::App;
use crate::Error;

/// Roles in a directory whose holders may let an app see everybody's meetings: Global Administrator and Privileged
/// Role Administrator. Their ids are the same everywhere.
const ADMINISTRATORS: [&str; 2] = [
    "62e90394-69f5-4237-9190-012177145e10",
    "e8611ab8-c189-46e8-94e1-60213ab1f814",
];

/// Who signed in.
#[derive(Deserialize)]
struct Claims {
    /// Which app the token is for.
    aud: String,
    /// The organisation.
    tid: String,
    #[serde(default)]
    preferred_username: String,
    /// Their roles in the directory.
    #[serde(default)]
    wids: Vec<String>,
}

/// What our tokens are for: everything that the app is registered with.
pub(in super::super) fn scope(app: &App) -> Result<String, Error> {
    let api = Url::parse(&app.api_url)
        .map_err(|error| Error::Invalid(format!("connect.teams.api_url: {error}")))?;
    Ok(format!("{}/.default", api.origin().ascii_serialization()))
}

/// The organisation of the administrator who signed in, and their name there.
pub(in super::super) fn administrator(
    app: &App,
    id_token: &str,
) -> Result<(String, String), Error> {
    let claims = claims(id_token)
        .filter(|claims| claims.aud == app.client_id && !claims.tid.is_empty())
        .ok_or_else(|| Error::Remote("it does not say who signed in".to_owned()))?;
    let is_one = |role: &String| ADMINISTRATORS.contains(&role.as_str());
    match claims.wids.iter().any(is_one) {
        true => Ok((claims.tid, claims.preferred_username)),
        false => Err(Error::Invalid(
            "only a Global Administrator or Privileged Role Administrator can open an organisation: have one follow the link"
                .to_owned(),
        )),
    }
}

fn claims(id_token: &str) -> Option<Claims> {
    let payload = id_token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

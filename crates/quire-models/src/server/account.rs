//! A service account of Google's: what it signs is exchanged for a token, which shows who is calling for an hour
//! (RFC 7523).
//!
//! Keeps a token until shortly before it ends. Knows no method of Google's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::Utc;
use quire_types::Secret;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Server;
use crate::Error;

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// How long what is signed counts, in seconds: as long as Google allows.
const SIGNED_FOR: i64 = 3_600;
/// A token is replaced so long before it ends, since a call begins with it and is under way for a while.
const SPARE: Duration = Duration::from_secs(300);

/// The file that Google gives for a service account.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

pub(super) struct Account {
    email: String,
    key_id: Option<String>,
    token_uri: Url,
    key: Arc<dyn SigningKey>,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: Secret,
    fresh_until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Account {
    /// The account behind a credential; none when it is a plain key.
    pub(super) fn of(credential: &Secret) -> Result<Option<Self>, Error> {
        let text = credential.expose().trim();
        if !text.starts_with('{') {
            return Ok(None);
        }
        let wrong = |why: &str| {
            Error::Config(format!(
                "the key is no file of a service account: {why}; take the JSON that Google gave for it, or an API key"
            ))
        };
        // What is wrong with it may quote the key, so it is not told.
        let file: KeyFile = serde_json::from_str(text)
            .map_err(|_| wrong("client_email and private_key have to be in it"))?;
        let key = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| wrong("its private_key is no PEM"))?;
        let key = any_supported_type(&key).map_err(|_| wrong("its private_key can't be used"))?;
        if key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .is_none()
        {
            return Err(wrong("its private_key is not RSA"));
        }
        let uri = file.token_uri.as_deref().unwrap_or(TOKEN_URI);
        let token_uri = Url::parse(uri)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| wrong("its token_uri is no address"))?;
        Ok(Some(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            token_uri,
            key,
            token: Mutex::new(None),
        }))
    }

    /// A token that counts for a while. Whoever comes meanwhile waits for the same one.
    pub(super) async fn token(&self, server: &Server, deadline: Instant) -> Result<Secret, Error> {
        let mut kept = self.token.lock().await;
        let now = Instant::now();
        if let Some(token) = kept.as_ref().filter(|token| token.fresh_until > now) {
            return Ok(token.text.clone());
        }
        // Nothing in it needs escapes.
        let request = server
            .client
            .post(self.token_uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("grant_type={GRANT}&assertion={}", self.signed()?));
        let (body, _) = server
            .fetch_unsigned(request, deadline)
            .await
            .map_err(not_granted)?;
        let granted: Granted = server.parse(&body)?;
        let lasts = Duration::from_secs(granted.expires_in);
        let text = Secret::new(granted.access_token);
        *kept = Some(Token {
            text: text.clone(),
            fresh_until: now + lasts.saturating_sub(SPARE.min(lasts / 2)),
        });
        Ok(text)
    }

    /// Forgets a token that was refused, unless there is a newer one.
    pub(super) async fn forget(&self, refused: &Secret) {
        let mut kept = self.token.lock().await;
        if kept.as_ref().is_some_and(|token| token.text == *refused) {
            *kept = None;
        }
    }

    /// What says who is calling, in three parts: header, claims, signature.
    fn signed(&self) -> Result<String, Error> {
        let now = Utc::now().timestamp();
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.key_id});
        let claims = json!({"iss": self.email, "scope": SCOPE, "aud": self.token_uri.as_str(),
            "iat": now, "exp": now + SIGNED_FOR});
        let encoded = |json: serde_json::Value| BASE64.encode(json.to_string());
        let text = format!("{}.{}", encoded(header), encoded(claims));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signature = signer.and_then(|signer| signer.sign(text.as_bytes()).ok());
        let signature = signature.ok_or_else(|| {
            Error::Config("the private_key of a service account can't sign".to_owned())
        })?;
        Ok(format!("{text}.{}", BASE64.encode(signature)))
    }
}

/// That no token is granted means that the account is wrong, however it is said: no question of whoever calls.
fn not_granted(error: Error) -> Error {
    match error {
        Error::Refused {
            status: Some(400..=404),
            message,
            retry_after,
        } => Error::Refused {
            status: Some(401),
            message: format!("no token for the service account: {message}"),
            retry_after,
        },
        other => other,
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Account")
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

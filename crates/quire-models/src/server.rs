//! A server of a provider: where it is, how it is spoken to, and what it says about its limits.
//!
//! Sends what it is given once and hands back what comes, or one error. Knows no prompt, no price, no second
//! try and no second server.

mod account;
mod limits;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use quire_types::Secret;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::registry::Wire;
use account::Account;

pub use limits::{Remaining, Told};

/// What is read of an error response; the rest can't be interesting.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Longest part of a server's message that is kept.
const MAX_MESSAGE_CHARS: usize = 300;
/// Largest answer that comes in one piece, such as vectors: 2,048 of 3,072 numbers are about 80 MB of text.
const MAX_OBJECT_BYTES: usize = 128 * 1024 * 1024;

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// How it is spoken to.
    pub wire: Wire,
    /// Address of the API without the method, such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// What shows who is calling; local servers need none. For Google's recognisers it is an API key, or the file of a
    /// service account.
    pub api_key: Option<Secret>,
    /// Longest waits.
    pub patience: Patience,
}

/// The longest waits for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// From the request to the first piece of text, or to all of an answer that comes in one piece.
    pub first_token: Duration,
    /// From one piece of text to the next.
    pub between_tokens: Duration,
    /// From a piece of sound to all that is said in it, and from a page to all that stands on it.
    pub sound: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(20),
            between_tokens: Duration::from_secs(10),
            sound: Duration::from_secs(300),
        }
    }
}

/// A client of one server with one key. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Server {
    client: Client,
    base: Url,
    /// Who is calling, where that has to be shown by a token.
    account: Option<Arc<Account>>,
    config: ServerConfig,
}

impl Server {
    /// Checks the configuration; does not talk to the server.
    pub fn new(config: ServerConfig) -> Result<Self, Error> {
        let base = base_url(&config.base_url)?;
        names_its_place(config.wire, &base)?;
        let account = match (config.wire, &config.api_key) {
            (Wire::GoogleSpeech | Wire::DocumentAi, Some(key)) => Account::of(key)?,
            _ => None,
        };
        let key = config.api_key.as_ref().filter(|_| account.is_none());
        let mut builder = Client::builder()
            .connect_timeout(config.patience.connect)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(config.wire, key)?);
        if base.scheme() == "http" && account.is_none() {
            // Without TLS there is nothing to verify, and a container without certificates is fine.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            // A proxy of the environment leads away from this machine.
            builder = builder.no_proxy();
        }
        // Fails when another crate was first with the same provider, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder.build().map_err(|error| {
            Error::Config(format!("can't build the client of a provider: {error}"))
        })?;
        Ok(Self {
            client,
            base,
            account: account.map(Arc::new),
            config,
        })
    }

    /// How it is spoken to.
    pub fn wire(&self) -> Wire {
        self.config.wire
    }

    /// Whose server it is.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> Option<u16> {
        self.base.port_or_known_default()
    }

    pub(crate) fn patience(&self) -> Patience {
        self.config.patience
    }

    pub(crate) fn api_key(&self) -> Option<&Secret> {
        self.config.api_key.as_ref()
    }

    /// A request to the method at this path below the address.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// The same with another verb.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request to the very thing that the address names, such as `:process`.
    pub(crate) fn post_to_itself(&self, method: &str) -> RequestBuilder {
        let named = self.base.as_str().trim_end_matches('/');
        self.client.post(format!("{named}{method}"))
    }

    /// Sends a request, by whoever is calling, and waits until the answer begins with a success.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Response, Error> {
        let Some(account) = &self.account else {
            return self.send_as_it_is(request, deadline).await;
        };
        let token = account.token(self, deadline).await?;
        let request = request.bearer_auth(token.expose());
        let sent = self.send_as_it_is(request, deadline).await;
        if let Err(Error::Refused {
            status: Some(401), ..
        }) = &sent
        {
            account.forget(&token).await;
        }
        sent
    }

    async fn send_as_it_is(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Response, Error> {
        let response = timeout_at(deadline, request.send())
            .await
            .map_err(|_| self.no_first_token())?
            .map_err(|source| self.connection_error(source))?;
        if !response.status().is_success() {
            return Err(self.refusal(response, deadline).await);
        }
        if is_web_page(&response) {
            return Err(Error::Malformed {
                what: "a web page".to_owned(),
            });
        }
        Ok(response)
    }

    /// Sends a request and reads an answer that comes in one piece.
    pub(crate) async fn fetch(&self, request: RequestBuilder) -> Result<(Vec<u8>, Told), Error> {
        self.fetch_within(request, self.config.patience.first_token)
            .await
    }

    /// The same of work that takes another time.
    pub(crate) async fn fetch_within(
        &self,
        request: RequestBuilder,
        patience: Duration,
    ) -> Result<(Vec<u8>, Told), Error> {
        let deadline = Instant::now() + patience;
        let fetched = self.fetch_until(request, deadline).await;
        fetched.map_err(|error| match error {
            Error::Timeout {
                waited_for: "first token",
                ..
            } if patience != self.config.patience.first_token => Error::Timeout {
                waited_for: "answer",
                after: patience,
            },
            other => other,
        })
    }

    /// The same, by a moment of its own.
    pub(crate) async fn fetch_until(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<(Vec<u8>, Told), Error> {
        let response = self.send(request, deadline).await?;
        self.whole(response, deadline).await
    }

    /// The same of a request that shows nothing of who is calling.
    async fn fetch_unsigned(
        &self,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<(Vec<u8>, Told), Error> {
        let response = self.send_as_it_is(request, deadline).await?;
        self.whole(response, deadline).await
    }

    async fn whole(
        &self,
        mut response: Response,
        deadline: Instant,
    ) -> Result<(Vec<u8>, Told), Error> {
        let told = Told::read(response.headers());
        let mut body = Vec::new();
        loop {
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(bytes))) => body.extend_from_slice(&bytes),
                Ok(Ok(None)) => return Ok((body, told)),
                Ok(Err(source)) => {
                    return Err(Error::Cut {
                        source: Some(source),
                    });
                }
                Err(_) => return Err(self.no_first_token()),
            }
            if body.len() > MAX_OBJECT_BYTES {
                return Err(Error::TooLarge {
                    limit_bytes: MAX_OBJECT_BYTES,
                });
            }
        }
    }

    /// Sends JSON and reads JSON. A success may still hold an error.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(T, Told), Error> {
        let (body, told) = self.fetch(self.post(path).json(body)).await?;
        Ok((self.parse(&body)?, told))
    }

    /// JSON that may be an error all the same.
    pub(crate) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        let malformed = |error: serde_json::Error| Error::Malformed {
            what: format!("something that is not the answer asked for ({error})"),
        };
        match serde_json::from_slice(body) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let value: serde_json::Value = serde_json::from_slice(body).map_err(malformed)?;
                match value.get("error").filter(|error| !error.is_null()) {
                    Some(inside) => Err(error_inside(inside, self.api_key())),
                    None => Err(malformed(error)),
                }
            }
        }
    }

    pub(crate) fn no_first_token(&self) -> Error {
        Error::Timeout {
            waited_for: "first token",
            after: self.config.patience.first_token,
        }
    }

    fn connection_error(&self, source: reqwest::Error) -> Error {
        if source.is_timeout() {
            return Error::Timeout {
                waited_for: "connection",
                after: self.config.patience.connect,
            };
        }
        Error::Connection {
            url: self.base.to_string(),
            source,
        }
    }

    /// The error behind a response whose status is not a success.
    async fn refusal(&self, mut response: Response, deadline: Instant) -> Error {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok().map(str::to_owned));
        let mut body = Vec::new();
        // A body that breaks off or never ends still has its status.
        while let Ok(Ok(Some(bytes))) = timeout_at(deadline, response.chunk()).await {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_ERROR_BYTES {
                break;
            }
        }
        // Google says of a wrong key that the request is wrong, and the request of another pool may be right.
        let is_wrong_key = status == 400 && find(&body, b"API_KEY_INVALID");
        Error::Refused {
            status: Some(if is_wrong_key { 401 } else { status }),
            message: location.unwrap_or_else(|| error_message(&body, self.api_key())),
            retry_after,
        }
    }
}

fn base_url(text: &str) -> Result<Url, Error> {
    let refuse = |why: &str| Err(Error::Config(format!("`base_url` {why}")));
    let Ok(url) = Url::parse(text.trim().trim_end_matches('/')) else {
        return refuse("is not an address; it looks like http://127.0.0.1:11434/v1");
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return refuse("must start with http:// or https:// and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("must not hold a user or password; set the key apart");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("must not hold ? or #");
    }
    // A path is added to it as text.
    Url::parse(&format!("{}/", url.as_str().trim_end_matches('/')))
        .map_err(|error| Error::Config(format!("`base_url` {error}")))
}

/// Google's recognisers are addressed by project and place, without which every call would be refused.
fn names_its_place(wire: Wire, base: &Url) -> Result<(), Error> {
    let (part, example) = match wire {
        Wire::GoogleSpeech => (
            "/locations/",
            "https://eu-speech.googleapis.com/v2/projects/acme/locations/eu",
        ),
        Wire::DocumentAi => (
            "/processors/",
            "https://eu-documentai.googleapis.com/v1/projects/acme/locations/eu/processors/1a2b3c",
        ),
        _ => return Ok(()),
    };
    match base.path().contains(part) {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "`base_url` has to name the project and the place, like {example}"
        ))),
    }
}

/// What every request of a provider carries.
fn headers(wire: Wire, api_key: Option<&Secret>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if wire == Wire::Anthropic {
        headers.insert(
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("2023-06-01"),
        );
    }
    if let Some(key) = api_key {
        let (name, text) = match wire {
            Wire::Anthropic => (
                HeaderName::from_static("x-api-key"),
                key.expose().to_owned(),
            ),
            Wire::Gemini | Wire::GoogleSpeech | Wire::DocumentAi => (
                HeaderName::from_static("x-goog-api-key"),
                key.expose().to_owned(),
            ),
            _ => (AUTHORIZATION, format!("Bearer {}", key.expose())),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            Error::Config(
                "the key of a provider holds characters that no key has, such as a line end"
                    .to_owned(),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Seconds or milliseconds; a date is ignored because no known provider sends one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|ms| ms / 1000.0)
        .or_else(|| number(RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A web page instead of an answer: the sign-in form of a proxy, or the server's own front page.
fn is_web_page(response: &Response) -> bool {
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/html"))
}

fn find(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|window| window == word)
}

/// The readable part of an error response.
fn error_message(body: &[u8], api_key: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(body);
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => {
            let error = json.get("error").unwrap_or(&json);
            match json.get("error_description").and_then(|why| why.as_str()) {
                // As OAuth says it.
                Some(why) => presentable(why, api_key),
                None => message_of(error, api_key),
            }
        }
        Err(_) => presentable(&text, api_key),
    }
}

/// An error object inside a response that began as a success. Most say what their status would have been.
pub(crate) fn error_inside(error: &serde_json::Value, api_key: Option<&Secret>) -> Error {
    let number = error.get("code").and_then(serde_json::Value::as_u64);
    let named = ["type", "code", "status"]
        .iter()
        .filter_map(|name| error.get(name)?.as_str())
        .find_map(status_of);
    let status = number
        .and_then(|code| u16::try_from(code).ok())
        .filter(|status| (400..600).contains(status));
    Error::Refused {
        status: status.or(named),
        message: message_of(error, api_key),
        retry_after: None,
    }
}

/// The status that a provider sends with an error of this name.
fn status_of(name: &str) -> Option<u16> {
    Some(match name {
        "invalid_request_error" | "context_length_exceeded" | "INVALID_ARGUMENT" => 400,
        "authentication_error" | "invalid_api_key" | "UNAUTHENTICATED" => 401,
        "permission_error" | "PERMISSION_DENIED" => 403,
        "not_found_error" | "model_not_found" | "NOT_FOUND" => 404,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "insufficient_quota"
        | "RESOURCE_EXHAUSTED" => 429,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        "overloaded_error" | "UNAVAILABLE" => 529,
        _ => return None,
    })
}

fn message_of(error: &serde_json::Value, api_key: Option<&Secret>) -> String {
    let text = match error {
        serde_json::Value::String(text) => Some(text.as_str()),
        _ => ["message", "detail", "type"]
            .iter()
            .find_map(|name| error.get(name)?.as_str()),
    };
    match text {
        Some(text) => presentable(text, api_key),
        None => presentable(&error.to_string(), api_key),
    }
}

/// One short line without the key, which servers like to repeat.
fn presentable(text: &str, api_key: Option<&Secret>) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(key) = api_key.map(Secret::expose).filter(|key| !key.is_empty()) {
        line = line.replace(key, "[secret]");
    }
    if line.is_empty() {
        line.push_str("no message");
    }
    line.chars().take(MAX_MESSAGE_CHARS).collect()
}

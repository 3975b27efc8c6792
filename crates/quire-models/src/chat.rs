//! Answers from any server that speaks OpenAI's chat completions.
//!
//! Refuses to know prompts, prices and retries: it sends the messages it is given once, and hands back
//! what comes, piece by piece, or one error.

mod answer;
mod sse;
mod wire;

use std::time::Duration;

use futures::stream::BoxStream;
use quire_types::{ChatMessage, Secret};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use crate::Error;
use answer::Answer;

/// What is read of an error response; the rest can't be interesting.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How to reach a chat server. Has no default: an address and a model must be chosen.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// Address of the API without the method, such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// Sent as bearer token; local servers need none.
    pub api_key: Option<Secret>,
    /// Name of the model at that server.
    pub model: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait from the request to the first piece of text.
    pub first_token_timeout: Duration,
    /// Longest wait from one piece of text to the next.
    pub between_tokens_timeout: Duration,
    /// Longest answer, in tokens of the model.
    pub max_tokens: u32,
}

/// A piece of an answer, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// More text, never empty.
    Delta(String),
    /// What the answer cost, at most once and just before the end. Some servers never say.
    Usage {
        /// Tokens of the messages, the cached ones included.
        input_tokens: u64,
        /// Tokens of the answer.
        output_tokens: u64,
        /// Tokens of the messages that the server had seen before.
        cached_tokens: u64,
    },
    /// The answer is complete; nothing follows.
    Done {
        /// Why the model stopped.
        finish_reason: FinishReason,
    },
}

/// Why a model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It reached `max_tokens` or the end of its context.
    Length,
    /// A filter of the provider stepped in.
    ContentFilter,
    /// A reason this version does not know.
    Other(String),
}

/// An answer while it arrives. Dropping it ends the request. Nothing follows an error.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, Error>>;

/// A client of one model at one server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Chat {
    client: Client,
    url: Url,
    config: ChatConfig,
}

impl Chat {
    /// Checks the configuration; does not talk to the server.
    pub fn new(config: ChatConfig) -> Result<Self, Error> {
        let url = completions_url(&config.base_url)?;
        let mut builder = Client::builder()
            .connect_timeout(config.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(config.api_key.as_ref())?);
        if url.scheme() == "http" {
            // Without TLS there is nothing to verify, and a container without certificates is fine.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&url) {
            // A proxy of the environment leads away from this machine.
            builder = builder.no_proxy();
        }
        // Fails when another crate was first with the same provider, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder.build().map_err(|error| {
            Error::ChatConfig(format!(
                "can't build the client of the chat server: {error}"
            ))
        })?;
        Ok(Self {
            client,
            url,
            config,
        })
    }

    /// The configured model name.
    pub fn model(&self) -> &str {
        &self.config.model
    }

    /// The longest answer, in tokens.
    pub fn max_tokens(&self) -> u32 {
        self.config.max_tokens
    }

    /// Whose server it is.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Sends `messages` and returns the answer as it arrives.
    pub async fn stream(&self, messages: &[ChatMessage]) -> Result<ChatStream, Error> {
        let deadline = Instant::now() + self.config.first_token_timeout;
        let request = wire::Request::new(&self.url, &self.config, messages);
        let sending = self.client.post(self.url.clone()).json(&request).send();
        let response = timeout_at(deadline, sending)
            .await
            .map_err(|_| Error::first_token_timeout(&self.config))?
            .map_err(|source| self.connection_error(source))?;
        if !response.status().is_success() {
            return Err(self.refusal(response, deadline).await);
        }
        if let Some(page) = html(&response) {
            return Err(Error::ChatMalformed { what: page });
        }
        Ok(Answer::new(response, deadline, self.config.clone()).into_stream())
    }

    fn connection_error(&self, source: reqwest::Error) -> Error {
        if source.is_timeout() {
            return Error::ChatTimeout {
                waited_for: "connection",
                after: self.config.connect_timeout,
            };
        }
        Error::ChatConnection {
            url: self.url.to_string(),
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
        Error::ChatRefused {
            status: Some(status),
            message: location
                .unwrap_or_else(|| wire::error_message(&body, self.config.api_key.as_ref())),
            retry_after,
        }
    }
}

impl Error {
    fn first_token_timeout(config: &ChatConfig) -> Self {
        Self::ChatTimeout {
            waited_for: "first token",
            after: config.first_token_timeout,
        }
    }
}

fn completions_url(base_url: &str) -> Result<Url, Error> {
    let refuse = |why: &str| Err(Error::ChatConfig(format!("chat `base_url` {why}")));
    let Ok(url) = Url::parse(&format!(
        "{}/chat/completions",
        base_url.trim().trim_end_matches('/')
    )) else {
        return refuse("is not an address; it looks like http://127.0.0.1:11434/v1");
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return refuse("must start with http:// or https:// and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("must not hold a user or password; set `api_key`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("must not hold ? or #");
    }
    Ok(url)
}

fn headers(api_key: Option<&Secret>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| {
                Error::ChatConfig(
                    "chat `api_key` holds characters that no key has, such as a line end"
                        .to_owned(),
                )
            })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
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

/// Seconds or milliseconds; a date is ignored because no known chat server sends one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|ms| ms / 1000.0)
        .or_else(|| number(RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A web page instead of an answer: the sign-in form of a proxy, or the server's own front page.
fn html(response: &Response) -> Option<String> {
    let content_type = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)?
        .to_str()
        .ok()?;
    content_type
        .starts_with("text/html")
        .then(|| "a web page".to_owned())
}

#[cfg(test)]
mod tests;

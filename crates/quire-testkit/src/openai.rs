//! A chat server for tests that speaks OpenAI's chat completions over real HTTP, and misbehaves on request.
//!
//! Refuses to know what is asked: it plays its scripts in order, one per request, and remembers the requests.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// `prompt_tokens` of every usage that the double reports.
pub const PROMPT_TOKENS: u64 = 12;
/// `cached_tokens` of every usage that the double reports.
pub const CACHED_TOKENS: u64 = 4;

/// What the double does with one request.
#[derive(Clone, Debug)]
pub enum Script {
    /// Streams this text word by word, then the reason, the usage (if asked for) and `[DONE]`.
    Answer(String),
    /// Answers with an HTTP status.
    Status {
        /// The status code.
        code: u16,
        /// The body, as it is.
        body: String,
        /// The header `Retry-After`, as it is.
        retry_after: Option<String>,
    },
    /// Breaks the connection after so many words.
    CutAfter(usize),
    /// Ends the response in good order after so many words, without a reason and without `[DONE]`.
    EndAfter(usize),
    /// Accepts the request and sends nothing, not even a status.
    HangBefore,
    /// Sends so many words, then only comments that keep the connection alive.
    HangAfter(usize),
    /// Sends one word, then a line that is not JSON.
    Malformed,
    /// Sends one word, then an error object.
    ErrorInStream,
    /// Ignores `stream` and answers with one JSON object.
    NotStreaming(String),
    /// Answers 200 with an error object as the whole body.
    ErrorBody200,
    /// Streams words until the connection closes.
    Endless,
    /// Answers 200 with this content type and these pieces, each in its own write.
    Raw {
        /// The header `Content-Type`.
        content_type: String,
        /// The pieces of the body.
        pieces: Vec<Vec<u8>>,
    },
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The HTTP method.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or null when it is not JSON.
    pub body: Value,
}

impl Received {
    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The running server. Dropping it ends every connection that still hangs.
#[derive(Debug)]
pub struct ChatDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    _running: watch::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<VecDeque<Script>>,
    received: Mutex<Vec<Received>>,
    /// Changes never; closes when the double is dropped.
    running: watch::Receiver<()>,
}

impl ChatDouble {
    /// Listens on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, running) = watch::channel(());
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            received: Mutex::default(),
            running,
        });
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // Serving ends only when the task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            shared,
            server,
            _running: sender,
        })
    }

    /// The address to configure, with `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Adds what to do with the next unscripted request.
    pub fn push(&self, script: Script) {
        lock(&self.shared.scripts).push_back(script);
    }

    /// Every request so far, in order of arrival.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// How many scripts wait for a request.
    pub fn scripts_left(&self) -> usize {
        lock(&self.shared.scripts).len()
    }
}

impl Drop for ChatDouble {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Received {
        method: method.to_string(),
        path: uri.to_string(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let wants_usage =
        request.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let right_address = method == Method::POST && uri.path() == "/v1/chat/completions";
    lock(&shared.received).push(request);
    if !right_address {
        return (
            StatusCode::NOT_FOUND,
            "the chat double knows only POST /v1/chat/completions",
        )
            .into_response();
    }
    let script = lock(&shared.scripts).pop_front();
    match script {
        Some(script) => play(script, wants_usage, shared.running.clone()).await,
        None => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the chat double has no script left",
        ),
    }
}

async fn play(script: Script, wants_usage: bool, running: watch::Receiver<()>) -> Response {
    match script {
        Script::Answer(text) => events(answer(&text, wants_usage), Ending::Close),
        Script::Status {
            code,
            body,
            retry_after,
        } => status(code, body, retry_after),
        Script::CutAfter(words) => events(some_words(words), Ending::Break),
        Script::EndAfter(words) => events(some_words(words), Ending::Close),
        Script::HangBefore => {
            until_dropped(running).await;
            error(
                StatusCode::SERVICE_UNAVAILABLE,
                "the chat double was dropped",
            )
        }
        Script::HangAfter(words) => events(some_words(words), Ending::Hang(running)),
        Script::Malformed => {
            let mut chunks = some_words(1);
            chunks.push("data: {\"choices\":[{\n\n".to_owned());
            events(chunks, Ending::Close)
        }
        Script::ErrorInStream => {
            let mut chunks = some_words(1);
            chunks.push(event(&error_object("the engine crashed")));
            events(chunks, Ending::Close)
        }
        Script::NotStreaming(text) => axum::Json(whole_answer(&text)).into_response(),
        Script::ErrorBody200 => axum::Json(error_object("the model is loading")).into_response(),
        Script::Endless => endless(),
        Script::Raw {
            content_type,
            pieces,
        } => raw(content_type, pieces),
    }
}

/// How a scripted stream of events ends.
enum Ending {
    Close,
    Break,
    Hang(watch::Receiver<()>),
}

fn events(chunks: Vec<String>, ending: Ending) -> Response {
    let chunks = stream::iter(chunks).then(|chunk| in_its_own_write(Bytes::from(chunk)));
    let content_type = "text/event-stream; charset=utf-8";
    match ending {
        Ending::Close => body(content_type, Body::from_stream(chunks)),
        Ending::Break => {
            let broken = stream::once(async {
                // The server throws away what it has not written yet when a body fails.
                tokio::time::sleep(Duration::from_millis(30)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            });
            body(content_type, Body::from_stream(chunks.chain(broken)))
        }
        Ending::Hang(running) => {
            let comments = stream::unfold(running, |mut running| async move {
                // The sender never sends, so this is a pause that ends early when the double is dropped.
                let pause = Duration::from_millis(20);
                match tokio::time::timeout(pause, running.changed()).await {
                    Err(_) => Some((Ok(Bytes::from_static(b": still here\n\n")), running)),
                    Ok(_) => None,
                }
            });
            body(content_type, Body::from_stream(chunks.chain(comments)))
        }
    }
}

fn endless() -> Response {
    let words = event(&chunk(
        json!({"content": "x".repeat(64 * 1024)}),
        Value::Null,
    ));
    let stream = stream::repeat(Bytes::from(words)).then(in_its_own_write);
    body("text/event-stream", Body::from_stream(stream))
}

fn raw(content_type: String, pieces: Vec<Vec<u8>>) -> Response {
    let pieces = stream::iter(pieces).then(|piece| in_its_own_write(Bytes::from(piece)));
    body(&content_type, Body::from_stream(pieces))
}

/// Gives the server a chance to write what it has before it gets more.
async fn in_its_own_write(bytes: Bytes) -> io::Result<Bytes> {
    tokio::task::yield_now().await;
    Ok(bytes)
}

fn body(content_type: &str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, content_type.to_owned())], body).into_response()
}

fn status(code: u16, body: String, retry_after: Option<String>) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let retry_after = retry_after.map(|value| [(header::RETRY_AFTER, value)]);
    match retry_after {
        Some(retry_after) => (code, retry_after, body).into_response(),
        None => (code, body).into_response(),
    }
}

fn error(code: StatusCode, message: &str) -> Response {
    (code, axum::Json(error_object(message))).into_response()
}

async fn until_dropped(mut running: watch::Receiver<()>) {
    // The only change is the end.
    let _ = running.changed().await;
}

fn answer(text: &str, wants_usage: bool) -> Vec<String> {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let mut chunks = vec![event(&chunk(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    ))];
    chunks.extend(
        words
            .iter()
            .map(|word| event(&chunk(json!({"content": word}), Value::Null))),
    );
    chunks.push(event(&chunk(json!({}), json!("stop"))));
    if wants_usage {
        let mut last = chunk(json!({}), Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage(words.len());
        chunks.push(event(&last));
    }
    chunks.push("data: [DONE]\n\n".to_owned());
    chunks
}

fn some_words(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| {
            event(&chunk(
                json!({"content": format!("word{number} ")}),
                Value::Null,
            ))
        })
        .collect()
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn chunk(delta: Value, finish_reason: Value) -> Value {
    json!({
        "id": "chatcmpl-double",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "double",
        "service_tier": "default",
        "system_fingerprint": "fp_double",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
        "usage": null,
        "obfuscation": "x7",
    })
}

fn whole_answer(text: &str) -> Value {
    json!({
        "id": "chatcmpl-double",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "double",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(text.split_inclusive(' ').count()),
    })
}

fn usage(words: usize) -> Value {
    json!({
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": words,
        "total_tokens": PROMPT_TOKENS + words as u64,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

fn error_object(message: &str) -> Value {
    json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}})
}

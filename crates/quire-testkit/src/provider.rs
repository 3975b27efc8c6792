//! A provider for tests: OpenAI's chat completions, responses, embeddings, batches and sound, Anthropic's messages,
//! Gemini's generateContent, Cohere's rerank and Google's recognisers of speech and text over real HTTP, misbehaving on
//! request.
//!
//! Refuses to know what is asked: it plays its scripts in order, one per request, and remembers the requests.
//! Which protocol is spoken, the path of the request says.

mod batches;
mod dialect;
mod form;
mod google;
mod quota;
mod tools;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use batches::BatchFate;
pub use dialect::Dialect;
pub use google::GOOGLE_KEY;
pub use quota::Quota;

/// `prompt_tokens` of every usage that the double reports.
pub const PROMPT_TOKENS: u64 = 12;
/// `cached_tokens` of every usage that the double reports.
pub const CACHED_TOKENS: u64 = 4;

/// `reasoning_tokens` of every usage that the double reports, in protocols that have them.
pub const REASONING_TOKENS: u64 = 3;

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
    /// Streams this text word by word and never says what it used.
    NoUsage(String),
    /// Streams this text word by word and says that it used this many tokens in each direction.
    Usage(String, u64, u64),
    /// Waits before the first word and before each further one, then answers.
    Paced {
        /// The answer.
        text: String,
        /// The wait before the response begins.
        first: Duration,
        /// The wait before each further piece.
        between: Duration,
    },
    /// Plays the other script with these headers.
    With(Vec<(&'static str, String)>, Box<Script>),
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
    /// The body: JSON, the fields of a form, or null.
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
    always: Mutex<Option<Script>>,
    in_chats: Mutex<Option<Script>>,
    quota: Mutex<Option<quota::Meter>>,
    remembers: AtomicBool,
    count: AtomicUsize,
    batches: Mutex<batches::Batches>,
    tokens: Mutex<google::Tokens>,
    /// A request that holds this word is refused.
    refused_word: Mutex<Option<String>>,
    /// Whether requests wait.
    held: watch::Sender<bool>,
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
            always: Mutex::default(),
            in_chats: Mutex::default(),
            quota: Mutex::default(),
            remembers: AtomicBool::new(true),
            count: AtomicUsize::new(0),
            batches: Mutex::default(),
            tokens: Mutex::default(),
            refused_word: Mutex::default(),
            held: watch::Sender::new(false),
            received: Mutex::default(),
            running,
        });
        let router = Router::new()
            .fallback(handle)
            // Sound is large.
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        // Like a provider's server: no piece waits for the acknowledgement of the one before it.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
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

    /// The address to configure, with `/v1`: of all protocols but Gemini's.
    pub fn base_url(&self) -> String {
        self.base_url_of(Dialect::OpenAi)
    }

    /// The address to configure for a protocol.
    pub fn base_url_of(&self, dialect: Dialect) -> String {
        format!("http://{}{}", self.address, dialect.root())
    }

    /// What to do with every request that no script waits for.
    pub fn always(&self, script: Script) {
        *lock(&self.shared.always) = Some(script);
    }

    /// What to do with every chat that no script waits for; other methods answer from the request.
    pub fn in_chats(&self, script: Script) {
        *lock(&self.shared.in_chats) = Some(script);
    }

    /// Refuses what goes beyond a quota with 429, and tells what is left.
    pub fn limit(&self, quota: Quota) {
        *lock(&self.shared.quota) = Some(quota::Meter::new(quota));
    }

    /// What becomes of batches from now on, those that run included.
    pub fn batches(&self, fate: BatchFate) {
        lock(&self.shared.batches).fate = fate;
    }

    /// How many files it keeps, and how many batches were made so far.
    pub fn kept(&self) -> (usize, usize) {
        lock(&self.shared.batches).counts()
    }

    /// Refuses with 400 what holds this word.
    pub fn refuse_with(&self, word: &str) {
        *lock(&self.shared.refused_word) = Some(word.to_owned());
    }

    /// Keeps requests waiting that come from now on, or lets them go on. A batch is made all the same, only nobody hears
    /// of it.
    pub fn hold(&self, holds: bool) {
        self.shared.held.send_replace(holds);
    }

    /// Counts requests from now on and keeps none: for measurements.
    pub fn forget_requests(&self) {
        self.shared.remembers.store(false, Ordering::Relaxed);
        lock(&self.shared.received).clear();
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// How many requests went beyond the quota.
    pub fn refused(&self) -> usize {
        lock(&self.shared.quota)
            .as_ref()
            .map_or(0, |meter| meter.refused)
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
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let request = Received {
        method: method.to_string(),
        path: uri.to_string(),
        headers,
        body: match content_type.starts_with("multipart/form-data") {
            true => form::fields(&content_type, &body),
            false => serde_json::from_slice(&body).unwrap_or(Value::Null),
        },
    };
    let wants_usage =
        request.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let of_batches = {
        let mut batches = lock(&shared.batches);
        batches.answer(&method, uri.path(), &request.headers, &body)
    };
    let of_tokens = {
        let mut tokens = lock(&shared.tokens);
        tokens.answer((&method, uri.path()), &request.headers, &body)
    };
    let refused = lock(&shared.refused_word).clone();
    let refused = refused.is_some_and(|word| request.body.to_string().contains(&word));
    let dialect = Dialect::of(uri.path()).filter(|_| method == Method::POST);
    let tool = tools::answer(uri.path(), &request.body).filter(|_| method == Method::POST);
    shared.count.fetch_add(1, Ordering::Relaxed);
    if shared.remembers.load(Ordering::Relaxed) {
        lock(&shared.received).push(request);
    }
    if let Some(response) = of_tokens {
        return response;
    }
    // The sender is beside what is read here, so this ends when the test lets it.
    let mut held = shared.held.subscribe();
    if let Some(response) = of_batches {
        if batches::is_making(&method, uri.path()) {
            let _ = held.wait_for(|held| !held).await;
        }
        return response;
    }
    let _ = held.wait_for(|held| !held).await;
    if refused {
        return error(
            StatusCode::BAD_REQUEST,
            "the double was told to refuse this",
        );
    }
    if dialect.is_none() && tool.is_none() {
        return (
            StatusCode::NOT_FOUND,
            "the double knows POST to the methods of providers only",
        )
            .into_response();
    }
    let told = match lock(&shared.quota).as_mut().map(quota::Meter::take) {
        Some(Err(refusal)) => return refusal,
        Some(Ok(told)) => told,
        None => Vec::new(),
    };
    let script = lock(&shared.scripts).pop_front();
    let script = script.or_else(|| lock(&shared.always).clone());
    let script = match tool {
        None => script.or_else(|| lock(&shared.in_chats).clone()),
        Some(_) => script,
    };
    let playing = Playing {
        dialect: dialect.unwrap_or(Dialect::OpenAi),
        wants_usage,
        running: shared.running.clone(),
    };
    let response = match (script, tool) {
        (None, Some(tool)) => tool,
        (Some(script), _) => playing.play(script).await,
        (None, None) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the chat double has no script left",
        ),
    };
    with_headers(response, &told)
}

fn with_headers(mut response: Response, headers: &[(&'static str, String)]) -> Response {
    for (name, value) in headers {
        let value = value.parse().expect("a header's value");
        response.headers_mut().insert(*name, value);
    }
    response
}

/// A request that is being answered.
struct Playing {
    dialect: Dialect,
    wants_usage: bool,
    running: watch::Receiver<()>,
}

impl Playing {
    async fn play(self, script: Script) -> Response {
        let dialect = self.dialect;
        let words = |count| dialect.words(&some_words(count));
        match script {
            Script::Answer(text) => {
                let usage = Some((PROMPT_TOKENS, None))
                    .filter(|_| dialect != Dialect::OpenAi || self.wants_usage);
                events(dialect.answer(&text, usage), Ending::Close)
            }
            Script::NoUsage(text) => events(dialect.answer(&text, None), Ending::Close),
            Script::Usage(text, input, output) => events(
                dialect.answer(&text, Some((input, Some(output)))),
                Ending::Close,
            ),
            Script::Paced {
                text,
                first,
                between,
            } => {
                tokio::time::sleep(first).await;
                let chunks = dialect.answer(&text, Some((PROMPT_TOKENS, None)));
                let chunks = stream::iter(chunks.into_iter().enumerate()).then(
                    move |(at, chunk)| async move {
                        if at > 0 {
                            tokio::time::sleep(between).await;
                        }
                        Ok::<_, io::Error>(Bytes::from(chunk))
                    },
                );
                body(
                    "text/event-stream; charset=utf-8",
                    Body::from_stream(chunks),
                )
            }
            Script::With(headers, script) => {
                with_headers(Box::pin(self.play(*script)).await, &headers)
            }
            Script::Status {
                code,
                body,
                retry_after,
            } => status(code, body, retry_after),
            Script::CutAfter(count) => events(words(count), Ending::Break),
            Script::EndAfter(count) => events(words(count), Ending::Close),
            Script::HangBefore => {
                until_dropped(self.running).await;
                error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the chat double was dropped",
                )
            }
            Script::HangAfter(count) => events(words(count), Ending::Hang(self.running)),
            Script::Malformed => {
                let mut chunks = words(1);
                chunks.push("data: {\"choices\":[{\n\n".to_owned());
                events(chunks, Ending::Close)
            }
            Script::ErrorInStream => {
                let mut chunks = words(1);
                chunks.push(dialect.error("the engine crashed"));
                events(chunks, Ending::Close)
            }
            Script::NotStreaming(text) => axum::Json(dialect.whole(&text)).into_response(),
            Script::ErrorBody200 => {
                axum::Json(dialect.error_object("the model is loading")).into_response()
            }
            Script::Endless => endless(dialect),
            Script::Raw {
                content_type,
                pieces,
            } => raw(content_type, pieces),
        }
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

fn endless(dialect: Dialect) -> Response {
    let word = dialect.words(&["x".repeat(64 * 1024)]).concat();
    let stream = stream::repeat(Bytes::from(word)).then(in_its_own_write);
    body("text/event-stream", Body::from_stream(stream))
}

fn some_words(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("word{number} ")).collect()
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

fn error_object(message: &str) -> Value {
    json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}})
}

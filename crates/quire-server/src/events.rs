//! An answer as server-sent events while it is made. Knows no names of events: whoever wants a stream says how its parts
//! look.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use quire_ask::{Answer, Event, Turn};

use crate::middleware::panic_error;
use crate::problem::ApiError;
use crate::state::App;

/// How the parts of an answer look. A stream ends with what `done` or `failed` returns, never silently.
pub(crate) trait Format: Send + 'static {
    /// A part of the answer; none where there is no word for it.
    fn part(&mut self, event: Event) -> Option<SseEvent>;
    /// The end of a whole answer.
    fn done(&mut self, answer: Answer) -> Vec<SseEvent>;
    /// The end after an error.
    fn failed(&mut self, error: ApiError) -> Vec<SseEvent>;
}

/// Work that ends when nobody listens any more.
struct Listening {
    events: mpsc::UnboundedReceiver<SseEvent>,
    work: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// Answers while telling.
pub(crate) fn events(app: App, turn: Turn, mut format: impl Format) -> Response {
    // Unbounded, since an answer is small and its size is capped where it is made.
    let (sender, events) = mpsc::unbounded_channel();
    let work = async move {
        let tell = |event: SseEvent| drop(sender.send(event));
        let mut relay = |event| format.part(event).into_iter().for_each(tell);
        let answer = match AssertUnwindSafe(turn.answer(&mut relay))
            .catch_unwind()
            .await
        {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(panic) => Err(panic_error(&*panic)),
        };
        let last = match answer {
            Ok(answer) => {
                app.metrics.answered(answer.kind.as_str());
                format.done(answer)
            }
            Err(error) => format.failed(error),
        };
        last.into_iter().for_each(tell);
    };
    let work = tokio::spawn(work.in_current_span());
    let listening = Listening { events, work };
    let stream = stream::unfold(listening, |mut listening| async move {
        let event = listening.events.recv().await?;
        Some((Ok::<_, Infallible>(event), listening))
    });
    let keep_alive = KeepAlive::new()
        .interval(Duration::from_secs(15))
        .text("still here");
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    // A buffering proxy would turn a stream into one late answer.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

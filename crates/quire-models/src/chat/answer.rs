//! From the bytes of one response to the events of one answer, under its limits of time and size.
//! Refuses to know how the request was made.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use futures::{StreamExt, stream};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::answerer::Answerer;
use super::sse::Events;
use super::wire::{self, Said};
use super::{ChatEvent, ChatStream, FinishReason};
use crate::Error;
use crate::registry::Tokens;
use crate::server::Server;

/// Largest text of an answer, and largest single piece: far above what any model writes.
const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Largest response; the JSON around a token is many times larger than the token.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

pub(super) struct Answer {
    response: Response,
    server: Server,
    /// What was asked for, which bounds what can have been used.
    max_tokens: u32,
    sent_bytes: usize,
    /// When the next piece of text must have come.
    deadline: Instant,
    started: bool,
    body: Body,
    body_bytes: usize,
    text_bytes: usize,
    usage: Option<Tokens>,
    finish_reason: Option<FinishReason>,
    by: Arc<OnceLock<Answerer>>,
    is_named: bool,
    ready: VecDeque<Result<ChatEvent, Error>>,
    ended: bool,
}

/// What the response turned out to be.
enum Body {
    /// Nothing but white space came yet.
    Unknown,
    /// Events, as asked for.
    Stream(Events),
    /// One JSON object, from a server that does not stream or that failed late.
    Object(Vec<u8>),
}

/// Whether more of the response is wanted.
type Step = Result<ControlFlow<()>, Error>;

impl Answer {
    pub(super) fn new(
        response: Response,
        deadline: Instant,
        server: Server,
        max_tokens: u32,
        sent_bytes: usize,
    ) -> Self {
        Self {
            response,
            server,
            max_tokens,
            sent_bytes,
            deadline,
            started: false,
            body: Body::Unknown,
            body_bytes: 0,
            text_bytes: 0,
            usage: None,
            finish_reason: None,
            by: Arc::default(),
            is_named: false,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// Where it is told who answers.
    pub(super) fn by(&self) -> Arc<OnceLock<Answerer>> {
        self.by.clone()
    }

    pub(super) fn into_stream(self) -> ChatStream {
        stream::unfold(self, |mut answer| async move {
            let event = answer.next().await?;
            Some((event, answer))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        while self.ready.is_empty() && !self.ended {
            match self.read().await {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => self.complete(),
                // The model has finished: what is missing is at most the usage.
                Err(_) if self.finish_reason.is_some() => self.complete(),
                Err(error) => {
                    self.ended = true;
                    self.ready.push_back(Err(error));
                }
            }
        }
        self.ready.pop_front()
    }

    async fn read(&mut self) -> Step {
        match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(Ok(Some(bytes))) => self.take(&bytes),
            Ok(Ok(None)) => self.close(),
            Ok(Err(source)) => Err(Error::Cut {
                source: Some(source),
            }),
            Err(_) if !self.started => Err(self.server.no_first_token()),
            Err(_) => Err(Error::Timeout {
                waited_for: "further token",
                after: self.server.patience().between_tokens,
            }),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Step {
        self.body_bytes += bytes.len();
        within(self.body_bytes, MAX_BODY_BYTES)?;
        if let Body::Unknown = self.body {
            // No event starts with a brace, and every JSON answer does; the content type is often wrong.
            match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => return Ok(ControlFlow::Continue(())),
                Some(b'{') => self.body = Body::Object(Vec::new()),
                Some(_) => self.body = Body::Stream(Events::default()),
            }
        }
        let complete = match &mut self.body {
            Body::Unknown => Vec::new(),
            Body::Object(object) => {
                object.extend_from_slice(bytes);
                within(object.len(), MAX_TEXT_BYTES)?;
                Vec::new()
            }
            Body::Stream(events) => {
                let complete = events.feed(bytes);
                within(events.waiting_bytes(), MAX_TEXT_BYTES)?;
                complete
            }
        };
        for data in complete {
            if self.hear(&data)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The response ended in good order; the answer may not have.
    fn close(&mut self) -> Step {
        let cut = || Error::Cut { source: None };
        match &mut self.body {
            Body::Unknown => return Err(cut()),
            Body::Object(object) => {
                let object = String::from_utf8_lossy(&std::mem::take(object)).into_owned();
                let said = wire::parse(self.server.wire(), &object, self.server.api_key())?;
                self.note_answerer(&object);
                // Some servers that don't stream leave the reason out; their answer is whole all the same.
                self.finish_reason = Some(FinishReason::Stop);
                self.add(said)?;
            }
            Body::Stream(events) => {
                if let Some(data) = events.finish() {
                    // Half a chunk is a cut answer, not a malformed one.
                    self.hear(&data).map(drop).map_err(|error| match error {
                        Error::Malformed { .. } => cut(),
                        error => error,
                    })?;
                }
            }
        }
        match self.finish_reason {
            Some(_) => Ok(ControlFlow::Break(())),
            None => Err(cut()),
        }
    }

    fn hear(&mut self, data: &str) -> Step {
        let said = wire::parse(self.server.wire(), data, self.server.api_key())?;
        self.note_answerer(data);
        let is_last = said.is_last;
        self.add(said)?;
        if is_last {
            // A server that says it is done has stopped, whether or not it gave the reason.
            self.finish_reason.get_or_insert(FinishReason::Stop);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The first piece of an answer says who gives it.
    fn note_answerer(&mut self, piece: &str) {
        if !std::mem::replace(&mut self.is_named, true)
            && let Some(answerer) = Answerer::read(piece)
        {
            // Nobody else sets it.
            let _ = self.by.set(answerer);
        }
    }

    fn add(&mut self, said: Said) -> Result<(), Error> {
        self.text_bytes += said.text.len();
        within(self.text_bytes, MAX_TEXT_BYTES)?;
        // Only progress counts: comments and empty chunks keep a hanging server's connection alive too.
        if said.thinks || !said.text.is_empty() || said.finish_reason.is_some() {
            self.started = true;
            self.deadline = Instant::now() + self.server.patience().between_tokens;
        }
        if !said.text.is_empty() {
            self.ready.push_back(Ok(ChatEvent::Delta(said.text)));
        }
        // Some servers repeat a growing usage, some say it in two pieces.
        if let Some(usage) = said.usage {
            self.usage = Some(self.usage.unwrap_or_default().max(usage));
        }
        self.finish_reason = said.finish_reason.or(self.finish_reason.take());
        Ok(())
    }

    /// Whether so much can have been used. A server that is wrong about it is as good as one that says nothing:
    /// then what was reserved is charged.
    fn is_believable(&self, usage: &Tokens) -> bool {
        let text = self.text_bytes as u64;
        // Every token has a byte at least, and no tokenizer makes one of a hundred; what a provider adds by
        // itself, such as the roles of messages, is little.
        let most_input = self.sent_bytes as u64 + 4_096;
        let most_output = u64::from(self.max_tokens).saturating_mul(2).max(text) + 1_024;
        usage.input > 0
            && usage.input <= most_input
            && usage.cached.saturating_add(usage.cache_written) <= usage.input
            && usage.received() >= text / 100
            && (usage.received() > 0 || text == 0)
            && usage.received() <= most_output
    }

    fn complete(&mut self) {
        self.ended = true;
        let usage = self.usage.take().filter(|usage| self.is_believable(usage));
        self.ready
            .extend(usage.map(|usage| Ok(ChatEvent::Usage(usage))));
        let finish_reason = self.finish_reason.take().unwrap_or(FinishReason::Stop);
        self.ready.push_back(Ok(ChatEvent::Done { finish_reason }));
    }
}

fn within(bytes: usize, limit_bytes: usize) -> Result<(), Error> {
    if bytes > limit_bytes {
        return Err(Error::TooLarge { limit_bytes });
    }
    Ok(())
}

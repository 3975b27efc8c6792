//! From the bytes of one response to the events of one answer, under its limits of time and size.
//! Refuses to know how the request was made.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use futures::{StreamExt, stream};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::sse::Events;
use super::wire::{Chunk, Said};
use super::{ChatConfig, ChatEvent, ChatStream, FinishReason};
use crate::Error;

/// Largest text of an answer, and largest single piece: far above what any model writes.
const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// Largest response; the JSON around a token is many times larger than the token.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

pub(super) struct Answer {
    response: Response,
    config: ChatConfig,
    /// When the next piece of text must have come.
    deadline: Instant,
    started: bool,
    body: Body,
    body_bytes: usize,
    text_bytes: usize,
    usage: Option<ChatEvent>,
    finish_reason: Option<FinishReason>,
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
    pub(super) fn new(response: Response, deadline: Instant, config: ChatConfig) -> Self {
        Self {
            response,
            config,
            deadline,
            started: false,
            body: Body::Unknown,
            body_bytes: 0,
            text_bytes: 0,
            usage: None,
            finish_reason: None,
            ready: VecDeque::new(),
            ended: false,
        }
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
            Ok(Err(source)) => Err(Error::ChatCut {
                source: Some(source),
            }),
            Err(_) if !self.started => Err(Error::first_token_timeout(&self.config)),
            Err(_) => Err(Error::ChatTimeout {
                waited_for: "further token",
                after: self.config.between_tokens_timeout,
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
        let cut = || Error::ChatCut { source: None };
        match &mut self.body {
            Body::Unknown => return Err(cut()),
            Body::Object(object) => {
                let object = String::from_utf8_lossy(&std::mem::take(object)).into_owned();
                let said = Chunk::parse(&object, self.config.api_key.as_ref())?;
                // Some servers that don't stream leave the reason out; their answer is whole all the same.
                self.finish_reason = Some(FinishReason::Stop);
                self.add(said)?;
            }
            Body::Stream(events) => {
                if let Some(data) = events.finish() {
                    // Half a chunk is a cut answer, not a malformed one.
                    self.hear(&data).map(drop).map_err(|error| match error {
                        Error::ChatMalformed { .. } => cut(),
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
        if data.trim() == "[DONE]" {
            // A server that says it is done has stopped, whether or not it gave the reason.
            self.finish_reason.get_or_insert(FinishReason::Stop);
            return Ok(ControlFlow::Break(()));
        }
        let said = Chunk::parse(data, self.config.api_key.as_ref())?;
        self.add(said)?;
        Ok(ControlFlow::Continue(()))
    }

    fn add(&mut self, said: Said) -> Result<(), Error> {
        self.text_bytes += said.text.len();
        within(self.text_bytes, MAX_TEXT_BYTES)?;
        // Only progress counts: comments and empty chunks keep a hanging server's connection alive too.
        if said.thinks || !said.text.is_empty() || said.finish_reason.is_some() {
            self.started = true;
            self.deadline = Instant::now() + self.config.between_tokens_timeout;
        }
        if !said.text.is_empty() {
            self.ready.push_back(Ok(ChatEvent::Delta(said.text)));
        }
        // Some servers repeat a growing usage in every chunk; the last one counts.
        self.usage = said.usage.or(self.usage.take());
        self.finish_reason = said.finish_reason.or(self.finish_reason.take());
        Ok(())
    }

    fn complete(&mut self) {
        self.ended = true;
        self.ready.extend(self.usage.take().map(Ok));
        let finish_reason = self.finish_reason.take().unwrap_or(FinishReason::Stop);
        self.ready.push_back(Ok(ChatEvent::Done { finish_reason }));
    }
}

fn within(bytes: usize, limit_bytes: usize) -> Result<(), Error> {
    if bytes > limit_bytes {
        return Err(Error::ChatTooLarge { limit_bytes });
    }
    Ok(())
}

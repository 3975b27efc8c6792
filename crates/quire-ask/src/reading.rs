//! An answer of a provider while it is read, together with the attempt that pays for it, so that it is paid for
//! by what was really used even when nobody reads to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use quire_models::registry::{Price, Tokens};
use quire_models::{ChatEvent, ChatStream, Error, Hop, Schema};
use quire_tenancy::Attempt;
use quire_tenancy::usage::Quantities;
use quire_types::{ChatMessage, NanoUsd};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long an answer that nobody wants any more is read on, and how many bytes of it. The provider works on
/// either way, and says only at the end what that took; beyond this all that was reserved is charged.
const READ_ON_FOR: Duration = Duration::from_secs(30);
const READ_ON_BYTES: usize = 64 << 10;

/// An answer while it is read. Dropped before its end, it is read on in the background, within bounds.
pub(crate) struct Reading {
    /// None once it has ended.
    events: Option<ChatStream>,
    /// What was heard while waiting for the first word.
    heard: VecDeque<Result<ChatEvent, Error>>,
    attempt: Option<Attempt>,
    used: Option<Tokens>,
    price: Price,
    /// What it costs at the most, and before its first word.
    costs: (NanoUsd, NanoUsd),
    has_begun: bool,
    /// Whether somebody else spoke first, so that nothing of it is read any more.
    has_lost: Arc<AtomicBool>,
    runtime: Handle,
}

impl Reading {
    /// Asks. The attempt has been written down for this hop.
    pub(crate) async fn begin(
        hop: &Hop,
        messages: &[ChatMessage],
        schema: Option<&Schema>,
        attempt: Attempt,
    ) -> Result<Self, Error> {
        match hop.stream(messages, schema).await {
            Ok(events) => Ok(Self {
                events: Some(events),
                heard: VecDeque::new(),
                attempt: Some(attempt),
                used: None,
                price: *hop.price(),
                costs: hop.costs(),
                has_begun: false,
                has_lost: Arc::default(),
                runtime: Handle::current(),
            }),
            Err(error) => {
                attempt.failed(&error);
                Err(error)
            }
        }
    }

    /// Waits for the first word, which [`Self::next`] then gives, or for the end. Once `has_lost` says so, dropping it
    /// ends it at once: it has cost what its input costs, since it did not say a word.
    pub(crate) async fn first_word(&mut self, has_lost: &Arc<AtomicBool>) {
        self.has_lost = has_lost.clone();
        while !self.has_begun
            && let Some(event) = self.hear().await
        {
            self.heard.push_back(event);
        }
    }

    /// Whether it said a word.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The next event; none at the end, which an error is, too.
    pub(crate) async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        match self.heard.pop_front() {
            Some(event) => Some(event),
            None => self.hear().await,
        }
    }

    async fn hear(&mut self) -> Option<Result<ChatEvent, Error>> {
        let event = self.events.as_mut()?.next().await;
        match &event {
            Some(Ok(ChatEvent::Delta(_))) => {
                self.has_begun = true;
                if let Some(attempt) = &mut self.attempt {
                    attempt.began();
                }
            }
            Some(Ok(ChatEvent::Usage(tokens))) => self.used = Some(*tokens),
            Some(Ok(ChatEvent::Done { .. })) => {}
            Some(Err(error)) => {
                self.events = None;
                if error.is_unbilled()
                    && let Some(attempt) = self.attempt.take()
                {
                    attempt.failed(error);
                }
            }
            None => self.events = None,
        }
        event
    }

    /// All of a short reply, as far as `most_bytes` reach.
    pub(crate) async fn whole(&mut self, most_bytes: usize) -> Result<String, Error> {
        let mut text = String::new();
        while let Some(event) = self.next().await {
            if let ChatEvent::Delta(more) = event? {
                text.push_str(&more);
                if text.len() > most_bytes {
                    break;
                }
            }
        }
        Ok(text)
    }

    /// What the provider said that it used.
    pub(crate) fn used(&self) -> Option<Tokens> {
        self.used
    }

    /// What it costs as far as anybody knows now: by what the provider said, otherwise what was reserved.
    pub(crate) fn cost(&self) -> NanoUsd {
        match self.used {
            Some(used) => self.price.cost(used),
            None if self.has_begun => self.costs.0,
            None => self.costs.1,
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        match self
            .events
            .take()
            .filter(|_| !self.has_lost.load(Ordering::Relaxed))
        {
            None => settle(attempt, self.used, &self.price),
            Some(events) => {
                let (used, price) = (self.used, self.price);
                self.runtime.spawn(read_on(events, attempt, used, price));
            }
        }
    }
}

async fn read_on(
    mut events: ChatStream,
    mut attempt: Attempt,
    mut used: Option<Tokens>,
    price: Price,
) {
    let reading = async {
        let mut bytes = 0;
        while let Some(event) = events.next().await {
            match event {
                Ok(ChatEvent::Delta(text)) => {
                    attempt.began();
                    bytes += text.len();
                }
                Ok(ChatEvent::Usage(tokens)) => used = Some(tokens),
                Ok(ChatEvent::Done { .. }) => {}
                Err(_) => return,
            }
            if bytes > READ_ON_BYTES {
                return;
            }
        }
    };
    // What could not be read to its end has said nothing of what it used.
    let _ = timeout(READ_ON_FOR, reading).await;
    settle(attempt, used, &price);
}

/// Ends an attempt with what the provider says it used. One that does not say is charged what was reserved.
fn settle(attempt: Attempt, used: Option<Tokens>, price: &Price) {
    if let Some(used) = used {
        attempt.close(quantities(used), price.cost(used));
    }
}

fn quantities(tokens: Tokens) -> Quantities {
    let count = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
    Quantities {
        input_tokens: count(tokens.input),
        cached_tokens: count(tokens.cached),
        output_tokens: count(tokens.received()),
        reasoning_tokens: count(tokens.reasoning),
        ..Quantities::default()
    }
}

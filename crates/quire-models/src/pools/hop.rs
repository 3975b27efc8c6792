//! One model in one pool that is asked once. Whatever becomes of it, the pool learns how it ended: when the
//! stream ends, fails, or is dropped.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::{Stream, StreamExt};
use quire_types::{ChatMessage, ErrorKind, Kind, NanoUsd};
use tracing::debug;

use super::gauge::{Begun, Need, Outcome};
use super::{Models, Ms, Wish};
use crate::Error;
use crate::chat::{ChatCall, ChatEvent, ChatStream, Schema};
use crate::registry::{Model, Price, Tokens};
use crate::server::{Server, Told};

/// One model in one pool, with its price.
pub struct Hop {
    model: Arc<Model>,
    price: Price,
    server: Arc<Server>,
    wish: (u64, u64),
    ticket: Mutex<Option<Ticket>>,
    pool: String,
}

/// What a call has taken of its pool.
struct Ticket {
    models: Models,
    key: (String, String),
    begun: Begun,
    price: Price,
    sent_at: Option<Instant>,
    used: Option<Tokens>,
    has_begun: bool,
    outcome: Outcome,
}

impl Hop {
    pub(super) fn new(
        models: &Models,
        key: (String, String),
        begun: Begun,
        server: Arc<Server>,
        model: &Arc<Model>,
        price: Price,
        wish: &Wish,
    ) -> Self {
        Self {
            model: model.clone(),
            price,
            server,
            wish: (wish.input_tokens, wish.output_tokens),
            pool: key.0.clone(),
            ticket: Mutex::new(Some(Ticket {
                models: models.clone(),
                key,
                begun,
                price,
                sent_at: None,
                used: None,
                has_begun: false,
                outcome: Outcome::Unknown,
            })),
        }
    }

    /// The model, by its name at its provider.
    pub fn model(&self) -> &str {
        &self.model.name
    }

    /// Whose it is, by the name in the registry.
    pub fn provider(&self) -> &str {
        &self.model.provider
    }

    /// The pool it is in.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// What it costs.
    pub fn price(&self) -> &Price {
        &self.price
    }

    /// What it costs at the most, and what the messages alone cost.
    pub fn costs(&self) -> (NanoUsd, NanoUsd) {
        let input = Tokens {
            input: self.wish.0,
            ..Tokens::default()
        };
        let most = Tokens {
            output: self.wish.1,
            ..input
        };
        (self.price.cost(most), self.price.cost(input))
    }

    /// Asks. A hop is asked once; the second time is refused.
    pub async fn stream(
        &self,
        messages: &[ChatMessage],
        schema: Option<&Schema>,
    ) -> Result<ChatStream, Error> {
        let ticket = self
            .ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut ticket = ticket.ok_or_else(|| Error::Config("a hop is asked once".to_owned()))?;
        ticket.sent_at = Some(Instant::now());
        let call = ChatCall {
            model: &self.model.name,
            messages,
            max_tokens: u32::try_from(self.wish.1).unwrap_or(u32::MAX),
            schema,
        };
        match self.server.stream(&call).await {
            Ok(answer) => {
                ticket.hear(&answer.told);
                Ok(Watched {
                    events: answer.events,
                    ticket,
                }
                .boxed())
            }
            Err(error) => {
                ticket.failed(&error);
                Err(error)
            }
        }
    }
}

/// A stream whose end is told to the pool.
struct Watched {
    events: ChatStream,
    ticket: Ticket,
}

impl Stream for Watched {
    type Item = Result<ChatEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.events.as_mut().poll_next(context);
        if let Poll::Ready(Some(event)) = &polled {
            match event {
                Ok(ChatEvent::Delta(_)) => self.ticket.first_token(),
                Ok(ChatEvent::Usage(used)) => self.ticket.used = Some(*used),
                Ok(ChatEvent::Done { .. }) => self.ticket.outcome = Outcome::Good,
                Err(error) => self.ticket.failed(error),
            }
        }
        polled
    }
}

impl Ticket {
    fn hear(&self, told: &Told) {
        let inner = &self.models.inner;
        let now = inner.now();
        if let Some(gauge) = inner.state().gauges.get_mut(&self.key) {
            gauge.hear(now, told);
        }
    }

    fn first_token(&mut self) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        if let Some(sent_at) = self.sent_at {
            let mut state = self.models.inner.state();
            let tally = state.tallies.entry(self.key.clone()).or_default();
            tally.first_token.note(sent_at.elapsed());
        }
    }

    fn failed(&mut self, error: &Error) {
        self.outcome = match error {
            Error::Refused {
                status: Some(401 | 403 | 404),
                ..
            } => Outcome::Useless,
            Error::Config(_) => Outcome::Useless,
            _ => match error.kind() {
                ErrorKind::RateLimited => {
                    let after = error.retry_after();
                    Outcome::Limited(after.and_then(|after| Ms::try_from(after.as_millis()).ok()))
                }
                ErrorKind::Invalid => Outcome::Unknown,
                _ => Outcome::Bad,
            },
        };
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let inner = &self.models.inner;
        let now = inner.now();
        let mut state = inner.state();
        let state = &mut *state;
        let Some(gauge) = state.gauges.get_mut(&self.key) else {
            return;
        };
        let Some(sent_at) = self.sent_at else {
            gauge.cancel(now, self.begun);
            return;
        };
        let used = self.used.map(|used| Need {
            input_tokens: used.input,
            output_tokens: used.received(),
        });
        gauge.end(now, self.begun, used, self.outcome);
        let tally = state.tallies.entry(self.key.clone()).or_default();
        match self.outcome {
            Outcome::Good => {
                state.retries.note(true);
                tally.good += 1;
                tally.total.note(sent_at.elapsed());
            }
            Outcome::Bad => {
                state.retries.note(false);
                tally.bad += 1;
            }
            Outcome::Limited(_) => tally.limited += 1,
            Outcome::Useless | Outcome::Unknown => tally.other += 1,
        }
        if let Some(used) = self.used {
            tally.input_tokens = tally.input_tokens.saturating_add(used.input);
            tally.output_tokens = tally.output_tokens.saturating_add(used.received());
            tally.cost = tally.cost.saturating_add(self.price.cost(used));
        }
        // The attributes are those of OpenTelemetry's conventions for generative AI.
        debug!(
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = %self.key.0,
            gen_ai.request.model = %self.key.1,
            gen_ai.usage.input_tokens = self.used.map(|used| used.input),
            gen_ai.usage.output_tokens = self.used.map(|used| used.received()),
            duration_ms = u64::try_from(sent_at.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome = ?self.outcome,
            "a model was asked"
        );
    }
}

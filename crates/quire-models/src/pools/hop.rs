//! One model in one pool that is asked once. Whatever becomes of it, the pool learns how it ended: when the
//! stream ends, fails, or is dropped.

mod senses;
mod span;

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::{Stream, StreamExt};
use quire_types::{ChatMessage, ErrorKind, Kind, NanoUsd};
use tracing::{Instrument, Span, debug};

use super::gauge::{Begun, Need, Outcome};
use super::{Models, Ms, Wish, Work};
use crate::Error;
use crate::chat::{Answerer, ChatCall, ChatEvent, ChatStream, FinishReason, Picture, Schema};
use crate::registry::{Capability, Feature, Model, Price, Tokens, Unit};
use crate::rerank::{RerankCall, Reranked};
use crate::server::{Server, Told};
use crate::vectors::{EmbedCall, Embedded};

/// One model in one pool, with its price.
pub struct Hop {
    model: Arc<Model>,
    price: Price,
    server: Arc<Server>,
    wish: Wish,
    ticket: Mutex<Option<Ticket>>,
    pool: String,
}

/// What a call has taken of its pool.
struct Ticket {
    models: Models,
    key: (String, String),
    begun: Begun,
    price: Price,
    sent: Option<Sent>,
    used: Option<Tokens>,
    /// What is paid beside tokens.
    beside: NanoUsd,
    has_begun: bool,
    by: Arc<OnceLock<Answerer>>,
    outcome: Outcome,
}

/// When a call left, and its span.
struct Sent {
    at: Instant,
    span: Span,
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
            wish: wish.clone(),
            pool: key.0.clone(),
            ticket: Mutex::new(Some(Ticket {
                models: models.clone(),
                key,
                begun,
                price,
                sent: None,
                used: None,
                beside: NanoUsd::ZERO,
                has_begun: false,
                by: Arc::default(),
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

    /// What it costs at the most, and what is sent to it alone costs.
    pub fn costs(&self) -> (NanoUsd, NanoUsd) {
        let cost = |output| self.wish.cost(&self.price, output);
        (cost(self.wish.output_tokens), cost(0))
    }

    /// Whether its provider holds answers to a schema.
    pub fn holds_schemas(&self) -> bool {
        self.model.features.contains(&Feature::JsonSchema)
    }

    /// Asks. A hop is asked once; the second time is refused.
    pub async fn stream(
        &self,
        messages: &[ChatMessage],
        schema: Option<&Schema>,
    ) -> Result<ChatStream, Error> {
        self.stream_about(messages, schema, None).await
    }

    /// The same about a picture.
    async fn stream_about(
        &self,
        messages: &[ChatMessage],
        schema: Option<&Schema>,
        picture: Option<Picture<'_>>,
    ) -> Result<ChatStream, Error> {
        let (mut ticket, span) = self.leave_for("chat", schema.is_some())?;
        let call = ChatCall {
            model: &self.model.name,
            messages,
            max_tokens: u32::try_from(self.wish.output_tokens).unwrap_or(u32::MAX),
            schema,
            picture,
        };
        match self.server.stream(&call).instrument(span).await {
            Ok(answer) => {
                ticket.hear(&answer.told);
                ticket.by = answer.by;
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

    /// Asks for an order of passages, all of them, and tells what that cost if the server told what can be true.
    /// Refused the second time, too.
    pub async fn rerank(
        &self,
        query: &str,
        documents: &[String],
    ) -> Result<(Reranked, Option<NanoUsd>), Error> {
        let Work::Rerank { searches: most } = self.wish.work else {
            return Err(Error::Config("no order was wished for".to_owned()));
        };
        let (mut ticket, span) = self.leave("rerank")?;
        let call = RerankCall {
            model: &self.model.name,
            query,
            documents,
            top: documents.len(),
        };
        let reranked = match self.model.does.contains(&Capability::Rerank) {
            true => self.server.rerank(&call).instrument(span).await,
            false => self.server.score(&call).instrument(span).await,
        };
        let reranked = reranked.inspect_err(|error| ticket.failed(error))?;
        ticket.hear(&reranked.told);
        ticket.outcome = Outcome::Good;
        let told = reranked.input_tokens.filter(|told| {
            // A token has a byte at least, and the question is read with every passage.
            let bytes: usize = documents.iter().map(|text| text.len() + query.len()).sum();
            (1..=bytes as u64 + 64 * documents.len() as u64).contains(told)
        });
        let searches = reranked.searches.filter(|told| (1..=most).contains(told));
        let by_search = searches.and_then(|count| self.price.cost_of(Unit::Searches, count));
        let by_token = told.map(|input| Tokens {
            input,
            ..Tokens::default()
        });
        ticket.used = by_token;
        ticket.beside = by_search.unwrap_or_default();
        let by_token = by_token.map(|tokens| self.price.cost(tokens));
        let cost = match (by_search, by_token) {
            (Some(searches), tokens) => Some(searches.saturating_add(tokens.unwrap_or_default())),
            // Whoever is paid by the search did not say how many there were.
            (None, _) if self.price.cost_of(Unit::Searches, 1).is_some() => None,
            (None, tokens) => tokens,
        };
        Ok((reranked, cost))
    }

    /// Asks for vectors, and tells what that cost if the server told what can be true. Refused the second time, too.
    pub async fn embed(&self, texts: &[String]) -> Result<(Embedded, Option<NanoUsd>), Error> {
        let Work::Embed {
            dimensions,
            are_questions,
        } = self.wish.work
        else {
            return Err(Error::Config("no vectors were wished for".to_owned()));
        };
        let (mut ticket, span) = self.leave("embeddings")?;
        let call = EmbedCall {
            model: &self.model.name,
            texts,
            dimensions,
            are_questions,
        };
        let embedded = self.server.embed(&call).instrument(span).await;
        let embedded = embedded.inspect_err(|error| ticket.failed(error))?;
        ticket.hear(&embedded.told);
        ticket.outcome = Outcome::Good;
        // A token has a byte at least; each text has a few that mark its ends.
        let bytes: usize = texts.iter().map(|text| text.len() + 8).sum();
        let told = embedded.input_tokens;
        let told = told.filter(|told| (1..=bytes as u64).contains(told));
        ticket.used = told.map(|input| Tokens {
            input,
            ..Tokens::default()
        });
        let cost = ticket.used.map(|tokens| self.price.cost(tokens));
        Ok((embedded, cost))
    }

    /// Takes the ticket of the only call, which leaves now.
    fn leave(&self, operation: &'static str) -> Result<(Ticket, Span), Error> {
        self.leave_for(operation, false)
    }

    fn leave_for(
        &self,
        operation: &'static str,
        wants_json: bool,
    ) -> Result<(Ticket, Span), Error> {
        let ticket = self
            .ticket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut ticket = ticket.ok_or_else(|| Error::Config("a hop is asked once".to_owned()))?;
        let span = self.span(operation, wants_json);
        ticket.sent = Some(Sent {
            at: Instant::now(),
            span: span.clone(),
        });
        Ok((ticket, span))
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
                Ok(ChatEvent::Done { finish_reason }) => self.ticket.finished(finish_reason),
                Err(error) => self.ticket.failed(error),
            }
        }
        polled
    }
}

impl Ticket {
    fn hear(&mut self, told: &Told) {
        let inner = &self.models.inner;
        let now = inner.now();
        if let Some(gauge) = inner.state().gauges.get_mut(&self.key) {
            gauge.hear(now, &mut self.begun, told);
        }
    }

    fn first_token(&mut self) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        if let Some(sent) = &self.sent {
            let mut state = self.models.inner.state();
            let took = sent.at.elapsed();
            span::first_token(&sent.span, took);
            let tally = state.tallies.entry(self.key.clone()).or_default();
            tally.first_token.note(took);
            let pace = state.paces.entry(self.key.clone()).or_default();
            pace.note(Ms::try_from(took.as_millis()).unwrap_or(Ms::MAX));
        }
    }

    fn finished(&mut self, reason: &FinishReason) {
        self.outcome = Outcome::Good;
        if let Some(sent) = &self.sent {
            span::finished(&sent.span, reason);
        }
    }

    fn failed(&mut self, error: &Error) {
        if let Some(sent) = &self.sent {
            span::failed(&sent.span, error);
        }
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
        let Some(sent) = &self.sent else {
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
                tally.total.note(sent.at.elapsed());
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
            span::used(&sent.span, used);
        }
        if let Some(answerer) = self.by.get() {
            span::answered_by(&sent.span, answerer);
        }
        tally.cost = tally.cost.saturating_add(self.beside);
        let duration_ms = u64::try_from(sent.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        sent.span
            .in_scope(|| debug!(duration_ms, outcome = ?self.outcome, "a model was asked"));
    }
}

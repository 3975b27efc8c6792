//! A request that was let in, and what it holds: everything here gives back when it is dropped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;

use quire_types::{NanoUsd, NotebookId};

use super::call::{Call, TOKENS, check_state};
use super::{Control, Live, lock};
use crate::budgets::{self, Counted};
use crate::catalogue::QuestionType;
use crate::error::{Error, Reason, Refusal};
use crate::gate::Seat;
use crate::known::Account;
use crate::rates::{Rate, RateState};
use crate::usage::{self, Event, Kind, Quantities};

/// The way in which an admitted request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// As asked.
    Full,
    /// Without what costs money or much time, because of this.
    Cheaper(Reason),
}

/// Units of rates that come back unless the request is let in.
pub(super) struct Taken {
    live: Arc<Live>,
    rates: Vec<Rate>,
    pub(super) state: Option<RateState>,
}

impl Taken {
    pub(super) fn new(live: &Arc<Live>, rates: Vec<Rate>) -> Self {
        Self {
            state: rates.first().map(|rate| lock(&live.rates).state(rate)),
            rates,
            live: live.clone(),
        }
    }

    pub(super) fn units(&self, name: &str) -> u64 {
        let rate = self.rates.iter().find(|rate| rate.name == name);
        rate.map_or(0, |rate| rate.units)
    }

    pub(super) fn keep(mut self) {
        self.rates.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.rates.is_empty() {
            lock(&self.live.rates).give_back(&self.rates);
        }
    }
}

/// The share of a hold that a request may spend; charged with what it used when it is over.
pub(super) struct Spending {
    live: Arc<Live>,
    share: Option<budgets::Share>,
    /// Tokens that were taken from the rate.
    pub(super) tokens: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    cost: i64,
    questions: i64,
    audio_ms: i64,
    tokens: i64,
}

impl Spending {
    pub(super) fn new(live: &Arc<Live>, share: Option<budgets::Share>) -> Self {
        Self {
            live: live.clone(),
            share,
            tokens: 0,
            used: Mutex::default(),
        }
    }

    fn hold(&self) -> Option<Uuid> {
        self.share.as_ref().map(|share| share.hold)
    }

    fn add(&self, event: &Event) {
        let mut used = lock(&self.used);
        used.cost = used.cost.saturating_add(event.cost.nanos());
        used.questions += i64::from(event.kind == Kind::Question.as_str());
        // The source that was listened to tells the same seconds.
        if event.kind != Kind::Transcribe.as_str() {
            used.audio_ms += event.quantities.audio_ms;
        }
        let is_unknown = event.is_estimated && event.cost > NanoUsd::ZERO;
        used.tokens += match is_unknown {
            // What nobody knows was all of it, here too.
            true => i64::try_from(self.tokens).unwrap_or(i64::MAX),
            false => event.quantities.input_tokens + event.quantities.output_tokens,
        };
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let used = lock(&self.used);
        let unused = self.tokens.saturating_sub(used.tokens.unsigned_abs());
        lock(&self.live.rates).give_back_units(TOKENS, unused);
        if let Some(share) = &self.share {
            lock(&self.live.purse).settle(share, |scope| match scope.counted {
                Counted::Cost => used.cost,
                Counted::Questions => used.questions,
                Counted::AudioSeconds => used.audio_ms / 1_000,
            });
        }
    }
}

/// A request that was let in. Dropping it frees its seat and charges what it used.
pub struct Admitted {
    /// The way it is to be answered.
    pub route: Route,
    /// What the tenant's rate has left; none without a limit.
    pub rate: Option<RateState>,
    /// How long it waited for its seat.
    pub waited: Duration,
    pub(super) call: Call,
    pub(super) account: Arc<Account>,
    pub(super) control: Control,
    pub(super) spending: Arc<Spending>,
    /// None where nothing is worked out.
    pub(super) _seat: Option<Seat>,
}

impl Admitted {
    /// Notes local work of this request; it is written within a moment.
    pub fn note(&self, kind: Kind, quantities: Quantities) {
        let event = Event {
            quantities,
            ..self.event(kind, 1)
        };
        self.spending.add(&event);
        self.control.inner.meter.push(event);
    }

    /// What its usage is spent from, for events that are written with the effect of the work.
    pub fn hold(&self) -> Option<Uuid> {
        self.spending.hold()
    }

    /// Charges an event of this work that was written elsewhere.
    pub fn charge(&self, event: &Event) {
        self.spending.add(event);
    }

    /// Notes a question that was answered by what was worked out before, and where that was found.
    pub fn note_repetition(&self, found_in: &str) {
        let event = Event {
            model: Some(found_in.to_owned()),
            ..self.event(Kind::Question, 1)
        };
        self.spending.add(&event);
        self.control.inner.meter.push(event);
    }

    /// Begins an attempt at a provider, which is written down before it is sent: `most` is what it costs
    /// unless somebody says otherwise, `input` what it costs if it is broken off before the first word.
    pub async fn attempt(
        &self,
        kind: Kind,
        number: i16,
        provider: &str,
        model: &str,
        (most, input): (NanoUsd, NanoUsd),
    ) -> Result<Attempt, Error> {
        let event = Event {
            provider: Some(provider.to_owned()),
            model: Some(model.to_owned()),
            is_open: true,
            is_estimated: true,
            cost: most,
            ..self.event(kind, number)
        };
        let attempt = Attempt {
            event: Some(event.clone()),
            input,
            state: Progress::Unsent,
            spending: self.spending.clone(),
            control: self.control.clone(),
        };
        // A client that goes away meanwhile leaves an attempt that was written down and never sent.
        let store = self.control.inner.store.clone();
        let written = tokio::spawn(async move {
            if usage::record_attempt(&store, &event).await? {
                Ok(attempt)
            } else {
                // Nothing was written, so there is nothing to close either.
                attempt.forget();
                Err(Error::NotHeld)
            }
        });
        let mut attempt = written
            .await
            .map_err(|_| Error::Store(quire_store::Error::Interrupted))??;
        attempt.state = Progress::Sent;
        Ok(attempt)
    }

    fn event(&self, kind: Kind, attempt: i16) -> Event {
        let call = &self.call;
        Event {
            user: call.user.clone(),
            notebook: call.notebook.map(NotebookId::uuid),
            hold: self.spending.hold(),
            ..Event::new(self.account.tenant.id, kind, call.request, attempt, call.at)
        }
    }

    /// The tenant with what it may use.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Whether the plan has questions of this type.
    pub fn allows(&self, question: QuestionType) -> bool {
        self.account.terms.plan.question_types.contains(&question)
    }

    /// Returns once the tenant may not go on: it was suspended or is being closed. Never, otherwise.
    pub async fn revoked(&self) -> Refusal {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Ok(account) = self.control.account(self.account.tenant.id).await
                && let Err(refusal) = check_state(account.tenant.state)
            {
                return refusal;
            }
        }
    }
}

/// An attempt at a provider. Dropped without a word it costs what its input costs if no answer had begun, and
/// everything that was reserved otherwise: what nobody knows is never free.
pub struct Attempt {
    event: Option<Event>,
    input: NanoUsd,
    state: Progress,
    spending: Arc<Spending>,
    control: Control,
}

/// How far an attempt has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Unsent,
    Sent,
    Begun,
}

impl Attempt {
    /// The provider said what was used.
    pub fn close(mut self, quantities: Quantities, cost: NanoUsd) {
        if let Some(event) = self.event.take() {
            self.end(Event {
                quantities,
                cost,
                is_estimated: false,
                ..event
            });
        }
    }

    fn forget(mut self) {
        self.event = None;
    }

    /// The answer has begun: from now on everything that was reserved is at stake.
    pub fn began(&mut self) {
        self.state = Progress::Begun;
    }

    /// It failed: that costs nothing where the provider certainly did no work, unless its answer had begun.
    pub fn failed(mut self, error: &quire_models::Error) {
        if error.is_unbilled()
            && self.state != Progress::Begun
            && let Some(event) = self.event.take()
        {
            self.end(Event {
                cost: NanoUsd::ZERO,
                is_estimated: false,
                ..event
            });
        }
    }

    fn end(&self, event: Event) {
        let event = Event {
            is_open: false,
            ..event
        };
        self.spending.add(&event);
        self.control.inner.meter.push(event);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            let cost = match self.state {
                Progress::Unsent => NanoUsd::ZERO,
                Progress::Sent => self.input,
                Progress::Begun => event.cost,
            };
            self.end(Event { cost, ..event });
        }
    }
}

//! A question that was let in: it is answered anew, hears what is being answered to somebody else, or gets what was
//! answered before.

use std::sync::Arc;

use quire_tenancy::{Admitted, Call, RateState, Reason};
use tracing::Instrument;

use crate::Error;
use crate::answer::{Answer, Event, Usage};
use crate::answering::Asked;
use crate::cache::{Leading, Passenger, Place, Tier};

/// A question that was let in and is about to be answered.
pub struct Turn {
    asked: Arc<Asked>,
    way: Way,
}

/// How it is answered.
enum Way {
    /// Anew, for nobody else.
    Alone(Box<Admitted>),
    /// Anew, for everybody who asks the same meanwhile.
    Lead(Leading, Passenger, Box<Admitted>),
    /// With somebody who leads.
    Follow(Passenger, Counted),
    /// By what was answered before.
    Again(Arc<Answer>, Tier, Counted),
}

/// What counts a repetition; none where no more is allowed right now, since it costs nothing.
type Counted = Option<Box<Admitted>>;

impl Turn {
    pub(crate) async fn begin(asked: Arc<Asked>) -> Result<Self, Error> {
        let way = asked.way().await?;
        Ok(Self { asked, way })
    }

    /// What the tenant's rate has left.
    pub fn rate(&self) -> Option<RateState> {
        match &self.way {
            Way::Alone(admitted) | Way::Lead(_, _, admitted) => admitted.rate,
            Way::Follow(_, counted) | Way::Again(_, _, counted) => counted.as_ref()?.rate,
        }
    }

    /// Answers, telling each part as soon as it is certain.
    pub async fn answer(self, emit: &mut (dyn FnMut(Event) + Send)) -> Result<Answer, Error> {
        let Self { asked, mut way } = self;
        let mut told = Told::default();
        loop {
            let (passenger, counted) = match way {
                Way::Alone(admitted) => {
                    let answer = Box::pin(asked.work(&admitted, emit)).await?;
                    return Ok(Arc::unwrap_or_clone(answer));
                }
                Way::Lead(leading, own, admitted) => {
                    let mut relay = |event| told.relay(event, emit);
                    return lead(asked, leading, own, admitted, &mut relay).await;
                }
                Way::Again(answer, tier, counted) => {
                    note(counted, tier);
                    return Ok(repeat(&answer, emit));
                }
                Way::Follow(passenger, counted) => (passenger, counted),
            };
            let mut relay = |event| match event {
                Event::Usage(_) => told.relay(Event::Usage(Usage::default()), emit),
                event => told.relay(event, emit),
            };
            if let Some(answer) = passenger.hear(&mut relay).await {
                asked.asker.answers.note(Some(Tier::Flight));
                note(counted, Tier::Flight);
                return Ok(again(&answer));
            }
            // Whoever led ended without an answer, and that is its own affair, unless words have left already.
            if told.text {
                return Err(Error::BrokenOff);
            }
            way = asked.way().await?;
        }
    }
}

/// What a caller was told so far.
#[derive(Default)]
struct Told {
    sources: usize,
    text: bool,
}

impl Told {
    /// Passes an event on, but no source twice.
    fn relay(&mut self, event: Event, emit: &mut (dyn FnMut(Event) + Send)) {
        match &event {
            Event::Source { rank, .. } if (*rank as usize) <= self.sources => return,
            Event::Source { rank, .. } => self.sources = *rank as usize,
            Event::Delta(_) => self.text = true,
            Event::Citation(_) | Event::Usage(_) => {}
        }
        emit(event);
    }
}

/// Works out the answer in a task of its own, since others may wait for it, too.
async fn lead(
    asked: Arc<Asked>,
    leading: Leading,
    own: Passenger,
    admitted: Box<Admitted>,
    emit: &mut (dyn FnMut(Event) + Send),
) -> Result<Answer, Error> {
    let work = async move {
        let answer = asked
            .work(&admitted, &mut |event| leading.tell(event))
            .await?;
        leading.land(answer);
        Ok::<(), Error>(())
    };
    let work = tokio::spawn(Box::pin(work.in_current_span()));
    own.carries(work.abort_handle());
    if let Some(answer) = own.hear(emit).await {
        return Ok(Answer::clone(&answer));
    }
    match work.await {
        Ok(ended) => ended.and(Err(Error::BrokenOff)),
        Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
        Err(_) => Err(Error::BrokenOff),
    }
}

impl Asked {
    async fn way(&self) -> Result<Way, Error> {
        let asker = &self.asker;
        if self.question.fresh {
            return Ok(Way::Alone(self.admit().await?));
        }
        let near = |answer| async move {
            let counted = self.count().await?;
            Ok(Way::Again(answer, Tier::Memory, counted))
        };
        if let Some(answer) = asker.answers.near(&self.key) {
            return near(answer).await;
        }
        match asker.flights.board(self.key) {
            Place::Follow(passenger) => Ok(Way::Follow(passenger, self.count().await?)),
            Place::Lead(leading, own) => {
                // Another flight may have landed since.
                if let Some(answer) = asker.answers.near(&self.key) {
                    leading.land(answer.clone());
                    return near(answer).await;
                }
                let tenant = self.placement.tenant;
                if let Some(answer) = asker.answers.far(tenant, &self.key).await {
                    leading.land(answer.clone());
                    let counted = self.count().await?;
                    return Ok(Way::Again(answer, Tier::Redis, counted));
                }
                if let Some(answer) = self.nearby_answer().await? {
                    asker.answers.note(Some(Tier::Near));
                    leading.land(answer.clone());
                    let counted = self.count().await?;
                    return Ok(Way::Again(answer, Tier::Near, counted));
                }
                let admitted = self.admit().await?;
                asker.answers.note(None);
                Ok(Way::Lead(leading, own, admitted))
            }
        }
    }

    /// Lets it in with all that it may take.
    async fn admit(&self) -> Result<Box<Admitted>, Error> {
        let asker = &self.asker;
        let route = self.decision.route;
        let call = asker.call(&self.asking, &self.question, route).await?;
        let admitted = asker.config.control.admit(&self.asking.caller, call);
        Ok(Box::new(admitted.await?))
    }

    /// Counts a repetition, if it can be counted.
    async fn count(&self) -> Result<Counted, Error> {
        let call: Call = self.asker.free_call(&self.asking, &self.question);
        let control = &self.asker.config.control;
        match control.admit_repetition(&self.asking.caller, call).await {
            Ok(admitted) => Ok(Some(Box::new(admitted))),
            Err(refusal) if matches!(refusal.reason, Reason::Rate | Reason::Budget) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

fn note(counted: Counted, tier: Tier) {
    if let Some(admitted) = counted {
        admitted.note_repetition(&format!("cache:{}", tier.as_str()));
    }
}

/// An answer for somebody who did not cause it.
fn again(answer: &Answer) -> Answer {
    Answer {
        is_cached: true,
        usage: Usage::default(),
        ..answer.clone()
    }
}

/// Tells an answer that was given before.
fn repeat(answer: &Answer, emit: &mut (dyn FnMut(Event) + Send)) -> Answer {
    let answer = again(answer);
    emit(Event::Delta(answer.text.clone()));
    for citation in &answer.citations {
        emit(Event::Citation(Box::new(citation.clone())));
    }
    emit(Event::Usage(answer.usage.clone()));
    answer
}

//! Making an answer anew: look, let a model write or quote, charge what it took.

use std::sync::Arc;

use quire_index::{Fusion, Hit, Mode, Query};
use quire_models::registry::{Price, Tokens};
use quire_store::Placement;
use quire_store::passages::Passage;
use quire_tenancy::usage::{Kind as Work, Quantities};
use quire_tenancy::{Admitted, Attempt, Reason, Route as Admission};
use quire_types::NanoUsd;
use tracing::{info, warn};

use crate::answer::{Answer, Event, Note};
use crate::ask::{Asker, Asking, Question};
use crate::cache::Key;
use crate::compose::{self, Composed, Prompt};
use crate::recipe::Recipe;
use crate::router::{Chooser, Decision, Route};
use crate::{Error, conversation, extractive};

/// The attempt that understands a question; those that answer it are numbered from 1.
const UNDERSTANDING: i16 = 100;

/// A question with all that its answer depends on.
pub(crate) struct Asked {
    pub(crate) asker: Asker,
    pub(crate) asking: Asking,
    pub(crate) placement: Placement,
    pub(crate) question: Question,
    pub(crate) decision: Decision,
    pub(crate) key: Key,
}

/// What an answer is made from.
struct Seen {
    /// Passages, best first.
    hits: Vec<Hit>,
    /// The first passages of the sources in reach, where the recipe wants them.
    openings: Vec<Passage>,
    /// Whether a part of the sources could not be read just now.
    is_degraded: bool,
}

impl Asked {
    /// Makes the answer, and remembers it for others. Ends at once when the tenant is suspended.
    pub(crate) async fn work(
        &self,
        admitted: &Admitted,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Arc<Answer>, Error> {
        let answer = tokio::select! {
            answer = self.answer(admitted, emit) => Arc::new(answer?),
            refusal = admitted.revoked() => return Err(refusal.into()),
        };
        // What was answered the cheaper way is not what the next one should get.
        if answer.note.is_none_or(Note::is_lasting) {
            let answers = &self.asker.answers;
            answers.put(self.placement.tenant, self.key, answer.clone());
        }
        Ok(answer)
    }

    async fn answer(
        &self,
        admitted: &Admitted,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        // No database connection is held while a model works.
        let (text, cost) = self.standalone(admitted).await?;
        let text = text.as_str();
        let vector = self.asker.vector(self.placement, text).await?;

        let found = self.look(text, vector.to_vec()).await?;
        let hits = found.hits;
        for (rank, hit) in (1..).zip(&hits) {
            emit(Event::source(rank, hit));
        }

        let mut answer = match self.may_compose(admitted, &hits) {
            Ok(()) => match self
                .compose(admitted, text, &hits, &found.openings, emit)
                .await?
            {
                Some(answer) => answer,
                None => {
                    self.quote(text, &vector, &hits, Some(Note::Limited), emit)
                        .await?
                }
            },
            Err(why) => self.quote(text, &vector, &hits, why, emit).await?,
        };
        if self.decision.by == Chooser::Plan {
            answer.note = answer.note.or(Some(Note::Simpler));
        }
        if found.is_degraded {
            answer.note = Some(Note::Degraded);
        }
        answer.usage.cost = answer.usage.cost.saturating_add(cost);
        answer.understood = (text != self.question.text).then(|| text.to_owned());
        self.log(&answer);
        admitted.note(
            Work::Question,
            Quantities {
                characters: i64::try_from(text.len()).unwrap_or(i64::MAX),
                ..Quantities::default()
            },
        );
        emit(Event::Usage(answer.usage.clone()));
        Ok(answer)
    }

    /// The question on its own, and what it cost to understand it.
    async fn standalone(&self, admitted: &Admitted) -> Result<(String, NanoUsd), Error> {
        let Question { text, history, .. } = &self.question;
        if history.is_empty() {
            return Ok((text.clone(), NanoUsd::ZERO));
        }
        let by_rule = || conversation::by_rule(history, text);
        let messages = conversation::messages(history, text);
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let hops = match admitted.route {
            Admission::Full => {
                let account = admitted.account();
                self.asker.hops(account, Route::Simple, bytes).await?
            }
            Admission::Cheaper(_) => None,
        };
        let Some(Ok(hop)) = hops.map(|mut hops| hops.next(None)) else {
            return Ok((by_rule(), NanoUsd::ZERO));
        };
        let costs = hop.costs();
        let mut attempt = admitted
            .attempt(
                Work::Chat,
                UNDERSTANDING,
                hop.provider(),
                hop.model(),
                costs,
            )
            .await?;
        match compose::whole(&hop, &messages, &mut attempt).await {
            Ok((reply, used)) => {
                let cost = close(attempt, used, hop.price()).unwrap_or(costs.0);
                Ok((
                    conversation::understood(&reply).unwrap_or_else(by_rule),
                    cost,
                ))
            }
            Err(error) => {
                warn!(%error, "a model failed; a question is understood by rule");
                if error.is_unbilled() {
                    attempt.refused();
                }
                Ok((by_rule(), NanoUsd::ZERO))
            }
        }
    }

    /// What the answer is to be made from.
    async fn look(&self, text: &str, vector: Vec<f32>) -> Result<Seen, Error> {
        let config = &self.asker.config;
        let recipe = self.recipe();
        let query = Query {
            text: text.to_owned(),
            vector,
            filter: self.question.filter.clone(),
            limit: recipe.passages,
            mode: Mode::Hybrid,
            fusion: Fusion::default(),
        };
        let _place = config.searching.enter().await?;
        let corpus = config
            .search
            .snapshot(self.placement, &query.filter)
            .await?;
        let found = corpus.search(&query).await?;
        let openings = match recipe.openings {
            0 => Vec::new(),
            most => corpus.openings(&query.filter, most).await,
        };
        let is_degraded = !found.missing.is_empty();
        self.asker.note_search(is_degraded);
        Ok(Seen {
            hits: found.hits,
            openings,
            is_degraded,
        })
    }

    /// What is looked for: where no model is going to read it, as much as a quotation needs.
    fn recipe(&self) -> Recipe {
        let route = self.decision.route;
        let is_read = self.asker.chain(route).is_some();
        self.asker
            .recipe(if is_read { route } else { Route::Simple })
    }

    /// Whether a model is to write the answer, or what to tell the reader about there being none.
    fn may_compose(&self, admitted: &Admitted, hits: &[Hit]) -> Result<(), Option<Note>> {
        if hits.is_empty() || self.asker.chain(self.decision.route).is_none() {
            return Err(None);
        }
        match admitted.route {
            Admission::Cheaper(Reason::Budget) => return Err(Some(Note::NoBudget)),
            Admission::Cheaper(_) => return Err(Some(Note::Limited)),
            Admission::Full => {}
        }
        if admitted.allows(self.decision.needs()) {
            Ok(())
        } else {
            Err(Some(Note::NotInPlan))
        }
    }

    /// An answer by a model: by the first of its chain that says a word. None when all failed before that.
    async fn compose(
        &self,
        admitted: &Admitted,
        text: &str,
        hits: &[Hit],
        openings: &[Passage],
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<Answer>, Error> {
        let prompt = Prompt::new(text, hits, openings, self.decision, self.recipe());
        let (account, route) = (admitted.account(), self.decision.route);
        let Some(mut hops) = self.asker.hops(account, route, prompt.bytes()).await? else {
            return Ok(None);
        };
        let mut failed = None;
        for number in 1..UNDERSTANDING {
            let hop = match hops.next(failed.as_ref()) {
                Ok(hop) => hop,
                Err(error) => {
                    warn!(%error, "no model is left to ask; answering by quotation");
                    return Ok(None);
                }
            };
            let costs = hop.costs();
            let mut attempt = admitted
                .attempt(Work::Chat, number, hop.provider(), hop.model(), costs)
                .await?;
            match compose::answer(prompt, &hop, &mut attempt, emit).await {
                Composed::Answer(mut answer, used) => {
                    answer.usage.cost = close(attempt, used, hop.price()).unwrap_or(costs.0);
                    return Ok(Some(answer));
                }
                Composed::BrokenOff(mut answer, error) => {
                    warn!(%error, model = hop.model(), "a model broke off; the answer ends there");
                    // Nobody says what was used, so all that was reserved is charged.
                    answer.usage.cost = costs.0;
                    return Ok(Some(answer));
                }
                Composed::Failed(error) => {
                    warn!(%error, model = hop.model(), pool = hop.pool(), "a model failed; asking the next one");
                    // Whoever began and broke off is paid for what it was given at least.
                    if error.is_unbilled() {
                        attempt.refused();
                    }
                    failed = Some(error);
                }
                Composed::Silent(used) => {
                    warn!(
                        model = hop.model(),
                        "a model said nothing; answering by quotation"
                    );
                    close(attempt, used, hop.price());
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    async fn quote(
        &self,
        text: &str,
        vector: &[f32],
        hits: &[Hit],
        note: Option<Note>,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        let embedder = &self.asker.config.embedder;
        let hits = &hits[..hits.len().min(self.asker.config.passages)];
        let mut answer =
            extractive::answer(text, vector, hits, embedder, self.decision, emit).await?;
        answer.note = note.or(answer.note);
        Ok(answer)
    }

    /// What was decided and what came of it; nothing of what was asked or said.
    fn log(&self, answer: &Answer) {
        let Decision { route, by, signals } = self.decision;
        info!(
            tenant = %self.placement.tenant,
            route = route.as_str(),
            by = by.as_str(),
            words = signals.words,
            compares = signals.compares,
            reasons = signals.reasons,
            sums = signals.sums,
            spans_time = signals.spans_time,
            for_each = signals.for_each,
            kind = answer.kind.as_str(),
            model = answer.model.as_deref(),
            input_tokens = answer.usage.input_tokens,
            output_tokens = answer.usage.output_tokens,
            cost_nanousd = answer.usage.cost.nanos(),
            "a question was answered"
        );
    }
}

/// Ends an attempt with what the provider says it used, and returns what that costs. One that does not say is
/// charged what was reserved.
fn close(attempt: Attempt, used: Option<Tokens>, price: &Price) -> Option<NanoUsd> {
    let used = used?;
    let cost = price.cost(used);
    attempt.close(quantities(used), cost);
    Some(cost)
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

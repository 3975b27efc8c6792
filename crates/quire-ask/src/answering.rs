//! Making an answer anew: look, let a model write or quote, charge what it took.

use std::sync::Arc;

use quire_index::Hit;
use quire_store::Placement;
use quire_tenancy::usage::{Kind as Work, Quantities};
use quire_tenancy::{Admitted, Reason, Route as Admission};
use quire_types::NanoUsd;
use tracing::{info, warn};

use crate::answer::{Answer, Event, Note};
use crate::ask::{Asker, Asking, Question};
use crate::cache::Key;
use crate::compose::{self, Composed, Prompt};
use crate::nearby::Nearby;
use crate::reading::Reading;
use crate::router::{Chooser, Decision, Route};
use crate::{Error, conversation, extractive};

/// The attempt that understands a question; those that answer it are numbered from 1.
const UNDERSTANDING: i16 = 100;
/// Bytes beyond which a reply that should be short is not read on.
const MOST_REPLY_BYTES: usize = 4_000;

/// A question with all that its answer depends on.
pub(crate) struct Asked {
    pub(crate) asker: Arc<Asker>,
    pub(crate) asking: Asking,
    pub(crate) placement: Placement,
    pub(crate) question: Question,
    pub(crate) decision: Decision,
    pub(crate) key: Key,
    /// Where questions are that are nearly the same; none where that is off.
    pub(crate) nearby: Option<Nearby>,
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
            if let Some(nearby) = &self.nearby {
                nearby.remember(self.key);
            }
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
        let asker = &self.asker;
        let corpus = asker.corpus(self.placement, &self.question.filter).await?;
        let by = corpus.embedding();
        let vector = asker.vector(&self.asking, &by, text).await?;

        let may = self.may_compose(admitted);
        let recipe = self.asker.recipe(match may {
            Ok(()) => self.decision.route,
            // Nobody is going to read more than a quotation needs.
            Err(_) => Route::Simple,
        });
        let found = self.look(admitted, text, corpus, &vector, recipe).await?;
        let hits = found.hits;
        for (rank, hit) in (1..).zip(&hits) {
            emit(Event::source(rank, hit));
        }

        let prompt = Prompt::new(text, &hits, &found.openings, self.decision, recipe);
        let composed = match may {
            Ok(()) if hits.is_empty() => Err(None),
            Ok(()) => {
                let composed = self.compose(admitted, prompt, emit).await?;
                composed.ok_or(Some(Note::Limited))
            }
            Err(why) => Err(why),
        };
        let mut answer = match composed {
            Ok(answer) => answer,
            Err(why) => {
                let own = by.model.is_none().then(|| vector.numbers.as_slice());
                self.quote(text, own, &hits, why, emit).await?
            }
        };
        if self.decision.by == Chooser::Plan {
            answer.note = answer.note.or(Some(Note::Simpler));
        }
        if found.is_degraded {
            answer.note = Some(Note::Degraded);
        }
        answer.archived = found.archived;
        let mut explanation = found.explanation;
        let cost = cost.saturating_add(explanation.cost());
        answer.usage.cost = answer.usage.cost.saturating_add(cost);
        answer.understood = (text != self.question.text).then(|| text.to_owned());
        if self.question.explain {
            explanation.note_read(answer.usage.passages);
            answer.explanation = Some(Box::new(explanation));
        }
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
        let attempt = admitted
            .attempt(
                Work::Chat,
                UNDERSTANDING,
                hop.provider(),
                hop.model(),
                hop.costs(),
            )
            .await?;
        let reply = match Reading::begin(&hop, &messages, None, attempt).await {
            Ok(mut reading) => {
                let reply = reading.whole(MOST_REPLY_BYTES).await;
                reply.map(|reply| (reply, reading.cost()))
            }
            Err(error) => Err(error),
        };
        match reply {
            Ok((reply, cost)) => Ok((
                conversation::understood(&reply).unwrap_or_else(by_rule),
                cost,
            )),
            Err(error) => {
                warn!(%error, "a model failed; a question is understood by rule");
                Ok((by_rule(), NanoUsd::ZERO))
            }
        }
    }

    /// Whether a model is to write the answer, or what to tell the reader about there being none.
    fn may_compose(&self, admitted: &Admitted) -> Result<(), Option<Note>> {
        if self.asker.chain(self.decision.route).is_none() {
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
        prompt: Prompt<'_>,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<Answer>, Error> {
        let (account, route) = (admitted.account(), self.decision.route);
        let messages = prompt.messages();
        let bytes = messages.iter().map(|message| message.content.len()).sum();
        let Some(mut hops) = self.asker.hops(account, route, bytes).await? else {
            return Ok(None);
        };
        let mut failed = None;
        let mut number = 0;
        while number < UNDERSTANDING - 2 {
            let hop = match hops.next(failed.as_ref()) {
                Ok(hop) => hop,
                Err(error) => {
                    warn!(%error, "no model is left to ask; answering by quotation");
                    return Ok(None);
                }
            };
            let (hop, reading) = self
                .first_word(admitted, &mut hops, hop, &messages, &mut number)
                .await?;
            let composed = match reading {
                Ok(mut reading) => compose::answer(prompt, hop.model(), &mut reading, emit).await,
                Err(error) => Composed::Failed(error),
            };
            match composed {
                Composed::Answer(answer) => return Ok(Some(answer)),
                Composed::BrokenOff(answer, error) => {
                    warn!(%error, model = hop.model(), "a model broke off; the answer ends there");
                    return Ok(Some(answer));
                }
                Composed::Failed(error) => {
                    warn!(%error, model = hop.model(), pool = hop.pool(), "a model failed; asking the next one");
                    failed = Some(error);
                }
                Composed::Silent => {
                    warn!(
                        model = hop.model(),
                        "a model said nothing; answering by quotation"
                    );
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    async fn quote(
        &self,
        text: &str,
        vector: Option<&[f32]>,
        hits: &[Hit],
        note: Option<Note>,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        let embedder = self.asker.config.embeddings.embedder();
        // Sentences are compared by the model in this process, whatever the corpus is of.
        let own = match vector {
            Some(vector) => vector.to_vec(),
            None => embedder.embed_query(text).await?,
        };
        let hits = &hits[..hits.len().min(self.asker.config.passages)];
        let mut answer =
            extractive::answer(text, &own, hits, embedder, self.decision, emit).await?;
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

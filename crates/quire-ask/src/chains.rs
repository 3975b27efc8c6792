//! Which models are asked for an answer, and what a question may take at most. Knows prices and lengths, and no passage.

use std::time::Duration;

use quire_index::Filter;
use quire_models::Work as Wanting;
use quire_tenancy::{Account, Call, Class, Wanted};
use quire_types::{ErrorKind, Kind, NotebookId};
use tracing::warn;

use crate::ask::{Asker, Asking, Question};
use crate::recipe::Recipe;
use crate::router::Route;
use crate::{Error, compose, conversation, rephrase, rerank};

/// How long a question holds its seat when a model writes, and when sentences are quoted.
const COMPOSING: Duration = Duration::from_secs(3);
pub(crate) const QUOTING: Duration = Duration::from_millis(50);
/// The chain of models that write answers.
pub const ANSWER: &str = "answer";
/// The chain of those that write the answers of complex questions.
pub const COMPLEX: &str = "answer-complex";
/// The chain of those that write answers for which nobody waits; without it [`COMPLEX`].
pub const BATCH: &str = "answer-batch";
/// The chain of those that say a question in other words; without it [`ANSWER`].
pub const REPHRASE: &str = "rephrase";
/// The chain of those that put passages in order.
pub const RERANK: &str = "rerank";
/// The least bytes of text in a token, so that what is reserved is enough.
pub(crate) const BYTES_PER_TOKEN: usize = 3;

impl Asker {
    /// What a question may take at most.
    pub(crate) async fn call(
        &self,
        asking: &Asking,
        question: &Question,
        route: Route,
    ) -> Result<Call, Error> {
        let mut call = self.free_call(asking, question);
        let bytes = compose::most_bytes(&question.text, self.recipe(route));
        let account = &asking.caller.account;
        let tokens = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN) as u64;
        if let Some(hops) = self.hops(account, route, bytes).await? {
            call.tokens = tokens(bytes) + self.config.answer_tokens;
            call.cost = hops.most();
            call.estimate = COMPOSING;
            for wanted in self.deepening(&question.text, route) {
                if let Some(hops) = self.hops_for(account, wanted.clone()).await? {
                    // What is put in order counts as searches, not as tokens.
                    if wanted.work == Wanting::Chat {
                        call.tokens += wanted.input_tokens + wanted.output_tokens;
                    }
                    call.cost = call.cost.saturating_add(hops.most());
                }
            }
        }
        let before = conversation_bytes(question);
        if before > 0
            && let Some(hops) = self.hops(account, Route::Simple, before).await?
        {
            call.tokens += tokens(before) + self.config.answer_tokens;
            call.cost = call.cost.saturating_add(hops.most());
        }
        Ok(call)
    }

    /// What a question takes that no model is asked for.
    pub(crate) fn free_call(&self, asking: &Asking, question: &Question) -> Call {
        let class = match question.route {
            Some(Route::Batch) => Class::Batch,
            _ => Class::Interactive,
        };
        Call {
            user: asking.user.clone(),
            notebook: only(&question.filter),
            questions: 1,
            estimate: QUOTING,
            ..Call::new(asking.request.uuid(), class)
        }
    }

    /// The models that may write an answer from so many bytes; none when there are none, for which a question
    /// is not refused: its answer is quoted.
    pub(crate) async fn hops(
        &self,
        account: &Account,
        route: Route,
        input_bytes: usize,
    ) -> Result<Option<quire_models::Route>, Error> {
        let Some(chain) = self.chain(route) else {
            return Ok(None);
        };
        let wanted = Wanted {
            chain: chain.to_owned(),
            input_tokens: input_bytes.div_ceil(BYTES_PER_TOKEN) as u64,
            output_tokens: self.config.answer_tokens,
            ..Wanted::default()
        };
        self.hops_for(account, wanted).await
    }

    /// The models that may do what is wanted; none when there are none, for which no question is refused.
    pub(crate) async fn hops_for(
        &self,
        account: &Account,
        wanted: Wanted,
    ) -> Result<Option<quire_models::Route>, Error> {
        match self.config.providers.route(account, wanted).await {
            Ok(hops) => Ok(Some(hops)),
            // Money fails closed: what can't be looked up is refused.
            Err(error @ quire_tenancy::Error::Slow(_)) => Err(error.into()),
            Err(error) if error.kind() == ErrorKind::Internal => Err(error.into()),
            Err(error) => {
                warn!(%error, "no model can be asked; answering without");
                Ok(None)
            }
        }
    }

    /// What is wanted of models to make the search of such a question deeper, each as often as it may be asked.
    fn deepening(&self, question: &str, route: Route) -> Vec<Wanted> {
        let recipe = self.recipe(route);
        let Some(depth) = recipe.depth else {
            return Vec::new();
        };
        let rephrasing = self.rephrasing(question, depth.phrasings);
        // What it says may have to be mended.
        let rephrasing = rephrasing
            .into_iter()
            .flat_map(|wanted| [wanted.clone(), wanted]);
        let reranking = self.reranking(question, recipe.candidates());
        rephrasing.chain(reranking).collect()
    }

    /// What is wanted to say a question in other words.
    pub(crate) fn rephrasing(&self, question: &str, most: usize) -> Option<Wanted> {
        let models = self.config.providers.models();
        let chain = [REPHRASE, ANSWER]
            .into_iter()
            .find(|chain| models.has_chain(chain));
        let bytes = rephrase::most_bytes(question, most);
        chain.filter(|_| most > 0).map(|chain| Wanted {
            chain: chain.to_owned(),
            input_tokens: bytes.div_ceil(BYTES_PER_TOKEN) as u64,
            output_tokens: rephrase::REPLY_TOKENS,
            ..Wanted::default()
        })
    }

    /// What is wanted to put so many passages in order.
    pub(crate) fn reranking(&self, question: &str, passages: usize) -> Option<Wanted> {
        let models = self.config.providers.models();
        let bytes = rerank::most_bytes(question, passages);
        models.has_chain(RERANK).then(|| Wanted {
            chain: RERANK.to_owned(),
            input_tokens: bytes.div_ceil(BYTES_PER_TOKEN) as u64,
            work: Wanting::Rerank {
                searches: rerank::most_searches(question, passages, BYTES_PER_TOKEN),
            },
            ..Wanted::default()
        })
    }

    /// The chain for answers of this way.
    pub(crate) fn chain(&self, route: Route) -> Option<&'static str> {
        let models = self.config.providers.models();
        let chains: &[&str] = match route {
            Route::Simple | Route::Moderate => &[ANSWER],
            Route::Complex => &[COMPLEX, ANSWER],
            Route::Batch => &[BATCH, COMPLEX, ANSWER],
        };
        chains.iter().copied().find(|chain| models.has_chain(chain))
    }

    pub(crate) fn recipe(&self, route: Route) -> Recipe {
        Recipe::of(route, self.config.passages, self.config.depth)
    }
}

/// The notebook a filter is about, if only one.
pub(crate) fn only(filter: &Filter) -> Option<NotebookId> {
    match filter.notebooks.as_deref() {
        Some([only]) => Some(*only),
        _ => None,
    }
}

/// Bytes that a model reads to understand a question that follows others.
fn conversation_bytes(question: &Question) -> usize {
    if question.history.is_empty() {
        return 0;
    }
    let messages = conversation::messages(&question.history, &question.text);
    messages.iter().map(|message| message.content.len()).sum()
}

//! The ask path, top to bottom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quire_index::{Explained, Filter, Fusion, Hit, Mode, Query, Search, SearchConfig, Snapshot};
use quire_store::{Placement, Store, segments};
use quire_tenancy::usage::{Kind as Work, Quantities};
use quire_tenancy::{
    Call, Caller, Class, Control, Embeddings, Providers, RateState, Reason, Refusal, Stage,
};
use quire_types::{Language, RequestId};
use tokio::sync::Notify;

use crate::Error;
use crate::answer::{Answer, Event};
use crate::answering::Asked;
use crate::cache::{Asks, CacheTotals, Flights, Key, Near, Redis, Tiers};
use crate::chains::{ANSWER, BATCH, COMPLEX, QUOTING, REPHRASE, RERANK, only};
use crate::conversation::Said;
use crate::nearby::Nearby;
use crate::recipe::Depth;
use crate::router::{Chooser, Decision, Reach, Route, route};
use crate::turn::Turn;
use crate::versions::Versions;

/// How long an answer is kept at most: a model may know better tomorrow.
const ANSWER_LIFE: Duration = Duration::from_mins(15);
const VECTOR_LIFE: Duration = Duration::from_hours(1);
/// What answering is built from.
#[derive(Clone)]
pub struct AskerConfig {
    /// Rows.
    pub store: Store,
    /// Lets questions in and counts them.
    pub control: Control,
    /// Finds passages.
    pub search: Search,
    /// How many searches run at once.
    pub searching: Stage,
    /// Turn the question into a vector.
    pub embeddings: Embeddings,
    /// Write answers, where the chain [`ANSWER`] is configured; those of complex questions by [`COMPLEX`], where
    /// that is.
    pub providers: Providers,
    /// Tokens of an answer, at most.
    pub answer_tokens: u64,
    /// The longest question, in characters.
    pub question_chars: usize,
    /// Passages an answer is made from.
    pub passages: usize,
    /// How the search of complex questions is made deeper.
    pub depth: Depth,
    /// Memory for answers that were given, in bytes.
    pub cache_bytes: u64,
    /// A Redis that processes share for the same.
    pub cache_redis_url: Option<String>,
    /// Wakes the workers when there is a question to answer later.
    pub bell: Arc<Notify>,
}

/// Who asks.
#[derive(Clone)]
pub struct Asking {
    /// The tenant.
    pub caller: Caller,
    /// The tenant's own name of the person.
    pub user: Option<String>,
    /// The request.
    pub request: RequestId,
}

impl Asking {
    pub(crate) fn placement(&self) -> Placement {
        self.caller.account.tenant.placement()
    }
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The words.
    pub text: String,
    /// Which passages may be used.
    pub filter: Filter,
    /// Whether an answer that was given before will not do.
    pub fresh: bool,
    /// Whether the answer is to say how its passages were found.
    pub explain: bool,
    /// The way to answer it; the router chooses when nobody does.
    pub route: Option<Route>,
    /// What was said before it, oldest first.
    pub history: Vec<Said>,
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// The passages, best first.
    pub hits: Vec<Hit>,
    /// What decided their order; none when a quoted phrase did, or nothing was found.
    pub explained: Option<Explained>,
    /// Whether a part of the sources could not be read just now, so that better passages may be missing.
    pub is_degraded: bool,
    /// What the tenant's rate has left.
    pub rate: Option<RateState>,
}

/// Answers questions and searches.
pub struct Asker {
    pub(crate) config: AskerConfig,
    pub(crate) answers: Tiers<Answer>,
    pub(crate) flights: Flights,
    /// Questions that were answered, where an answer may be given to one that is nearly the same.
    pub(crate) near: Option<Near>,
    pub(crate) vectors: Tiers<Vec<f32>>,
    versions: Versions,
    /// The settings that answers rest on.
    settings: Arc<str>,
    /// Searches for which a part of the sources could not be read.
    degraded: Arc<AtomicU64>,
}

impl Asker {
    /// An asker with these parts.
    ///
    /// # Errors
    /// An address of Redis that is none. It is not asked yet.
    pub fn new(config: AskerConfig) -> Result<Self, Error> {
        let redis = config.cache_redis_url.as_deref().map(Redis::new);
        let redis = redis.transpose()?;
        let chains = config.providers.models().chains();
        let settings = format!(
            "{:?} {:?} {} {:?} {}",
            [ANSWER, COMPLEX, BATCH, REPHRASE, RERANK].map(|chain| chains.get(chain)),
            config.answer_tokens,
            config.passages,
            config.depth,
            config.embeddings.embedder().name()
        );
        Ok(Self {
            answers: Tiers::new(
                "answer",
                ANSWER_LIFE,
                config.cache_bytes,
                weight,
                redis.clone(),
            ),
            flights: Flights::default(),
            near: None,
            vectors: Tiers::new(
                "vector",
                VECTOR_LIFE,
                config.cache_bytes / 8,
                |vector| u32::try_from(vector.len() * 4 + 128).unwrap_or(u32::MAX),
                redis,
            ),
            versions: Versions::default(),
            settings: settings.into(),
            degraded: Arc::default(),
            config,
        })
    }

    /// The same, which also gives an answer to whoever asks nearly what was asked before.
    #[must_use]
    pub fn giving_near_answers(mut self, gives: bool) -> Self {
        self.near = gives.then(|| Near::new(ANSWER_LIFE));
        self
    }

    /// Answers a question over one tenant's passages, telling each part as soon as it is certain.
    pub async fn ask(
        self: &Arc<Self>,
        asking: &Asking,
        question: Question,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        self.begin(asking, question).await?.answer(emit).await
    }

    /// The part of asking that can refuse: checks the question and lets it in. What was answered before, or is
    /// being answered to somebody else, needs no room and no money.
    pub async fn begin(
        self: &Arc<Self>,
        asking: &Asking,
        question: Question,
    ) -> Result<Turn, Error> {
        let text = self.check(&question.text)?;
        let question = Question { text, ..question };
        let decision = self.decide(asking, &question)?;
        // Whoever is held off does not get as far as the database.
        self.config.control.check(&asking.caller)?;
        let placement = asking.placement();
        let corpus = self.versions.read(&self.config.store, placement).await?;
        let asks = Asks {
            corpus,
            filter: &question.filter,
            question: &question.text,
            history: &question.history,
            explain: question.explain,
            route: question.route,
            in_plan: &asking.caller.account.terms.plan.question_types,
            settings: &self.settings,
        };
        let key = Key::answer(placement, asks);
        // What points back at a conversation, and how passages were found, is of one question alone.
        let stands_alone = question.history.is_empty() && !question.explain && !question.fresh;
        let nearby = match &self.near {
            Some(near) if stands_alone => Some(Nearby::new(
                near.clone(),
                Key::space(placement, asks, decision.route),
            )),
            _ => None,
        };
        let asked = Asked {
            asker: self.clone(),
            asking: asking.clone(),
            placement,
            question,
            decision,
            key,
            nearby,
        };
        Turn::begin(Arc::new(asked)).await
    }

    /// Finds passages without answering.
    pub async fn search(
        &self,
        asking: &Asking,
        text: &str,
        filter: Filter,
        limit: usize,
        mode: Mode,
    ) -> Result<Found, Error> {
        let text = self.check(text)?;
        let call = Call {
            user: asking.user.clone(),
            notebook: only(&filter),
            estimate: QUOTING,
            ..Call::new(asking.request.uuid(), Class::Retrieval)
        };
        let admitted = self.config.control.admit(&asking.caller, call).await?;
        let corpus = self.corpus(asking.placement(), &filter).await?;
        let vector = self.vector(asking, &corpus.embedding(), &text).await?;
        let query = Query {
            mode: vector.mode(mode),
            vector: vector.numbers.to_vec(),
            text,
            filter,
            limit,
            fusion: Fusion::default(),
        };
        let found = {
            let _place = self.config.searching.enter().await?;
            corpus.search(&query).await?
        };
        let is_degraded = !found.missing.is_empty() || !vector.is_sound;
        self.note_search(is_degraded);
        admitted.note(Work::Search, Quantities::default());
        Ok(Found {
            hits: found.hits,
            explained: found.explained,
            is_degraded,
            rate: admitted.rate,
        })
    }

    /// The corpus as it is now. It says by what a question is embedded, so it comes before the vector.
    pub(crate) async fn corpus(
        &self,
        placement: Placement,
        filter: &Filter,
    ) -> Result<Snapshot, Error> {
        let _place = self.config.searching.enter().await?;
        Ok(self.config.search.snapshot(placement, filter).await?)
    }

    pub(crate) fn note_search(&self, is_degraded: bool) {
        self.degraded
            .fetch_add(u64::from(is_degraded), Ordering::Relaxed);
    }

    /// Searches and questions so far for which a part of the sources could not be read.
    pub fn degraded(&self) -> u64 {
        self.degraded.load(Ordering::Relaxed)
    }

    /// What the words of a tenant are reduced with.
    pub async fn language(&self, placement: Placement) -> Result<Language, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        tx.commit().await?;
        let own = manifest.language.and_then(|name| name.parse().ok());
        Ok(own.unwrap_or(SearchConfig::default().language))
    }

    /// The way a question goes: the one its caller names, or what its signals call for, as far as the plan has it.
    fn decide(&self, asking: &Asking, question: &Question) -> Result<Decision, Error> {
        let notebooks = question.filter.notebooks.as_ref();
        let reach = Reach {
            notebooks: notebooks.map(|named| u32::try_from(named.len()).unwrap_or(u32::MAX)),
            passages: self
                .config
                .search
                .known_passages(asking.placement(), &question.filter),
        };
        let mut decision = route(&question.text, reach);
        // Whoever waits for the answer gets one.
        if decision.route == Route::Batch {
            decision.route = Route::Complex;
        }
        let in_plan = &asking.caller.account.terms.plan.question_types;
        if let Some(route) = question.route {
            let by = Chooser::Caller;
            let named = Decision {
                route,
                by,
                ..decision
            };
            return match in_plan.contains(&named.needs()) {
                true => Ok(named),
                false => Err(Error::Refused(Refusal::new(
                    Reason::Plan,
                    format!(
                        "the plan has no {} questions: leave 'route' out, and they are answered as far as the plan goes",
                        route.as_str()
                    ),
                ))),
            };
        }
        if !in_plan.contains(&decision.needs()) {
            decision = Decision {
                route: Route::Simple,
                by: Chooser::Plan,
                ..decision
            };
        }
        Ok(decision)
    }

    /// Vectors of texts that somebody else wants to compare, and the tokens of the texts.
    pub async fn embed(
        &self,
        asking: &Asking,
        texts: Vec<String>,
    ) -> Result<(Vec<Vec<f32>>, u64), Error> {
        let embedder = self.config.embeddings.embedder();
        let tokens: usize = texts.iter().map(|text| embedder.count_tokens(text)).sum();
        let characters: usize = texts.iter().map(String::len).sum();
        let call = Call {
            user: asking.user.clone(),
            estimate: QUOTING,
            ..Call::new(asking.request.uuid(), Class::Retrieval)
        };
        let admitted = self.config.control.admit(&asking.caller, call).await?;
        let vectors = embedder.embed(texts).await?;
        admitted.note(
            Work::Embed,
            Quantities {
                input_tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
                characters: i64::try_from(characters).unwrap_or(i64::MAX),
                ..Quantities::default()
            },
        );
        Ok((vectors, tokens as u64))
    }

    /// The model of vectors.
    pub fn embedding_model(&self) -> &'static str {
        self.config.embeddings.embedder().name()
    }

    /// How often answers and vectors of questions were found, by the name of the cache.
    pub fn cache_totals(&self) -> [(&'static str, CacheTotals); 2] {
        [
            ("answer", self.answers.totals()),
            ("vector", self.vectors.totals()),
        ]
    }

    /// The question without white space around it, if it can be asked.
    pub fn check(&self, question: &str) -> Result<String, Error> {
        let text = question.trim();
        let chars = text.chars().count();
        if chars == 0 {
            return Err(Error::Question(
                "the question is empty: ask something about the sources".to_owned(),
            ));
        }
        if chars > self.config.question_chars {
            return Err(Error::Question(format!(
                "the question has {chars} characters; at most {} are allowed: add long texts as a source instead",
                self.config.question_chars
            )));
        }
        Ok(text.to_owned())
    }
}

/// What an answer takes in memory, about.
fn weight(answer: &Answer) -> u32 {
    let cited: usize = answer
        .citations
        .iter()
        .map(|citation| citation.quote.len() + citation.source_name.len() + 256)
        .sum();
    let explained = answer
        .explanation
        .as_ref()
        .map_or(0, |explained| explained.passages.len() * 128 + 4_096);
    u32::try_from(answer.text.len() + cited + explained + 512).unwrap_or(u32::MAX)
}

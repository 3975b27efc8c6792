//! The ask path, top to bottom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quire_index::{Explained, Filter, Fusion, Hit, Mode, Query, Search, SearchConfig};
use quire_models::{Chat, Embedder};
use quire_store::{Placement, Store, corpus, segments};
use quire_tenancy::catalogue::{Price, Tokens};
use quire_tenancy::usage::{Kind as Work, Quantities};
use quire_tenancy::{
    Admitted, Attempt, Call, Caller, Class, Control, RateState, Reason, Refusal, Route, Stage,
};
use quire_types::{Language, NotebookId, RequestId};
use tracing::warn;

use crate::answer::{Answer, Event, Usage};
use crate::cache::{Answers, Key};
use crate::compose::{self, Composed};
use crate::question_type::question_type;
use crate::{Error, extractive};

const LIMITED: &str = "AI temporarily limited: sentences quoted from the sources";
const NO_BUDGET: &str = "the budget for models is used up: sentences quoted from the sources";
const NOT_IN_PLAN: &str =
    "the plan has no questions that compare or sum up: sentences quoted from the sources";

const DEGRADED: &str = "a part of the sources can't be read right now: there may be more to say";

/// How long a question holds its seat when a model writes, and when sentences are quoted.
const COMPOSING: Duration = Duration::from_secs(3);
const QUOTING: Duration = Duration::from_millis(50);
/// What a server says beyond this is a mistake, and must not break the sums of others.
const MOST_TOKENS: u64 = 100_000_000;
/// The least bytes of text in a token, so that what is reserved is enough.
const BYTES_PER_TOKEN: usize = 3;

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
    /// Turns the question into a vector.
    pub embedder: Embedder,
    /// Writes answers, where a model is configured.
    pub chat: Option<Chat>,
    /// The longest question, in characters.
    pub question_chars: usize,
    /// Passages an answer is made from.
    pub passages: usize,
    /// Memory for answers that were given, in bytes.
    pub cache_bytes: u64,
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
    fn placement(&self) -> Placement {
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
#[derive(Clone)]
pub struct Asker {
    config: AskerConfig,
    answers: Answers,
    /// Searches for which a part of the sources could not be read.
    degraded: Arc<AtomicU64>,
}

/// A question that was let in and is about to be answered.
pub struct Turn {
    asked: Asked,
    way: Way,
}

/// A question with all that its answer depends on.
struct Asked {
    asker: Asker,
    placement: Placement,
    question: Question,
    /// The question over any version of the corpus, and over this one.
    topic: Key,
    key: Key,
}

/// How it is answered.
enum Way {
    /// Anew, by what was admitted.
    Anew(Box<Admitted>),
    /// By what was answered before, since nothing more is allowed right now.
    Again(Box<Answer>),
}

impl Asker {
    /// An asker with these parts.
    pub fn new(config: AskerConfig) -> Self {
        Self {
            answers: Answers::new(config.cache_bytes),
            degraded: Arc::default(),
            config,
        }
    }

    /// Answers a question over one tenant's passages, telling each part as soon as it is certain.
    pub async fn ask(
        &self,
        asking: &Asking,
        question: Question,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        self.begin(asking, question).await?.answer(emit).await
    }

    /// The part of asking that can refuse: checks the question and lets it in. When there is no room for it
    /// but the same was answered before, it gets that answer.
    pub async fn begin(&self, asking: &Asking, question: Question) -> Result<Turn, Error> {
        let placement = asking.placement();
        let text = self.check(&question.text)?;
        let question = Question { text, ..question };
        let call = self.call(asking, &question).await?;
        let admitted = self.config.control.admit(&asking.caller, call).await;
        let topic = self.key(placement, None, &question);
        // A refusal asks the database nothing, unless there may be an answer to repeat.
        if let Err(refusal) = &admitted
            && !(bears_a_repetition(refusal) && self.answers.knows(&topic))
        {
            return Err(refusal.clone().into());
        }
        let version = self.corpus_version(placement).await?;
        let key = self.key(placement, Some(version), &question);
        let way = match admitted {
            Ok(admitted) => Way::Anew(Box::new(admitted)),
            Err(refusal) => match self.answers.get(&key) {
                Some(answer) => Way::Again(Box::new(answer)),
                None => return Err(refusal.into()),
            },
        };
        let asked = Asked {
            asker: self.clone(),
            placement,
            question,
            topic,
            key,
        };
        Ok(Turn { asked, way })
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
        let query = Query {
            vector: self.config.embedder.embed_query(&text).await?,
            text,
            filter,
            limit,
            mode,
            fusion: Fusion::default(),
        };
        let found = self.find(asking.placement(), query).await?;
        admitted.note(Work::Search, Quantities::default());
        Ok(Found {
            hits: found.hits,
            explained: found.explained,
            is_degraded: !found.missing.is_empty(),
            rate: admitted.rate,
        })
    }

    async fn find(&self, placement: Placement, query: Query) -> Result<quire_index::Found, Error> {
        let _place = self.config.searching.enter().await?;
        let found = self.config.search.search(placement, query).await?;
        if !found.missing.is_empty() {
            self.degraded.fetch_add(1, Ordering::Relaxed);
        }
        Ok(found)
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

    /// What a question may take at most.
    async fn call(&self, asking: &Asking, question: &Question) -> Result<Call, Error> {
        let mut call = Call {
            user: asking.user.clone(),
            notebook: only(&question.filter),
            questions: 1,
            estimate: QUOTING,
            ..Call::new(asking.request.uuid(), Class::Interactive)
        };
        if let Some(chat) = &self.config.chat {
            let bytes = compose::MOST_BYTES + question.text.len();
            let most = Tokens {
                input: bytes.div_ceil(BYTES_PER_TOKEN) as u64,
                output: u64::from(chat.max_tokens()),
                ..Tokens::default()
            };
            let price = self.config.control.price(chat.model()).await?;
            call.tokens = most.input + most.output;
            call.cost = price.cost(most);
            call.estimate = COMPOSING;
        }
        Ok(call)
    }

    /// Read before anything is searched: what is answered after it can only be newer.
    async fn corpus_version(&self, placement: Placement) -> Result<i64, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let version = corpus::version(&mut tx).await?;
        tx.commit().await?;
        Ok(version)
    }

    fn key(&self, placement: Placement, version: Option<i64>, question: &Question) -> Key {
        let way = self.config.chat.as_ref().map_or("", |chat| chat.model());
        Key::new(placement, version, &question.filter, &question.text, way)
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

impl Turn {
    /// What the tenant's rate has left.
    pub fn rate(&self) -> Option<RateState> {
        match &self.way {
            Way::Anew(admitted) => admitted.rate,
            Way::Again(_) => None,
        }
    }

    /// Answers, telling each part as soon as it is certain. Ends at once when the tenant is suspended.
    pub async fn answer(self, emit: &mut (dyn FnMut(Event) + Send)) -> Result<Answer, Error> {
        let admitted = match self.way {
            Way::Again(answer) => return Ok(repeat(*answer, emit)),
            Way::Anew(admitted) => admitted,
        };
        let answers = &self.asked.asker.answers;
        let known = answers.get(&self.asked.key);
        if let Some(answer) = known.filter(|_| !self.asked.question.fresh) {
            admitted.note(Work::Question, Quantities::default());
            return Ok(repeat(answer, emit));
        }
        let answer = tokio::select! {
            answer = self.asked.answer(&admitted, emit) => answer?,
            refusal = admitted.revoked() => return Err(refusal.into()),
        };
        // What was answered the cheaper way is not what the next one should get.
        if !matches!(
            answer.note,
            Some(LIMITED | NO_BUDGET | NOT_IN_PLAN | DEGRADED)
        ) {
            answers.put(self.asked.topic, self.asked.key, &answer);
        }
        Ok(answer)
    }
}

impl Asked {
    async fn answer(
        &self,
        admitted: &Admitted,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        let config = &self.asker.config;
        let text = &self.question.text;

        // No database connection is held while a model works.
        let vector = config.embedder.embed_query(text).await?;

        let query = Query {
            text: text.clone(),
            vector: vector.clone(),
            filter: self.question.filter.clone(),
            limit: config.passages,
            mode: Mode::Hybrid,
            fusion: Fusion::default(),
        };
        let found = self.asker.find(self.placement, query).await?;
        let hits = found.hits;
        for (rank, hit) in (1..).zip(&hits) {
            emit(Event::source(rank, hit));
        }

        let mut answer = match self.model(admitted, &hits) {
            Ok(chat) => match self.compose(admitted, chat, &hits, emit).await? {
                Some(answer) => answer,
                None => self.quote(&vector, &hits, Some(LIMITED), emit).await?,
            },
            Err(why) => self.quote(&vector, &hits, why, emit).await?,
        };
        if !found.missing.is_empty() {
            answer.note = Some(DEGRADED);
        }
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

    /// The model that is to write the answer, or what to tell the reader about there being none.
    fn model(&self, admitted: &Admitted, hits: &[Hit]) -> Result<&Chat, Option<&'static str>> {
        let chat = self.asker.config.chat.as_ref().filter(|_| !hits.is_empty());
        let chat = chat.ok_or(None)?;
        match admitted.route {
            Route::Cheaper(Reason::Budget) => return Err(Some(NO_BUDGET)),
            Route::Cheaper(_) => return Err(Some(LIMITED)),
            Route::Full => {}
        }
        let kind = question_type(&self.question.text, &self.question.filter);
        if admitted.allows(kind) {
            Ok(chat)
        } else {
            Err(Some(NOT_IN_PLAN))
        }
    }

    /// An answer by the model; none when it failed before the first word.
    async fn compose(
        &self,
        admitted: &Admitted,
        chat: &Chat,
        hits: &[Hit],
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<Answer>, Error> {
        let price = self.asker.config.control.price(chat.model()).await?;
        let input =
            compose::input_bytes(&self.question.text, hits).div_ceil(BYTES_PER_TOKEN) as u64;
        let input = Tokens {
            input,
            ..Tokens::default()
        };
        let most = Tokens {
            output: u64::from(chat.max_tokens()),
            ..input
        };
        let costs = (price.cost(most), price.cost(input));
        let mut attempt = admitted
            .attempt(Work::Chat, 1, chat.host(), chat.model(), costs)
            .await?;
        let composed = compose::answer(&self.question.text, hits, chat, &mut attempt, emit).await;
        match composed {
            Composed::Answer(answer) => {
                close(attempt, &answer.usage, &price);
                Ok(Some(answer))
            }
            Composed::CutOff(error) => Err(error.into()),
            Composed::Failed(error) => {
                warn!(%error, "the chat model failed; answering by quotation");
                // Whoever began and broke off is paid for what it was given at least.
                if error.is_unbilled() {
                    attempt.refused();
                }
                Ok(None)
            }
            Composed::Silent(usage) => {
                warn!("the chat model said nothing; answering by quotation");
                close(attempt, &usage, &price);
                Ok(None)
            }
        }
    }

    async fn quote(
        &self,
        vector: &[f32],
        hits: &[Hit],
        note: Option<&'static str>,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        let text = &self.question.text;
        let embedder = &self.asker.config.embedder;
        let mut answer = extractive::answer(text, vector, hits, embedder, emit).await?;
        answer.note = note.or(answer.note);
        Ok(answer)
    }
}

/// Ends an attempt with what the server says it used. One that does not say is charged what was reserved.
fn close(attempt: Attempt, usage: &Usage, price: &Price) {
    let used = Tokens {
        input: usage.input_tokens.min(MOST_TOKENS),
        cached: usage.cached_tokens.min(MOST_TOKENS),
        output: usage.output_tokens.min(MOST_TOKENS),
        ..Tokens::default()
    };
    if used != Tokens::default() {
        attempt.close(quantities(used), price.cost(used));
    }
}

/// Tells an answer that was given before.
fn repeat(answer: Answer, emit: &mut (dyn FnMut(Event) + Send)) -> Answer {
    emit(Event::Delta(answer.text.clone()));
    for citation in &answer.citations {
        emit(Event::Citation(Box::new(citation.clone())));
    }
    emit(Event::Usage(answer.usage.clone()));
    answer
}

/// Whether a known answer may be given all the same: it costs nothing.
fn bears_a_repetition(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        Reason::Rate | Reason::Seats | Reason::Budget
    )
}

/// The notebook a filter is about, if only one.
fn only(filter: &Filter) -> Option<NotebookId> {
    match filter.notebooks.as_deref() {
        Some([only]) => Some(*only),
        _ => None,
    }
}

fn quantities(tokens: Tokens) -> Quantities {
    let count = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
    Quantities {
        input_tokens: count(tokens.input),
        cached_tokens: count(tokens.cached),
        output_tokens: count(tokens.output),
        ..Quantities::default()
    }
}

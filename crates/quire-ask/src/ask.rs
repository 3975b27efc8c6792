//! The ask path, top to bottom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quire_index::{Explained, Filter, Fusion, Hit, Mode, Query, Search, SearchConfig};
use quire_models::{Chat, Embedder};
use quire_store::passages::Passage;
use quire_store::{Placement, Store, corpus, segments};
use quire_tenancy::catalogue::{Price, Tokens};
use quire_tenancy::usage::{Kind as Work, Quantities};
use quire_tenancy::{
    Admitted, Attempt, Call, Caller, Class, Control, RateState, Reason, Refusal,
    Route as Admission, Stage,
};
use quire_types::{Language, NanoUsd, NotebookId, RequestId};
use tracing::{info, warn};

use crate::answer::{Answer, Event, Usage};
use crate::cache::{Answers, Key};
use crate::compose::{self, Composed, Prompt};
use crate::recipe::Recipe;
use crate::router::{Chooser, Decision, Reach, Route, route};
use crate::{Error, extractive};

const LIMITED: &str = "AI temporarily limited: sentences quoted from the sources";
const NO_BUDGET: &str = "the budget for models is used up: sentences quoted from the sources";
const NOT_IN_PLAN: &str =
    "the plan has no questions over several notebooks: sentences quoted from the sources";
const SIMPLER: &str = "the plan has no questions that compare or sum up: answered as a simple one";

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
    /// Writes the answers of complex questions; the other one does where this is not configured.
    pub large_chat: Option<Chat>,
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
    /// The way to answer it; the router chooses when nobody does.
    pub route: Option<Route>,
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
    decision: Decision,
    /// The question over any version of the corpus, and over this one.
    topic: Key,
    key: Key,
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
        let decision = self.decide(asking, &question)?;
        let call = self.call(asking, &question, decision.route).await?;
        let admitted = self.config.control.admit(&asking.caller, call).await;
        let topic = self.key(asking, None, &question);
        // A refusal asks the database nothing, unless there may be an answer to repeat.
        if let Err(refusal) = &admitted
            && !(bears_a_repetition(refusal) && self.answers.knows(&topic))
        {
            return Err(refusal.clone().into());
        }
        let version = self.corpus_version(placement).await?;
        let key = self.key(asking, Some(version), &question);
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
            decision,
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
        self.note_search(!found.missing.is_empty());
        Ok(found)
    }

    fn note_search(&self, is_degraded: bool) {
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

    /// What a question may take at most.
    async fn call(
        &self,
        asking: &Asking,
        question: &Question,
        route: Route,
    ) -> Result<Call, Error> {
        let mut call = Call {
            user: asking.user.clone(),
            notebook: only(&question.filter),
            questions: 1,
            estimate: QUOTING,
            ..Call::new(asking.request.uuid(), Class::Interactive)
        };
        if let Some(chat) = self.chat(route) {
            let bytes = compose::most_bytes(&question.text, self.recipe(route));
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

    /// The model for answers of this way.
    fn chat(&self, route: Route) -> Option<&Chat> {
        let large = self.config.large_chat.as_ref();
        let large = large.filter(|_| route == Route::Complex);
        large.or(self.config.chat.as_ref())
    }

    fn recipe(&self, route: Route) -> Recipe {
        Recipe::of(route, self.config.passages)
    }

    /// The decision is no part of it: it follows from the rest.
    fn key(&self, asking: &Asking, version: Option<i64>, question: &Question) -> Key {
        let model = |chat: &Option<Chat>| chat.as_ref().map(|chat| chat.model().to_owned());
        let (small, large) = (model(&self.config.chat), model(&self.config.large_chat));
        let in_plan = &asking.caller.account.terms.plan.question_types;
        let way = format!("{small:?} {large:?} {:?} {in_plan:?}", question.route);
        Key::new(
            asking.placement(),
            version,
            &question.filter,
            &question.text,
            &way,
        )
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

        let found = self.look(vector.clone()).await?;
        let hits = found.hits;
        for (rank, hit) in (1..).zip(&hits) {
            emit(Event::source(rank, hit));
        }

        let mut answer = match self.model(admitted, &hits) {
            Ok(chat) => match self
                .compose(admitted, chat, &hits, &found.openings, emit)
                .await?
            {
                Some(answer) => answer,
                None => self.quote(&vector, &hits, Some(LIMITED), emit).await?,
            },
            Err(why) => self.quote(&vector, &hits, why, emit).await?,
        };
        if self.decision.by == Chooser::Plan {
            answer.note = answer.note.or(Some(SIMPLER));
        }
        if found.is_degraded {
            answer.note = Some(DEGRADED);
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

    /// What the answer is to be made from.
    async fn look(&self, vector: Vec<f32>) -> Result<Seen, Error> {
        let config = &self.asker.config;
        let recipe = self.recipe();
        let query = Query {
            text: self.question.text.clone(),
            vector,
            filter: self.question.filter.clone(),
            limit: recipe.passages,
            mode: Mode::Hybrid,
            fusion: Fusion::default(),
        };
        let _place = config.searching.enter().await?;
        let corpus = config.search.snapshot(self.placement).await?;
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
        let is_read = self.asker.chat(route).is_some();
        self.asker
            .recipe(if is_read { route } else { Route::Simple })
    }

    /// The model that is to write the answer, or what to tell the reader about there being none.
    fn model(&self, admitted: &Admitted, hits: &[Hit]) -> Result<&Chat, Option<&'static str>> {
        let chat = self.asker.chat(self.decision.route);
        let chat = chat.filter(|_| !hits.is_empty()).ok_or(None)?;
        match admitted.route {
            Admission::Cheaper(Reason::Budget) => return Err(Some(NO_BUDGET)),
            Admission::Cheaper(_) => return Err(Some(LIMITED)),
            Admission::Full => {}
        }
        if admitted.allows(self.decision.needs()) {
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
        openings: &[Passage],
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<Answer>, Error> {
        let prompt = Prompt::new(
            &self.question.text,
            hits,
            openings,
            self.decision,
            self.recipe(),
        );
        let price = self.asker.config.control.price(chat.model()).await?;
        let input = Tokens {
            input: prompt.bytes().div_ceil(BYTES_PER_TOKEN) as u64,
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
        match compose::answer(prompt, chat, &mut attempt, emit).await {
            Composed::Answer(mut answer) => {
                answer.usage.cost = close(attempt, &answer.usage, &price).unwrap_or(costs.0);
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

/// Ends an attempt with what the server says it used, and returns what that costs. One that does not say is
/// charged what was reserved.
fn close(attempt: Attempt, usage: &Usage, price: &Price) -> Option<NanoUsd> {
    let used = Tokens {
        input: usage.input_tokens.min(MOST_TOKENS),
        cached: usage.cached_tokens.min(MOST_TOKENS),
        output: usage.output_tokens.min(MOST_TOKENS),
        ..Tokens::default()
    };
    if used == Tokens::default() {
        return None;
    }
    let cost = price.cost(used);
    attempt.close(quantities(used), cost);
    Some(cost)
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

//! The ask path, top to bottom.

use quire_index::{Filter, Hit, Mode, Query, Search};
use quire_models::{Chat, Embedder};
use quire_store::Placement;
use tracing::warn;

use crate::answer::{Answer, Event};
use crate::compose::{self, Composed};
use crate::{Error, extractive};

const LIMITED: &str = "AI temporarily limited: sentences quoted from the sources";

/// What answering is built from.
#[derive(Clone)]
pub struct AskerConfig {
    /// Finds passages.
    pub search: Search,
    /// Turns the question into a vector.
    pub embedder: Embedder,
    /// Writes answers, where a model is configured.
    pub chat: Option<Chat>,
    /// The longest question, in characters.
    pub question_chars: usize,
    /// Passages an answer is made from.
    pub passages: usize,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The words.
    pub text: String,
    /// Which passages may be used.
    pub filter: Filter,
}

/// Answers questions and searches.
#[derive(Clone)]
pub struct Asker {
    config: AskerConfig,
}

impl Asker {
    /// An asker with these parts.
    pub fn new(config: AskerConfig) -> Self {
        Self { config }
    }

    /// Answers a question over one tenant's passages, telling each part as soon as it is certain.
    pub async fn ask(
        &self,
        placement: Placement,
        question: Question,
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        let text = self.check(&question.text)?;

        // No database connection is held while a model works.
        let vector = self.config.embedder.embed_query(&text).await?;

        let query = Query {
            text: text.clone(),
            vector: vector.clone(),
            filter: question.filter,
            limit: self.config.passages,
            mode: Mode::Hybrid,
        };
        let hits = self.config.search.search(placement, query).await?;
        for (rank, hit) in (1..).zip(&hits) {
            emit(Event::source(rank, hit));
        }

        let answer = self.answer(&text, &vector, &hits, emit).await?;
        emit(Event::Usage(answer.usage.clone()));
        Ok(answer)
    }

    /// Finds passages without answering.
    pub async fn search(
        &self,
        placement: Placement,
        text: &str,
        filter: Filter,
        limit: usize,
        mode: Mode,
    ) -> Result<Vec<Hit>, Error> {
        let text = self.check(text)?;
        let vector = self.config.embedder.embed_query(&text).await?;
        let query = Query {
            text,
            vector,
            filter,
            limit,
            mode,
        };
        Ok(self.config.search.search(placement, query).await?)
    }

    /// By the model if there is one and it answers, by quoting otherwise.
    async fn answer(
        &self,
        question: &str,
        vector: &[f32],
        hits: &[Hit],
        emit: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Answer, Error> {
        let mut note = None;
        if let Some(chat) = self.config.chat.as_ref().filter(|_| !hits.is_empty()) {
            match compose::answer(question, hits, chat, emit).await {
                Composed::Answer(answer) => return Ok(answer),
                Composed::CutOff(error) => return Err(error.into()),
                Composed::Failed(error) => {
                    warn!(%error, "the chat model failed; answering by quotation");
                    note = Some(LIMITED);
                }
                Composed::Silent => {
                    warn!("the chat model said nothing; answering by quotation");
                    note = Some(LIMITED);
                }
            }
        }
        let mut answer =
            extractive::answer(question, vector, hits, &self.config.embedder, emit).await?;
        answer.note = note.or(answer.note);
        Ok(answer)
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

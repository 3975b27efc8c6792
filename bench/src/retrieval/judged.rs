//! A collection with graded judgements: how it is added, asked and measured. Knows no collection.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use quire_types::{SourceId, SourceState};

use super::engine::Engine;
use super::lists::{Found, Lists, Ranking};
use super::metrics::{mean, ndcg, recall};
use crate::failure::Failure;
use crate::report::{line, note};

/// Passages per list: enough for 100 documents.
const LIMIT: usize = 400;

/// Documents, questions, and which answer which.
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) documents: Vec<Document>,
    pub(super) questions: Vec<Question>,
}

pub(super) struct Document {
    pub(super) id: u32,
    /// The name of the file.
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) struct Question {
    /// What sort of question it is.
    pub(super) kind: &'static str,
    pub(super) text: String,
    /// Documents by how well they answer, from 1; the others don't.
    pub(super) grades: HashMap<u32, u8>,
}

/// What search answered to all questions of a collection.
pub(super) struct Answers {
    pub(super) name: String,
    questions: Vec<(Question, Lists)>,
    documents: HashMap<SourceId, Vec<u32>>,
}

/// How good a ranking is over all questions.
#[derive(Clone, Copy)]
pub(super) struct Quality {
    pub(super) ndcg10: f64,
    pub(super) recall100: f64,
}

impl Judged {
    #[cfg(test)]
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.documents.iter().map(|document| document.text.as_str())
    }

    /// Adds the documents and asks the questions, in a tenant of their own.
    pub(super) async fn answers(self, engine: &Engine) -> Result<Answers, Failure> {
        let name = self.name;
        let placement = engine.tenant(&name).await?;
        let notebook = engine.notebook(placement, &name).await?;
        note(format!("{name}: adding {} documents", self.documents.len()));
        let start = Instant::now();
        // Equal documents are one source.
        let mut documents: HashMap<SourceId, Vec<u32>> = HashMap::new();
        let count = self.documents.len();
        for document in self.documents {
            let added = engine.add(placement, notebook, &document.name, document.text);
            documents.entry(added.await?).or_default().push(document.id);
        }
        let ids: Vec<SourceId> = documents.keys().copied().collect();
        let sources = engine.finished(placement, &ids).await?;
        let passages: i32 = sources.iter().map(|source| source.passages).sum();
        let failed: Vec<&str> = sources
            .iter()
            .filter(|source| source.state == SourceState::Failed)
            .map(|source| source.name.as_str())
            .collect();
        let seconds = start.elapsed().as_secs_f64();
        let without_text = if failed.is_empty() {
            String::new()
        } else {
            format!("; without text: {}", failed.join(", "))
        };
        line(format!(
            "{name}: {count} documents, {passages} passages, added in {seconds:.1} s ({:.1} passages/s){without_text}",
            f64::from(passages) / seconds,
        ));

        note(format!("{name}: asking {} questions", self.questions.len()));
        let mut questions = Vec::new();
        for question in self.questions {
            let lists = engine.lists(placement, notebook, &question.text, LIMIT);
            let lists = lists.await?;
            questions.push((question, lists));
        }
        Ok(Answers {
            name,
            questions,
            documents,
        })
    }
}

impl Answers {
    pub(super) fn questions(&self) -> usize {
        self.questions.len()
    }

    /// The questions with what was found.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Question, Lists)> {
        self.questions.iter()
    }

    /// The documents of a source.
    pub(super) fn documents(&self, source: SourceId) -> &[u32] {
        self.documents.get(&source).map_or(&[], Vec::as_slice)
    }

    pub(super) fn quality(&self, ranking: Ranking) -> Quality {
        let ranked: Vec<(&HashMap<u32, u8>, Vec<u32>)> = self
            .questions
            .iter()
            .map(|(question, lists)| (&question.grades, self.by_document(&ranking.rank(lists))))
            .collect();
        Quality {
            ndcg10: mean(ranked.iter().map(|(good, list)| ndcg(list, good, 10))),
            recall100: mean(ranked.iter().map(|(good, list)| recall(list, good, 100))),
        }
    }

    /// Documents in the order of their best passages.
    fn by_document(&self, passages: &[Found]) -> Vec<u32> {
        let mut seen = HashSet::new();
        let firsts = passages.iter().filter(|found| seen.insert(found.source));
        firsts
            .flat_map(|found| self.documents(found.source))
            .copied()
            .collect()
    }
}

//! Answers that were given, for whoever asks the same again.
//!
//! The key is made from the tenant's placement, the version of its corpus and what the caller may see, so an
//! answer is found only by the tenant it was made for, and never once anything that it could rest on changed.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use quire_index::Filter;
use quire_store::Placement;

use crate::answer::Answer;

/// How long an answer is kept at most: a model may know better tomorrow.
const LIFE: Duration = Duration::from_secs(3_600);
const MOST_TOPICS: u64 = 100_000;

/// What an answer depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn new(
        placement: Placement,
        corpus_version: Option<i64>,
        filter: &Filter,
        question: &str,
        way: &str,
    ) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // The length keeps parts from running into each other.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(placement.tenant.uuid().as_bytes());
        add(placement.incarnation.as_bytes());
        add(&placement.shard.to_le_bytes());
        add(format!("{corpus_version:?}").as_bytes());
        let Filter {
            notebooks,
            media_types,
            added_from,
            added_before,
        } = filter;
        add(format!("{notebooks:?} {media_types:?} {added_from:?} {added_before:?}").as_bytes());
        let words: Vec<&str> = question.split_whitespace().collect();
        add(words.join(" ").as_bytes());
        add(way.as_bytes());
        Self(hash.finalize().into())
    }
}

/// Answers of this process, the least used of which make room.
#[derive(Clone)]
pub(crate) struct Answers {
    answers: Cache<Key, Arc<Answer>>,
    /// Questions that were answered over some version of the corpus: tells without a look at the database that
    /// there is nothing to repeat.
    topics: Cache<Key, ()>,
}

impl Answers {
    pub(crate) fn new(bytes: u64) -> Self {
        let answers = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, answer: &Arc<Answer>| weight(answer))
            .time_to_live(LIFE)
            .build();
        let topics = Cache::builder()
            .max_capacity(MOST_TOPICS)
            .time_to_live(LIFE)
            .build();
        Self { answers, topics }
    }

    /// Whether such a question was answered lately.
    pub(crate) fn knows(&self, topic: &Key) -> bool {
        self.topics.contains_key(topic)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Answer> {
        self.answers.get(key).map(|answer| Answer {
            is_cached: true,
            usage: Default::default(),
            ..Answer::clone(&answer)
        })
    }

    pub(crate) fn put(&self, topic: Key, key: Key, answer: &Answer) {
        self.topics.insert(topic, ());
        self.answers.insert(key, Arc::new(answer.clone()));
    }
}

fn weight(answer: &Answer) -> u32 {
    let cited: usize = answer
        .citations
        .iter()
        .map(|citation| citation.quote.len() + citation.source_name.len() + 256)
        .sum();
    u32::try_from(answer.text.len() + cited + 512).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quire_types::{NotebookId, TenantId};
    use uuid::Uuid;

    #[test]
    fn everything_an_answer_depends_on_makes_another_key() {
        let placement = Placement {
            tenant: TenantId::generate(),
            incarnation: Uuid::new_v4(),
            shard: 0,
        };
        let one = Filter {
            notebooks: Some(vec![NotebookId::generate()]),
            ..Filter::default()
        };
        let all = Filter::default();
        let base = Key::new(placement, Some(1), &all, "Where is it?", "m");
        assert!(base == Key::new(placement, Some(1), &all, "  Where is  it? ", "m"));
        let other_tenant = Placement {
            tenant: TenantId::generate(),
            ..placement
        };
        let reborn = Placement {
            incarnation: Uuid::new_v4(),
            ..placement
        };
        for other in [
            Key::new(other_tenant, Some(1), &all, "Where is it?", "m"),
            Key::new(reborn, Some(1), &all, "Where is it?", "m"),
            Key::new(placement, Some(2), &all, "Where is it?", "m"),
            Key::new(placement, None, &all, "Where is it?", "m"),
            Key::new(placement, Some(1), &all, "Where is IT?", "m"),
            Key::new(placement, Some(1), &one, "Where is it?", "m"),
            Key::new(placement, Some(1), &all, "Where was it?", "m"),
            Key::new(placement, Some(1), &all, "Where is it?", "n"),
        ] {
            assert!(base != other);
        }
    }
}

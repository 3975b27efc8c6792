//! Questions that were answered before, by their vectors, for whoever asks nearly the same. In the memory of one
//! process only.
//!
//! A *space* is everything an answer rests on but the words of its question, so nothing is ever looked for beyond
//! tenant, scope, version of the corpus and settings. Vectors that are close say little: "end" and "begin" are close,
//! and whoever knows the model can make any two meet (CacheAttack, arXiv 2601.23088). So what is nearest is taken only
//! if both questions state the same facts (`facts`).

mod facts;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use super::Key;
pub(crate) use facts::Facts;

/// The cosine from which on two questions are near.
const NEAR: f32 = 0.9;
/// Questions that are remembered of one space; the oldest goes first.
const MOST: usize = 256;
/// Spaces of a process, each of 256 vectors of 384 numbers at the most.
const SPACES: u64 = 500;

/// Questions that were answered, by space.
#[derive(Clone)]
pub(crate) struct Near {
    spaces: Cache<Key, Arc<Mutex<Vec<Remembered>>>>,
}

struct Remembered {
    asked: Arc<Asked>,
    answer: Key,
}

/// A question with what is compared of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) text: String,
    vector: Vec<f32>,
    facts: Facts,
}

impl Asked {
    /// A question with its vector of length one; none when it can't be compared.
    pub(crate) fn new(text: &str, vector: Vec<f32>) -> Option<Self> {
        Some(Self {
            text: text.to_owned(),
            facts: Facts::of(text)?,
            vector,
        })
    }

    /// Whether an answer to one is an answer to the other.
    fn is_like(&self, other: &Self) -> bool {
        self.facts == other.facts
    }

    fn cosine(&self, other: &Self) -> f32 {
        let pairs = self.vector.iter().zip(&other.vector);
        pairs.map(|(a, b)| a * b).sum()
    }
}

impl Near {
    pub(crate) fn new(life: Duration) -> Self {
        let spaces = Cache::builder().max_capacity(SPACES).time_to_idle(life);
        Self {
            spaces: spaces.build(),
        }
    }

    /// The nearest question of the space, if it is near and asks the same, with the key of its answer.
    pub(crate) fn find(&self, space: &Key, asked: &Asked) -> Option<(Arc<Asked>, Key)> {
        let all = self.spaces.get(space)?;
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let near = all.iter().map(|one| (one.asked.cosine(asked), one));
        let nearest = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
        let (_, found) =
            nearest.filter(|(cosine, one)| *cosine >= NEAR && one.asked.is_like(asked))?;
        Some((found.asked.clone(), found.answer))
    }

    /// Remembers a question whose answer is remembered under a key.
    pub(crate) fn remember(&self, space: Key, asked: Arc<Asked>, answer: Key) {
        let all = self.spaces.get_with(space, Arc::default);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.answer != answer);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(Remembered { asked, answer });
    }
}

#[cfg(test)]
mod tests {
    //! Which spaces and questions are looked into. What the rule says is tested beside it.

    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::cache::tests::some_key;

    fn asked(text: &str, vector: [f32; 2]) -> Arc<Asked> {
        Arc::new(Asked::new(text, vector.to_vec()).unwrap())
    }

    #[test]
    fn what_is_nearest_is_found_in_its_space_alone_and_only_if_it_is_near_and_the_same() {
        let near = Near::new(Duration::from_secs(60));
        let (space, other) = (some_key(1), some_key(2));
        let roof = asked("When does the warranty of the roof end?", [1.0, 0.0]);
        near.remember(space, roof.clone(), some_key(3));
        let again = asked(
            "When does the warranty of the roof end, please?",
            [0.97, 0.243],
        );
        let (found, answer) = near.find(&space, &again).unwrap();
        assert_eq!(
            (found.text.as_str(), answer == some_key(3)),
            (roof.text.as_str(), true)
        );
        assert!(near.find(&other, &again).is_none(), "another space");
        let far = asked(
            "When does the warranty of the roof end, please?",
            [0.8, 0.6],
        );
        assert!(near.find(&space, &far).is_none(), "not near");
        let begin = asked("When does the warranty of the roof begin?", [1.0, 0.0]);
        assert!(near.find(&space, &begin).is_none(), "another question");
    }

    #[test]
    fn no_more_questions_are_remembered_than_there_is_room_for() {
        let near = Near::new(Duration::from_secs(60));
        let question = asked("When does it end?", [1.0, 0.0]);
        for number in 0..MOST + 10 {
            near.remember(some_key(0), question.clone(), some_key(number as u64));
        }
        let all = near.spaces.get(&some_key(0)).unwrap();
        assert_eq!(all.lock().unwrap().len(), MOST);
    }
}

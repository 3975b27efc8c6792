//! An answer that was given to nearly the same question. Questions are compared by the model in this process, whatever
//! the corpus is of: it costs nothing and leaves the process nowhere.

use std::sync::{Arc, OnceLock};

use crate::Error;
use crate::answer::Answer;
use crate::answering::Asked;
use crate::cache::{Key, Near, NearlyAsked};

/// Where questions are that may be nearly the same.
pub(crate) struct Nearby {
    near: Near,
    space: Key,
    /// The question itself, once it was compared.
    own: OnceLock<Arc<NearlyAsked>>,
}

impl Nearby {
    pub(crate) fn new(near: Near, space: Key) -> Self {
        Self {
            near,
            space,
            own: OnceLock::new(),
        }
    }

    /// Lets others find this question, whose answer is remembered under this key.
    pub(crate) fn remember(&self, answer: Key) {
        if let Some(own) = self.own.get() {
            self.near.remember(self.space, own.clone(), answer);
        }
    }
}

impl Asked {
    /// The answer to a question that is nearly the same, which says what that one was.
    pub(crate) async fn nearby_answer(&self) -> Result<Option<Arc<Answer>>, Error> {
        let Some(nearby) = &self.nearby else {
            return Ok(None);
        };
        let text = &self.question.text;
        let vector = self.asker.config.embeddings.embedder().embed_query(text);
        let Some(own) = NearlyAsked::new(text, vector.await?) else {
            return Ok(None);
        };
        let own = nearby.own.get_or_init(|| Arc::new(own));
        let Some((found, key)) = nearby.near.find(&nearby.space, own) else {
            return Ok(None);
        };
        let answer = self.asker.answers.peek(&key);
        Ok(answer.map(|answer| {
            Arc::new(Answer {
                understood: Some(found.text.clone()),
                ..Answer::clone(&answer)
            })
        }))
    }
}

//! The vector of a question, by the model that the tenant's corpus is of. Where that can't be asked, the question is
//! not refused: its words are searched alone.

use std::sync::Arc;

use quire_index::Mode;
use quire_store::corpus::Embedding;
use quire_tenancy::{EmbedError, ToEmbed};
use tracing::warn;

use crate::Error;
use crate::ask::{Asker, Asking};
use crate::cache::Key;

/// The vector of a question.
pub(crate) struct Vector {
    pub(crate) numbers: Arc<Vec<f32>>,
    /// Whether it says anything; otherwise the model could not be asked.
    pub(crate) is_sound: bool,
}

impl Vector {
    pub(crate) fn sound(numbers: Arc<Vec<f32>>) -> Self {
        Self {
            numbers,
            is_sound: true,
        }
    }

    /// The paths that such a search can use, of those that are wanted.
    pub(crate) fn mode(&self, wanted: Mode) -> Mode {
        match self.is_sound {
            true => wanted,
            false => Mode::Lexical,
        }
    }

    /// A vector of the right length, for a search by words alone.
    fn of_nothing(by: &Embedding) -> Self {
        let mut numbers = vec![
            0.0;
            by.dimension
                .map_or(1, |count| count.unsigned_abs() as usize)
        ];
        numbers.iter_mut().take(1).for_each(|number| *number = 1.0);
        Self {
            numbers: Arc::new(numbers),
            is_sound: false,
        }
    }
}

impl Asker {
    /// The vector of a question, by the model that the corpus is of.
    pub(crate) async fn vector(
        &self,
        asking: &Asking,
        by: &Embedding,
        text: &str,
    ) -> Result<Vector, Error> {
        let placement = asking.placement();
        let key = Key::vector(placement, &self.name_of(by), text);
        let known = match self.vectors.near(&key) {
            Some(vector) => Some(vector),
            None => self.vectors.far(placement.tenant, &key).await,
        };
        if let Some(numbers) = known {
            return Ok(Vector::sound(numbers));
        }
        let Some(vectors) = self.embedded(asking, by, vec![text.to_owned()]).await? else {
            return Ok(Vector::of_nothing(by));
        };
        let numbers = Arc::new(vectors.into_iter().next().unwrap_or_default());
        self.vectors.note(None);
        self.vectors.put(placement.tenant, key, numbers.clone());
        Ok(Vector::sound(numbers))
    }

    /// The vectors of short texts of a question, by the model that the corpus is of; none when that can't be asked
    /// right now, for which no question is refused: its words are still found.
    pub(crate) async fn embedded(
        &self,
        asking: &Asking,
        by: &Embedding,
        texts: Vec<String>,
    ) -> Result<Option<Vec<Vec<f32>>>, Error> {
        let to_embed = ToEmbed {
            texts,
            are_questions: true,
            user: asking.user.clone(),
        };
        let account = &asking.caller.account;
        match self.config.embeddings.embed(account, by, to_embed).await {
            Ok(vectors) => Ok(Some(vectors)),
            Err(EmbedError::Model(error)) if by.model.is_none() => Err(error.into()),
            Err(error) => {
                warn!(tenant = %account.tenant.id, %error, "a question can't be embedded; its words are searched alone");
                Ok(None)
            }
        }
    }

    /// A name for what makes vectors that no other has.
    fn name_of(&self, by: &Embedding) -> String {
        match (&by.model, by.dimension) {
            (Some(model), Some(dimension)) => format!("{model}/{dimension}"),
            (Some(model), None) => model.clone(),
            (None, _) => self.config.embeddings.embedder().name().to_owned(),
        }
    }
}

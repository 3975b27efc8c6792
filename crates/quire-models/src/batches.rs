//! Vectors by a provider's batches, for half the price: texts go up together, and within a day their vectors can be had.
//!
//! A text goes under an id of the caller's, by which its vector is found. A batch bears a mark, by which it is found
//! again when nobody noted what the provider called it. Knows no price and no second try.

mod gemini;
mod openai;

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use crate::Error;
use crate::registry::Wire;
use crate::server::Server;
use crate::vectors::is_sound;

/// Texts in one batch for vectors, at the most.
pub const MOST_BATCH_TEXTS: usize = 50_000;
/// Longest wait for a batch to go up or to come down.
const TRANSFER: Duration = Duration::from_mins(10);

/// What one batch may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRoom {
    /// Texts.
    pub texts: usize,
    /// Bytes of them.
    pub bytes: usize,
}

impl BatchRoom {
    /// What a provider of this wire takes, given the length of the vectors; none where it has no batches.
    pub(crate) fn of(wire: Wire, dimensions: u32) -> Option<Self> {
        // Vectors of one batch are in memory together when they come.
        let (vector_bytes, bytes) = match wire {
            Wire::OpenAi | Wire::Responses => openai::MOST_BYTES,
            Wire::Gemini => gemini::MOST_BYTES,
            _ => return None,
        };
        let one = (dimensions as usize)
            .saturating_mul(size_of::<f32>())
            .max(1);
        Some(Self {
            texts: (vector_bytes / one).clamp(1, MOST_BATCH_TEXTS),
            bytes,
        })
    }
}

/// A batch at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the provider calls it.
    pub id: String,
    /// How far it is.
    pub state: BatchState,
    /// The file with what came of it, where that is a file.
    output: Option<String>,
    /// All files of it.
    files: Vec<String>,
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// It waits or is worked on.
    Running,
    /// Every line is answered or failed.
    Completed,
    /// The day is over, or somebody cancelled it; what was done until then can be had.
    Ended,
    /// Nothing of it was done, and why.
    Failed(String),
}

/// What came of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    /// Vectors by the ids of their texts. Lines that failed are not among them.
    pub vectors: HashMap<String, Vec<f32>>,
    /// Tokens read, where the provider said so for every line that it answered.
    pub input_tokens: Option<u64>,
}

impl Collected {
    /// Nothing yet, and nothing that is unknown.
    fn nothing() -> Self {
        Self {
            vectors: HashMap::new(),
            input_tokens: Some(0),
        }
    }

    /// Takes what came for one text, and what reading it took.
    fn take(&mut self, id: String, vector: Option<Vec<f32>>, tokens: Option<u64>, dimensions: u32) {
        self.input_tokens = self
            .input_tokens
            .zip(tokens)
            .map(|(sum, told)| sum.saturating_add(told));
        if let Some(vector) = vector.filter(|vector| is_sound(vector, dimensions)) {
            self.vectors.insert(id, vector);
        }
    }
}

impl Server {
    /// Has texts made into vectors within a day, each under its id.
    pub async fn begin_batch(
        &self,
        model: &str,
        dimensions: u32,
        texts: &[(String, String)],
        mark: &str,
    ) -> Result<Batch, Error> {
        match self.wire() {
            Wire::OpenAi | Wire::Responses => {
                openai::begin(self, model, dimensions, texts, mark).await
            }
            Wire::Gemini => gemini::begin(self, model, dimensions, texts, mark).await,
            wire => Err(no_batches(wire)),
        }
    }

    /// How far a batch is.
    pub async fn batch(&self, id: &str) -> Result<Batch, Error> {
        match self.wire() {
            Wire::OpenAi | Wire::Responses => openai::look(self, id).await,
            Wire::Gemini => gemini::look(self, id).await,
            wire => Err(no_batches(wire)),
        }
    }

    /// The batch that bears a mark, if it is among the newest.
    pub async fn marked_batch(&self, mark: &str) -> Result<Option<Batch>, Error> {
        match self.wire() {
            Wire::OpenAi | Wire::Responses => openai::marked(self, mark).await,
            Wire::Gemini => gemini::marked(self, mark).await,
            wire => Err(no_batches(wire)),
        }
    }

    /// Asks the provider to stop. What is done already is paid for.
    pub async fn cancel_batch(&self, id: &str) -> Result<(), Error> {
        let id = segment(id)?;
        let request = match self.wire() {
            Wire::Gemini => self.post(&format!("batches/{id}:cancel")).json(&json!({})),
            _ => self.post(&format!("batches/{id}/cancel")),
        };
        self.fetch(request).await.map(drop)
    }

    /// Reads what came of a batch.
    pub async fn collect_batch(&self, batch: &Batch, dimensions: u32) -> Result<Collected, Error> {
        match self.wire() {
            Wire::OpenAi | Wire::Responses => openai::collect(self, batch, dimensions).await,
            Wire::Gemini => gemini::collect(self, batch, dimensions).await,
            wire => Err(no_batches(wire)),
        }
    }

    /// Deletes what the provider keeps of a batch that is over.
    pub async fn forget_batch(&self, batch: &Batch) -> Result<(), Error> {
        match self.wire() {
            Wire::OpenAi | Wire::Responses => openai::forget(self, batch).await,
            Wire::Gemini => gemini::forget(self, batch).await,
            wire => Err(no_batches(wire)),
        }
    }
}

fn no_batches(wire: Wire) -> Error {
    Error::Config(format!("a provider with wire {wire:?} has no batches"))
}

/// An id of the provider's as a part of a path: it must not lead anywhere else.
fn segment(id: &str) -> Result<&str, Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.is_empty() || !id.bytes().all(is_plain) {
        return Err(Error::Malformed {
            what: "the name of a batch or file that is none".to_owned(),
        });
    }
    Ok(id)
}

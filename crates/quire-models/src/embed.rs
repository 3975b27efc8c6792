//! Text to vectors with all-MiniLM-L6-v2, in this process.
//!
//! Documents and questions run in two lanes, so that a question never waits for a long import. Refuses
//! to know where a text comes from: it keeps no text and no vector.

mod kernels;
mod lane;
mod minilm;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::{Error, find};
use lane::{Lane, Pace};
use minilm::MiniLm;
use tokens::Tokens;

/// Tokens of one unit of work. Large enough for fast matrix products, small enough (about 0.15 s of one
/// core) that questions get their share and a cancelled import stops soon.
const BATCH_TOKENS: usize = 512;

/// Texts that are split into tokens in one unit of work.
const TOKENIZE_TEXTS: usize = 64;

/// Turns texts into vectors of length 1; the dot product of two of them says how near they are.
#[derive(Clone)]
pub struct Embedder {
    model: Arc<MiniLm>,
    tokens: Arc<Tokens>,
    documents: Arc<Lane>,
    queries: Arc<Lane>,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Embedder {
    /// Reads and verifies the model in `dir`. Takes about half a second, so call it off the async threads.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let tokens = Tokens::load(dir)?;
        let model = MiniLm::load(dir, tokens.vocabulary())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            model: Arc::new(model),
            tokens: Arc::new(tokens),
            documents: Arc::new(Lane::start("embed-documents", cores, Pace::Yielding)?),
            queries: Arc::new(Lane::start("embed-queries", cores, Pace::Prompt)?),
        })
    }

    /// The model's name, stored beside the vectors it made.
    pub fn name(&self) -> &'static str {
        find::NAME
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        minilm::DIMENSION
    }

    /// Tokens of `text`, without the two that the model adds. A text of more than [`Self::max_tokens`]
    /// is cut before it is embedded. 0 for a text that the tokenizer refuses.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.tokens.count(text)
    }

    /// The tokens of a text that the model can see.
    pub fn max_tokens(&self) -> usize {
        tokens::MAX_TEXT_TOKENS
    }

    /// One vector per text, in the order of the texts. For documents: waits behind other documents.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let width = self.documents.width();
        let chunks = chunks_of(texts, TOKENIZE_TEXTS);
        let sequences: Vec<Vec<u32>> = stream::iter(chunks)
            .map(|chunk| self.tokenize(chunk))
            .buffered(width)
            .try_concat()
            .await?;
        stream::iter(batches(sequences))
            .map(|batch| self.forward(&self.documents, batch))
            .buffered(width)
            .try_concat()
            .await
    }

    /// The vector of one question. Never waits behind documents.
    pub async fn embed_query(&self, text: &str) -> Result<Vec<f32>, Error> {
        let vectors = self.embed_queries(vec![text.to_owned()]).await?;
        vectors.into_iter().next().ok_or(Error::Abandoned)
    }

    /// One vector per text, in the order of the texts, for a few short texts somebody waits for. Never
    /// waits behind documents.
    pub async fn embed_queries(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let (model, tokens) = (self.model.clone(), self.tokens.clone());
        self.queries
            .run(move || {
                let sequences = texts
                    .iter()
                    .map(|text| tokens.encode(text))
                    .collect::<Result<Vec<_>, _>>()?;
                model.forward(&sequences)
            })
            .await?
    }

    async fn tokenize(&self, texts: Vec<String>) -> Result<Vec<Vec<u32>>, Error> {
        let tokens = self.tokens.clone();
        self.documents
            .run(move || texts.iter().map(|text| tokens.encode(text)).collect())
            .await?
    }

    async fn forward(&self, lane: &Lane, batch: Vec<Vec<u32>>) -> Result<Vec<Vec<f32>>, Error> {
        let model = self.model.clone();
        lane.run(move || model.forward(&batch)).await?
    }
}

fn chunks_of(texts: Vec<String>, size: usize) -> Vec<Vec<String>> {
    let mut chunks = Vec::with_capacity(texts.len().div_ceil(size));
    let mut rest = texts.into_iter();
    loop {
        let chunk: Vec<String> = rest.by_ref().take(size).collect();
        if chunk.is_empty() {
            return chunks;
        }
        chunks.push(chunk);
    }
}

/// Neighbours together, up to [`BATCH_TOKENS`]. The model needs no padding, so nothing is won by
/// sorting the texts by length.
fn batches(sequences: Vec<Vec<u32>>) -> Vec<Vec<Vec<u32>>> {
    let mut batches: Vec<Vec<Vec<u32>>> = Vec::new();
    let mut room = 0;
    for sequence in sequences {
        let length = sequence.len();
        match batches.last_mut() {
            Some(batch) if length <= room => batch.push(sequence),
            _ => {
                batches.push(vec![sequence]);
                room = BATCH_TOKENS;
            }
        }
        room = room.saturating_sub(length);
    }
    batches
}

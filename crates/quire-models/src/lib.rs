//! Models: one that makes vectors in this process, and those of providers.
//!
//! What models there are, what they cost and when they end is data ([`registry`]). A [`Server`] is one provider
//! with one key, spoken to in its own protocol: chat comes back as one kind of stream, whoever answers. Which
//! model in which pool answers, and who is next when it fails, is decided by [`Models`].
//! Text becomes vectors in this process with one small model whose files are checked before use
//! ([`find_model`], [`Embedder`]). This crate knows no tenant's content, no passage and no prompt, keeps nothing,
//! reads no environment variable and never swaps one embedding model for another: vectors of two models can't
//! be compared.

mod batches;
mod chat;
mod embed;
mod error;
mod find;
mod pages;
mod pools;
pub mod registry;
mod rerank;
mod server;
mod sound;
mod vectors;

pub use batches::{Batch, BatchRoom, BatchState, Collected, MOST_BATCH_TEXTS};
pub use chat::{
    Answerer, ChatCall, ChatEvent, ChatStream, FinishReason, Picture, Schema, Streamed, Structured,
    Unstructured,
};
pub use embed::Embedder;
pub use error::Error;
pub use find::{NAME as SHIPPED_EMBEDDER, check_model, find_model};
pub use pages::PageText;
pub use pools::{
    Batcher, BreakerState, Buckets, Hop, Models, ModelsConfig, NoHop, Pool, PoolState, Quota,
    Route, Supply, Tally, Wish, Work,
};
pub use rerank::{RerankCall, Reranked};
pub use server::{Patience, Remaining, Server, ServerConfig, Told};
pub use sound::{Heard, SoundUsage, SpeakCall, TranscribeCall, Transcript};
pub use vectors::{EmbedCall, Embedded, batches};

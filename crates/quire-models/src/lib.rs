//! Embedding and chat models: in process or at an OpenAI-compatible server.
//!
//! Text becomes vectors here, in this process, with one small model whose files are checked before use
//! ([`find_model`], [`Embedder`]); answers come from a chat server that somebody else runs ([`Chat`]).
//! This crate knows no tenant, no passage and no prompt, keeps nothing, reads no environment variable
//! and never swaps one model for another: vectors of two models can't be compared.

mod chat;
mod embed;
mod error;
mod find;

pub use chat::{Chat, ChatConfig, ChatEvent, ChatStream, FinishReason};
pub use embed::Embedder;
pub use error::Error;
pub use find::{check_model, find_model};

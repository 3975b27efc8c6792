//! Bytes to sources, sources to passages, passages to what search sees.
//!
//! [`Ingest::add`] stores the bytes, writes the source and enqueues [`tasks::ReadSource`] in one transaction. The
//! task reads the text in a child process ([`sandbox`]: [`detect`], then [`extract`]), cuts it into [`mod@passages`],
//! embeds them in batches and publishes them in one transaction, in which a new version takes the place of the old
//! one. What takes long it hands to [`tasks::ReadRecording`]. No step holds a database connection while another
//! process or a model works. Later [`tasks::FoldTail`] moves what was published into segments,
//! [`tasks::SweepObjects`] removes what nothing needs any more, and [`tasks::TierNotebooks`] archives notebooks that
//! nobody asks ([`tiers`]), and [`tasks::RereadSources`] has what an older reader read read again. What a tenant may
//! keep is checked where something is added (`quotas`). Texts that quire makes itself, out of records for instance,
//! are published many at a time ([`Text`]). A new tenant begins with a notebook of templates (`onboarding`). Knows
//! nothing about questions.

mod allowance;
pub mod detect;
mod error;
pub mod extract;
mod hearing;
mod mend;
mod onboarding;
pub mod passages;
mod progress;
mod quotas;
mod reading;
pub mod sandbox;
mod seeing;
mod sensing;
mod service;
pub mod tasks;
mod texts;
pub mod tiers;
mod vectors;

pub use error::{Error, StreamError};
pub use mend::mend;
pub use onboarding::Onboarded;
pub use progress::explain;
pub use quotas::create_notebook;
pub use service::{Ingest, IngestConfig};
pub use texts::{Recording, Text};

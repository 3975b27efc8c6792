//! Search over one tenant's passages.
//!
//! What is committed is in the tail, rows of PostgreSQL, and can be found at once; [`Search::fold`]
//! moves it into immutable segments on the object store. [`Search::search`] reads the corpus version of
//! the tenant, then answers from a `view`: the tail and the open segments at that version, kept in memory
//! while there is room, caught up by what changed, so an idle tenant costs nothing. Two paths score
//! the same rows under the same mask: BM25 (`text`) and vectors (`segment`, by one-bit codes and then
//! exactly); `fusion` makes one list of both. Knows passages and filters, but neither models nor
//! questions.

mod asked;
mod blocks;
mod cache;
mod error;
mod fold;
mod fusion;
mod load;
mod maintain;
mod mask;
mod query;
mod reach;
mod score;
mod search;
mod segment;
mod text;
mod totals;
mod view;

pub use blocks::BlockTotals;
pub use error::Error;
pub use fold::{FoldPolicy, Folded};
pub use fusion::{Explained, Fused, Fusion, Question, Ranked, Reason, Signals, fuse, merge};
pub use load::BulkSource;
pub use maintain::{
    BuildProgress, EmbedPage, Erased, Mended, Moved, Problem, Rebuild, RebuildError, Rebuilt,
    RolledBack, SegmentCheck, SegmentStats, Stats, Swept, TenantTable, Verified,
};
pub use query::{Filter, Found, Hit, Mode, Query, Scores};
pub use search::{Search, SearchConfig, Snapshot};
pub use segment::SegmentError;
pub use text::{highlight, terms};
pub use totals::{SearchTotals, SizeClass};

/// Runs work of more than a moment where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Interrupted)?
}

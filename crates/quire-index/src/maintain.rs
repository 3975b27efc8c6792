//! Upkeep of one tenant's search: what it takes up, whether it is whole, making it anew, removing it.
//!
//! Every function does one thing to one tenant when it is called and decides nothing about when; tasks and
//! commands do. Whatever changes the manifest is one transaction; objects come before the rows that name them
//! and go after them, so a process may end anywhere. Knows nothing of tasks, plans and who is asking.

mod archive;
mod check;
mod embed;
mod erase;
mod rebuild;
mod recall;
mod rollback;
mod stats;
mod sweep;

use quire_types::{ErrorKind, Kind};

pub use archive::Moved;
pub use check::{Mended, Problem, SegmentCheck, Verified};
pub use embed::EmbedPage;
pub use erase::Erased;
pub use quire_store::erasure::TenantTable;
pub use rebuild::{BuildProgress, Rebuild, RebuildError, Rebuilt};
pub use rollback::RolledBack;
pub use stats::{SegmentStats, Stats};
pub use sweep::Swept;

/// Whether an error says that a store did not answer, and nothing of what is in it.
fn is_passing(error: &crate::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

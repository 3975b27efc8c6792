//! Search over one tenant's passages.
//!
//! [`Search::search`] takes a question with its vector and returns one fused list. The corpus version
//! of the tenant is read first; a `view` of the tenant's corpus is kept in memory, caught up by what
//! changed since, and dropped when others need the room, so what is committed can be found at once
//! and an idle tenant costs nothing. Inside the view two paths score the same rows under the same
//! mask: BM25 (`lexical`) and exact cosine (`dense`); `fusion` makes one list of both. Knows
//! passages and filters, but neither models nor questions.

mod cache;
mod dense;
mod error;
mod fusion;
mod lexical;
mod query;
mod search;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the view still searches with `lexical`")
)]
mod text;
mod view;

pub use error::Error;
pub use lexical::terms;
pub use query::{Filter, Hit, Mode, Query, Scores};
pub use search::Search;
pub use text::highlight;

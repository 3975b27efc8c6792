//! Suite `search`: search in one tenant's passages, quire beside the engines that a team would take instead.

mod corpus;
mod exact;
mod grow;
mod texts;

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::report::line;
use corpus::Corpus;

#[derive(Args)]
pub(crate) struct Options {
    /// Where the corpus is kept [default: bench/search in quire's cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A folder of texts to take the passages from [default: the sources of crates in cargo's registry].
    #[arg(long, value_name = "DIR")]
    texts: Option<PathBuf>,
    /// Real passages to embed; larger sizes are grown from them.
    #[arg(long, default_value_t = 30_000)]
    real: usize,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let cache = options.data.clone();
    let cache = cache.unwrap_or_else(|| crate::cache_dir().join("bench/search"));
    let corpus = Corpus::prepare(&cache, options.texts.as_deref(), options.real).await?;
    line(format!("{} real passages", corpus.real()));
    let rows = corpus.rows(1000)?;
    line(format!("{} rows {}", rows.texts.len(), rows.vectors.len()));
    Ok(())
}

//! Suite `retrieval`: how good quire's own ingest and search are on two public collections and on three
//! that are made here, and whether fusing the two paths ever costs more than it gives.
//!
//! Nothing is reimplemented here but the measures: files go through [`engine`], which is quire without
//! HTTP, and questions through its search.

mod chunking;
mod collections;
mod cranfield;
pub(crate) mod engine;
mod fusion;
mod judged;
mod lists;
mod metrics;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quire_ingest::passages::PassageOptions;
use quire_postgres::Binaries;

use crate::failure::Failure;
use crate::report::{Report, line};
use crate::{Data, Program, until_interrupted};
use engine::Engine;
use lists::Ranking;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    program: Program,
    /// Only one part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// What the made collections are made from; the constants of the fusion were chosen on seed 1.
    #[arg(long, default_value_t = collections::REPORTED_SEED)]
    seed: u64,
    /// Write what both paths found for every question of the judged collections here, as lines of JSON.
    #[arg(long, value_name = "FILE")]
    lists: Option<PathBuf>,
    /// Also rank by other weights of the two paths.
    #[arg(long)]
    variants: bool,
    /// Passages per question of the chunking collection.
    #[arg(long, default_value_t = 5)]
    passages: usize,
    /// Size with which a passage ends with its paragraph [default: quire's own].
    #[arg(long, value_name = "CHARS")]
    enough_chars: Option<u32>,
    /// Size that no passage exceeds [default: quire's own].
    #[arg(long, value_name = "CHARS")]
    max_chars: Option<u32>,
    /// Longest sentence that is repeated at a cut [default: quire's own].
    #[arg(long, value_name = "CHARS")]
    overlap_chars: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The Cranfield collection.
    Cranfield,
    /// Span recall of passages.
    Chunking,
    /// Ways to fuse, on Cranfield and on the made collections.
    Fusion,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    fn cut(&self) -> PassageOptions {
        let own = PassageOptions::default();
        PassageOptions {
            enough_chars: self.enough_chars.unwrap_or(own.enough_chars),
            max_chars: self.max_chars.unwrap_or(own.max_chars),
            overlap_chars: self.overlap_chars.unwrap_or(own.overlap_chars),
            min_chars: own.min_chars,
        }
    }

    fn rankings(&self) -> Vec<Ranking> {
        let variants: &[Ranking] = if self.variants {
            &Ranking::VARIANTS
        } else {
            &[]
        };
        [&Ranking::USUAL, variants].concat()
    }
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let program = options.program.path()?;
    // Read before anything is started: what is missing should be said at once.
    let data = &options.data.data;
    let wants_fusion = options.wants(Part::Fusion);
    let mut judged = Vec::new();
    if wants_fusion || options.wants(Part::Cranfield) {
        judged.push(cranfield::read(data)?);
    }
    if wants_fusion {
        judged.extend(collections::make(options.seed));
    }
    let chunking = options.wants(Part::Chunking);
    let chunking = chunking.then(|| chunking::read(data)).transpose()?;

    let mut report = Report::begin(
        env!("CARGO_PKG_VERSION"),
        &Binaries::find(None)?.version.to_string(),
    );
    let cut = options.cut();
    line(format!(
        "passages: enough with {} characters, at most {}, repeat up to {}",
        cut.enough_chars, cut.max_chars, cut.overlap_chars
    ));
    let engine = Box::pin(Engine::open(program, cut)).await?;
    let measured = async {
        let rankings = options.rankings();
        Box::pin(fusion::measure(
            &engine,
            judged,
            &rankings,
            options.lists.as_deref(),
            &mut report,
        ))
        .await?;
        if let Some(collection) = &chunking {
            let measuring = chunking::measure(
                &engine,
                collection,
                options.passages,
                &rankings,
                &mut report,
            );
            Box::pin(measuring).await?;
        }
        Ok(())
    };
    let measured = until_interrupted(Box::pin(measured)).await;
    let closed = engine.close().await;
    measured.and(closed)?;
    report.end();
    Ok(())
}

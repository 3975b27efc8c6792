//! Suite `search`: search in one tenant's passages, quire beside the engines that a team would take instead.
//!
//! One corpus of real text (`corpus`; beyond its real passages grown ones, and the output says from where on),
//! one truth (`truth`), one core. quire is measured in process (`engine`), the others by drivers (`peers`), who are
//! asked the same questions. `PEERS=0` in the environment leaves the others out.

mod corpus;
mod engine;
mod exact;
mod grow;
mod measure;
mod peers;
mod texts;
mod truth;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quire_postgres::Binaries;

use crate::failure::Failure;
use crate::report::{Report, Target, line, note, table};
use crate::until_interrupted;
use corpus::{Corpus, Question};
use engine::Ours;
use peers::{Asking, Kind, Outcome, PEERS, Peers};
use truth::Truth;

/// Recall from which on a way of asking vectors counts as search.
const ENOUGH: f64 = 0.99;

#[derive(Args)]
pub(crate) struct Options {
    /// Only these parts; may be repeated [default: all].
    #[arg(long = "only", value_enum)]
    only: Vec<Part>,
    /// A few minutes: 2,000 real passages, 1K and 10K rows, 200 questions.
    #[arg(long)]
    quick: bool,
    /// Rows of the corpora.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    sizes: Vec<usize>,
    /// Real passages to embed, once; larger corpora are grown from them.
    #[arg(long, default_value_t = 20_000)]
    real: usize,
    /// Length of the mixed load.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..))]
    minutes: u64,
    /// Questions to ask.
    #[arg(long, default_value_t = corpus::QUESTIONS)]
    questions: usize,
    /// A folder of texts to take the passages from [default: the sources of crates in cargo's registry].
    #[arg(long, value_name = "DIR")]
    texts: Option<PathBuf>,
    /// Where the corpus is kept [default: bench/search in quire's cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The core to measure on [default: the last one].
    #[arg(long)]
    core: Option<usize>,
    /// Where the drivers of the peers are.
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    peers: PathBuf,
    /// Only these peers; may be repeated [default: all].
    #[arg(long = "peer", value_name = "NAME")]
    peer: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Make the corpus and the truth, and stop.
    Corpus,
    /// quire.
    Engine,
    /// Ten minutes of questions and writes of 1,517 tenants.
    Mixed,
    /// The other engines.
    Peers,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn wants_peers(&self) -> bool {
        let off = std::env::var_os("PEERS").is_some_and(|value| value == "0");
        self.wants(Part::Peers) && !off
    }

    fn sizes(&self) -> &[usize] {
        if self.quick {
            &[1_000, 10_000]
        } else {
            &self.sizes
        }
    }

    fn real(&self) -> usize {
        if self.quick { 2_000 } else { self.real }
    }

    fn questions(&self) -> usize {
        let most = if self.quick { 200 } else { self.questions };
        most.min(corpus::QUESTIONS)
    }
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let report = Box::pin(until_interrupted(measure(options))).await?;
    report.end();
    Ok(())
}

async fn measure(options: &Options) -> Result<Report, Failure> {
    let mut report = Report::begin(
        env!("CARGO_PKG_VERSION"),
        &Binaries::find(None)?.version.to_string(),
    );
    let cache = options.data.clone();
    let cache = cache.unwrap_or_else(|| crate::cache_dir().join("bench/search"));
    let corpus = Corpus::prepare(&cache, options.texts.as_deref(), options.real()).await?;
    let questions = corpus.questions(options.questions())?;
    let core = options.core.map_or_else(measure::last_core, Ok)?;
    line(format!(
        "corpus: {} real passages, MiniLM vectors of {} dimensions; rows beyond are grown from them. {} questions, \
         sentences of passages that are not in it. Measured on core {core}.",
        corpus.real(),
        corpus::DIMENSION,
        questions.len()
    ));
    let mut ours = Vec::new();
    if options.wants(Part::Engine) {
        ours = engine::measure(&corpus, options.sizes(), &questions, core, &mut report)?;
    }
    if options.wants(Part::Mixed) && !options.quick {
        engine::mixed::measure(&corpus, &questions, options.minutes, &mut report).await?;
    }
    let mut outcomes = Vec::new();
    if options.wants_peers() {
        outcomes = ask_peers(options, &corpus, &questions, core).await?;
        print(&outcomes);
    } else if options.only == [Part::Corpus] {
        for rows in options.sizes() {
            truth(&corpus, &questions, *rows)?;
        }
    }
    compare(&ours, &outcomes, &mut report);
    Ok(report)
}

fn truth(corpus: &Corpus, questions: &[Question], rows: usize) -> Result<Truth, Failure> {
    let vectors = corpus.rows(rows)?.vectors;
    note(format!("search: searching {rows} rows exactly"));
    Truth::new(corpus, questions, vectors, 1_000)
}

async fn ask_peers(
    options: &Options,
    corpus: &Corpus,
    questions: &[Question],
    core: usize,
) -> Result<Vec<Outcome>, Failure> {
    let peers = match Peers::install(&options.peers).await {
        Ok(peers) => peers,
        Err(failure) => {
            line(format!("no peers: {failure}"));
            return Ok(Vec::new());
        }
    };
    let wanted = |name: &str| options.peer.is_empty() || options.peer.iter().any(|one| one == name);
    let mut outcomes = Vec::new();
    for rows in options.sizes() {
        let asking = Asking {
            truth: &truth(corpus, questions, *rows)?,
            corpus,
            questions: questions.len(),
            core,
        };
        for peer in PEERS.into_iter().filter(|(name, _)| wanted(name)) {
            note(format!("search: asking {} over {rows} rows", peer.0));
            if let Err(failure) = peers.measure(peer, &asking, &mut outcomes).await {
                line(format!("{} over {rows} rows: skipped: {failure}", peer.0));
            }
        }
    }
    Ok(outcomes)
}

fn print(outcomes: &[Outcome]) {
    let rows: Vec<[String; 11]> = outcomes
        .iter()
        .map(|outcome| {
            [
                short(outcome.rows),
                format!("{} {}", outcome.peer, outcome.version),
                outcome.kind.name().to_owned(),
                outcome.way.clone(),
                format!("{:.3}", outcome.waits.p50),
                format!("{:.3}", outcome.waits.p95),
                format!("{:.3}", outcome.waits.p99),
                outcome
                    .recall
                    .map_or(String::new(), |recall| format!("{recall:.4}")),
                format!("{:.2} + {:.2}", outcome.load_s, outcome.build_s),
                format!("{:.1}", outcome.disk_mib),
                format!("{:.1}", outcome.memory_mib),
            ]
        })
        .collect();
    line("");
    table(
        &[
            "rows",
            "peer",
            "kind",
            "way",
            "p50 ms",
            "p95",
            "p99",
            "recall@10",
            "load + build s",
            "disk MiB",
            "memory MiB",
        ],
        &rows,
    );
}

/// The numbers of the peers that quire is held against, and the comparison where quire was measured: like with
/// like, quire's vector path with their fastest way of at least [`ENOUGH`] recall, hybrid with hybrid.
fn compare(ours: &[Ours], outcomes: &[Outcome], report: &mut Report) {
    for (peer, target) in [("pgvector", 20.0), ("lancedb", 10.0)] {
        let own = || outcomes.iter().filter(|outcome| outcome.peer == peer);
        for rows in sizes_of(own()) {
            let size = short(rows);
            let ours = ours.iter().find(|ours| ours.rows == rows);
            let target = (rows == 10_000).then_some(Target::AtLeast(target));
            for (kind, speedup) in [
                (Kind::Vector, format!("speedup_{peer}_{size}")),
                (Kind::Hybrid, format!("speedup_{peer}_hybrid_{size}")),
            ] {
                let fit = |outcome: &&Outcome| {
                    (outcome.rows, outcome.kind) == (rows, kind)
                        && outcome.recall.is_none_or(|recall| recall >= ENOUGH)
                };
                let waits = own().filter(fit).map(|outcome| outcome.waits.p50);
                let Some(theirs) = waits.min_by(f64::total_cmp) else {
                    continue;
                };
                let name = format!("{peer}_{}_p50_ms_{size}", kind.name());
                report.metric(&name, theirs, "ms", None);
                if let Some(ours) = ours {
                    let own = match kind {
                        Kind::Hybrid => ours.hybrid.p50,
                        Kind::Vector | Kind::Lexical => ours.vector.p50,
                    };
                    report.metric(&speedup, theirs / own, "×", target);
                }
            }
        }
    }
}

fn sizes_of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Vec<usize> {
    let mut sizes: Vec<usize> = outcomes.map(|outcome| outcome.rows).collect();
    sizes.dedup();
    sizes
}

/// `10k`, `1m`: as the names of numbers have it.
fn short(rows: usize) -> String {
    match rows {
        _ if rows >= 1_000_000 && rows.is_multiple_of(1_000_000) => {
            format!("{}m", rows / 1_000_000)
        }
        _ if rows >= 1_000 && rows.is_multiple_of(1_000) => format!("{}k", rows / 1_000),
        _ => rows.to_string(),
    }
}

//! quire's own side of the suite: one process, one core, a private PostgreSQL on the same core.
//!
//! A question to a warm tenant is asked of a `Snapshot`, as the peers are asked in process: what it
//! leaves out is the one round trip to PostgreSQL that tells whether the corpus has changed, which is
//! measured apart. Answers include what the passages say.

mod cold;
mod many;
pub(super) mod mixed;
mod tenants;

use std::time::{Duration, Instant};

use quire_index::{Filter, FoldPolicy, Fusion, Mode, Query, Search, SearchConfig, Snapshot};
use quire_store::Store;
use rustix::thread::CpuSet;

use super::corpus::{Corpus, DIMENSION, Question};
use super::exact;
use super::measure::{Percentiles, milliseconds, pinned};
use super::short;
use super::truth::TOP;
use crate::failure::Failure;
use crate::lab::Lab;
use crate::report::{Report, Target, line, note, table};
use tenants::{Bench, SHARES};

/// What the peers are compared with.
pub(super) struct Ours {
    pub(super) rows: usize,
    pub(super) vector: Percentiles,
    pub(super) hybrid: Percentiles,
}

/// Measures quire at every size and adds its numbers to the report.
pub(super) fn measure(
    corpus: &Corpus,
    sizes: &[usize],
    questions: &[Question],
    core: usize,
    report: &mut Report,
) -> Result<Vec<Ours>, Failure> {
    pinned(core, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::doing("starting a runtime"))?;
        runtime.block_on(Box::pin(async {
            let lab = Lab::open().await?;
            let measured = Box::pin(all(&lab, corpus, sizes, questions, report)).await;
            lab.close().await?;
            measured
        }))
    })
}

async fn all(
    lab: &Lab,
    corpus: &Corpus,
    sizes: &[usize],
    questions: &[Question],
    report: &mut Report,
) -> Result<Vec<Ours>, Failure> {
    let allowed = rustix::thread::sched_getaffinity(None);
    let cores = allowed
        .map_err(Failure::doing("asking for the cores"))?
        .count();
    line(format!(
        "quire: kernels {}, {cores} core of {}",
        quire_vectors::Level::detect().name(),
        CpuSet::MAX_CPU.min(std::thread::available_parallelism().map_or(1, usize::from)),
    ));
    // First, since memory that a corpus of a million rows had is not all given back.
    many::measure(lab, corpus, questions, report).await?;
    let mut measured = Vec::new();
    let mut least_recall = f64::MAX;
    let mut rows_of_table = Vec::new();
    for rows in sizes {
        note(format!("search: quire over {rows} rows"));
        let (_, store) = lab.database().await?;
        let bench = Bench::new(store, "size").await?;
        let search = searching(&bench.store, *rows);
        let (build, folded) = bench.load(&search, corpus, 0..*rows).await?;
        if *rows == 100_000 {
            report.metric("build_s_100k", build.as_secs_f64(), "s", at_most(5.0));
        }
        let stats = search.stats(bench.placement()).await?;
        let beside: f64 = stats
            .segments
            .iter()
            .map(|segment| segment.bytes as f64 - segment.text_bytes as f64)
            .sum();
        let beside = beside / *rows as f64;
        if *rows == 100_000 {
            report.metric("segment_bytes_per_passage", beside, "B", at_most(600.0));
        }
        let snapshot = search
            .snapshot(bench.placement(), &Filter::default())
            .await?;
        // What is asked often is kept in memory: the first rounds make it so.
        for round in 0..3 {
            for question in questions {
                snapshot.search(&query(question, Mode::Hybrid)).await?;
            }
            note(format!("search: warmed {}", round + 1));
        }
        let vector = timed(&snapshot, questions, Mode::Dense).await?;
        let hybrid = timed(&snapshot, questions, Mode::Hybrid).await?;
        let lexical = timed(&snapshot, questions, Mode::Lexical).await?;
        let recalls = recalls(&bench, &snapshot, corpus, questions, *rows).await?;
        least_recall = recalls.iter().copied().fold(least_recall, f64::min);
        let target = match rows {
            10_000 => at_most(0.3),
            100_000 => at_most(1.0),
            1_000_000 => at_most(6.0),
            _ => None,
        };
        let size = short(*rows);
        report.metric(&format!("hybrid_p50_ms_{size}"), hybrid.p50, "ms", target);
        let fresh = fresh(&search, &bench, questions).await?;
        rows_of_table.push([
            size,
            format!("{:.3} / {:.3}", vector.p50, vector.p99),
            format!("{:.3} / {:.3}", lexical.p50, lexical.p99),
            format!("{:.3} / {:.3}", hybrid.p50, hybrid.p99),
            format!("{:.3}", fresh.p50),
            recalls
                .iter()
                .map(|recall| format!("{recall:.4}"))
                .collect::<Vec<_>>()
                .join(" "),
            format!("{:.2}", build.as_secs_f64()),
            format!("{beside:.0}"),
            format!("{:.1}", folded.written_bytes as f64 / f64::from(1 << 20)),
        ]);
        measured.push(Ours {
            rows: *rows,
            vector,
            hybrid,
        });
    }
    line("");
    table(
        &[
            "rows",
            "vector p50 / p99 ms",
            "BM25",
            "hybrid",
            "hybrid, version checked",
            "recall@10 of all, 50, 5, .5 %",
            "build s",
            "B/row beside text",
            "file MiB",
        ],
        &rows_of_table,
    );
    report.metric(
        "recall10_min",
        least_recall,
        "",
        Some(Target::AtLeast(0.99)),
    );
    cold::measure(lab, corpus, questions, report).await?;
    Ok(measured)
}

fn at_most(value: f64) -> Option<Target> {
    Some(Target::AtMost(value))
}

/// A search that has room, and makes one segment of so many rows.
fn searching(store: &Store, rows: usize) -> Search {
    let fold = FoldPolicy {
        segment_rows: u32::try_from(rows + 1).unwrap_or(u32::MAX),
        ..FoldPolicy::default()
    };
    let config = SearchConfig {
        memory_bytes: 6 << 30,
        fold,
        ..SearchConfig::default()
    };
    Search::new(store.clone(), config)
}

fn query(question: &Question, mode: Mode) -> Query {
    Query {
        text: question.text.clone(),
        vector: question.vector.clone(),
        filter: Filter::default(),
        limit: TOP,
        mode,
        fusion: Fusion::default(),
    }
}

/// Waits for every question, one after another.
async fn timed(
    snapshot: &Snapshot,
    questions: &[Question],
    mode: Mode,
) -> Result<Percentiles, Failure> {
    let mut waits = Vec::with_capacity(questions.len());
    for question in questions {
        let query = query(question, mode);
        let begun = Instant::now();
        let found = snapshot.search(&query).await?;
        waits.push(milliseconds(begun.elapsed()));
        if found.hits.len() != TOP && mode == Mode::Dense {
            return Err(Failure::failed(format!(
                "{} passages instead of {TOP}",
                found.hits.len()
            )));
        }
    }
    Ok(Percentiles::of(waits))
}

/// The same with the version of the corpus checked before each, as the product does.
async fn fresh(
    search: &Search,
    bench: &Bench,
    questions: &[Question],
) -> Result<Percentiles, Failure> {
    let mut waits = Vec::with_capacity(questions.len());
    for question in questions {
        let query = query(question, Mode::Hybrid);
        let begun = Instant::now();
        search.search(bench.placement(), query).await?;
        waits.push(milliseconds(begun.elapsed()));
    }
    Ok(Percentiles::of(waits))
}

/// Recall@10 of the vector path without a filter and with each share of the sources let through.
async fn recalls(
    bench: &Bench,
    snapshot: &Snapshot,
    corpus: &Corpus,
    questions: &[Question],
    rows: usize,
) -> Result<Vec<f64>, Failure> {
    let vectors = corpus.rows(rows)?.vectors;
    let asked: Vec<f32> = questions
        .iter()
        .flat_map(|question| &question.vector)
        .copied()
        .collect();
    let mut recalls = Vec::new();
    for per_mille in [1_000].into_iter().chain(SHARES.into_iter().rev()) {
        let file = format!("exact-sources-{rows}-{per_mille}-{}.json", questions.len());
        let file = corpus.rows_folder().join(file);
        let allowed = |row: usize| tenants::passes(row, per_mille);
        let nearest = exact::kept(&file, &asked, &vectors, TOP, allowed)?;
        let mut sum = 0.0;
        for ((question, nearest), vector) in questions
            .iter()
            .zip(&nearest)
            .zip(asked.chunks_exact(DIMENSION))
        {
            let query = Query {
                filter: bench.filter(per_mille),
                ..query(question, Mode::Dense)
            };
            let found = snapshot.search(&query).await?;
            let found: Vec<u32> = found
                .hits
                .iter()
                .filter_map(|hit| tenants::row_of(&hit.passage))
                .collect();
            sum += nearest.recall(vector, &vectors, &found);
        }
        recalls.push(sum / questions.len() as f64);
    }
    Ok(recalls)
}

/// How long a call takes.
async fn took<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<(Duration, T), Failure> {
    let begun = Instant::now();
    let done = work.await?;
    Ok((begun.elapsed(), done))
}

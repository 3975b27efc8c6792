//! A node under mixed load: few large tenants and many small ones, questions by Zipf's law, one in twenty a write.
//!
//! The load is open: what is due is asked whether or not earlier questions were answered, and a wait counts from the
//! moment a question was due. Tails are folded when the product would fold them at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quire_index::{Mode, Search, SearchConfig};
use quire_store::Store;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::many::publish;
use super::tenants::{Bench, PASSAGES};
use super::{at_most, query, searching};
use crate::failure::Failure;
use crate::lab::Lab;
use crate::report::{Report, line, note};
use crate::search::corpus::{Corpus, Question};
use crate::search::measure::{Memory, Percentiles, Zipf, milliseconds};

/// How many tenants of how many passages; the larger a tenant, the more it is asked.
const TENANTS: [(usize, usize); 3] = [(1, 500_000), (16, 50_000), (1_500, 1_000)];
/// What happens in a second.
const RATE: f64 = 100.0;
const WRITES: f64 = 0.05;
/// A tail of so many passages is folded at once.
const FOLD_AT: usize = 2_000;
const MEMORY: usize = 1 << 30;

/// What a task of the load did.
enum Did {
    Asked(f64),
    Wrote(f64),
    Folded,
}

/// Tenants whose view is in memory, and the MiB of all views and blocks.
fn in_memory(search: &Search) -> (usize, usize) {
    let (tenants, views) = search.usage();
    (tenants, (views + search.block_totals().kept_bytes) >> 20)
}

pub(in crate::search) async fn measure(
    corpus: &Corpus,
    questions: &[Question],
    minutes: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let lab = Lab::open().await?;
    let (_, store) = lab.database().await?;
    let tenants = load(&store, corpus).await?;
    let measured = run(&store, tenants, corpus, questions, minutes, report).await;
    lab.close().await?;
    measured
}

async fn load(store: &Store, corpus: &Corpus) -> Result<Vec<Arc<Bench>>, Failure> {
    let mut tenants = Vec::new();
    for (count, rows) in TENANTS {
        note(format!(
            "search: loading {count} tenants of {rows} passages"
        ));
        let search = searching(store, rows);
        for number in 0..count {
            let bench = Bench::new(store.clone(), &format!("mixed-{rows}-{number}")).await?;
            // Small tenants differ in what they hold, large ones need not.
            let first = if rows == 1_000 { number % 9 * rows } else { 0 };
            bench.load(&search, corpus, first..first + rows).await?;
            tenants.push(Arc::new(bench));
        }
    }
    Ok(tenants)
}

async fn run(
    store: &Store,
    tenants: Vec<Arc<Bench>>,
    corpus: &Corpus,
    questions: &[Question],
    minutes: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let config = SearchConfig {
        memory_bytes: MEMORY,
        ..SearchConfig::default()
    };
    let search = Search::new(store.clone(), config);
    let new = Arc::new(corpus.passages(0..PASSAGES)?);
    let zipf = Zipf::new(tenants.len(), 1.0);
    let mut random = StdRng::seed_from_u64(1);
    let mut tails = vec![0; tenants.len()];
    let mut running: JoinSet<Result<Did, Failure>> = JoinSet::new();
    let (mut asked, mut wrote, mut folded) = (Vec::new(), Vec::new(), 0);
    let mut memory: Vec<f64> = Vec::new();
    let mut held: Vec<(usize, usize)> = Vec::new();
    note(format!("search: {minutes} minutes of mixed load"));
    let begun = Instant::now();
    let events = (minutes * 60) as f64 * RATE;
    let warm = Duration::from_secs(60);
    for event in 0..events as u64 {
        let due = begun + Duration::from_secs_f64(event as f64 / RATE);
        tokio::time::sleep_until(due.into()).await;
        if begun.elapsed().as_secs() / 60 >= memory.len() as u64 {
            memory.push(Memory::own()?.rss);
            held.push(in_memory(&search));
        }
        let at = zipf.choose(&mut random);
        let (tenant, search) = (tenants[at].clone(), search.clone());
        if random.random_bool(WRITES) {
            let new = new.clone();
            tails[at] += PASSAGES;
            if tails[at] >= FOLD_AT {
                tails[at] = 0;
                let (tenant, search) = (tenant.clone(), search.clone());
                running.spawn(async move {
                    search.fold(tenant.placement()).await?;
                    Ok(Did::Folded)
                });
            }
            running.spawn(async move {
                publish(&tenant.store, &tenant, &new).await?;
                Ok(Did::Wrote(milliseconds(due.elapsed())))
            });
        } else {
            let question = &questions[random.random_range(0..questions.len())];
            let query = query(question, Mode::Hybrid);
            let is_warm = begun.elapsed() > warm;
            running.spawn(async move {
                search.search(tenant.placement(), query).await?;
                let wait = if is_warm {
                    milliseconds(due.elapsed())
                } else {
                    f64::NAN
                };
                Ok(Did::Asked(wait))
            });
        }
        while let Some(done) = running.try_join_next() {
            match done.map_err(Failure::doing("asking"))?? {
                Did::Asked(wait) if wait.is_nan() => {}
                Did::Asked(wait) => asked.push(wait),
                Did::Wrote(wait) => wrote.push(wait),
                Did::Folded => folded += 1,
            }
        }
    }
    running.shutdown().await;
    memory.push(Memory::own()?.rss);
    held.push(in_memory(&search));
    let (count, asked, wrote) = (asked.len(), Percentiles::of(asked), Percentiles::of(wrote));
    line(format!(
        "mixed            {count} questions p50 {:.2} p95 {:.2} p99 {:.2} ms · writes p99 {:.1} ms · {folded} folds",
        asked.p50, asked.p95, asked.p99, wrote.p99
    ));
    line(format!(
        "mixed, by minute memory {memory:.0?} MiB · tenants in memory and MiB of their views and blocks {held:?}"
    ));
    report.metric("mixed_p99_ms", asked.p99, "ms", at_most(20.0));
    let after_warm = memory.get(2).copied().unwrap_or(f64::NAN);
    let last = memory.last().copied().unwrap_or(f64::NAN);
    report.metric("mixed_rss_growth_mb", last - after_warm, "MiB", None);
    Ok(())
}

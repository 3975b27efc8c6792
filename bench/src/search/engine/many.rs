//! Many tenants on one node: what they cost while nobody asks, and when somebody does.

use std::time::Duration;

use quire_index::{Mode, Search, SearchConfig};
use quire_store::passages::{self, NewPassage};
use quire_store::{ObjectKey, Placement, Store, sources};
use quire_types::MediaType;

use super::tenants::Bench;
use super::{at_most, query, searching, took};
use crate::failure::Failure;
use crate::lab::{self, Lab};
use crate::report::{Report, note};
use crate::search::corpus::{Corpus, Question};
use crate::search::measure::Memory;

const TENANTS: usize = 100_000;
/// Tenants that are asked.
const TOUCHED: usize = 1_000;
const PASSAGES: usize = 100;
/// Tenants of 1,000 passages.
const LARGER: usize = 100;

pub(super) async fn measure(
    lab: &Lab,
    corpus: &Corpus,
    questions: &[Question],
    report: &mut Report,
) -> Result<(), Failure> {
    larger(lab, corpus, questions, report).await?;
    small(lab, corpus, questions, report).await
}

/// Memory of a tenant of 1,000 passages that was asked once: what its view and blocks are counted as.
async fn larger(
    lab: &Lab,
    corpus: &Corpus,
    questions: &[Question],
    report: &mut Report,
) -> Result<(), Failure> {
    let (_, store) = lab.database().await?;
    let mut placements = Vec::new();
    for number in 0..LARGER {
        let bench = Bench::new(store.clone(), &format!("larger-{number}")).await?;
        let first = number % 9 * 1_000;
        bench
            .load(&searching(&store, 1_000), corpus, first..first + 1_000)
            .await?;
        placements.push(bench.placement());
    }
    let search = Search::new(store, SearchConfig::default());
    search
        .search(placements[0], query(&questions[0], Mode::Hybrid))
        .await?;
    for (placement, question) in placements.iter().zip(questions).skip(1) {
        search
            .search(*placement, query(question, Mode::Hybrid))
            .await?;
    }
    // What was freed before is used again, so the process does not grow; what is counted is what views hold.
    let (views, bytes) = search.usage();
    let kept_bytes = search.block_totals().kept_bytes;
    note(format!(
        "search: {views} views of {bytes} bytes, {kept_bytes} bytes of blocks"
    ));
    let each = (bytes + kept_bytes) as f64 / views as f64 / f64::from(1 << 20);
    report.metric("touched_tenant_mb_1k", each, "MiB", at_most(0.4));
    Ok(())
}

/// 100K tenants of which 1,000 hold passages and are asked. The others are rows of the directory: what they hold would
/// be in PostgreSQL, which this process never reads before somebody asks.
async fn small(
    lab: &Lab,
    corpus: &Corpus,
    questions: &[Question],
    report: &mut Report,
) -> Result<(), Failure> {
    let (name, store) = lab.database().await?;
    let mut placements = Vec::new();
    for number in 0..TOUCHED {
        let bench = Bench::new(store.clone(), &format!("small-{number}")).await?;
        let first = number % 90 * PASSAGES;
        let new = corpus.passages(first..first + PASSAGES)?;
        publish(&store, &bench, &new).await?;
        placements.push(bench.placement());
    }
    let few = start(lab, &name).await?;
    lab::sql(
        &store,
        &format!(
            "insert into directory.tenants (id, slug, name, incarnation, shard, region, plan, state)
             select gen_random_uuid(), 'idle-' || n, 'idle', gen_random_uuid(), t.shard, t.region, t.plan, t.state
             from generate_series(1, {}) n, (select * from directory.tenants limit 1) t",
            TENANTS - TOUCHED
        ),
    )
    .await?;
    let many = start(lab, &name).await?;
    report.metric("startup_s_1k_tenants", few.as_secs_f64(), "s", None);
    report.metric("startup_s_100k_tenants", many.as_secs_f64(), "s", None);
    drop(store);

    let store = lab.address(&name).connect().await?;
    let search = Search::new(store.clone(), SearchConfig::default());
    let at_start = Memory::own()?;
    for (at, placement) in placements.iter().enumerate() {
        let question = &questions[at % questions.len()];
        search
            .search(*placement, query(question, Mode::Hybrid))
            .await?;
    }
    let touched = Memory::own()?;
    let (views, bytes) = search.usage();
    note(format!("search: {views} views of {bytes} bytes"));
    report.metric(
        "rss_mb_100k_tenants_start",
        at_start.rss,
        "MiB",
        at_most(600.0),
    );
    report.metric(
        "rss_mb_100k_tenants_touched",
        touched.rss,
        "MiB",
        at_most(1_024.0),
    );
    Ok(())
}

/// How long it takes until a node could answer.
async fn start(lab: &Lab, database: &str) -> Result<Duration, Failure> {
    let address = lab.address(database);
    let (wait, store) = took(address.connect()).await?;
    drop(Search::new(store, SearchConfig::default()));
    Ok(wait)
}

/// Adds a source as it is published after reading: to the tail.
pub(super) async fn publish(
    store: &Store,
    bench: &Bench,
    new: &[NewPassage],
) -> Result<(), Failure> {
    let placement: Placement = bench.placement();
    let object = ObjectKey::original(placement);
    let mut tx = store.tenant(placement).await?;
    let content = sources::NewContent {
        name: "notes",
        content_hash: object.as_str().as_bytes(),
        size_bytes: 1,
        object: &object,
    };
    let notebook = bench.filter(5).notebooks.unwrap_or_default()[0];
    let added = sources::add(&mut tx, notebook, &content).await?;
    let source = added.source().id;
    passages::publish(&mut tx, source, 1, MediaType::Text, None, new).await?;
    Ok(tx.commit().await?)
}

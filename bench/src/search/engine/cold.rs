//! The first question to a tenant that nobody has asked for: rows, manifest and segment are read, nothing
//! is in this process's memory. The files are in the page cache of the machine.

use std::sync::Arc;
use std::time::Duration;

use object_store::throttle::{ThrottleConfig, ThrottledStore};
use quire_index::{Mode, Search, SearchConfig};
use quire_store::passages::{self, NewPassage};
use quire_store::{ObjectKey, sources};
use quire_types::{MediaType, Place};

use super::tenants::Bench;
use super::{at_most, query, searching, took};
use crate::failure::Failure;
use crate::lab::Lab;
use crate::report::{Report, note};
use crate::search::corpus::{Corpus, DIMENSION, Question};
use crate::search::measure::{Percentiles, milliseconds};

const TIMES: usize = 30;
/// What a read of an object takes on S3, at the middle. Source: turbopuffer's documentation, 2026.
const READ: Duration = Duration::from_millis(63);
const WRITES: usize = 300;

pub(super) async fn measure(
    lab: &Lab,
    corpus: &Corpus,
    questions: &[Question],
    report: &mut Report,
) -> Result<(), Failure> {
    for (rows, size, target) in [(1_000, "1k", 5.0), (70_000, "70k", 30.0)] {
        let (name, store) = lab.database().await?;
        let bench = Bench::new(store.clone(), "cold").await?;
        bench
            .load(&searching(&store, rows), corpus, 0..rows)
            .await?;
        note(format!("search: cold over {rows} rows"));
        let waits = cold(&bench, questions, &store).await?;
        let metric = format!("cold_ms_{size}_local");
        report.metric(&metric, waits.p50, "ms", at_most(target));
        if rows == 70_000 {
            let address = lab.address(&name);
            let slow = address.connect_with(|inner| {
                let config = ThrottleConfig {
                    wait_get_per_call: READ,
                    ..ThrottleConfig::default()
                };
                Arc::new(ThrottledStore::new(inner, config))
            });
            let waits = cold(&bench, questions, &slow.await?).await?;
            report.metric("cold_ms_70k_63ms", waits.p50, "ms", at_most(250.0));
            write_to_searchable(&bench, corpus, report).await?;
        }
    }
    Ok(())
}

async fn cold(
    bench: &Bench,
    questions: &[Question],
    store: &quire_store::Store,
) -> Result<Percentiles, Failure> {
    let mut waits = Vec::new();
    for question in questions.iter().take(TIMES) {
        let search = Search::new(store.clone(), SearchConfig::default());
        let query = query(question, Mode::Hybrid);
        let (wait, _) = took(async { Ok(search.search(bench.placement(), query).await?) }).await?;
        waits.push(milliseconds(wait));
    }
    Ok(Percentiles::of(waits))
}

/// From before a source of ten passages is published to after it was found.
async fn write_to_searchable(
    bench: &Bench,
    corpus: &Corpus,
    report: &mut Report,
) -> Result<(), Failure> {
    let search = Search::new(bench.store.clone(), SearchConfig::default());
    search.prefetch(bench.placement()).await?;
    let rows = corpus.rows(1_000)?;
    let notebook = bench.filter(5).notebooks.unwrap_or_default()[0];
    let mut waits = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        let object = ObjectKey::original(bench.placement());
        let mut tx = bench.store.tenant(bench.placement()).await?;
        let content = sources::NewContent {
            name: &format!("new {number}"),
            content_hash: object.as_str().as_bytes(),
            size_bytes: 1,
            object: &object,
        };
        let added = sources::add(&mut tx, notebook, &content).await?;
        let source = added.source().id;
        tx.commit().await?;
        let vector = |at: usize| rows.vectors[at * DIMENSION..(at + 1) * DIMENSION].to_vec();
        let new: Vec<NewPassage> = (0..10)
            .map(|part| NewPassage {
                context: String::new(),
                body: format!("marker m{number}x{part}"),
                place: Place::default(),
                embedding: vector(number + part),
            })
            .collect();
        let question = Question {
            text: format!("m{number}x7"),
            vector: vector(number + 7),
        };
        let (wait, found) = took(async {
            let mut tx = bench.store.tenant(bench.placement()).await?;
            passages::publish(&mut tx, source, 1, MediaType::Text, None, &new).await?;
            tx.commit().await?;
            let query = query(&question, Mode::Hybrid);
            Ok(search.search(bench.placement(), query).await?)
        })
        .await?;
        if !found.hits.iter().any(|hit| hit.passage.source == source) {
            return Err(Failure::failed("what was committed was not found"));
        }
        waits.push(milliseconds(wait));
    }
    let waits = Percentiles::of(waits);
    report.metric("write_to_searchable_p99_ms", waits.p99, "ms", at_most(50.0));
    Ok(())
}

//! A tenant's passages move to another embedding model, and back, while others read and write.

use std::collections::BTreeSet;

use quire_index::{EmbedPage, Error, Query, Rebuild, RebuildError, Search};
use quire_store::builds::BuildState;
use quire_store::corpus::{self, Embedding};
use quire_store::passages::{self, NewPassage};
use quire_store::{Placement, notebooks};
use quire_types::{ErrorKind, Kind, MediaType, Place, SourceId, Tier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::lab::{Corpus, DIMENSION, everything, searching, vector};

/// Numbers in a vector of the other model.
const LARGE: usize = 24;

fn large() -> Embedding {
    Embedding {
        model: Some("large".to_owned()),
        dimension: Some(24),
    }
}

/// What a model makes of a text: always the same.
fn embedded(text: &str, dimension: usize) -> Vec<f32> {
    let seed = text.bytes().fold(dimension as u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut rng = StdRng::seed_from_u64(seed);
    (0..dimension)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect()
}

fn vectors(page: &EmbedPage, dimension: usize) -> Vec<Vec<f32>> {
    let bodies = page.passages().map(|(_, body)| body);
    bodies.map(|body| embedded(body, dimension)).collect()
}

/// Embeds whatever a build lacks, and returns how many passages that were.
async fn embed_all(search: &Search, placement: Placement, build: Uuid, dimension: usize) -> usize {
    let mut count = 0;
    while let Some(page) = search.page_to_embed(placement, build, 200).await.unwrap() {
        let vectors = vectors(&page, dimension);
        count += vectors.len();
        search
            .keep_embedded(placement, build, page, vectors)
            .await
            .unwrap();
    }
    count
}

/// What vectors of this dimension find, with the ids of the passages.
async fn found(search: &Search, placement: Placement, dimension: usize) -> BTreeSet<String> {
    let query = Query {
        vector: vec![0.25; dimension],
        ..everything()
    };
    let found = search.search(placement, query).await.unwrap();
    assert!(found.missing.is_empty());
    let hits = found.hits.into_iter();
    hits.map(|hit| format!("{} {}", hit.passage.body, hit.passage.id))
        .collect()
}

/// Publishes one passage of the other model.
async fn add_large(corpus: &Corpus, name: &str) -> SourceId {
    let passage = NewPassage {
        context: String::new(),
        body: format!("{name} passage 0"),
        place: Place::default(),
        embedding: embedded(name, LARGE),
    };
    corpus.publish(name, &[passage]).await
}

#[tokio::test]
async fn passages_move_to_another_model_without_a_gap_and_back() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    let first = corpus.notebook;
    let old = {
        let mut tx = corpus.test.tx(&corpus.tenant).await;
        let old = notebooks::create(&mut tx, "old").await.unwrap().id;
        tx.commit().await.unwrap();
        old
    };
    for name in ["one", "two"] {
        corpus.add(name, 300).await;
        corpus.fold().await;
    }
    corpus.notebook = old;
    corpus.add("past", 50).await;
    corpus.notebook = first;
    corpus.search.archive(placement, old).await.unwrap();
    let doomed = corpus.add("doomed", 40).await;
    corpus.add("replaced", 30).await;
    corpus.add("tail", 60).await;

    let build = corpus.search.begin_embedding(placement, large());
    let build = build.await.unwrap();
    let page = corpus.search.page_to_embed(placement, build, 200).await;
    let page = page.unwrap().unwrap();
    let new = vectors(&page, LARGE);
    corpus
        .search
        .keep_embedded(placement, build, page, new)
        .await
        .unwrap();
    let stats = corpus.stats().await;
    let noted = stats.build.unwrap();
    assert_eq!((noted.state, noted.rows_total), (BuildState::Building, 780));
    assert_eq!(noted.rows_done, 300);
    // Search does not read what is there so far, and upkeep leaves it alone.
    assert_eq!(stats.segments.len(), 2);

    // Another process goes on while sources come, go and change, and the tail is folded.
    corpus.delete(doomed).await;
    corpus.add("replaced", 20).await;
    corpus.add("new", 10).await;
    corpus.fold().await;
    let search = searching(corpus.test.store.clone(), 1);
    assert_eq!(
        embed_all(&search, placement, build, LARGE).await,
        300 + 50 + 20 + 60 + 10
    );
    // What is published at the last moment is not left behind.
    corpus.add("late", 5).await;
    let check = Rebuild::default();
    let switched = search.switch_embedding(placement, build, check, &[]).await;
    assert_eq!(switched.unwrap(), None);
    let before = found(&corpus.search, placement, DIMENSION).await;
    assert_eq!(before.len(), 300 + 300 + 20 + 60 + 10 + 5);
    let query = Query {
        vector: vec![0.25; LARGE],
        ..everything()
    };
    let refused = search.search(placement, query).await.unwrap_err();
    assert!(matches!(refused, Error::Dimension { .. }), "{refused}");
    assert_eq!(embed_all(&search, placement, build, LARGE).await, 5);
    let switched = search.switch_embedding(placement, build, check, &[]).await;
    let switched = switched.unwrap().unwrap();
    assert!(switched.recall.unwrap() >= 0.97, "{switched:?}");
    assert_eq!(switched.moved, 745);

    // The same passages under the same ids, those of the archive among them, for every process.
    let after = found(&corpus.search, placement, LARGE).await;
    assert!(before.is_subset(&after));
    assert_eq!(after.len(), before.len() + 50);
    let stats = corpus.stats().await;
    assert_eq!(stats.manifest.embedding.as_deref(), Some("large"));
    assert_eq!((stats.manifest.dimension, stats.tail.rows), (Some(24), 0));
    assert_eq!((stats.segments.len(), stats.archives.len()), (1, 0));
    assert_eq!(stats.build.unwrap().state, BuildState::Switched);
    assert_eq!(tier_of(&corpus, old).await, Tier::Warm);
    assert!(search.verify(placement, 50).await.unwrap().is_sound());

    // What was embedded before and is published now is to be embedded again.
    let again = NewPassage {
        context: String::new(),
        body: "too late".to_owned(),
        place: Place::default(),
        embedding: vector(&mut corpus.rng),
    };
    let source = add_large(&corpus, "after").await;
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    let source = quire_store::readers::read_again(&mut tx, source)
        .await
        .unwrap();
    let source = source.unwrap();
    let (id, version) = (source.id, source.latest_version);
    let published = passages::publish(&mut tx, id, version, MediaType::Text, None, &[again]).await;
    let error = corpus::of_model(&mut tx, None, published)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(tx);

    // The way back: only what the old segments lack is embedded by the old model.
    let back = search.rollback(placement).await.unwrap();
    // What was archived or in the tail, and what came since.
    assert_eq!(back.to_embed, 50 + 5 + 1);
    let build = back.going_on.unwrap();
    assert_eq!(found(&search, placement, LARGE).await.len(), 746);
    assert_eq!(embed_all(&search, placement, build, DIMENSION).await, 56);
    let switched = search.switch_embedding(placement, build, check, &[]).await;
    assert!(switched.unwrap().is_some());
    let back = found(&corpus.search, placement, DIMENSION).await;
    assert!(after.is_subset(&back));
    assert_eq!(back.len(), 746);
    let stats = corpus.stats().await;
    assert_eq!(stats.manifest.embedding, None);
    assert_eq!(stats.manifest.dimension, Some(16));
    assert_eq!(stats.build.unwrap().state, BuildState::RolledBack);
    assert!(search.verify(placement, 50).await.unwrap().is_sound());
    let nothing = search.rollback(placement).await.unwrap_err();
    assert!(matches!(nothing, RebuildError::NoBuild), "{nothing}");
}

async fn tier_of(corpus: &Corpus, notebook: quire_types::NotebookId) -> Tier {
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    let tiers = quire_store::tiers::tiers(&mut tx, Some(notebook)).await;
    tiers.unwrap()[0].tier
}

#[tokio::test]
async fn a_build_that_is_over_leaves_nothing_behind_and_a_way_back_needs_no_model() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    corpus.add("one", 300).await;
    corpus.fold().await;
    let search = corpus.search.clone();
    let before = found(&search, placement, DIMENSION).await;

    // A later build takes the place of an earlier one.
    let first = search.begin_embedding(placement, large()).await.unwrap();
    let page = search.page_to_embed(placement, first, 200).await;
    let page = page.unwrap().unwrap();
    let second = search.begin_embedding(placement, large()).await.unwrap();
    let new = vectors(&page, LARGE);
    let late = search.keep_embedded(placement, first, page, new).await;
    assert!(matches!(late, Err(RebuildError::Superseded)), "{late:?}");
    let over = search.switch_embedding(placement, first, Rebuild::default(), &[]);
    assert!(matches!(over.await, Err(RebuildError::Superseded)));
    // One that finds too little is refused, and its segments go.
    embed_all(&search, placement, second, LARGE).await;
    let impossible = Rebuild {
        least_recall: 1.1,
        ..Rebuild::default()
    };
    let refused = search
        .switch_embedding(placement, second, impossible, &[])
        .await;
    assert!(matches!(refused, Err(RebuildError::Recall { .. })));
    let stats = corpus.stats().await;
    assert_eq!(stats.build.unwrap().state, BuildState::Refused);
    assert_eq!((stats.segments.len(), stats.retired.len()), (1, 1));
    assert_eq!(found(&search, placement, DIMENSION).await, before);

    let build = search.begin_embedding(placement, large()).await.unwrap();
    embed_all(&search, placement, build, LARGE).await;
    let switched = search.switch_embedding(placement, build, Rebuild::default(), &[]);
    assert!(switched.await.unwrap().is_some());
    assert_eq!(found(&search, placement, LARGE).await, before);
    let back = search.rollback(placement).await.unwrap();
    assert_eq!((back.moved, back.to_embed, back.going_on), (300, 0, None));
    assert_eq!(found(&search, placement, DIMENSION).await, before);
}

//! What is where, what is damaged, and what comes back.

use std::fs::{self};

use quire_index::Problem;
use quire_store::builds::{self};
use quire_store::passages::{self, NewPassage, Published};
use quire_testkit::unreliable::{Fault, Unreliable};
use quire_types::{Language, MediaType, Place};

use crate::lab::{Corpus, flip, searching, vector};
use crate::rebuild::other_rotation;

#[tokio::test]
async fn statistics_say_what_is_where() {
    let mut corpus = Corpus::new().await;
    let empty = corpus.stats().await;
    assert_eq!(
        (empty.segments.len(), empty.tail.rows, empty.total_bytes),
        (0, 0, 0)
    );
    assert_eq!(empty.view_bytes, None);

    let gone = corpus.add("one", 30).await;
    corpus.add("two", 10).await;
    corpus.fold().await;
    corpus.delete(gone).await;
    corpus.add("three", 5).await;
    assert_eq!(corpus.bodies().await.len(), 15);
    let stats = corpus.stats().await;
    let [segment] = stats.segments.as_slice() else {
        unreachable!("{stats:?}")
    };
    assert_eq!((segment.rows, segment.alive), (40, 10));
    assert!((segment.dead_share() - 0.75).abs() < 1e-9);
    assert_eq!((segment.format, segment.is_clustered), (Some(2), false));
    let size = fs::metadata(corpus.file(segment.id)).unwrap().len();
    assert_eq!(u64::try_from(segment.bytes), Ok(size));
    assert_eq!(stats.total_bytes, segment.bytes);
    assert_eq!(stats.tail.rows, 5);
    assert!(stats.tail.age_s.is_some_and(|age| age >= 0.0));
    assert_eq!(stats.manifest.dimension, Some(16));
    assert_eq!(stats.language, Language::English);
    assert!(stats.view_bytes.is_some_and(|bytes| bytes > 1_000));
    assert_eq!(stats.build, None);
}

#[tokio::test]
async fn a_check_finds_every_kind_of_damage_and_answers_from_the_rest() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    for name in ["one", "two", "three"] {
        corpus.add(name, 200).await;
        corpus.fold().await;
    }
    corpus.add("tail", 30).await;
    let live = corpus.live().await;
    let verified = corpus.search.verify(placement, 20).await.unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!(verified.questions, 20);
    assert!(verified.recall.unwrap() > 0.95, "{verified:?}");
    assert_eq!(verified.segments.len(), 3);

    // What every search reads, what only candidates need, and what isn't there.
    flip(&corpus.file(live[0]), 100);
    let size = fs::metadata(corpus.file(live[1])).unwrap().len();
    flip(&corpus.file(live[1]), usize::try_from(size).unwrap() - 3);
    fs::remove_file(corpus.file(live[2])).unwrap();
    let verified = corpus.search.verify(placement, 20).await.unwrap();
    assert!(!verified.is_sound());
    let problems: Vec<Option<Problem>> = verified
        .segments
        .iter()
        .map(|check| check.problem.clone())
        .collect();
    assert!(
        matches!(problems[0], Some(Problem::Damaged(_))),
        "{problems:?}"
    );
    assert!(
        matches!(problems[1], Some(Problem::Damaged(_))),
        "{problems:?}"
    );
    assert_eq!(problems[2], Some(Problem::Missing));
    assert!(verified.recall.unwrap() > 0.99, "the tail is exact");

    // A store that does not answer says nothing about the bytes.
    let (objects, unreliable) = Unreliable::around(corpus.test.store.objects().clone());
    let search = searching(corpus.test.reopened_with(objects).await, 4);
    unreliable.fail_all(Some(Fault::Error));
    let before = corpus.stats().await;
    let mended = search.mend(placement).await.unwrap();
    assert!(mended.segments.is_empty() && mended.sources.is_empty());
    assert_eq!(mended.unknown.len(), 3);
    assert!(mended.unknown.iter().all(|(_, problem)| !problem.is_loss()));
    assert_eq!(corpus.stats().await.segments, before.segments);
}

#[tokio::test]
async fn lost_segments_are_given_up_and_their_sources_come_back_by_reading() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    let lost = corpus.add("lost", 20).await;
    corpus.fold().await;
    corpus.add("kept", 20).await;
    corpus.fold().await;
    assert_eq!(
        corpus.search.mend(placement).await.unwrap(),
        Default::default()
    );

    let live = corpus.live().await;
    flip(&corpus.file(live[0]), 100);
    let mended = corpus.search.mend(placement).await.unwrap();
    assert_eq!(mended.sources, [(lost, 1)]);
    assert_eq!(mended.segments.len(), 1);
    assert_eq!(mended.segments[0].0, live[0]);
    assert_eq!(corpus.live().await, live[1..]);
    let found = corpus.bodies().await;
    assert!(found.len() == 20 && found.iter().all(|body| body.starts_with("kept")));
    assert_eq!(
        corpus.search.mend(placement).await.unwrap(),
        Default::default()
    );

    let mut tx = corpus.test.tx(&corpus.tenant).await;
    let again = [NewPassage {
        context: String::new(),
        body: "read again".to_owned(),
        place: Place::default(),
        embedding: vector(&mut corpus.rng),
    }];
    let published = passages::publish(&mut tx, lost, 1, MediaType::Text, None, &again).await;
    assert_eq!(published.unwrap(), Published::Searchable { replaced: None });
    tx.commit().await.unwrap();
    assert!(corpus.bodies().await.contains("read again"));
}

#[tokio::test]
async fn a_source_that_is_not_in_its_segment_is_found_missing() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    corpus.add("old", 20).await;
    corpus.fold().await;
    let old = corpus.live().await;
    let rebuilt = corpus.rebuild(other_rotation()).await.unwrap();
    let stray = corpus.add("stray", 20).await;
    corpus.fold().await;
    // Rows that lie: nothing but a defect would write them.
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    let moved = builds::restore(&mut tx, rebuilt.build, &[(stray, 1, old[0])]).await;
    assert_eq!(moved.unwrap(), Some(20));
    tx.commit().await.unwrap();
    let verified = corpus.search.verify(placement, 5).await.unwrap();
    let check = verified
        .segments
        .iter()
        .find(|check| check.id == old[0])
        .unwrap();
    assert_eq!(check.problem, Some(Problem::Lacks(vec![stray])));
    assert!(
        verified
            .segments
            .iter()
            .filter(|check| check.problem.is_some())
            .count()
            == 1
    );
    assert_eq!(
        corpus.search.mend(placement).await.unwrap().sources,
        [(stray, 1)]
    );
    assert!(corpus.search.verify(placement, 5).await.unwrap().is_sound());
}

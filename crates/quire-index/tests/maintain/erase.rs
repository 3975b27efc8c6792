//! An erased tenant leaves nothing.

use quire_index::Rebuild;
use quire_store::ObjectKey;
use quire_testkit::unreliable::{Fault, Operation, Unreliable};

use crate::lab::{Corpus, DAY, bodies, now, searching};

#[tokio::test]
async fn an_erased_tenant_leaves_nothing_and_others_everything() {
    let mut corpus = Corpus::new().await;
    let mut other = Corpus::of(corpus.test.clone(), "b").await;
    let placement = corpus.tenant.placement();
    for corpus in [&mut corpus, &mut other] {
        corpus.add("one", 30).await;
        corpus.fold().await;
        corpus.rebuild(Rebuild::default()).await.unwrap();
        corpus.add("tail", 10).await;
        let orphan = ObjectKey::original(corpus.tenant.placement());
        let objects = corpus.test.store.objects();
        objects
            .put(&orphan, bytes::Bytes::from_static(b"x"))
            .await
            .unwrap();
        corpus.sweep(now() + 2 * DAY, 3 * DAY / 2, false).await;
        assert_eq!(corpus.bodies().await.len(), 40);
    }
    let theirs = (
        other.objects().await,
        other.bodies().await,
        other.steady().await,
    );

    let elsewhere = searching(corpus.test.store.clone(), 4);
    assert_eq!(bodies(&elsewhere, &corpus.tenant).await.len(), 40);
    let erased = corpus.search.erase(placement).await.unwrap();
    assert!(erased.is_complete(), "{erased:?}");
    assert_eq!((erased.objects > 3, erased.objects_left), (true, 0));
    let deleted = |table: &str| {
        let found = erased.rows.iter().find(|(name, _)| name.as_str() == table);
        found.unwrap().1
    };
    assert_eq!(deleted("shard.passages"), 10);
    assert_eq!(deleted("shard.sources"), 2);
    assert_eq!(
        (deleted("shard.index_builds"), deleted("shard.orphans")),
        (1, 1)
    );
    assert!(deleted("shard.segments") >= 1 && deleted("shard.corpora") == 1);
    assert_eq!(erased.rows.len(), erased.rows_left.len());
    assert!(erased.rows.len() >= 10);
    assert!(!corpus.dir().exists());
    assert_eq!(corpus.bodies().await.len(), 0);
    assert_eq!(bodies(&elsewhere, &corpus.tenant).await.len(), 0);
    let stats = corpus.stats().await;
    assert_eq!(
        (stats.segments.len(), stats.tail.rows, stats.build),
        (0, 0, None)
    );

    let again = corpus.search.erase(placement).await.unwrap();
    assert!(again.is_complete() && again.objects == 0);
    assert!(again.rows.iter().all(|(_, rows)| *rows == 0));
    assert_eq!(
        theirs,
        (
            other.objects().await,
            other.bodies().await,
            other.steady().await
        )
    );
}

#[tokio::test]
async fn an_erasure_that_is_broken_off_is_finished_by_the_next() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    for name in ["one", "two", "three"] {
        corpus.add(name, 10).await;
        corpus.fold().await;
    }
    let (objects, unreliable) = Unreliable::around(corpus.test.store.objects().clone());
    let search = searching(corpus.test.reopened_with(objects).await, 4);
    unreliable.fail(Operation::Delete, 3, Fault::Error);
    search.erase(placement).await.unwrap_err();
    assert!(!corpus.objects().await.is_empty());
    unreliable.fail(Operation::List, 2, Fault::Error);
    search.erase(placement).await.unwrap_err();
    let erased = search.erase(placement).await.unwrap();
    assert!(erased.is_complete());
    assert!(!corpus.dir().exists());
}

#[tokio::test]
async fn another_process_forgets_an_erased_tenant_that_was_never_folded() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 10).await;
    let elsewhere = searching(corpus.test.store.clone(), 4);
    assert_eq!(bodies(&elsewhere, &corpus.tenant).await.len(), 10);
    let placement = corpus.tenant.placement();
    assert!(corpus.search.erase(placement).await.unwrap().is_complete());
    assert_eq!(bodies(&elsewhere, &corpus.tenant).await.len(), 0);
}

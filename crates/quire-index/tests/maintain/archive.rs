//! Notebooks leave the index and come back as they were.

use std::fs;

use quire_index::{Error, Filter, Found, Query, Rebuild, Search, SearchConfig};
use quire_store::{PageRequest, notebooks, segments, sources, tiers};
use quire_testkit::unreliable::{Fault, Operation, Unreliable};
use quire_types::{ErrorKind, Kind, NotebookId, Tier};

use crate::lab::{Corpus, DAY, everything, flip, now, searching};

/// A corpus with an old notebook of two sources in segments and one in the tail, and one in use.
struct Archives {
    corpus: Corpus,
    old: NotebookId,
}

impl Archives {
    async fn new() -> Self {
        let mut corpus = Corpus::new().await;
        let used = corpus.notebook;
        let old = {
            let mut tx = corpus.test.tx(&corpus.tenant).await;
            let old = notebooks::create(&mut tx, "old").await.unwrap().id;
            tx.commit().await.unwrap();
            old
        };
        corpus.add("used", 40).await;
        corpus.notebook = old;
        corpus.add("a", 30).await;
        corpus.fold().await;
        corpus.add("b", 20).await;
        corpus.fold().await;
        corpus.add("c", 10).await;
        corpus.notebook = used;
        Self { corpus, old }
    }

    /// What a search finds: passages with their ids. Asks again while the archive is on its way, as callers do.
    async fn found(&self, search: &Search, query: Query) -> Vec<String> {
        let placement = self.corpus.tenant.placement();
        loop {
            match search.search(placement, query.clone()).await {
                Err(Error::Archived { .. }) => {}
                found => return shown(found.unwrap()),
            }
        }
    }

    fn in_old(&self) -> Query {
        Query {
            filter: Filter {
                notebooks: Some(vec![self.old]),
                ..Filter::default()
            },
            text: "passage 7".to_owned(),
            mode: quire_index::Mode::Hybrid,
            ..everything()
        }
    }

    async fn archive(&self) -> i64 {
        let placement = self.corpus.tenant.placement();
        let moved = self.corpus.search.archive(placement, self.old).await;
        moved.unwrap().passages
    }

    async fn archived(&self) -> (Tier, i64) {
        let mut tx = self.corpus.test.tx(&self.corpus.tenant).await;
        let known = tiers::tiers(&mut tx, Some(self.old)).await.unwrap();
        (known[0].tier, known[0].archived)
    }
}

fn shown(found: Found) -> Vec<String> {
    assert!(found.missing.is_empty());
    let hits = found.hits.iter();
    let mut shown: Vec<String> = hits
        .map(|hit| {
            let passage = &hit.passage;
            format!("{} {} {}", passage.id, passage.source_name, passage.body)
        })
        .collect();
    shown.sort();
    shown
}

#[tokio::test]
async fn an_archived_notebook_costs_search_nothing_and_comes_back_as_it_was() {
    let test = Archives::new().await;
    let corpus = &test.corpus;
    let before = test.found(&corpus.search, test.in_old()).await;
    assert_eq!(before.len(), 60);
    let all = corpus.bodies().await;
    assert_eq!(test.archive().await, 60);
    assert_eq!(test.archived().await, (Tier::Archived, 60));
    // Again there is nothing to do.
    assert_eq!(test.archive().await, 0);
    assert_eq!(corpus.bodies().await.len(), 40);
    let stats = corpus.stats().await;
    assert_eq!(stats.segments.iter().map(|one| one.alive).sum::<i64>(), 40);
    let [archive] = stats.archives.as_slice() else {
        unreachable!("{stats:?}")
    };
    assert_eq!((archive.notebook, archive.segment.rows), (test.old, 60));
    // A sweep leaves it, a check reads it, and damage to it is found.
    let placement = corpus.tenant.placement();
    corpus.sweep(now() + 2 * DAY, DAY, false).await;
    assert!(corpus.search.verify(placement, 5).await.unwrap().is_sound());
    let file = corpus.file(archive.segment.id);
    flip(&file, 100);
    assert!(!corpus.search.verify(placement, 5).await.unwrap().is_sound());
    flip(&file, 100);

    // Whoever asks for it by its name gets it, another process too; whoever asked before sees it then.
    let other = searching(corpus.test.store.clone(), 4);
    assert_eq!(test.found(&other, test.in_old()).await, before);
    assert_eq!(test.found(&corpus.search, test.in_old()).await, before);
    assert_eq!(corpus.bodies().await, all);
    assert_eq!(test.archived().await, (Tier::Warm, 0));
    corpus.sweep(now() + 2 * DAY, DAY, false).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn what_is_deleted_or_replaced_in_an_archive_stays_so() {
    let mut test = Archives::new().await;
    test.archive().await;
    let sources = {
        let mut tx = test.corpus.test.tx(&test.corpus.tenant).await;
        let page = PageRequest::first();
        sources::list(&mut tx, test.old, page).await.unwrap().items
    };
    test.corpus.delete(sources[0].id).await;
    let used = std::mem::replace(&mut test.corpus.notebook, test.old);
    test.corpus.add("b", 5).await;
    test.corpus.notebook = used;
    // What is new can be found although the rest is archived.
    assert_eq!(test.corpus.bodies().await.len(), 45);
    assert_eq!(test.archived().await, (Tier::Archived, 10));
    let back = test.found(&test.corpus.search, test.in_old()).await;
    assert_eq!(back.len(), 15, "{back:?}");
    assert!(back.iter().all(|one| !one.contains(" a ")));

    // An archive in which nothing is alive is no archive.
    test.archive().await;
    for source in &sources[1..] {
        test.corpus.delete(source.id).await;
    }
    assert!(
        test.found(&test.corpus.search, test.in_old())
            .await
            .is_empty()
    );
    assert!(test.corpus.stats().await.archives.is_empty());
}

#[tokio::test]
async fn the_passages_of_an_archived_source_are_read_all_the_same() {
    let test = Archives::new().await;
    test.archive().await;
    let placement = test.corpus.tenant.placement();
    let mut tx = test.corpus.test.tx(&test.corpus.tenant).await;
    let page = PageRequest::first();
    let sources = sources::list(&mut tx, test.old, page).await.unwrap().items;
    drop(tx);
    let page = PageRequest::first();
    let read = test.corpus.search.passages(placement, sources[1].id, page);
    assert_eq!(read.await.unwrap().items.len(), 20);
}

#[tokio::test]
async fn whatever_fails_on_the_way_the_notebook_is_in_one_place_and_whole() {
    let mut corpus = Corpus::new().await;
    let old = corpus.notebook;
    corpus.add("a", 30).await;
    corpus.fold().await;
    let (objects, unreliable) = Unreliable::around(corpus.test.store.objects().clone());
    let store = corpus.test.reopened_with(objects).await;
    let test = Archives { corpus, old };
    let placement = test.corpus.tenant.placement();
    let all = test.corpus.bodies().await;
    for (operation, fault) in [
        (Operation::Write, Fault::Error),
        (Operation::Write, Fault::Lost),
        (Operation::Read, Fault::Error),
        (Operation::Read, Fault::FlipBit(40)),
    ] {
        let search = searching(store.clone(), 4);
        search.prefetch(placement).await.unwrap();
        unreliable.fail(operation, 1, fault);
        assert!(search.archive(placement, old).await.is_err(), "{fault:?}");
        assert_eq!(test.archived().await.1, 0);
        assert_eq!(test.corpus.bodies().await, all);

        assert_eq!(test.archive().await, 30);
        unreliable.fail(operation, 1, fault);
        let failed = search.search(placement, test.in_old()).await;
        assert!(failed.is_err(), "{fault:?} {failed:?}");
        assert_eq!(test.archived().await.1, 30);
        // The next question tries again.
        assert_eq!(test.found(&search, test.in_old()).await.len(), 30);
        assert_eq!(test.corpus.bodies().await, all);
    }
}

#[tokio::test]
async fn with_the_archive_out_of_reach_the_other_notebooks_answer() {
    let test = Archives::new().await;
    let placement = test.corpus.tenant.placement();
    test.archive().await;
    let archive = test.corpus.stats().await.archives[0].segment.id;
    let (objects, unreliable) = Unreliable::around(test.corpus.test.store.objects().clone());
    let search = searching(test.corpus.test.reopened_with(objects).await, 4);
    search.prefetch(placement).await.unwrap();
    // Blocks that are asked for again and again stay in memory.
    for _ in 0..4 {
        search.search(placement, everything()).await.unwrap();
    }
    unreliable.fail_all(Some(Fault::Error));
    let both = Query {
        filter: Filter {
            notebooks: Some(vec![test.old, test.corpus.notebook]),
            ..Filter::default()
        },
        ..everything()
    };
    let found = search.search(placement, both.clone()).await.unwrap();
    assert_eq!((found.hits.len(), found.missing), (40, vec![archive]));
    assert!(search.search(placement, test.in_old()).await.is_err());
    assert_eq!(test.archived().await, (Tier::Archived, 60));
    unreliable.fail_all(None);
    let found = search.search(placement, both).await.unwrap();
    assert_eq!((found.hits.len(), found.missing), (100, vec![]));
}

#[tokio::test]
async fn an_archive_of_which_much_is_dead_is_written_again_without_that() {
    let test = Archives::new().await;
    let placement = test.corpus.tenant.placement();
    test.archive().await;
    let before = test.corpus.stats().await.archives[0].segment.id;
    let search = Search::new(test.corpus.test.store.clone(), SearchConfig::default());
    let is_worn = async || {
        let mut tx = test.corpus.test.tx(&test.corpus.tenant).await;
        segments::are_worn(&mut tx, 4, 0.2).await.unwrap()
    };
    search.fold(placement).await.unwrap();
    assert_eq!(test.corpus.stats().await.archives[0].segment.id, before);
    assert!(!is_worn().await);
    let sources = {
        let mut tx = test.corpus.test.tx(&test.corpus.tenant).await;
        let page = PageRequest::first();
        sources::list(&mut tx, test.old, page).await.unwrap().items
    };
    test.corpus.delete(sources[0].id).await;
    assert!(is_worn().await);
    assert_eq!(search.fold(placement).await.unwrap().merged, 30);
    assert!(!is_worn().await);
    let after = test.corpus.stats().await.archives[0].segment.clone();
    assert_eq!(after.rows, 30);
    test.corpus.sweep(now() + 2 * DAY, DAY, false).await;
    assert!(!test.corpus.file(before).exists() && test.corpus.file(after.id).exists());
    assert_eq!(test.found(&search, test.in_old()).await.len(), 30);
}

#[tokio::test]
async fn a_notebook_that_was_archived_after_a_rebuild_stays_so_in_a_rollback() {
    let mut test = Archives::new().await;
    test.corpus.fold().await;
    test.corpus.rebuild(Rebuild::default()).await.unwrap();
    test.archive().await;
    test.corpus.add("later", 5).await;
    let (found, version) = (test.corpus.bodies().await, test.corpus.stats().await);
    let placement = test.corpus.tenant.placement();
    let back = test.corpus.search.rollback(placement).await.unwrap();
    assert_eq!(back.moved, 40);
    assert_eq!(test.archived().await, (Tier::Archived, 60));
    assert_eq!(test.corpus.bodies().await, found);
    // Whatever answers were kept is out of date: words may be reduced differently.
    let now = test.corpus.stats().await;
    assert!(now.manifest.version > version.manifest.version);
    assert_eq!(
        test.found(&test.corpus.search, test.in_old()).await.len(),
        60
    );
}

#[tokio::test]
async fn a_notebook_that_is_gone_or_somebody_elses_is_not_archived() {
    let test = Archives::new().await;
    let other = Corpus::of(test.corpus.test.clone(), "b").await;
    let placement = other.tenant.placement();
    let refused = other.search.archive(placement, test.old).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    let nothing = other.search.bring_back(placement, test.old).await;
    assert_eq!(nothing.unwrap().passages, 0);
    assert_eq!(test.archived().await, (Tier::Hot, 0));
    assert!(fs::exists(test.corpus.dir()).unwrap());
}

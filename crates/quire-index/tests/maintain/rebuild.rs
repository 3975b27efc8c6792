//! Segments are made anew and put back while others read and write.

use std::collections::BTreeSet;
use std::fs::{self};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use quire_index::{BuildProgress, Rebuild, RebuildError, Rebuilt, Search};
use quire_store::Placement;
use quire_store::builds::{self, BuildState};
use quire_store::passages::NewPassage;
use quire_store::segments;
use quire_testkit::postgres::eventually;
use quire_testkit::unreliable::{Fault, Operation, Unreliable};
use quire_types::{Language, Place, SegmentId, SourceId};
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use crate::lab::{Corpus, DAY, bodies, flip, now, searching, vector};

/// The question whose answer can't be good enough.
const IMPOSSIBLE: Rebuild = Rebuild {
    rotation_seed: Some(77),
    language: None,
    questions: 5,
    least_recall: 1.1,
};

pub(crate) fn other_rotation() -> Rebuild {
    Rebuild {
        rotation_seed: Some(77),
        ..Rebuild::default()
    }
}

/// A rebuild that waits, after it told its progress for the first time, until it may go on.
pub(crate) struct Gated {
    go: mpsc::Sender<()>,
    done: JoinHandle<(Result<Rebuilt, RebuildError>, Vec<BuildProgress>)>,
}

impl Gated {
    fn rebuild(search: &Search, placement: Placement) -> Self {
        let (go, gate) = mpsc::channel();
        let search = search.clone();
        let done = tokio::spawn(async move {
            let mut heard = Vec::new();
            let told = &mut heard;
            let progress = move |progress| {
                if told.is_empty() {
                    tokio::task::block_in_place(|| gate.recv().unwrap());
                }
                told.push(progress);
            };
            let rebuilt =
                Box::pin(search.rebuild(placement, other_rotation(), &[], progress)).await;
            (rebuilt, heard)
        });
        Self { go, done }
    }

    /// Waits until anybody can see that it is under way.
    async fn is_seen(&self, corpus: &Corpus) {
        eventually("a build is seen", async || {
            let build = corpus.stats().await.build;
            build.is_some_and(|build| build.state == BuildState::Building && build.rows_done > 0)
        })
        .await;
    }

    async fn finish(self) -> (Result<Rebuilt, RebuildError>, Vec<BuildProgress>) {
        self.go.send(()).unwrap();
        self.done.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn segments_are_made_anew_while_others_read_and_write() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    // More than a new segment takes, so that there are several.
    for name in ["one", "two", "three", "four", "five"] {
        corpus.add(name, 500).await;
        corpus.fold().await;
    }
    let doomed = corpus.add("doomed", 100).await;
    let replaced = corpus.add("replaced", 100).await;
    corpus.fold().await;
    let stable: BTreeSet<String> = ["one", "two", "three", "four", "five"]
        .iter()
        .flat_map(|name| (0..500).map(move |row| format!("{name} passage {row}")))
        .collect();

    let is_over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (search, tenant) = (corpus.search.clone(), corpus.tenant.clone());
        let is_over = is_over.clone();
        let stable = stable.clone();
        tokio::spawn(async move {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) || looks < 3 {
                let found = bodies(&search, &tenant).await;
                assert!(stable.is_subset(&found), "an answer lacks passages");
                looks += 1;
            }
            looks
        })
    };
    let old = corpus.live().await;
    let building = Gated::rebuild(&corpus.search, placement);
    building.is_seen(&corpus).await;
    corpus.delete(doomed).await;
    corpus.add("replaced", 50).await;
    corpus.add("new", 50).await;
    let (rebuilt, heard) = building.finish().await;
    is_over.store(true, Ordering::Relaxed);
    let looks = reader.await.unwrap();
    assert!(looks >= 3);
    let rebuilt = rebuilt.unwrap();
    assert_eq!(rebuilt.moved, 2_500);
    assert_eq!(rebuilt.passed_over, 200);
    assert!(rebuilt.segments.len() >= 2, "{rebuilt:?}");
    assert!(rebuilt.recall.unwrap() >= 0.97 && rebuilt.questions == 100);
    assert!(heard.is_sorted_by_key(|progress| progress.rows_done));
    let end = BuildProgress {
        rows_done: 2_700,
        rows_total: 2_700,
    };
    assert_eq!(heard.last(), Some(&end));

    let stats = corpus.stats().await;
    let live: Vec<SegmentId> = stats.segments.iter().map(|segment| segment.id).collect();
    assert_eq!(live, rebuilt.segments);
    let retired: BTreeSet<SegmentId> = stats.retired.iter().map(|one| one.id).collect();
    assert!(old.iter().all(|id| retired.contains(id)));
    assert_eq!(stats.build.unwrap().state, BuildState::Switched);
    assert_eq!(stats.tail.rows, 100);
    let found = corpus.bodies().await;
    assert_eq!(found.len(), 2_600);
    assert!(!found.iter().any(|body| body.starts_with("doomed")));
    assert!(
        corpus
            .search
            .verify(placement, 10)
            .await
            .unwrap()
            .is_sound()
    );
    assert!(!sources_of(&corpus, replaced).await.is_empty());
}

async fn sources_of(corpus: &Corpus, source: SourceId) -> Vec<String> {
    let page = quire_store::PageRequest::first();
    let placement = corpus.tenant.placement();
    let page = corpus
        .search
        .passages(placement, source, page)
        .await
        .unwrap();
    page.items.into_iter().map(|passage| passage.body).collect()
}

#[tokio::test]
async fn another_language_counts_from_the_switch_and_ends_with_the_rollback() {
    let mut corpus = Corpus::new().await;
    let german = |body: &str, rng: &mut StdRng| NewPassage {
        context: String::new(),
        body: body.to_owned(),
        place: Place::default(),
        embedding: vector(rng),
    };
    let folded = german("Maschinen im Lager", &mut corpus.rng);
    corpus.publish("folded", &[folded]).await;
    corpus.fold().await;
    let tail = german("viele Maschinen", &mut corpus.rng);
    corpus.publish("tail", &[tail]).await;
    assert_eq!(corpus.words("Maschine").await, [""; 0]);
    let change = Rebuild {
        language: Some(Language::German),
        ..Rebuild::default()
    };
    corpus.rebuild(change).await.unwrap();
    assert_eq!(corpus.words("Maschine").await.len(), 2);
    let stats = corpus.stats().await;
    assert_eq!(stats.language, Language::German);
    corpus
        .search
        .rollback(corpus.tenant.placement())
        .await
        .unwrap();
    assert_eq!(corpus.words("Maschine").await, [""; 0]);
    assert_eq!(corpus.words("Maschinen").await.len(), 2);
    assert_eq!(corpus.stats().await.manifest.language, None);
}

#[tokio::test]
async fn a_tenant_without_segments_changes_its_language_all_the_same() {
    let mut corpus = Corpus::new().await;
    let change = Rebuild {
        language: Some(Language::German),
        ..Rebuild::default()
    };
    let rebuilt = corpus.rebuild(change).await.unwrap();
    assert_eq!((rebuilt.moved, rebuilt.segments.len()), (0, 0));
    assert_eq!((rebuilt.questions, rebuilt.recall), (0, None));
    assert_eq!(corpus.stats().await.language, Language::German);
    corpus.add("one", 10).await;
    corpus.rebuild(Rebuild::default()).await.unwrap();
    assert_eq!(corpus.bodies().await.len(), 10);
    assert_eq!(corpus.stats().await.tail.rows, 10);
}

#[tokio::test]
async fn a_rollback_brings_back_what_is_still_the_same_and_leaves_the_rest() {
    // Once with the new segments as they were made, once after they were merged with what came later.
    for segments in [4, 1] {
        let mut corpus = Corpus::new().await;
        corpus.search = searching(corpus.test.store.clone(), segments);
        let placement = corpus.tenant.placement();
        corpus.add("stays", 40).await;
        let deleted = corpus.add("deleted", 20).await;
        corpus.add("replaced", 20).await;
        corpus.fold().await;
        let old = corpus.live().await;
        let rebuilt = corpus.rebuild(other_rotation()).await.unwrap();
        assert_ne!(corpus.live().await, old);
        corpus.delete(deleted).await;
        corpus.add("replaced", 10).await;
        corpus.add("later", 10).await;
        corpus.fold().await;
        corpus.add("tail", 10).await;
        let found = corpus.bodies().await;
        assert_eq!(found.len(), 70);

        let back = corpus.search.rollback(placement).await.unwrap();
        assert_eq!((back.build, back.moved), (rebuilt.build, 40));
        assert_eq!(back.segments, old);
        assert_eq!(corpus.bodies().await, found);
        let stats = corpus.stats().await;
        let first = &stats.segments[0];
        assert_eq!((first.id, first.rows, first.alive), (old[0], 80, 40));
        assert_eq!(stats.segments.len(), 2);
        assert_eq!(stats.build.unwrap().state, BuildState::RolledBack);
        assert!(
            corpus
                .search
                .verify(placement, 10)
                .await
                .unwrap()
                .is_sound()
        );
        // Somebody who was not there sees the same.
        let fresh = searching(corpus.test.store.clone(), segments);
        assert_eq!(bodies(&fresh, &corpus.tenant).await, found);

        let again = corpus.search.rollback(placement).await;
        assert!(matches!(again, Err(RebuildError::NoBuild)));
    }
}

#[tokio::test]
async fn a_rollback_is_refused_when_the_old_segments_are_gone_and_helps_when_the_new_ones_are() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    assert!(matches!(
        corpus.search.rollback(placement).await,
        Err(RebuildError::NoBuild)
    ));
    corpus.add("one", 30).await;
    corpus.fold().await;
    let rebuilt = corpus.rebuild(Rebuild::default()).await.unwrap();
    fs::remove_file(corpus.file(rebuilt.segments[0])).unwrap();
    let fresh = searching(corpus.test.store.clone(), 4);
    assert_eq!(fresh.rollback(placement).await.unwrap().moved, 30);
    assert_eq!(bodies(&fresh, &corpus.tenant).await.len(), 30);

    // Damaged, it would be worse than what is there.
    let old = corpus.live().await;
    corpus.rebuild(Rebuild::default()).await.unwrap();
    let file = corpus.file(old[0]);
    flip(&file, 50);
    let before = corpus.stats().await;
    let refused = corpus.search.rollback(placement).await;
    assert!(matches!(refused, Err(RebuildError::Gone { segment }) if segment == Some(old[0])));
    assert_eq!(corpus.stats().await, before);
    flip(&file, 50);

    // A sweep that has begun is not undone, whether it came to the object or not.
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    segments::condemn(&mut tx, now() + DAY).await.unwrap();
    tx.commit().await.unwrap();
    let refused = corpus.search.rollback(placement).await;
    assert!(matches!(refused, Err(RebuildError::Gone { .. })));
    corpus.sweep(now() + 2 * DAY, DAY, false).await;
    assert!(!file.exists());
    let refused = corpus.search.rollback(placement).await;
    assert!(matches!(refused, Err(RebuildError::Gone { .. })));
    assert_eq!(corpus.bodies().await.len(), 30);
}

#[tokio::test]
async fn a_refused_rebuild_leaves_everything_as_it_was() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 50).await;
    corpus.fold().await;
    corpus.add("tail", 5).await;
    let (found, objects) = (corpus.bodies().await, corpus.objects().await);
    let before = corpus.steady().await;
    let refused = corpus.rebuild(IMPOSSIBLE).await.unwrap_err();
    let RebuildError::Recall {
        recall,
        least,
        questions,
        ..
    } = refused
    else {
        unreachable!("{refused}")
    };
    assert!(recall > 0.9 && least > 1.0 && questions == 5);
    let mut after = corpus.steady().await;
    let build = after.build.take().unwrap();
    assert_eq!(
        (build.state, build.recall),
        (BuildState::Refused, Some(recall))
    );
    assert!(build.finished_at.is_some());
    assert_eq!(after, before);
    assert_eq!(corpus.objects().await, objects);
    assert_eq!(corpus.bodies().await, found);
    let rollback = corpus.search.rollback(corpus.tenant.placement()).await;
    assert!(matches!(rollback, Err(RebuildError::NoBuild)));
}

#[tokio::test]
async fn a_rebuild_that_fails_changes_nothing_and_says_so() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    corpus.add("one", 50).await;
    corpus.fold().await;
    let (objects, unreliable) = Unreliable::around(corpus.test.store.objects().clone());
    let search = searching(corpus.test.reopened_with(objects).await, 4);
    let before = corpus.objects().await;
    for (operation, fault) in [
        (Operation::Write, Fault::Error),
        (Operation::Write, Fault::Lost),
        (Operation::Read, Fault::Error),
        (Operation::Read, Fault::FlipBit(40)),
    ] {
        search.prefetch(placement).await.unwrap();
        unreliable.fail(operation, 1, fault);
        let failed = search
            .rebuild(placement, other_rotation(), &[], |_| {})
            .await;
        assert!(matches!(failed, Err(RebuildError::Search(_))), "{failed:?}");
        assert_eq!(corpus.objects().await, before);
        assert_eq!(
            corpus.stats().await.build.unwrap().state,
            BuildState::Failed
        );
        assert_eq!(corpus.bodies().await.len(), 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_rebuilds_the_later_one_counts() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    corpus.add("one", 50).await;
    corpus.fold().await;
    let earlier = Gated::rebuild(&corpus.search, placement);
    earlier.is_seen(&corpus).await;
    let later = corpus.rebuild(other_rotation()).await.unwrap();
    assert_eq!(later.moved, 50);
    let (earlier, _) = earlier.finish().await;
    assert!(
        matches!(earlier, Err(RebuildError::Superseded)),
        "{earlier:?}"
    );
    assert_eq!(corpus.live().await, later.segments);
    assert_eq!(corpus.bodies().await.len(), 50);
    // The old segment, the new one, and the original; what the first build made is gone.
    assert_eq!(corpus.objects().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_merge_that_is_faster_than_a_rebuild_counts() {
    let mut corpus = Corpus::new().await;
    corpus.search = searching(corpus.test.store.clone(), 1);
    let placement = corpus.tenant.placement();
    corpus.add("one", 50).await;
    corpus.fold().await;
    let building = Gated::rebuild(&corpus.search, placement);
    building.is_seen(&corpus).await;
    corpus.add("two", 50).await;
    corpus.fold().await;
    let merged = corpus.live().await;
    assert_eq!(merged.len(), 1);
    let (rebuilt, _) = building.finish().await;
    assert!(
        matches!(rebuilt, Err(RebuildError::Superseded)),
        "{rebuilt:?}"
    );
    assert_eq!(corpus.live().await, merged);
    assert_eq!(corpus.bodies().await.len(), 100);
    let build = corpus.stats().await.build.unwrap();
    assert_eq!(build.state, BuildState::Failed);
    for id in build.new {
        assert!(!corpus.file(id).exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebuild_that_dies_is_in_nobodys_way() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    corpus.add("one", 50).await;
    corpus.fold().await;
    let live = corpus.live().await;
    let Gated { go, done } = Gated::rebuild(&corpus.search, placement);
    eventually("a build is seen", async || {
        corpus.stats().await.build.is_some()
    })
    .await;
    // Nobody will ever let it go on, which ends it where it is.
    drop(go);
    assert!(done.await.unwrap_err().is_panic());
    assert_eq!(corpus.live().await, live);
    assert_eq!(corpus.bodies().await.len(), 50);
    let dead = corpus.stats().await.build.unwrap();
    assert_eq!(dead.state, BuildState::Building);
    let rebuilt = corpus.rebuild(other_rotation()).await.unwrap();
    assert_eq!((rebuilt.moved, corpus.bodies().await.len()), (50, 50));
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    let builds = builds::builds(&mut tx, 10).await.unwrap();
    drop(tx);
    let states: Vec<BuildState> = builds.iter().map(|build| build.state).collect();
    assert_eq!(states, [BuildState::Switched, BuildState::Failed]);
    assert_eq!(builds[1].id, dead.id);
}

#[tokio::test]
async fn new_segments_are_tried_with_what_the_tenant_asked_and_filled_up_with_its_passages() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 200).await;
    corpus.fold().await;
    let asked: Vec<Vec<f32>> = (0..4).map(|_| vector(&mut corpus.rng)).collect();
    // Of another model, or without a direction: nothing can be asked with such.
    let odd = [vec![1.0; 3], vec![0.0; 16], vec![f32::NAN; 16]];
    for (own, questions, used) in [(0, 6, 0), (4, 6, 4), (4, 3, 3), (4, 0, 0)] {
        let own = [&odd[..], &asked[..own]].concat();
        let change = Rebuild {
            questions,
            ..other_rotation()
        };
        let rebuilt = corpus.rebuild_asked(change, &own).await.unwrap();
        assert_eq!(
            (rebuilt.questions, rebuilt.own_questions),
            (questions, used)
        );
        let impossible = Rebuild {
            questions,
            ..IMPOSSIBLE
        };
        let tried = corpus.rebuild_asked(impossible, &own).await;
        match tried {
            Err(RebuildError::Recall { own_questions, .. }) => assert_eq!(own_questions, used),
            tried => assert!(questions == 0 && tried.is_ok(), "{tried:?}"),
        }
    }
}

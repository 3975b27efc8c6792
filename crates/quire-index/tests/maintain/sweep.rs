//! A sweep takes what nothing needs, and nothing else.

use std::fs;
use std::time::Duration;

use quire_index::{Rebuild, Swept};
use quire_store::builds::{self, BuildState, NewBuild};
use quire_store::corpus::Embedding;
use quire_store::segments::{self, NewSegment};
use quire_store::{ObjectKey, sources};
use quire_types::SegmentId;
use uuid::Uuid;

use crate::lab::{Corpus, DAY, age, now};

#[tokio::test]
async fn a_sweep_takes_what_nothing_needs_and_only_after_the_window() {
    let mut corpus = Corpus::new().await;
    let other = Corpus::of(corpus.test.clone(), "b").await;
    let placement = corpus.tenant.placement();
    let objects = corpus.test.store.objects().clone();
    corpus.add("one", 20).await;
    corpus.fold().await;
    corpus.rebuild(Rebuild::default()).await.unwrap();
    let stats = corpus.stats().await;
    let retired = stats.retired[0].id;
    let bytes = || bytes::Bytes::from_static(b"orphan");

    // What a process leaves that ends between an object and its row.
    let segment = ObjectKey::segment(placement, Uuid::now_v7());
    let original = ObjectKey::original(placement);
    for key in [&segment, &original] {
        objects.put(key, bytes()).await.unwrap();
    }
    let foreign = ObjectKey::segment(other.tenant.placement(), Uuid::now_v7());
    objects.put(&foreign, bytes()).await.unwrap();
    for area in ["staging", "exports"] {
        fs::create_dir_all(corpus.dir().join(area)).unwrap();
        fs::write(corpus.dir().join(area).join("x"), "orphan").unwrap();
    }
    let before = corpus.objects().await;
    // The named original, two segments, and the four above.
    assert_eq!(before.len(), 7);

    // Within the window nothing is old enough.
    assert_eq!(corpus.sweep(now(), DAY, false).await, Swept::default());
    assert_eq!(corpus.objects().await, before);

    let later = now() + 2 * DAY;
    let dry = corpus.sweep(later, DAY, true).await;
    assert_eq!(dry.retired, [retired]);
    let names = |swept: &Swept| -> Vec<String> {
        let keys = swept.orphans.iter().map(|entry| entry.key.as_str());
        keys.map(|key| key.split('/').skip(3).collect::<Vec<_>>().join("/"))
            .collect()
    };
    let staged = "staging/x".to_owned();
    let orphan = segment
        .as_str()
        .split('/')
        .skip(3)
        .collect::<Vec<_>>()
        .join("/");
    assert_eq!(names(&dry), [orphan, staged]);
    let noted: Vec<&ObjectKey> = dry.noted.iter().map(|entry| &entry.key).collect();
    assert_eq!(noted, [&original]);
    assert_eq!(
        dry.bytes,
        u64::try_from(stats.retired[0].bytes).unwrap() + 12
    );
    assert_eq!(corpus.objects().await, before);
    assert_eq!(corpus.stats().await.retired, stats.retired);
    assert_eq!(
        corpus.sweep(later, DAY, true).await,
        dry,
        "a dry run leaves no note"
    );

    assert_eq!(corpus.sweep(later, DAY, false).await, dry);
    assert!(corpus.stats().await.retired.is_empty());
    let after = corpus.objects().await;
    assert_eq!(after.len(), 4);
    assert!(after.contains(&original) && !after.contains(&segment));
    assert_eq!(corpus.bodies().await.len(), 20);

    // An original without a row goes when it was found so a window ago.
    let soon = corpus.sweep(later + DAY / 2, DAY, false).await;
    assert_eq!((soon.orphans.len(), soon.noted.len()), (0, 1));
    let last = corpus.sweep(later + 2 * DAY, DAY, false).await;
    assert_eq!((last.orphans.len(), last.noted.len()), (1, 0));
    let rest = corpus.objects().await;
    assert!(!rest.contains(&original));
    assert_eq!(
        rest.len(),
        3,
        "the named original, its segment and what a sweep does not know"
    );
    assert!(other.objects().await.contains(&foreign));
}

#[tokio::test]
async fn an_original_that_is_named_again_is_no_longer_an_orphan() {
    let corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    let key = ObjectKey::original(placement);
    let objects = corpus.test.store.objects();
    objects
        .put(&key, bytes::Bytes::from_static(b"slow"))
        .await
        .unwrap();
    let later = now() + 2 * DAY;
    assert_eq!(corpus.sweep(later, DAY, false).await.noted.len(), 1);
    let content = sources::NewContent {
        name: "late.txt",
        content_hash: b"late",
        size_bytes: 4,
        object: &key,
    };
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    let added = sources::add(&mut tx, corpus.notebook, &content)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        corpus.sweep(later + 5 * DAY, DAY, false).await,
        Swept::default()
    );
    // Once its row goes, its time begins anew.
    corpus.delete(added.source().id).await;
    let swept = corpus.sweep(later + 6 * DAY, DAY, false).await;
    assert_eq!((swept.orphans.len(), swept.noted.len()), (0, 1));
    assert_eq!(objects.head(&key).await.unwrap(), 4);
}

/// Retired and found by one clock, swept by another: what is needed stays, and what goes early is at most what
/// nothing names.
#[tokio::test]
async fn a_clock_that_jumps_a_day_back_and_forth_takes_nothing_that_is_needed() {
    let mut corpus = Corpus::new().await;
    let placement = corpus.tenant.placement();
    corpus.add("one", 20).await;
    corpus.fold().await;
    let old = corpus.live().await;
    corpus.rebuild(Rebuild::default()).await.unwrap();
    // Somebody sends a file, whose row is still to come.
    let original = ObjectKey::original(placement);
    let objects = corpus.test.store.objects().clone();
    let sent = bytes::Bytes::from_static(b"sent");
    objects.put(&original, sent.clone()).await.unwrap();
    let (before, found) = (corpus.objects().await, corpus.bodies().await);

    // The window is longer than the jumps: nothing goes, and the old segments can be put back.
    for days_ahead in [-1, 1, 0, -1, 1] {
        let clock = now() + chrono::Duration::days(days_ahead);
        let swept = corpus.sweep(clock, DAY + DAY / 24, false).await;
        assert_eq!(
            (swept.retired, swept.orphans),
            (vec![], vec![]),
            "{days_ahead}"
        );
        assert_eq!(corpus.objects().await, before);
    }
    corpus.search.rollback(placement).await.unwrap();
    assert_eq!(corpus.live().await, old);
    let rebuilt = corpus.rebuild(Rebuild::default()).await.unwrap();

    // It is not: what nothing names goes too early, and nothing else, not even what was found without a row.
    for days_ahead in [2, 1, 0, 2, -1, 2] {
        let clock = now() + chrono::Duration::days(days_ahead);
        let swept = corpus.sweep(clock, DAY, false).await;
        assert!(
            swept
                .retired
                .iter()
                .all(|id| !rebuilt.segments.contains(id))
        );
        assert_eq!(objects.read(&original).await.unwrap(), sent);
        assert_eq!(corpus.live().await, rebuilt.segments);
        assert_eq!(corpus.bodies().await, found);
        let name = format!("on day {days_ahead}");
        let source = corpus.add(&name, 3).await;
        corpus.fold().await;
        corpus.delete(source).await;
        corpus.fold().await;
        assert_eq!(corpus.bodies().await, found);
    }
}

#[tokio::test]
async fn a_sweep_spares_a_build_that_lives_and_ends_one_that_is_dead() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 20).await;
    corpus.fold().await;
    let placement = corpus.tenant.placement();
    let made = NewSegment {
        id: SegmentId::generate(),
        rows: 20,
        bytes: 4,
        dimension: 16,
        footer: Vec::new(),
    };
    let objects = corpus.test.store.objects();
    let key = ObjectKey::segment(placement, made.id.uuid());
    objects
        .put(&key, bytes::Bytes::from_static(b"made"))
        .await
        .unwrap();
    age(&corpus.file(made.id));
    let build = NewBuild {
        id: Uuid::now_v7(),
        old: corpus.live().await,
        dimension: Some(16),
        rotation_seed: u64::MAX,
        language: None,
        rows_total: 20,
    };
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    segments::note(&mut tx, &made).await.unwrap();
    tx.commit().await.unwrap();
    let noted = corpus.time().await;
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    builds::begin_build(&mut tx, &build).await.unwrap();
    assert!(
        builds::note_build(&mut tx, build.id, 7, &[made.id])
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let swept = corpus.sweep(noted, Duration::ZERO, false).await;
    assert_eq!(swept, Swept::default());
    let running = corpus.stats().await.build.unwrap();
    assert_eq!(
        (running.state, running.rows_done),
        (BuildState::Building, 7)
    );

    let swept = corpus.sweep(now() + 2 * DAY, DAY, false).await;
    assert_eq!(swept.retired, [made.id]);
    assert_eq!(
        corpus.stats().await.build.unwrap().state,
        BuildState::Failed
    );
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    assert_eq!(
        builds::switch(&mut tx, build.id, None, &[]).await.unwrap(),
        None
    );
    drop(tx);
    assert_eq!(corpus.bodies().await.len(), 20);
}

#[tokio::test]
async fn a_build_that_waits_for_a_provider_lives_as_long_as_it_is_looked_at() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 20).await;
    let placement = corpus.tenant.placement();
    let build = corpus
        .search
        .begin_embedding(placement, Embedding::default());
    let build = build.await.unwrap();
    for is_looked_at in [true, false] {
        let begun = corpus.time().await;
        if is_looked_at {
            let by = corpus.search.embedding_of(placement, build).await;
            assert!(by.unwrap().is_some());
        }
        corpus.sweep(begun, Duration::ZERO, false).await;
        let state = corpus.stats().await.build.unwrap().state;
        assert_eq!(state == BuildState::Building, is_looked_at);
    }
}

#[tokio::test]
async fn a_file_that_a_write_left_half_done_goes_after_the_window() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 20).await;
    corpus.fold().await;
    let segment = corpus.live().await[0];
    let torn = corpus.file(segment).with_extension("qseg#1");
    let young = corpus.file(segment).with_extension("qseg#2");
    fs::write(&torn, "half").unwrap();
    age(&torn);
    fs::write(&young, "half").unwrap();
    let before = corpus.objects().await;
    for is_dry in [true, false] {
        let swept = corpus.sweep(now(), DAY, is_dry).await;
        assert_eq!(swept.bytes, 4);
        assert_eq!((torn.exists(), young.exists()), (is_dry, true));
    }
    assert_eq!(corpus.objects().await, before);
    assert_eq!(corpus.bodies().await.len(), 20);
}

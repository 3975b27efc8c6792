//! Passages that move while everything goes wrong: whatever breaks off, comes second, is damaged or out
//! of reach, answers are right, what is missing is named, nothing is lost and nothing is there twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use quire_index::{
    BulkSource, Error, Filter, FoldPolicy, Found, Fusion, Mode, Query, Search, SearchConfig,
};
use quire_store::passages::{self, NewPassage};
use quire_store::segments::{Loaded, Segment};
use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, PageRequest, Store, notebooks, segments, sources};
use quire_testkit::postgres::TestStore;
use quire_testkit::unreliable::{Fault, Operation, Unreliable};
use quire_types::{ErrorKind, Kind, MediaType, NotebookId, Place, SegmentId, SourceId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const DIMENSION: usize = 8;

/// A search that merges when there are more than so many segments.
fn searching(store: &Store, segments: usize) -> Search {
    let fold = FoldPolicy {
        segments,
        ..FoldPolicy::default()
    };
    let config = SearchConfig {
        fold,
        retry: Duration::ZERO,
        ..SearchConfig::default()
    };
    Search::new(store.clone(), config)
}

/// The unit vector along one axis.
fn axis(axis: usize) -> Vec<f32> {
    (0..DIMENSION)
        .map(|at| if at == axis { 1.0 } else { 0.0 })
        .collect()
}

/// A unit vector that leans from one axis towards the next, the more the larger `row` is.
fn leaning(axis: usize, row: usize) -> Vec<f32> {
    let (sin, cos) = (row as f32 / 1_000.0).sin_cos();
    let mut vector = vec![0.0; DIMENSION];
    vector[axis] = cos;
    vector[(axis + 1) % DIMENSION] = sin;
    vector
}

fn passage(body: &str, embedding: Vec<f32>) -> NewPassage {
    NewPassage {
        context: String::new(),
        body: body.to_owned(),
        place: Place::default(),
        embedding,
    }
}

fn query(text: &str, vector: Vec<f32>, mode: Mode, limit: usize) -> Query {
    Query {
        text: text.to_owned(),
        vector,
        filter: Filter::default(),
        limit,
        mode,
        fusion: Fusion::default(),
    }
}

/// What a search found, in order of the texts.
fn bodies(found: Found) -> Vec<String> {
    let mut bodies: Vec<String> = found.hits.into_iter().map(|hit| hit.passage.body).collect();
    bodies.sort_unstable();
    bodies
}

/// A tenant, and what its search has to find.
struct Lab {
    test: TestStore,
    tenant: Tenant,
    notebook: NotebookId,
    oracle: BTreeMap<String, (SourceId, Vec<String>)>,
    versions: usize,
}

impl Lab {
    async fn new() -> Self {
        let test = TestStore::new().await;
        let tenant = test.tenant("a").await;
        let notebook = notebook(&test, &tenant).await;
        Self {
            test,
            tenant,
            notebook,
            oracle: BTreeMap::new(),
            versions: 0,
        }
    }

    /// The same tenant through an object store that does as it is told.
    async fn unreliable(&self) -> (Store, Unreliable) {
        let (objects, unreliable) = Unreliable::around(self.test.store.objects().clone());
        (self.test.reopened_with(objects).await, unreliable)
    }

    /// Adds a source or a new version of it, with these passages.
    async fn put(&mut self, name: &str, new: &[NewPassage]) {
        let source = publish(&self.test, &self.tenant, self.notebook, name, new).await;
        let bodies = new.iter().map(|passage| passage.body.clone()).collect();
        self.oracle
            .insert(name.to_owned(), (source.unwrap(), bodies));
    }

    /// Adds a source or a new version of it, with so many passages near an axis.
    async fn put_rows(&mut self, name: &str, near: usize, rows: usize) {
        self.versions += 1;
        let version = self.versions;
        let new: Vec<NewPassage> = (0..rows)
            .map(|row| {
                let body = format!("crane {name} {version} {row} {}", numbers(row));
                passage(&body, leaning(near, row))
            })
            .collect();
        self.put(name, &new).await;
    }

    async fn delete(&mut self, name: &str) {
        let (source, _) = self.oracle.remove(name).unwrap();
        let mut tx = self.test.tx(&self.tenant).await;
        sources::delete(&mut tx, source).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A new source, a new version and a deletion, so that there is something to fold and to merge.
    async fn change(&mut self) {
        let round = self.versions;
        self.put_rows(&format!("{round}.txt"), round % DIMENSION, 3)
            .await;
        self.put_rows("always.txt", 0, 4).await;
        if self.oracle.len() > 5 {
            let name = self.oracle.keys().next().unwrap().clone();
            self.delete(&name).await;
        }
    }

    /// Every passage that search has to find, but for those of some sources.
    fn without(&self, names: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = self
            .oracle
            .iter()
            .filter(|(name, _)| !names.contains(&name.as_str()))
            .flat_map(|(_, (_, bodies))| bodies.clone())
            .collect();
        all.sort_unstable();
        all
    }

    /// What both paths find when they may find everything, and what is missing.
    async fn everything(&self, search: &Search) -> (Vec<String>, Vec<SegmentId>) {
        let ask = async |mode| {
            let query = query("crane", axis(0), mode, 10_000);
            search.search(self.tenant.placement(), query).await.unwrap()
        };
        let (dense, lexical) = (ask(Mode::Dense).await, ask(Mode::Lexical).await);
        assert_eq!(dense.missing, lexical.missing);
        let missing = dense.missing.clone();
        let dense = bodies(dense);
        assert_eq!(dense, bodies(lexical), "the paths see different passages");
        (dense, missing)
    }

    /// Search finds every passage once, and what it reads exists.
    async fn check(&self, search: &Search) {
        let (found, missing) = self.everything(search).await;
        assert_eq!(missing, []);
        assert_eq!(found, self.without(&[]));
        for segment in self.segments().await {
            assert!(self.file(segment.id).exists(), "{segment:?}");
        }
    }

    /// The objects of the segments that the manifest knows, and those that there are.
    async fn objects(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let placement = self.tenant.placement();
        let mut tx = self.test.tx(&self.tenant).await;
        let known = segments::known(&mut tx).await.unwrap();
        let known = known
            .iter()
            .map(|id| ObjectKey::segment(placement, id.uuid()).as_str().to_owned());
        let objects = self.test.store.objects().list(placement).await.unwrap();
        let objects = objects.iter().map(|key| key.as_str().to_owned());
        tx.commit().await.unwrap();
        (known.collect(), objects.collect())
    }

    async fn segments(&self) -> Vec<Segment> {
        let mut tx = self.test.tx(&self.tenant).await;
        let live = segments::live(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        live
    }

    async fn tail_rows(&self) -> i64 {
        let mut tx = self.test.tx(&self.tenant).await;
        let size = segments::tail_size(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        size.rows
    }

    async fn fold(&self, search: &Search) -> Result<quire_index::Folded, Error> {
        search.fold(self.tenant.placement()).await
    }

    /// The file of a segment.
    fn file(&self, segment: SegmentId) -> PathBuf {
        let key = ObjectKey::segment(self.tenant.placement(), segment.uuid());
        self.test.objects_dir().join(key.as_str())
    }
}

/// Numbers that fill a passage and that LZ4 can't make much smaller.
fn numbers(row: usize) -> String {
    let mut rng = StdRng::seed_from_u64(row as u64);
    let words = (0..20).map(|_| rng.random_range(0..u64::MAX).to_string());
    words.collect::<Vec<_>>().join(" ")
}

async fn notebook(test: &TestStore, tenant: &Tenant) -> NotebookId {
    let mut tx = test.tx(tenant).await;
    let id = notebooks::create(&mut tx, "n").await.unwrap().id;
    tx.commit().await.unwrap();
    id
}

async fn publish(
    test: &TestStore,
    tenant: &Tenant,
    notebook: NotebookId,
    name: &str,
    new: &[NewPassage],
) -> Result<SourceId, quire_store::Error> {
    let mut tx = test.tx(tenant).await;
    let object = ObjectKey::original(tx.placement());
    let content = sources::NewContent {
        name,
        content_hash: object.as_str().as_bytes(),
        size_bytes: 1,
        object: &object,
    };
    let added = sources::add(&mut tx, notebook, &content).await?;
    let (id, version) = (added.source().id, added.source().latest_version);
    passages::publish(&mut tx, id, version, MediaType::Text, None, new).await?;
    tx.commit().await?;
    Ok(id)
}

/// Works on a future this many times and then drops it, as if the process had ended there.
async fn broken_off<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Works on a future until something is so, and not a step further. It must not be done before.
async fn held_when<F: Future>(mut future: Pin<&mut F>, is_so: impl Fn() -> bool) {
    poll_fn(|context| {
        let is_done = future.as_mut().poll(context).is_ready();
        assert!(!is_done, "it ended before it was held");
        if is_so() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[tokio::test]
async fn any_operation_on_objects_may_fail_while_passages_move() {
    let mut lab = Lab::new().await;
    lab.change().await;
    let (store, unreliable) = lab.unreliable().await;
    lab.fold(&searching(&store, 1)).await.unwrap();
    for (operation, least) in [(Operation::Read, 3), (Operation::Write, 2)] {
        for fault in [Fault::Error, Fault::Lost] {
            let mut failed = 0;
            for n in 1.. {
                lab.change().await;
                // With nothing in memory everything has to be read.
                let search = searching(&store, 1);
                unreliable.reset_counts();
                unreliable.fail(operation, n, fault);
                let folded = lab.fold(&search).await;
                let counts = unreliable.counts();
                unreliable.fail_all(None);
                let happened = match operation {
                    Operation::Read => counts.reads,
                    _ => counts.writes,
                };
                lab.check(&search).await;
                lab.fold(&search).await.unwrap();
                lab.check(&search).await;
                lab.check(&searching(&lab.test.store, 1)).await;
                assert_eq!((lab.tail_rows().await, lab.segments().await.len()), (0, 1));
                if happened < n {
                    let folded = folded.unwrap();
                    assert!(folded.folded > 0 && folded.merged > 0);
                    break;
                }
                failed += 1;
            }
            assert!(failed >= least, "{operation:?} {fault:?}: only {failed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_off_anywhere_and_repeated_nothing_is_lost_and_nothing_twice() {
    let mut lab = Lab::new().await;
    lab.change().await;
    lab.fold(&searching(&lab.test.store, 1)).await.unwrap();
    let mut seen = BTreeSet::new();
    let (mut polls, mut wholes) = (0, 0);
    // It is not woken equally often each time, so the end is passed several times.
    while wholes < 5 {
        lab.change().await;
        let search = searching(&lab.test.store, 1);
        let whole = broken_off(Box::pin(lab.fold(&search)), polls).await;
        let is_moved = lab.tail_rows().await == 0;
        seen.insert((is_moved, lab.segments().await.len()));
        lab.check(&search).await;
        lab.fold(&search).await.unwrap();
        lab.check(&search).await;
        lab.check(&searching(&lab.test.store, 1)).await;
        assert_eq!((lab.tail_rows().await, lab.segments().await.len()), (0, 1));
        wholes += usize::from(whole.is_some());
        polls += 1;
        assert!(polls < 2_000, "only {seen:?}");
    }
    // Nothing had happened, the tail had moved, and that was merged as well.
    let steps = BTreeSet::from([(false, 1), (true, 2), (true, 1)]);
    assert!(seen.is_superset(&steps), "only {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_move_passages_while_a_third_writes() {
    const SEGMENTS: usize = 2;
    let mut lab = Lab::new().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let search = searching(&lab.test.reopened(8).await, SEGMENTS);
        let (placement, is_over) = (lab.tenant.placement(), is_over.clone());
        nodes.push(tokio::spawn(async move {
            let mut moved = (0, 0);
            while !is_over.load(Ordering::SeqCst) {
                let folded = search.fold(placement).await.unwrap();
                moved = (moved.0 + folded.folded, moved.1 + folded.merged);
            }
            (search, moved)
        }));
    }
    let third = searching(&lab.test.store, SEGMENTS);
    let mut rng = StdRng::seed_from_u64(8);
    for step in 0..120 {
        let name = format!("{}.txt", rng.random_range(0..12));
        if rng.random_bool(0.7) {
            lab.put_rows(&name, step % DIMENSION, rng.random_range(1..30))
                .await;
        } else if lab.oracle.contains_key(&name) {
            lab.delete(&name).await;
        }
        let (found, missing) = lab.everything(&third).await;
        assert_eq!((found, missing), (lab.without(&[]), vec![]), "step {step}");
    }
    is_over.store(true, Ordering::SeqCst);
    let (one, other) = (
        nodes.remove(0).await.unwrap(),
        nodes.remove(0).await.unwrap(),
    );
    assert!(one.1.0 + other.1.0 > 0 && one.1.1 + other.1.1 > 0);
    let (one, other) = (one.0, other.0);
    let (left, right) = tokio::join!(lab.fold(&one), lab.fold(&other));
    left.and(right).unwrap();
    for search in [&one, &other, &third, &searching(&lab.test.store, 1)] {
        lab.check(search).await;
    }
    assert_eq!(lab.tail_rows().await, 0);
    assert!(lab.segments().await.len() <= SEGMENTS);
    let (known, objects) = lab.objects().await;
    assert_eq!(known, objects, "whoever came second left something behind");
}

#[tokio::test]
async fn what_changes_while_a_merge_is_under_way_stays_as_it_is() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let (keeping, merging) = (searching(&store, 9), searching(&store, 1));
    let elsewhere = searching(&lab.test.store, 1);
    // No put can be over before it is seen that it began.
    unreliable.delay(Duration::ZERO, Duration::from_millis(20));
    for (comes_second, fault) in [(false, None), (true, None), (true, Some(Fault::Error))] {
        for name in ["stays.txt", "goes.txt", "changes.txt"] {
            lab.put_rows(name, 0, 20).await;
            lab.fold(&keeping).await.unwrap();
        }
        assert!(lab.segments().await.len() > 1);
        unreliable.reset_counts();
        let mut merge = Box::pin(merging.fold(lab.tenant.placement()));
        held_when(merge.as_mut(), || unreliable.counts().writes > 0).await;
        // The survivors are chosen and their file is being written.
        lab.delete("goes.txt").await;
        lab.put_rows("changes.txt", 1, 7).await;
        lab.check(&elsewhere).await;
        if comes_second {
            let first = lab.fold(&elsewhere).await.unwrap();
            assert!(first.merged > 0);
        }
        if let Some(fault) = fault {
            unreliable.fail(Operation::Delete, 1, fault);
        }
        let merged = merge.await;
        // Whoever is first merges again at once, since most of the new segment is dead by now.
        let expected = if comes_second { 0 } else { 40 };
        match fault {
            None => assert_eq!(merged.unwrap().merged, expected),
            Some(_) => assert_eq!(merged.unwrap_err().kind(), ErrorKind::Unavailable),
        }
        for search in [&merging, &elsewhere, &keeping, &searching(&store, 1)] {
            lab.check(search).await;
        }
        // The next one drops what died meanwhile.
        lab.fold(&elsewhere).await.unwrap();
        lab.check(&elsewhere).await;
        let rows: i32 = lab
            .segments()
            .await
            .iter()
            .map(|segment| segment.rows)
            .sum();
        assert_eq!(rows, 27);
        let (known, objects) = lab.objects().await;
        // What can't be removed is left to the sweep, which knows it.
        assert_eq!(objects, known);
    }
}

#[tokio::test]
async fn a_sweep_that_comes_before_a_slow_fold_costs_a_try_and_loses_nothing() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let placement = lab.tenant.placement();
    let (slow, elsewhere) = (searching(&store, 1), searching(&lab.test.store, 1));
    unreliable.delay(Duration::ZERO, Duration::from_millis(20));
    for merges in [false, true] {
        for _ in 0..=usize::from(merges) {
            lab.put_rows(&format!("{}.txt", lab.versions), 0, 20).await;
            if merges {
                lab.fold(&searching(&store, 9)).await.unwrap();
            }
        }
        unreliable.reset_counts();
        let mut fold = Box::pin(slow.fold(placement));
        held_when(fold.as_mut(), || unreliable.counts().writes > 0).await;
        // Another node, whose clock is far ahead, or whose sweep comes after a long pause of the first.
        let ahead = SystemTime::now() + Duration::from_hours(9_000);
        let grace = Duration::from_hours(24);
        let swept = elsewhere.sweep(placement, ahead.into(), grace, false);
        let swept = swept.await.unwrap();
        assert!(!swept.retired.is_empty());
        let late = fold.await.unwrap_err();
        assert!(
            matches!(late, Error::Store(quire_store::Error::Swept)),
            "{late}"
        );
        assert_eq!(late.kind(), ErrorKind::Unavailable);
        lab.check(&elsewhere).await;
        lab.fold(&slow).await.unwrap();
        assert_eq!(lab.tail_rows().await, 0);
        for search in [&slow, &elsewhere, &searching(&store, 1)] {
            lab.check(search).await;
        }
        // What was stored all the same goes with the next sweep.
        let ahead = SystemTime::now() + Duration::from_hours(9_000);
        let swept = elsewhere.sweep(placement, ahead.into(), grace, false);
        swept.await.unwrap();
        let (known, objects) = lab.objects().await;
        assert_eq!(objects, known);
        lab.check(&elsewhere).await;
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_left_alone_for_a_while() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let placement = lab.tenant.placement();
    lab.put_rows("old.txt", 0, 60).await;
    lab.fold(&searching(&lab.test.store, 9)).await.unwrap();
    let old = lab.segments().await.pop().unwrap().id;
    lab.put_rows("tail.txt", 3, 10).await;
    let config = SearchConfig {
        retry: Duration::from_hours(1),
        ..SearchConfig::default()
    };
    let search = Search::new(store, config);
    unreliable.fail_all(Some(Fault::Error));
    let questions = (0..20).map(|_| search.prefetch(placement));
    for done in futures::future::join_all(questions).await {
        done.unwrap();
    }
    let tried = unreliable.counts().reads;
    assert!(tried > 0);
    // Whatever changes meanwhile is seen, in the tail and in segments.
    let rest = lab.without(&["old.txt"]);
    assert_eq!(lab.everything(&search).await, (rest, vec![old]));
    lab.put_rows("new.txt", 5, 10).await;
    lab.delete("tail.txt").await;
    let rest = lab.without(&["old.txt"]);
    assert_eq!(lab.everything(&search).await, (rest.clone(), vec![old]));
    assert_eq!(
        unreliable.counts().reads,
        tried,
        "one question asked for all"
    );
    unreliable.fail_all(None);
    lab.fold(&searching(&lab.test.store, 9)).await.unwrap();
    assert_eq!(lab.everything(&search).await, (rest, vec![old]));
    // Somebody who has not waited for it yet does.
    lab.check(&searching(&lab.test.store, 9)).await;
}

/// Where the sections of a segment are in its file, by their names: see `segment/format.rs`.
fn sections(footer: &[u8]) -> Vec<(&'static str, usize, usize)> {
    const FIRST: usize = 76;
    let number = |at: usize| {
        let bytes: [u8; 8] = footer[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    [
        "vectors", "texts", "lexical", "codes", "sources", "blocks", "clusters",
    ]
    .into_iter()
    .enumerate()
    .map(|(at, name)| (name, number(FIRST + at * 20), number(FIRST + at * 20 + 8)))
    .filter(|(.., length)| *length > 0)
    .collect()
}

#[tokio::test]
async fn a_damaged_segment_is_named_and_never_served_until_it_is_whole_again() {
    let mut lab = Lab::new().await;
    let keeping = searching(&lab.test.store, 9);
    lab.put_rows("hurt.txt", 0, 200).await;
    lab.fold(&keeping).await.unwrap();
    let hurt = lab.segments().await.pop().unwrap();
    lab.put_rows("well.txt", 3, 50).await;
    lab.fold(&keeping).await.unwrap();
    let well = lab.segments().await.pop().unwrap();
    lab.put_rows("tail.txt", 5, 30).await;
    assert_ne!(hurt.id, well.id);

    // Another tenant with the same texts, whose file has the same length.
    let other = lab.test.tenant("b").await;
    let there = notebook(&lab.test, &other).await;
    let same: Vec<NewPassage> = lab.oracle["hurt.txt"]
        .1
        .iter()
        .enumerate()
        .map(|(row, body)| passage(body, leaning(0, row)))
        .collect();
    publish(&lab.test, &other, there, "hurt.txt", &same)
        .await
        .unwrap();
    keeping.fold(other.placement()).await.unwrap();
    let mut tx = lab.test.tx(&other).await;
    let foreign = segments::live(&mut tx).await.unwrap().pop().unwrap();
    tx.commit().await.unwrap();
    let key = ObjectKey::segment(other.placement(), foreign.id.uuid());
    let foreign = std::fs::read(lab.test.objects_dir().join(key.as_str())).unwrap();

    let file = lab.file(hurt.id);
    let whole = std::fs::read(&file).unwrap();
    let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![
        ("gone".to_owned(), None),
        ("empty".to_owned(), Some(Vec::new())),
        ("half".to_owned(), Some(whole[..whole.len() / 2].to_vec())),
        (
            "a byte short".to_owned(),
            Some(whole[..whole.len() - 1].to_vec()),
        ),
        ("another tenant's".to_owned(), Some(foreign)),
        (
            "another segment's".to_owned(),
            Some(std::fs::read(lab.file(well.id)).unwrap()),
        ),
    ];
    let mut parts = sections(&hurt.footer);
    parts.push(("footer", whole.len() - hurt.footer.len(), hurt.footer.len()));
    assert_eq!(parts.len(), 7, "a small segment has no clusters");
    for (name, start, length) in parts {
        for at in [start, start + length / 2, start + length - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            damages.push((format!("{name} at {}", at - start), Some(flipped)));
        }
    }

    let (all, rest) = (lab.without(&[]), lab.without(&["hurt.txt"]));
    let placement = lab.tenant.placement();
    for (what, bytes) in damages {
        let warm = searching(&lab.test.store, 9);
        lab.check(&warm).await;
        match &bytes {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let cold = searching(&lab.test.store, 1);
        let found = lab.everything(&cold).await;
        assert_eq!(found, (rest.clone(), vec![hurt.id]), "{what}");
        // A view from before may have read what is damaged now: then it answers in full.
        let found = lab.everything(&warm).await;
        let is_whole = found == (all.clone(), vec![]);
        assert!(is_whole || found == (rest.clone(), vec![hurt.id]), "{what}");
        // What is best is out of reach, so the next best fill the list.
        for text in ["crane", "\"crane\""] {
            for mode in [Mode::Hybrid, Mode::Dense, Mode::Lexical] {
                let few = query(text, axis(0), mode, 5);
                let found = cold.search(placement, few).await.unwrap();
                // A block that the question needs nothing of can't be missed.
                let may_be_whole = what.starts_with("vectors") || what.starts_with("texts");
                let is_named = found.missing == [hurt.id];
                assert!(is_named || may_be_whole, "{what} {mode:?} {text}");
                assert_eq!(found.missing.is_empty(), !is_named);
                let seen = if is_named { &rest } else { &all };
                let found = bodies(found);
                assert_eq!(found.len(), 5, "{what} {mode:?} {text}");
                assert!(found.iter().all(|body| seen.contains(body)), "{what}");
            }
        }
        for (name, (source, bodies)) in &lab.oracle {
            let page = cold
                .passages(placement, *source, PageRequest::first())
                .await;
            if let Err(Error::Missing { segment }) = page {
                assert_eq!((name.as_str(), segment), ("hurt.txt", hurt.id), "{what}");
                continue;
            }
            let page = page.unwrap();
            let found = page.items.iter().map(|passage| &passage.body);
            assert!(found.eq(bodies.iter().take(50)), "{what} {name}");
        }
        // Moving passages around it loses nothing.
        let before = lab.segments().await;
        if let Err(error) = lab.fold(&cold).await {
            assert!(
                matches!(error, Error::Segment { .. } | Error::Store(_)),
                "{what}: {error}"
            );
        }
        assert!(
            lab.segments()
                .await
                .iter()
                .any(|segment| segment.id == hurt.id),
            "{what}"
        );
        assert!(before.len() <= 3, "{what}");
        let found = lab.everything(&cold).await;
        assert_eq!(found, (rest.clone(), vec![hurt.id]), "{what}");

        std::fs::write(&file, &whole).unwrap();
        for search in [&cold, &warm, &keeping] {
            lab.check(search).await;
        }
    }
}

#[tokio::test]
async fn with_the_object_store_down_what_is_in_memory_is_still_found() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let (warm, elsewhere) = (searching(&store, 9), searching(&lab.test.store, 9));
    lab.put_rows("old.txt", 0, 60).await;
    lab.fold(&elsewhere).await.unwrap();
    let old = lab.segments().await.pop().unwrap().id;
    lab.put_rows("tail.txt", 3, 10).await;
    // Blocks that are read again and again stay in memory.
    for _ in 0..4 {
        lab.check(&warm).await;
    }

    unreliable.fail_all(Some(Fault::Error));
    for _ in 0..2 {
        lab.check(&warm).await;
    }
    lab.put_rows("new.txt", 5, 10).await;
    lab.check(&warm).await;
    let cold = searching(&store, 9);
    let found = lab.everything(&cold).await;
    assert_eq!(found, (lab.without(&["old.txt"]), vec![old]));
    let failed = lab.fold(&cold).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);

    // Another node reaches the store, and moves the tail out of memory.
    lab.fold(&elsewhere).await.unwrap();
    let new = lab.segments().await.pop().unwrap().id;
    lab.put_rows("later.txt", 6, 10).await;
    for _ in 0..2 {
        let found = lab.everything(&warm).await;
        assert_eq!(found, (lab.without(&["tail.txt", "new.txt"]), vec![new]));
        let found = lab.everything(&cold).await;
        assert_eq!(
            found,
            (
                lab.without(&["tail.txt", "new.txt", "old.txt"]),
                vec![old, new]
            )
        );
    }
    unreliable.fail_all(None);
    for _ in 0..4 {
        lab.check(&warm).await;
        lab.check(&cold).await;
    }

    // Reads that hang hold up those who wait for them, and nobody after them.
    let waiting = searching(&store, 9);
    waiting.prefetch(lab.tenant.placement()).await.unwrap();
    unreliable.fail_all(Some(Fault::Hang));
    unreliable.reset_counts();
    let mut search = Box::pin(lab.everything(&waiting));
    held_when(search.as_mut(), || unreliable.counts().reads > 0).await;
    drop(search);
    lab.check(&warm).await;
    unreliable.fail_all(None);
    unreliable.delay(Duration::from_millis(50), Duration::ZERO);
    lab.check(&waiting).await;
}

#[tokio::test]
async fn odd_questions_have_an_answer_or_a_clear_error() {
    let mut lab = Lab::new().await;
    let placement = lab.tenant.placement();
    let search = searching(&lab.test.store, 9);
    let modes = [Mode::Hybrid, Mode::Lexical, Mode::Dense];
    let ask = async |query| search.search(placement, query).await;
    let no_direction = [
        vec![0.0; DIMENSION],
        vec![f32::NAN; DIMENSION],
        vec![f32::INFINITY; DIMENSION],
    ];
    let token = "x".repeat(10 << 20);
    let odd = [
        "crane İstanbul ǅ ﬃ ſ ẞ ΌΣΟΣ".to_owned(),
        "crane e\u{301} שָׁלוֹם مرحبا नमस्ते ไทย 日本語 한국어".to_owned(),
        "crane 👩‍👩‍👧‍👦 \u{200b}\u{200d}\u{202e}\u{feff}\u{fffd}\u{ffff}\u{10ffff}".to_owned(),
        "crane \r\n\t\u{1}\u{7f}\u{85}\u{2028} ' \\ \" $1 %s".to_owned(),
        format!("crane {}", "\u{0301}".repeat(1_000)),
        String::new(),
    ];
    // Over nothing, over the tail, over a segment, and over both.
    for state in 0..4 {
        match state {
            1 => {
                let mut new: Vec<NewPassage> =
                    odd.iter().map(|text| passage(text, axis(0))).collect();
                new.push(passage(&format!("crane {token}"), axis(1)));
                new.push(passage("crane the iron bridge stands", axis(2)));
                new.push(passage("crane iron and a bridge", axis(2)));
                lab.put("odd.txt", &new).await;
            }
            2 => assert_eq!(lab.fold(&search).await.unwrap().folded, 9),
            3 => {
                let new = [passage("crane an iron bridge again", axis(3))];
                lab.put("more.txt", &new).await;
            }
            _ => {}
        }
        let all = lab.without(&[]);
        for mode in modes {
            for vector in &no_direction {
                for limit in [0, 10] {
                    let refused = ask(query("crane", vector.clone(), mode, limit)).await;
                    assert!(matches!(refused, Err(Error::Direction)), "{mode:?} {state}");
                }
            }
            let none = ask(query("crane", axis(0), mode, 0)).await.unwrap();
            assert!(none.hits.is_empty() && none.missing.is_empty());
            let nowhere = Query {
                filter: Filter {
                    notebooks: Some(vec![NotebookId::generate()]),
                    ..Filter::default()
                },
                ..query("crane \"iron bridge\"", axis(0), mode, 10)
            };
            assert!(ask(nowhere).await.unwrap().hits.is_empty());
            // By their vectors all are found, whatever the words are.
            for (text, limit) in [
                ("", usize::MAX),
                ("crane", 100_000),
                (" \u{200b} ", 100_000),
                ("of the", 100_000),
                (token.as_str(), 100_000),
                (odd[2].as_str(), 100_000),
                ("\"", 100_000),
                ("\"\" *:?-+~^", 100_000),
            ] {
                let found = bodies(ask(query(text, axis(0), mode, limit)).await.unwrap());
                if mode == Mode::Lexical {
                    assert!(found.iter().all(|body| all.contains(body)));
                } else {
                    // By their vectors all are found, whatever the words are.
                    assert!(found == all, "{mode:?} {state} {text:.20}");
                }
            }
        }
        let lexical = async |text: &str| {
            let found = ask(query(text, axis(0), Mode::Lexical, 100)).await.unwrap();
            bodies(found)
        };
        let phrase: &[&str] = match state {
            0 => &[],
            3 => &["crane an iron bridge again", "crane the iron bridge stands"],
            _ => &["crane the iron bridge stands"],
        };
        let iron: Vec<&String> = all.iter().filter(|body| body.contains("iron")).collect();
        for (open, close) in [("\"", "\""), ("“", "”"), ("„", "“"), ("«", "»"), ("»", "«")]
        {
            assert_eq!(lexical(&format!("{open}iron bridge{close}")).await, phrase);
            // Nobody wrote that, but the words in it.
            let found = lexical(&format!("{open}iron nowhere{close}")).await;
            assert!(
                found.iter().eq(iron.iter().copied()),
                "{open} {state} {found:?}"
            );
        }
        if state > 0 {
            assert_eq!(lexical("the").await, ["crane the iron bridge stands"]);
            assert_eq!(lexical("日本語").await, [odd[1].clone()]);
            assert_eq!(lexical(&token).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn the_passages_of_a_source_come_in_order_and_once_wherever_they_are() {
    const SIZES: [usize; 6] = [0, 1, 199, 200, 201, 450];
    let mut lab = Lab::new().await;
    let search = searching(&lab.test.store, 9);
    let folded = |size: &usize| format!("folded {size}.txt");
    let tail = |size: &usize| format!("tail {size}.txt");
    for size in &SIZES {
        lab.put_rows(&folded(size), 0, *size).await;
    }
    let moved = lab.fold(&search).await.unwrap().folded;
    assert_eq!(moved, 1_051);
    for size in &SIZES {
        lab.put_rows(&tail(size), 0, *size).await;
    }
    assert_eq!(lab.tail_rows().await, 1_051);
    for (name, (source, bodies)) in &lab.oracle {
        for limit in [0, 61, 199, 200, u32::MAX] {
            // A page of none is one of one.
            let expected = bodies.len().min(if limit == 0 { 20 } else { usize::MAX });
            let mut request = PageRequest { after: None, limit };
            let mut found = Vec::new();
            loop {
                let placement = lab.tenant.placement();
                let page = search.passages(placement, *source, request).await.unwrap();
                assert!(page.items.len() <= limit.clamp(1, PageRequest::MAX) as usize);
                request.after = page.items.last().map(|passage| passage.id.uuid());
                found.extend(page.items);
                if !page.more || (limit == 0 && found.len() == expected) {
                    assert_eq!(page.more, found.len() < bodies.len(), "{name} {limit}");
                    break;
                }
            }
            let ordinals = found.iter().map(|passage| passage.ordinal);
            assert!(ordinals.eq((0..).take(expected)), "{name} {limit}");
            let texts = found.iter().map(|passage| &passage.body);
            assert!(texts.eq(bodies.iter().take(expected)), "{name} {limit}");
        }
    }
    let unknown = search
        .passages(
            lab.tenant.placement(),
            SourceId::generate(),
            PageRequest::first(),
        )
        .await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn vectors_that_can_not_be_compared_are_refused_when_they_come() {
    let mut lab = Lab::new().await;
    lab.put("fine.txt", &[passage("crane", axis(0))]).await;
    let no_direction = "the vector of passage 1 has no direction: it is zero, or not a number";
    for (embedding, kind, message) in [
        (vec![0.0; DIMENSION], ErrorKind::Invalid, no_direction),
        (vec![f32::NAN; DIMENSION], ErrorKind::Invalid, no_direction),
        (
            vec![f32::INFINITY; DIMENSION],
            ErrorKind::Invalid,
            no_direction,
        ),
        (vec![1e-30; DIMENSION], ErrorKind::Invalid, no_direction),
        (vec![], ErrorKind::Invalid, no_direction),
        (
            vec![1.0],
            ErrorKind::Invalid,
            "the vector of passage 1 has 1 dimensions, that of the first 8",
        ),
    ] {
        let new = [
            passage("crane one", axis(0)),
            passage("crane two", embedding),
        ];
        let refused = publish(&lab.test, &lab.tenant, lab.notebook, "bad.txt", &new).await;
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    }
    let other = [passage("crane", vec![1.0; 3])];
    let refused = publish(&lab.test, &lab.tenant, lab.notebook, "bad.txt", &other).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let message = error.to_string();
    assert!(
        message.starts_with("vectors of 3 dimensions can't join a corpus of 8: rebuild"),
        "{message}"
    );
    // A bulk load asks for no less.
    let search = searching(&lab.test.store, 9);
    for embedding in [vec![0.0; DIMENSION], vec![f32::NAN; DIMENSION]] {
        let source = BulkSource {
            loaded: Loaded {
                source: SourceId::generate(),
                version: 1,
                media_type: MediaType::Text,
                pages: None,
                passages: 1,
            },
            passages: vec![passage("crane", embedding)],
        };
        let refused = search.load(lab.tenant.placement(), [source]).await;
        assert!(matches!(refused, Err(Error::Direction)));
    }
    // A refusal leaves nothing behind, neither in the tail nor in a segment.
    lab.check(&search).await;
    assert_eq!(lab.fold(&search).await.unwrap().folded, 1);
    lab.check(&search).await;
}

#[tokio::test]
async fn what_stands_beside_a_passage_is_read_from_wherever_it_is() {
    let mut lab = Lab::new().await;
    lab.put_rows("long.txt", 0, 5).await;
    lab.put_rows("other.txt", 1, 2).await;
    let search = searching(&lab.test.store, 4);
    let placement = lab.tenant.placement();
    for is_folded in [false, true] {
        if is_folded {
            search.fold(placement).await.unwrap();
        }
        let filter = Filter::default();
        let corpus = search.snapshot(placement, &filter).await.unwrap();
        let everything = query("crane", axis(0), Mode::Dense, 100);
        let hits = corpus.search(&everything).await.unwrap().hits;
        assert_eq!(hits.len(), 7);
        let beside = async |name: &str, ordinals: &[i32]| {
            let asked = hits.iter().map(|hit| hit.passage.clone());
            let asked = asked.filter(|passage| {
                passage.source_name == name && ordinals.contains(&passage.ordinal)
            });
            let found = corpus.beside(&asked.collect::<Vec<_>>()).await;
            let found = found.into_iter();
            found
                .map(|passage| (passage.source_name, passage.ordinal))
                .collect::<Vec<_>>()
        };
        let long = |ordinals: &[i32]| -> Vec<(String, i32)> {
            let named = ordinals.iter().map(|at| ("long.txt".to_owned(), *at));
            named.collect()
        };
        assert_eq!(beside("long.txt", &[2]).await, long(&[1, 3]));
        // The first and the last have one neighbour, and nobody stands beside a passage of another source.
        assert_eq!(beside("long.txt", &[0, 4]).await, long(&[1, 3]));
        assert_eq!(beside("long.txt", &[1, 3]).await, long(&[0, 2, 4]));
        assert_eq!(
            beside("other.txt", &[1]).await,
            [("other.txt".to_owned(), 0)]
        );
        assert_eq!(beside("other.txt", &[]).await, []);
    }
}

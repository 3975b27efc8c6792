//! Upkeep on real stores: damage is found and mended, a sweep takes only what nothing needs, segments are made
//! anew and put back while others read and write, and an erased tenant leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use quire_index::{
    BuildProgress, Filter, FoldPolicy, Fusion, Mode, Problem, Query, Rebuild, RebuildError,
    Rebuilt, Search, SearchConfig, Stats, Swept,
};
use quire_store::builds::{self, BuildState, NewBuild};
use quire_store::passages::{self, NewPassage, Published};
use quire_store::segments;
use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, Placement, Store, notebooks, sources};
use quire_testkit::postgres::{TestStore, eventually};
use quire_testkit::unreliable::{Fault, Operation, Unreliable};
use quire_types::{Language, MediaType, NotebookId, Place, SegmentId, SourceId, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use uuid::Uuid;

const DIMENSION: usize = 16;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A tenant with one notebook, and a search over it.
struct Corpus {
    test: Arc<TestStore>,
    tenant: Tenant,
    notebook: NotebookId,
    search: Search,
    rng: StdRng,
}

impl Corpus {
    async fn new() -> Self {
        Self::of(Arc::new(TestStore::new().await), "a").await
    }

    async fn of(test: Arc<TestStore>, slug: &str) -> Self {
        let tenant = test.tenant(slug).await;
        let mut tx = test.tx(&tenant).await;
        let notebook = notebooks::create(&mut tx, "n").await.unwrap().id;
        tx.commit().await.unwrap();
        Self {
            search: searching(test.store.clone(), 4),
            test,
            tenant,
            notebook,
            rng: StdRng::seed_from_u64(8),
        }
    }

    /// Publishes a source of this name, or a new version of it, with so many passages.
    async fn add(&mut self, name: &str, rows: usize) -> SourceId {
        let passages: Vec<NewPassage> = (0..rows)
            .map(|row| NewPassage {
                context: String::new(),
                body: format!("{name} passage {row}"),
                place: Place::default(),
                embedding: vector(&mut self.rng),
            })
            .collect();
        self.publish(name, &passages).await
    }

    async fn publish(&self, name: &str, passages: &[NewPassage]) -> SourceId {
        let placement = self.tenant.placement();
        let bytes = futures::stream::iter([Ok::<_, std::io::Error>(name.to_owned().into())]);
        let objects = self.test.store.objects();
        let upload = objects.upload(placement, Box::pin(bytes), 1_000).await;
        let key = upload.unwrap().key;
        let content = sources::NewContent {
            name,
            content_hash: key.as_str().as_bytes(),
            size_bytes: 1,
            object: &key,
        };
        let mut tx = self.test.tx(&self.tenant).await;
        let added = sources::add(&mut tx, self.notebook, &content)
            .await
            .unwrap();
        let (id, version) = (added.source().id, added.source().latest_version);
        passages::publish(&mut tx, id, version, MediaType::Text, None, passages)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn delete(&self, source: SourceId) {
        let mut tx = self.test.tx(&self.tenant).await;
        sources::delete(&mut tx, source).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn fold(&self) {
        self.search.fold(self.tenant.placement()).await.unwrap();
    }

    async fn stats(&self) -> Stats {
        self.search.stats(self.tenant.placement()).await.unwrap()
    }

    /// The statistics but for what grows by itself.
    async fn steady(&self) -> Stats {
        let mut stats = self.stats().await;
        stats.tail.age_s = None;
        stats
    }

    /// The segments that search reads.
    async fn live(&self) -> Vec<SegmentId> {
        self.stats()
            .await
            .segments
            .iter()
            .map(|segment| segment.id)
            .collect()
    }

    /// What can be found.
    async fn bodies(&self) -> BTreeSet<String> {
        bodies(&self.search, &self.tenant).await
    }

    async fn words(&self, text: &str) -> Vec<String> {
        let query = Query {
            text: text.to_owned(),
            mode: Mode::Lexical,
            ..everything()
        };
        let found = self
            .search
            .search(self.tenant.placement(), query)
            .await
            .unwrap();
        found.hits.into_iter().map(|hit| hit.passage.body).collect()
    }

    async fn objects(&self) -> BTreeSet<ObjectKey> {
        let objects = self.test.store.objects();
        objects
            .list(self.tenant.placement())
            .await
            .unwrap()
            .into_iter()
            .collect()
    }

    async fn sweep(&self, now: Timestamp, window: Duration, is_dry: bool) -> Swept {
        let placement = self.tenant.placement();
        self.search
            .sweep(placement, now, window, is_dry)
            .await
            .unwrap()
    }

    async fn rebuild(&self, change: Rebuild) -> Result<Rebuilt, RebuildError> {
        self.search
            .rebuild(self.tenant.placement(), change, |_| {})
            .await
    }

    /// The directory of the tenant's objects.
    fn dir(&self) -> PathBuf {
        let placement = self.tenant.placement();
        let tenant = placement.tenant.uuid().to_string();
        self.test
            .objects_dir()
            .join("t")
            .join(tenant)
            .join(placement.incarnation.to_string())
    }

    fn file(&self, segment: SegmentId) -> PathBuf {
        let name = format!("{}.qseg", segment.uuid().simple());
        self.dir().join("segments").join(name)
    }
}

fn searching(store: Store, segments: usize) -> Search {
    let fold = FoldPolicy {
        segments,
        segment_rows: 1_000,
        dead_share: 1.0,
        ..FoldPolicy::default()
    };
    let config = SearchConfig {
        fold,
        ..SearchConfig::default()
    };
    Search::new(store, config)
}

fn vector(rng: &mut StdRng) -> Vec<f32> {
    let raw: Vec<f32> = (0..DIMENSION)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / length).collect()
}

/// A question that every passage is an answer to.
fn everything() -> Query {
    Query {
        text: String::new(),
        vector: vec![0.25; DIMENSION],
        filter: Filter::default(),
        limit: 5_000,
        mode: Mode::Dense,
        fusion: Fusion::default(),
    }
}

async fn bodies(search: &Search, tenant: &Tenant) -> BTreeSet<String> {
    let found = search
        .search(tenant.placement(), everything())
        .await
        .unwrap();
    assert!(
        found.missing.is_empty(),
        "{:?} can't be read",
        found.missing
    );
    found.hits.into_iter().map(|hit| hit.passage.body).collect()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Makes a file look as if it had been written two days ago.
fn age(file: &Path) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - 2 * DAY).unwrap();
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The question whose answer can't be good enough.
const IMPOSSIBLE: Rebuild = Rebuild {
    rotation_seed: Some(77),
    language: None,
    questions: 5,
    least_recall: 1.1,
};

fn other_rotation() -> Rebuild {
    Rebuild {
        rotation_seed: Some(77),
        ..Rebuild::default()
    }
}

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
    assert_eq!((segment.format, segment.is_clustered), (Some(1), false));
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

#[tokio::test]
async fn a_sweep_spares_a_build_that_lives_and_ends_one_that_is_dead() {
    let mut corpus = Corpus::new().await;
    corpus.add("one", 20).await;
    corpus.fold().await;
    let placement = corpus.tenant.placement();
    let made = SegmentId::generate();
    let objects = corpus.test.store.objects();
    let key = ObjectKey::segment(placement, made.uuid());
    objects
        .put(&key, bytes::Bytes::from_static(b"made"))
        .await
        .unwrap();
    age(&corpus.file(made));
    let build = NewBuild {
        id: Uuid::now_v7(),
        old: corpus.live().await,
        dimension: Some(16),
        rotation_seed: u64::MAX,
        language: None,
        rows_total: 20,
    };
    let mut tx = corpus.test.tx(&corpus.tenant).await;
    builds::begin_build(&mut tx, &build).await.unwrap();
    assert!(
        builds::note_build(&mut tx, build.id, 7, &[made])
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    assert_eq!(corpus.sweep(now(), DAY, false).await, Swept::default());
    let running = corpus.stats().await.build.unwrap();
    assert_eq!(
        (running.state, running.rows_done),
        (BuildState::Building, 7)
    );

    let swept = corpus.sweep(now() + 2 * DAY, DAY, false).await;
    assert_eq!(swept.orphans.len(), 1);
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

/// A rebuild that waits, after it told its progress for the first time, until it may go on.
struct Gated {
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
            let rebuilt = Box::pin(search.rebuild(placement, other_rotation(), progress)).await;
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
        let failed = search.rebuild(placement, other_rotation(), |_| {}).await;
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

//! A tenant with a corpus, and what the tests of upkeep do with it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quire_index::{
    Filter, FoldPolicy, Fusion, Mode, Query, Rebuild, RebuildError, Rebuilt, Search, SearchConfig,
    Stats, Swept,
};
use quire_store::passages::{self, NewPassage};
use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, Store, notebooks, segments, sources};
use quire_testkit::postgres::TestStore;
use quire_types::{MediaType, NotebookId, Place, SegmentId, SourceId, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub(crate) const DIMENSION: usize = 16;
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A tenant with one notebook, and a search over it.
pub(crate) struct Corpus {
    pub(crate) test: Arc<TestStore>,
    pub(crate) tenant: Tenant,
    pub(crate) notebook: NotebookId,
    pub(crate) search: Search,
    pub(crate) rng: StdRng,
}

impl Corpus {
    pub(crate) async fn new() -> Self {
        Self::of(Arc::new(TestStore::new().await), "a").await
    }

    pub(crate) async fn of(test: Arc<TestStore>, slug: &str) -> Self {
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
    pub(crate) async fn add(&mut self, name: &str, rows: usize) -> SourceId {
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

    pub(crate) async fn publish(&self, name: &str, passages: &[NewPassage]) -> SourceId {
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

    pub(crate) async fn delete(&self, source: SourceId) {
        let mut tx = self.test.tx(&self.tenant).await;
        sources::delete(&mut tx, source).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn fold(&self) {
        self.search.fold(self.tenant.placement()).await.unwrap();
    }

    pub(crate) async fn stats(&self) -> Stats {
        self.search.stats(self.tenant.placement()).await.unwrap()
    }

    /// The statistics but for what grows by itself.
    pub(crate) async fn steady(&self) -> Stats {
        let mut stats = self.stats().await;
        stats.tail.age_s = None;
        stats
    }

    /// The segments that search reads.
    pub(crate) async fn live(&self) -> Vec<SegmentId> {
        self.stats()
            .await
            .segments
            .iter()
            .map(|segment| segment.id)
            .collect()
    }

    /// What can be found.
    pub(crate) async fn bodies(&self) -> BTreeSet<String> {
        bodies(&self.search, &self.tenant).await
    }

    pub(crate) async fn words(&self, text: &str) -> Vec<String> {
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

    pub(crate) async fn objects(&self) -> BTreeSet<ObjectKey> {
        let objects = self.test.store.objects();
        objects
            .list(self.tenant.placement())
            .await
            .unwrap()
            .into_iter()
            .collect()
    }

    pub(crate) async fn sweep(&self, now: Timestamp, window: Duration, is_dry: bool) -> Swept {
        let placement = self.tenant.placement();
        self.search
            .sweep(placement, now, window, is_dry)
            .await
            .unwrap()
    }

    pub(crate) async fn rebuild(&self, change: Rebuild) -> Result<Rebuilt, RebuildError> {
        self.rebuild_asked(change, &[]).await
    }

    /// Makes everything anew and tries it with these questions.
    pub(crate) async fn rebuild_asked(
        &self,
        change: Rebuild,
        own: &[Vec<f32>],
    ) -> Result<Rebuilt, RebuildError> {
        self.search
            .rebuild(self.tenant.placement(), change, own, |_| {})
            .await
    }

    /// The database's time.
    pub(crate) async fn time(&self) -> Timestamp {
        let mut tx = self.test.tx(&self.tenant).await;
        segments::now(&mut tx).await.unwrap()
    }

    /// The directory of the tenant's objects.
    pub(crate) fn dir(&self) -> PathBuf {
        let placement = self.tenant.placement();
        let tenant = placement.tenant.uuid().to_string();
        self.test
            .objects_dir()
            .join("t")
            .join(tenant)
            .join(placement.incarnation.to_string())
    }

    pub(crate) fn file(&self, segment: SegmentId) -> PathBuf {
        let name = format!("{}.qseg", segment.uuid().simple());
        self.dir().join("segments").join(name)
    }
}

pub(crate) fn searching(store: Store, segments: usize) -> Search {
    let fold = FoldPolicy {
        segments,
        segment_rows: 1_000,
        dead_share: 1.0,
        ..FoldPolicy::default()
    };
    let config = SearchConfig {
        fold,
        retry: Duration::ZERO,
        ..SearchConfig::default()
    };
    Search::new(store, config)
}

pub(crate) fn vector(rng: &mut StdRng) -> Vec<f32> {
    let raw: Vec<f32> = (0..DIMENSION)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / length).collect()
}

/// A question that every passage is an answer to.
pub(crate) fn everything() -> Query {
    Query {
        text: String::new(),
        vector: vec![0.25; DIMENSION],
        filter: Filter::default(),
        limit: 5_000,
        mode: Mode::Dense,
        fusion: Fusion::default(),
    }
}

pub(crate) async fn bodies(search: &Search, tenant: &Tenant) -> BTreeSet<String> {
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

pub(crate) fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Makes a file look as if it had been written two days ago.
pub(crate) fn age(file: &Path) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - 2 * DAY).unwrap();
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

//! A tenant, what its search has to find, and futures that are broken off or held.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use quire_index::{Error, Filter, FoldPolicy, Found, Fusion, Mode, Query, Search, SearchConfig};
use quire_store::passages::{self, NewPassage};
use quire_store::segments::Segment;
use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, Store, notebooks, segments, sources};
use quire_testkit::postgres::TestStore;
use quire_testkit::unreliable::Unreliable;
use quire_types::{MediaType, NotebookId, Place, SegmentId, SourceId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub(crate) const DIMENSION: usize = 8;

/// A search that merges when there are more than so many segments.
pub(crate) fn searching(store: &Store, segments: usize) -> Search {
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
pub(crate) fn axis(axis: usize) -> Vec<f32> {
    (0..DIMENSION)
        .map(|at| if at == axis { 1.0 } else { 0.0 })
        .collect()
}

/// A unit vector that leans from one axis towards the next, the more the larger `row` is.
pub(crate) fn leaning(axis: usize, row: usize) -> Vec<f32> {
    let (sin, cos) = (row as f32 / 1_000.0).sin_cos();
    let mut vector = vec![0.0; DIMENSION];
    vector[axis] = cos;
    vector[(axis + 1) % DIMENSION] = sin;
    vector
}

pub(crate) fn passage(body: &str, embedding: Vec<f32>) -> NewPassage {
    NewPassage {
        context: String::new(),
        body: body.to_owned(),
        place: Place::default(),
        embedding,
    }
}

pub(crate) fn query(text: &str, vector: Vec<f32>, mode: Mode, limit: usize) -> Query {
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
pub(crate) fn bodies(found: Found) -> Vec<String> {
    let mut bodies: Vec<String> = found.hits.into_iter().map(|hit| hit.passage.body).collect();
    bodies.sort_unstable();
    bodies
}

/// A tenant, and what its search has to find.
pub(crate) struct Lab {
    pub(crate) test: TestStore,
    pub(crate) tenant: Tenant,
    pub(crate) notebook: NotebookId,
    pub(crate) oracle: BTreeMap<String, (SourceId, Vec<String>)>,
    pub(crate) versions: usize,
}

impl Lab {
    pub(crate) async fn new() -> Self {
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
    pub(crate) async fn unreliable(&self) -> (Store, Unreliable) {
        let (objects, unreliable) = Unreliable::around(self.test.store.objects().clone());
        (self.test.reopened_with(objects).await, unreliable)
    }

    /// Adds a source or a new version of it, with these passages.
    pub(crate) async fn put(&mut self, name: &str, new: &[NewPassage]) {
        let source = publish(&self.test, &self.tenant, self.notebook, name, new).await;
        let bodies = new.iter().map(|passage| passage.body.clone()).collect();
        self.oracle
            .insert(name.to_owned(), (source.unwrap(), bodies));
    }

    /// Adds a source or a new version of it, with so many passages near an axis.
    pub(crate) async fn put_rows(&mut self, name: &str, near: usize, rows: usize) {
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

    pub(crate) async fn delete(&mut self, name: &str) {
        let (source, _) = self.oracle.remove(name).unwrap();
        let mut tx = self.test.tx(&self.tenant).await;
        sources::delete(&mut tx, source).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A new source, a new version and a deletion, so that there is something to fold and to merge.
    pub(crate) async fn change(&mut self) {
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
    pub(crate) fn without(&self, names: &[&str]) -> Vec<String> {
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
    pub(crate) async fn everything(&self, search: &Search) -> (Vec<String>, Vec<SegmentId>) {
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
    pub(crate) async fn check(&self, search: &Search) {
        let (found, missing) = self.everything(search).await;
        assert_eq!(missing, []);
        assert_eq!(found, self.without(&[]));
        for segment in self.segments().await {
            assert!(self.file(segment.id).exists(), "{segment:?}");
        }
    }

    /// The objects of the segments that the manifest knows, and those that there are.
    pub(crate) async fn objects(&self) -> (BTreeSet<String>, BTreeSet<String>) {
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

    pub(crate) async fn segments(&self) -> Vec<Segment> {
        let mut tx = self.test.tx(&self.tenant).await;
        let live = segments::live(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        live
    }

    pub(crate) async fn tail_rows(&self) -> i64 {
        let mut tx = self.test.tx(&self.tenant).await;
        let size = segments::tail_size(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        size.rows
    }

    pub(crate) async fn fold(&self, search: &Search) -> Result<quire_index::Folded, Error> {
        search.fold(self.tenant.placement()).await
    }

    /// The file of a segment.
    pub(crate) fn file(&self, segment: SegmentId) -> PathBuf {
        let key = ObjectKey::segment(self.tenant.placement(), segment.uuid());
        self.test.objects_dir().join(key.as_str())
    }
}

/// Numbers that fill a passage and that LZ4 can't make much smaller.
pub(crate) fn numbers(row: usize) -> String {
    let mut rng = StdRng::seed_from_u64(row as u64);
    let words = (0..20).map(|_| rng.random_range(0..u64::MAX).to_string());
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) async fn notebook(test: &TestStore, tenant: &Tenant) -> NotebookId {
    let mut tx = test.tx(tenant).await;
    let id = notebooks::create(&mut tx, "n").await.unwrap().id;
    tx.commit().await.unwrap();
    id
}

pub(crate) async fn publish(
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
pub(crate) async fn broken_off<F: Future>(future: F, polls: usize) -> Option<F::Output> {
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
pub(crate) async fn held_when<F: Future>(mut future: Pin<&mut F>, is_so: impl Fn() -> bool) {
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

//! A segment that is searched by clusters answers as one that is not: in the same order, through every filter, after
//! deletions and merges, and never from damaged bytes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use quire_index::{
    BulkSource, Filter, FoldPolicy, Found, Fusion, Mode, Query, Rebuild, Search, SearchConfig,
};
use quire_store::passages::NewPassage;
use quire_store::segments::{self, Loaded, Segment};
use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, notebooks, sources};
use quire_testkit::postgres::TestStore;
use quire_types::{MediaType, NotebookId, Place, SourceId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const DIMENSION: usize = 64;
const SOURCES: usize = 60;
const ROWS: usize = 60;
/// So many that the candidates are more than the passages of a topic: then codes of so few dimensions miss none.
const LIMIT: usize = 60;

/// A search that makes segments of so many rows or more by clusters, and merges as soon as there are two.
fn searching(test: &TestStore, cluster_rows: u32) -> Search {
    let fold = FoldPolicy {
        segments: 1,
        cluster_rows,
        ..FoldPolicy::default()
    };
    let config = SearchConfig {
        fold,
        retry: std::time::Duration::ZERO,
        ..SearchConfig::default()
    };
    Search::new(test.store.clone(), config)
}

/// A vector near one of a few directions, as those of real texts are.
fn vector(rng: &mut StdRng, topic: usize) -> Vec<f32> {
    let mut of_topic = StdRng::seed_from_u64(topic as u64);
    let raw: Vec<f32> = (0..DIMENSION)
        .map(|_| of_topic.random_range(-1.0..1.0) + rng.random_range(-0.7..0.7))
        .collect();
    let length = raw
        .iter()
        .map(|value: &f32| value * value)
        .sum::<f32>()
        .sqrt();
    raw.iter().map(|value| value / length).collect()
}

struct Row {
    source: SourceId,
    notebook: NotebookId,
    media_type: MediaType,
    body: String,
    vector: Vec<f32>,
}

/// A tenant with two notebooks whose sources were loaded at once.
struct Lab {
    test: TestStore,
    tenant: Tenant,
    notebooks: [NotebookId; 2],
    rows: Vec<Row>,
    rng: StdRng,
}

impl Lab {
    async fn new() -> Self {
        let test = TestStore::new().await;
        let tenant = test.tenant("a").await;
        let mut tx = test.tx(&tenant).await;
        let mut made = Vec::new();
        for name in ["one", "two"] {
            made.push(notebooks::create(&mut tx, name).await.unwrap().id);
        }
        tx.commit().await.unwrap();
        Self {
            test,
            tenant,
            notebooks: [made[0], made[1]],
            rows: Vec::new(),
            rng: StdRng::seed_from_u64(8),
        }
    }

    async fn load(&mut self, search: &Search, first: usize, count: usize) {
        let mut bulk = Vec::new();
        for number in first..first + count {
            let media_type = [MediaType::Text, MediaType::Pdf][number % 3 / 2];
            let notebook = self.notebooks[usize::from(number % 20 == 0)];
            let name = format!("{number}.txt");
            let object = ObjectKey::original(self.tenant.placement());
            let content = sources::NewContent {
                name: &name,
                content_hash: name.as_bytes(),
                size_bytes: 1,
                object: &object,
            };
            let mut tx = self.test.tx(&self.tenant).await;
            let added = sources::add(&mut tx, notebook, &content).await.unwrap();
            tx.commit().await.unwrap();
            let source = added.source().id;
            let mut passages = Vec::new();
            for row in 0..ROWS {
                let topic = self.rng.random_range(0..12);
                let passage = NewPassage {
                    context: String::new(),
                    body: format!("topic{topic} source{number} row{row}"),
                    place: Place::default(),
                    embedding: vector(&mut self.rng, topic),
                };
                self.rows.push(Row {
                    source,
                    notebook,
                    media_type,
                    body: passage.body.clone(),
                    vector: passage.embedding.clone(),
                });
                passages.push(passage);
            }
            bulk.push(BulkSource {
                loaded: Loaded {
                    source,
                    version: 1,
                    media_type,
                    pages: None,
                    passages: 0,
                },
                passages,
            });
        }
        let loaded = search.load(self.tenant.placement(), bulk).await.unwrap();
        assert_eq!(loaded.folded, i64::try_from(count * ROWS).unwrap());
    }

    async fn delete(&mut self, source: SourceId) {
        let mut tx = self.test.tx(&self.tenant).await;
        sources::delete(&mut tx, source).await.unwrap();
        tx.commit().await.unwrap();
        self.rows.retain(|row| row.source != source);
    }

    async fn segments(&self) -> Vec<Segment> {
        let mut tx = self.test.tx(&self.tenant).await;
        segments::live(&mut tx).await.unwrap()
    }

    async fn clustered(&self, search: &Search) -> Vec<bool> {
        let stats = search.stats(self.tenant.placement()).await.unwrap();
        let segments = stats.segments.iter();
        segments.map(|segment| segment.is_clustered).collect()
    }

    fn file(&self, segment: &Segment) -> PathBuf {
        let key = ObjectKey::segment(self.tenant.placement(), segment.id.uuid());
        self.test.objects_dir().join(key.as_str())
    }

    async fn ask(&self, search: &Search, query: Query) -> Found {
        search.search(self.tenant.placement(), query).await.unwrap()
    }

    /// What a search finds is what comparing every vector finds, for questions near every topic and every
    /// filter.
    async fn check(&mut self, search: &Search) {
        let open = Filter::default;
        let few = self.rows[0].source;
        let mut tx = self.test.tx(&self.tenant).await;
        let first = segments::located(&mut tx, Some(&[few])).await.unwrap();
        drop(tx);
        let before = first[0].added_at + chrono::Duration::microseconds(1);
        let filters = [
            open(),
            Filter {
                notebooks: Some(vec![self.notebooks[0]]),
                ..open()
            },
            Filter {
                notebooks: Some(vec![self.notebooks[1]]),
                ..open()
            },
            Filter {
                media_types: Some(vec![MediaType::Pdf]),
                ..open()
            },
            Filter {
                added_before: Some(before),
                ..open()
            },
            Filter {
                notebooks: Some(Vec::new()),
                ..open()
            },
        ];
        for topic in 0..12 {
            for (number, filter) in filters.iter().enumerate() {
                let vector = vector(&mut self.rng, topic);
                let mut expected: Vec<(f32, &str)> = self
                    .rows
                    .iter()
                    .filter(|row| match number {
                        1 | 2 => row.notebook == self.notebooks[number - 1],
                        3 => row.media_type == MediaType::Pdf,
                        4 => row.source == few,
                        5 => false,
                        _ => true,
                    })
                    .map(|row| {
                        let cosine = row.vector.iter().zip(&vector).map(|(a, b)| a * b).sum();
                        (cosine, row.body.as_str())
                    })
                    .collect();
                expected.sort_by(|a, b| b.0.total_cmp(&a.0));
                expected.truncate(LIMIT);
                let query = Query {
                    text: String::new(),
                    vector,
                    filter: filter.clone(),
                    limit: LIMIT,
                    mode: Mode::Dense,
                    fusion: Fusion::default(),
                };
                let found = self.ask(search, query).await;
                assert!(found.missing.is_empty());
                assert_eq!(found.hits.len(), expected.len(), "{topic} {number}");
                for (hit, (cosine, body)) in found.hits.iter().zip(&expected) {
                    // A vector is kept in a byte per dimension, so what is nearly equal may change places.
                    let close = (hit.scores.dense - cosine).abs() < 0.01;
                    assert!(close, "{topic} {number} {body} {:?}", hit.scores);
                    let own = self.rows.iter().find(|row| row.body == hit.passage.body);
                    assert_eq!(own.map(|row| row.source), Some(hit.passage.source));
                }
            }
        }
    }
}

#[tokio::test]
async fn clusters_find_what_comparing_every_vector_finds() {
    let mut lab = Lab::new().await;
    let (clusters, flat) = (searching(&lab.test, 2_000), searching(&lab.test, u32::MAX));
    let placement = lab.tenant.placement();
    lab.load(&clusters, 0, SOURCES).await;
    assert_eq!(lab.clustered(&clusters).await, [true]);
    lab.check(&clusters).await;
    assert!(clusters.verify(placement, 20).await.unwrap().is_sound());

    // Deleted and never found again; the source with few rows before and after it stays.
    let gone: Vec<SourceId> = [5, 17, 40]
        .map(|number| lab.rows[number * ROWS].source)
        .into();
    for source in gone {
        lab.delete(source).await;
    }
    lab.check(&clusters).await;

    // Merged with what came later, and without what is dead.
    lab.load(&clusters, SOURCES, 10).await;
    assert_eq!(lab.clustered(&clusters).await, [true, false]);
    lab.check(&clusters).await;
    clusters.fold(placement).await.unwrap();
    assert_eq!(lab.clustered(&clusters).await, [true]);
    let rows = usize::try_from(lab.segments().await[0].rows).unwrap();
    assert_eq!(rows, lab.rows.len());
    lab.check(&clusters).await;

    // Texts and words are those of the same passages as without clusters, and vectors come out whole.
    flat.rebuild(placement, Rebuild::default(), &[], |_| {})
        .await
        .unwrap();
    assert_eq!(lab.clustered(&flat).await, [false]);
    lab.check(&flat).await;
    let rebuilt = clusters.rebuild(placement, Rebuild::default(), &[], |_| {});
    let moved = usize::try_from(rebuilt.await.unwrap().moved).unwrap();
    assert_eq!(moved, lab.rows.len());
    assert_eq!(lab.clustered(&clusters).await, [true]);
    lab.check(&searching(&lab.test, 2_000)).await;
    let words = Query {
        text: "source33 row7".to_owned(),
        vector: vector(&mut lab.rng, 0),
        filter: Filter::default(),
        limit: 1,
        mode: Mode::Lexical,
        fusion: Fusion::default(),
    };
    let found = lab.ask(&clusters, words).await;
    assert!(found.hits[0].passage.body.ends_with("source33 row7"));
}

#[tokio::test]
async fn damage_to_clusters_is_named_and_never_served() {
    let mut lab = Lab::new().await;
    let search = searching(&lab.test, 2_000);
    lab.load(&search, 0, 40).await;
    let segment = lab.segments().await.remove(0);
    let file = lab.file(&segment);
    let whole = std::fs::read(&file).unwrap();
    // Where the last section begins and how long it is: see `segment/format.rs`.
    let number = |at: usize| {
        let bytes: [u8; 8] = segment.footer[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    let (start, length) = (number(76 + 6 * 20), number(76 + 6 * 20 + 8));
    assert!(length > 4 * 40 * ROWS);
    for at in [start, start + length / 2, start + length - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&file, flipped).unwrap();
        let cold = searching(&lab.test, 2_000);
        let query = Query {
            text: "topic3".to_owned(),
            vector: vector(&mut lab.rng, 3),
            filter: Filter::default(),
            limit: 10,
            mode: Mode::Hybrid,
            fusion: Fusion::default(),
        };
        let found = lab.ask(&cold, query).await;
        assert_eq!((found.hits.len(), found.missing), (0, vec![segment.id]));
        let verified = cold.verify(lab.tenant.placement(), 5).await.unwrap();
        assert!(!verified.is_sound());
        std::fs::write(&file, &whole).unwrap();
        lab.check(&cold).await;
    }
}

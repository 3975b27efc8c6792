//! Search over a real database with made-up vectors: what is committed is found, what is gone is not,
//! filters are exact, tenants are apart, and the list is what a plain sort would give.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use quire_index::{Filter, FoldPolicy, Fusion, Hit, Mode, Query, Search, SearchConfig};
use quire_store::passages::{self, NewPassage};
use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, TenantTx, notebooks, segments, sources};
use quire_testkit::postgres::TestStore;
use quire_types::{Groups, MediaType, NotebookId, Place, SourceId, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const DIMENSION: usize = 8;
const ROOMY: usize = 100 << 20;

/// A search with so much memory, which folds and merges as soon as there is anything.
fn searching(test: &TestStore, memory_bytes: usize) -> Search {
    let fold = FoldPolicy {
        segments: 2,
        segment_rows: 100,
        ..FoldPolicy::default()
    };
    let config = SearchConfig {
        memory_bytes,
        fold,
        ..SearchConfig::default()
    };
    Search::new(test.store.clone(), config)
}

/// A vector of unit length.
fn vector(rng: &mut StdRng) -> Vec<f32> {
    let raw: Vec<f32> = (0..DIMENSION)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / length).collect()
}

/// The unit vector along one axis.
fn axis(axis: usize) -> Vec<f32> {
    (0..DIMENSION)
        .map(|at| if at == axis { 1.0 } else { 0.0 })
        .collect()
}

fn passage(body: &str, embedding: Vec<f32>) -> NewPassage {
    NewPassage {
        context: String::new(),
        body: body.to_owned(),
        place: Place::default(),
        embedding,
    }
}

async fn notebook(test: &TestStore, tenant: &Tenant, name: &str) -> NotebookId {
    let mut tx = test.tx(tenant).await;
    let id = notebooks::create(&mut tx, name).await.unwrap().id;
    tx.commit().await.unwrap();
    id
}

/// Adds a source of this name, or a new version of it, and makes it searchable.
async fn publish(
    tx: &mut TenantTx,
    notebook: NotebookId,
    name: &str,
    media_type: MediaType,
    passages: &[NewPassage],
) -> SourceId {
    let object = ObjectKey::original(tx.placement());
    let content = sources::NewContent {
        name,
        content_hash: object.as_str().as_bytes(),
        size_bytes: 1,
        object: &object,
    };
    let added = sources::add(tx, notebook, &content).await.unwrap();
    let source = added.source();
    passages::publish(
        tx,
        source.id,
        source.latest_version,
        media_type,
        None,
        passages,
    )
    .await
    .unwrap();
    source.id
}

async fn add(
    test: &TestStore,
    tenant: &Tenant,
    notebook: NotebookId,
    name: &str,
    passages: &[NewPassage],
) -> SourceId {
    let mut tx = test.tx(tenant).await;
    let id = publish(&mut tx, notebook, name, MediaType::Text, passages).await;
    tx.commit().await.unwrap();
    id
}

async fn delete(test: &TestStore, tenant: &Tenant, source: SourceId) {
    let mut tx = test.tx(tenant).await;
    sources::delete(&mut tx, source).await.unwrap();
    tx.commit().await.unwrap();
}

fn query(text: &str, vector: Vec<f32>, mode: Mode) -> Query {
    Query {
        text: text.to_owned(),
        vector,
        filter: Filter::default(),
        limit: 100,
        mode,
        fusion: Fusion::default(),
    }
}

async fn hits(search: &Search, tenant: &Tenant, query: Query) -> Vec<Hit> {
    let found = search.search(tenant.placement(), query).await.unwrap();
    assert!(found.missing.is_empty());
    found.hits
}

async fn bodies(search: &Search, tenant: &Tenant, query: Query) -> Vec<String> {
    let hits = hits(search, tenant, query).await;
    hits.into_iter().map(|hit| hit.passage.body).collect()
}

#[tokio::test]
async fn what_is_committed_is_found_at_once_and_what_is_deleted_is_not() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let notebook = notebook(&test, &tenant, "n").await;
    let search = searching(&test, ROOMY);
    for mode in [Mode::Hybrid, Mode::Lexical, Mode::Dense] {
        let found = async || bodies(&search, &tenant, query("crane", axis(0), mode)).await;
        assert_eq!(found().await, [""; 0], "{mode:?}");

        let mut tx = test.tx(&tenant).await;
        let old = [
            passage("crane old", axis(0)),
            passage("crane old too", axis(1)),
        ];
        let source = publish(&mut tx, notebook, "a.txt", MediaType::Text, &old).await;
        assert_eq!(found().await, [""; 0], "{mode:?}: not committed yet");
        tx.commit().await.unwrap();
        let mut first = found().await;
        first.sort();
        assert_eq!(first, ["crane old", "crane old too"], "{mode:?}");

        // A new version takes the place of the old one in one step.
        let mut tx = test.tx(&tenant).await;
        publish(
            &mut tx,
            notebook,
            "a.txt",
            MediaType::Text,
            &[passage("crane new", axis(0))],
        )
        .await;
        assert_eq!(
            found().await.len(),
            2,
            "{mode:?}: the old one stays until then"
        );
        tx.commit().await.unwrap();
        assert_eq!(found().await, ["crane new"], "{mode:?}");

        delete(&test, &tenant, source).await;
        assert_eq!(found().await, [""; 0], "{mode:?}");
    }
}

#[tokio::test]
async fn many_versions_between_two_searches_leave_the_last_one() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let notebook = notebook(&test, &tenant, "n").await;
    let search = searching(&test, ROOMY);
    let all = || query("", axis(0), Mode::Dense);
    assert!(hits(&search, &tenant, all()).await.is_empty());
    let mut last = None;
    for version in 0..5 {
        let text = format!("version {version}");
        last = Some(
            add(
                &test,
                &tenant,
                notebook,
                "a.txt",
                &[passage(&text, axis(0))],
            )
            .await,
        );
    }
    let gone = add(
        &test,
        &tenant,
        notebook,
        "b.txt",
        &[passage("gone", axis(0))],
    )
    .await;
    delete(&test, &tenant, gone).await;
    assert_eq!(bodies(&search, &tenant, all()).await, ["version 4"]);

    // The same name again is another source.
    delete(&test, &tenant, last.unwrap()).await;
    add(
        &test,
        &tenant,
        notebook,
        "a.txt",
        &[passage("reborn", axis(0))],
    )
    .await;
    assert_eq!(bodies(&search, &tenant, all()).await, ["reborn"]);
    // So does a reader that was not there.
    let fresh = searching(&test, ROOMY);
    assert_eq!(bodies(&fresh, &tenant, all()).await, ["reborn"]);
}

#[tokio::test]
async fn who_sees_a_source_counts_from_the_commit_on() {
    let test = TestStore::new().await;
    let tenant = test.tenant("seen").await;
    let one = notebook(&test, &tenant, "one").await;
    let mut ids = Vec::new();
    for name in ["all", "crew", "office"] {
        let text = passage(&format!("beam {name}"), axis(0));
        ids.push(add(&test, &tenant, one, name, &[text]).await);
    }
    let search = searching(&test, ROOMY);
    let seen_by = async |groups: Option<&str>| {
        let query = Query {
            filter: Filter {
                groups: groups.map(|groups| Groups::parse(groups).unwrap()),
                ..Filter::default()
            },
            ..query("beam", axis(0), Mode::Hybrid)
        };
        let mut found = bodies(&search, &tenant, query).await;
        found.sort();
        found.join(", ").replace("beam ", "")
    };
    let regroup = async |source: SourceId, groups: Option<&str>| {
        let groups = groups.map(|groups| Groups::parse(groups).unwrap());
        let mut tx = test.tx(&tenant).await;
        sources::set_groups(&mut tx, source, groups.as_ref())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    // The same in the tail and in a segment; the view that is there catches up.
    for is_folded in [false, true] {
        if is_folded {
            search.fold(tenant.placement()).await.unwrap();
        }
        assert_eq!(seen_by(Some("crew")).await, "all, crew, office");
        regroup(ids[1], Some("crew")).await;
        regroup(ids[2], Some("Office, board")).await;
        for (groups, expected) in [
            (None, "all, crew, office"),
            (Some(""), "all"),
            (Some("crew"), "all, crew"),
            (Some("board"), "all, office"),
            (Some("board, crew"), "all, crew, office"),
            (Some("others"), "all"),
        ] {
            assert_eq!(seen_by(groups).await, expected, "{groups:?} {is_folded}");
        }
        // Another version, and who sees it, between two looks.
        regroup(ids[2], Some("")).await;
        let text = passage("beam girder", axis(0));
        assert_eq!(add(&test, &tenant, one, "office", &[text]).await, ids[2]);
        regroup(ids[0], Some("crew")).await;
        assert_eq!(seen_by(Some("crew, office")).await, "all, crew");
        assert_eq!(seen_by(None).await, "all, crew, girder");
        let text = passage("beam office", axis(0));
        add(&test, &tenant, one, "office", &[text]).await;
        for id in &ids {
            regroup(*id, None).await;
        }
        delete_and_add(&test, &tenant, one).await;
    }
}

/// A source that comes and goes while nobody looks.
async fn delete_and_add(test: &TestStore, tenant: &Tenant, notebook: NotebookId) {
    let id = add(
        test,
        tenant,
        notebook,
        "gone",
        &[passage("beam gone", axis(0))],
    )
    .await;
    let mut tx = test.tx(tenant).await;
    sources::set_groups(&mut tx, id, Some(&Groups::default()))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    delete(test, tenant, id).await;
}

#[tokio::test]
async fn filters_let_through_exactly_what_they_name() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let (one, two) = (
        notebook(&test, &tenant, "1").await,
        notebook(&test, &tenant, "2").await,
    );
    let mut moments: Vec<Timestamp> = Vec::new();
    for (name, notebook, media_type) in [
        ("1 text", one, MediaType::Text),
        ("1 pdf", one, MediaType::Pdf),
        ("2 text", two, MediaType::Text),
        ("2 html", two, MediaType::Html),
    ] {
        let mut tx = test.tx(&tenant).await;
        let body = format!("beam {name}");
        let source = publish(
            &mut tx,
            notebook,
            name,
            media_type,
            &[passage(&body, axis(0))],
        )
        .await;
        let located = segments::located(&mut tx, Some(&[source])).await.unwrap();
        moments.push(located[0].added_at);
        tx.commit().await.unwrap();
    }
    let search = searching(&test, ROOMY);
    // The same questions over the tail and over a segment.
    let all = Filter::default;
    for is_folded in [false, true] {
        if is_folded {
            let folded = search.fold(tenant.placement()).await.unwrap();
            assert_eq!(folded.folded, 4);
        }
        for (filter, expected) in [
            (all(), &["1 pdf", "1 text", "2 html", "2 text"][..]),
            (
                Filter {
                    notebooks: Some(vec![one]),
                    ..all()
                },
                &["1 pdf", "1 text"],
            ),
            (
                Filter {
                    notebooks: Some(vec![NotebookId::generate()]),
                    ..all()
                },
                &[],
            ),
            (
                Filter {
                    notebooks: Some(vec![]),
                    ..all()
                },
                &[],
            ),
            (
                Filter {
                    media_types: Some(vec![MediaType::Text]),
                    ..all()
                },
                &["1 text", "2 text"],
            ),
            (
                Filter {
                    media_types: Some(vec![MediaType::Pdf, MediaType::Html]),
                    ..all()
                },
                &["1 pdf", "2 html"],
            ),
            (
                Filter {
                    media_types: Some(vec![MediaType::Text]),
                    notebooks: Some(vec![two]),
                    ..all()
                },
                &["2 text"],
            ),
            (
                Filter {
                    added_from: Some(moments[1]),
                    ..all()
                },
                &["1 pdf", "2 html", "2 text"],
            ),
            (
                Filter {
                    added_before: Some(moments[1]),
                    ..all()
                },
                &["1 text"],
            ),
            (
                Filter {
                    added_from: Some(moments[1]),
                    added_before: Some(moments[3]),
                    ..all()
                },
                &["1 pdf", "2 text"],
            ),
        ] {
            for mode in [Mode::Hybrid, Mode::Lexical, Mode::Dense] {
                let query = Query {
                    filter: filter.clone(),
                    ..query("beam", axis(0), mode)
                };
                let expected: Vec<String> =
                    expected.iter().map(|name| format!("beam {name}")).collect();
                let mut found = bodies(&search, &tenant, query).await;
                found.sort();
                assert_eq!(found, expected, "{mode:?} {filter:?} {is_folded}");
            }
        }
    }
}

#[tokio::test]
async fn tenants_with_the_same_text_never_meet() {
    let test = TestStore::new().await;
    let search = searching(&test, ROOMY);
    let mut tenants = Vec::new();
    for slug in ["a", "b"] {
        let tenant = test.tenant(slug).await;
        let notebook = notebook(&test, &tenant, "n").await;
        let source = add(
            &test,
            &tenant,
            notebook,
            "same.txt",
            &[passage("the same words", axis(0))],
        )
        .await;
        tenants.push((tenant, notebook, source));
    }
    for (own, other) in [(0, 1), (1, 0)] {
        let (tenant, _, source) = &tenants[own];
        for mode in [Mode::Hybrid, Mode::Lexical, Mode::Dense] {
            let found = hits(&search, tenant, query("same words", axis(0), mode)).await;
            let found: Vec<SourceId> = found.iter().map(|hit| hit.passage.source).collect();
            assert_eq!(found, [*source], "{mode:?}");
            let foreign = Query {
                filter: Filter {
                    notebooks: Some(vec![tenants[other].1]),
                    ..Filter::default()
                },
                ..query("same words", axis(0), mode)
            };
            assert!(hits(&search, tenant, foreign).await.is_empty());
        }
    }
    delete(&test, &tenants[0].0, tenants[0].2).await;
    let rest = bodies(&search, &tenants[1].0, query("same", axis(0), Mode::Hybrid)).await;
    assert_eq!(rest, ["the same words"], "what one deletes the other keeps");
}

#[tokio::test]
async fn words_find_an_identifier_that_vectors_know_nothing_of() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let notebook = notebook(&test, &tenant, "n").await;
    let mut passages: Vec<NewPassage> = (0..300)
        .map(|number| {
            passage(
                &format!("Permit R-2025-{number:04} was granted for the site."),
                axis(0),
            )
        })
        .collect();
    passages.push(passage("Submittal HD-3 uses bolt XK47Q.", axis(7)));
    add(&test, &tenant, notebook, "a.txt", &passages).await;
    let search = searching(&test, ROOMY);
    for (text, expected) in [
        ("XK47Q", "Submittal HD-3 uses bolt XK47Q."),
        ("what is xk47q?", "Submittal HD-3 uses bolt XK47Q."),
        (
            "R-2025-0207",
            "Permit R-2025-0207 was granted for the site.",
        ),
    ] {
        let found = bodies(&search, &tenant, query(text, axis(0), Mode::Lexical)).await;
        assert_eq!(found[0], expected, "{text}");
    }
    // Fused, it is among the candidates with its exact cosine, however far its vector is away.
    let everything = Query {
        limit: 400,
        ..query("XK47Q", axis(0), Mode::Hybrid)
    };
    let found = hits(&search, &tenant, everything).await;
    let hit = found
        .iter()
        .find(|hit| hit.passage.body.contains("XK47Q"))
        .unwrap();
    assert!(hit.scores.lexical.is_some() && hit.scores.dense.abs() < 1e-6);
    assert!(
        bodies(&search, &tenant, query("nowhere", axis(0), Mode::Lexical))
            .await
            .is_empty()
    );
    // Words that say nothing are looked for where there are no others.
    let found = bodies(&search, &tenant, query("for the", axis(0), Mode::Lexical)).await;
    assert!(found[0].contains("for the site"));
}

#[tokio::test]
async fn a_vector_of_another_dimension_is_refused() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let notebook = notebook(&test, &tenant, "n").await;
    add(&test, &tenant, notebook, "a.txt", &[passage("x", axis(0))]).await;
    let search = searching(&test, ROOMY);
    let wrong = query("x", vec![1.0], Mode::Dense);
    let refused = search.search(tenant.placement(), wrong).await.unwrap_err();
    assert!(matches!(
        refused,
        quire_index::Error::Dimension {
            expected: DIMENSION,
            found: 1
        }
    ));
    assert_eq!(
        bodies(&search, &tenant, query("x", axis(0), Mode::Dense)).await,
        ["x"]
    );
}

/// How far a cosine may be off in a segment, at 8 dimensions in 64.
const ROUNDING: f32 = 0.02;

/// What a tenant's corpus is, kept by the test itself.
type Oracle = BTreeMap<String, (SourceId, NotebookId, Vec<(String, Vec<f32>)>)>;

/// Cosines of everything that may be found, best first.
fn expected(oracle: &Oracle, query: &Query) -> Vec<(f32, String)> {
    let mut all: Vec<(f32, String)> = oracle
        .values()
        .filter(|(_, notebook, _)| {
            let notebooks = query.filter.notebooks.as_ref();
            notebooks.is_none_or(|notebooks| notebooks.contains(notebook))
        })
        .flat_map(|(_, _, passages)| passages)
        .map(|(body, vector)| {
            let cosine = vector.iter().zip(&query.vector).map(|(a, b)| a * b).sum();
            (cosine, body.clone())
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.truncate(query.limit);
    all
}

/// Random additions, new versions, deletions and searches of two tenants, compared after every step with
/// a plain sort. One search has room for everything, one throws every view away, and one looks rarely.
#[tokio::test]
async fn random_steps_give_what_a_plain_sort_gives() {
    let test = TestStore::new().await;
    let searches = [ROOMY, 1].map(|bytes| searching(&test, bytes));
    let rare = searching(&test, ROOMY);
    let mut rng = StdRng::seed_from_u64(2_025);
    let mut tenants: Vec<(Tenant, Vec<NotebookId>, Oracle)> = Vec::new();
    for slug in ["a", "b"] {
        let tenant = test.tenant(slug).await;
        let one = notebook(&test, &tenant, "1").await;
        let two = notebook(&test, &tenant, "2").await;
        tenants.push((tenant, vec![one, two], Oracle::new()));
    }

    for step in 0..200 {
        let (tenant, notebooks, oracle) = &mut tenants[rng.random_range(0..2)];
        if rng.random_bool(0.7) {
            // Twelve names: many an addition is a new version.
            let number = rng.random_range(0..12);
            let name = format!("{number}.txt");
            let passages: Vec<(String, Vec<f32>)> = (0..rng.random_range(1..40))
                .map(|part| (format!("step {step} part {part}"), vector(&mut rng)))
                .collect();
            let new: Vec<NewPassage> = passages
                .iter()
                .map(|(body, vector)| passage(body, vector.clone()))
                .collect();
            let notebook = notebooks[number % 2];
            let source = add(&test, tenant, notebook, &name, &new).await;
            oracle.insert(name, (source, notebook, passages));
        } else if let Some(name) = oracle.keys().nth(rng.random_range(0..12)).cloned() {
            let (source, _, _) = oracle.remove(&name).unwrap();
            delete(&test, tenant, source).await;
        }

        // Passages move while others look: nobody may notice.
        if rng.random_bool(0.15) {
            let folding = &searches[rng.random_range(0..2)];
            folding.fold(tenant.placement()).await.unwrap();
        }

        let mut query = query("", vector(&mut rng), Mode::Dense);
        query.limit = rng.random_range(1..60);
        if rng.random_bool(0.4) {
            query.filter.notebooks = Some(vec![notebooks[rng.random_range(0..2)]]);
        }
        let expected = expected(oracle, &query);
        let lately = (step % 40 == 39).then_some(&rare);
        for search in searches.iter().chain(lately) {
            let found = hits(search, tenant, query.clone()).await;
            assert_eq!(found.len(), expected.len(), "step {step}");
            // Segments keep a vector in a byte per dimension, so what is nearly equal may change places.
            let texts: BTreeSet<&str> = found.iter().map(|hit| hit.passage.body.as_str()).collect();
            let last = expected.last().map_or(0.0, |(cosine, _)| *cosine);
            for (cosine, body) in &expected {
                let is_close = cosine - last < ROUNDING;
                assert!(
                    texts.contains(body.as_str()) || is_close,
                    "step {step}: {body}"
                );
            }
            for (hit, (cosine, _)) in found.iter().zip(&expected) {
                assert!((hit.scores.dense - cosine).abs() < ROUNDING, "step {step}");
            }
        }
    }
    assert_eq!(searches[0].usage().0, 2);
    assert_eq!(
        searches[1].usage().0,
        1,
        "there is no room for any view, and one is held all the same"
    );
}

#[tokio::test]
async fn a_view_without_room_is_read_once_however_many_ask() {
    let test = TestStore::new().await;
    let roomy = searching(&test, ROOMY);
    let mut tenants = Vec::new();
    for slug in ["a", "b"] {
        let tenant = test.tenant(slug).await;
        let notebook = notebook(&test, &tenant, "n").await;
        add(&test, &tenant, notebook, "one", &[passage("beam", axis(0))]).await;
        roomy.fold(tenant.placement()).await.unwrap();
        tenants.push(tenant.placement());
    }
    let search = searching(&test, 0);
    let prefetch = async |tenant: usize| {
        let asked = (0..8).map(|_| search.prefetch(tenants[tenant]));
        for done in futures::future::join_all(asked).await {
            done.unwrap();
        }
        search.totals().cold_bytes
    };
    let once = prefetch(0).await;
    assert!(once > 0);
    assert_eq!(prefetch(0).await, once);
    assert_eq!(search.usage().0, 1);
    // There is room for one of that size, and the later one has it.
    let both = prefetch(1).await;
    assert!(both > once);
    assert_eq!(prefetch(1).await, both);
    assert_eq!(search.usage().0, 1);
    assert!(prefetch(0).await > both);
}

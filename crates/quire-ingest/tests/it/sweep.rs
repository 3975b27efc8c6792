//! What nothing names any more is removed by a task, after its grace and not before.

use std::time::Duration;

use quire_index::{Search, SearchConfig};
use quire_ingest::tasks::{FoldTail, SweepObjects, TierNotebooks};
use quire_store::passages::{self, NewPassage};
use quire_store::sources::{self, Added};
use quire_store::{ObjectKey, segments};
use quire_testkit::postgres::eventually;
use quire_types::{Groups, MediaType, Place, SourceState};

use crate::lab::{Lab, add};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_segment_goes_when_its_grace_is_over() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("swept", &[]).await;
    let placement = tenant.placement();
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let added = add(&lab.ingest, &tenant, notebook, "a.txt", "Soon gone.").await;
    let Ok(Added::Created(source)) = added else {
        panic!("{added:?}");
    };
    lab.until(&tenant, source.id, SourceState::Searchable).await;
    let search = Search::new(lab.db.store.clone(), SearchConfig::default());
    search.fold(placement).await.unwrap();
    lab.ingest
        .delete_source(placement, source.id)
        .await
        .unwrap();
    search.fold(placement).await.unwrap();
    let retired = async || search.stats(placement).await.unwrap().retired.len();
    assert_eq!(retired().await, 1);

    // However short the grace is set, a fold that is under way must not lose what it stored.
    let mut tx = lab.db.tx(&tenant).await;
    for _ in 0..2 {
        SweepObjects::plan(&mut tx, Duration::ZERO).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = lab.db.store.system().await.unwrap();
    let planned: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from d.run_at - now())::float8 from queue.deferred d
         where d.kind = 'sweep-objects'",
    )
    .fetch_all(tx.connection())
    .await
    .unwrap();
    assert!(matches!(planned[..], [delay] if (3_500.0..3_700.0).contains(&delay)));
    tx.commit().await.unwrap();

    let mut tx = lab.db.tx(&tenant).await;
    sqlx::query("update shard.segments set retired_at = now() - interval '2 hours'")
        .execute(tx.connection())
        .await
        .unwrap();
    quire_queue::enqueue(&mut tx, &SweepObjects {})
        .await
        .unwrap();
    tx.commit().await.unwrap();
    eventually("swept", async || retired().await == 0).await;
    // The original waits for a grace of its own.
    let left = lab.db.store.objects().list(placement).await.unwrap();
    assert!(
        matches!(&left[..], [only] if only.as_str().contains("/originals/")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_notebook_that_was_archived_and_deleted() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("left", &[("archive_after_days", "100")]).await;
    let placement = tenant.placement();
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let added = add(&lab.ingest, &tenant, notebook, "a.txt", "Soon gone.").await;
    let Ok(Added::Created(source)) = added else {
        panic!("{added:?}");
    };
    lab.until(&tenant, source.id, SourceState::Searchable).await;
    let search = Search::new(lab.db.store.clone(), SearchConfig::default());
    search.fold(placement).await.unwrap();
    let mut tx = lab.db.tx(&tenant).await;
    for table in ["notebooks", "sources"] {
        let sql = format!(
            "update shard.{table} set created_at = now() - interval '101 days',
                    updated_at = now() - interval '101 days'"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(tx.connection())
            .await
            .unwrap();
    }
    TierNotebooks::now(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let planned = async |kind: &str| {
        let mut tx = lab.db.store.system().await.unwrap();
        let count: i64 = sqlx::query_scalar("select count(*) from queue.deferred where kind = $1")
            .bind(kind)
            .fetch_one(tx.connection())
            .await
            .unwrap();
        count
    };
    let state = async || {
        let stats = search.stats(placement).await.unwrap();
        (stats.archives.len(), stats.retired.len())
    };
    eventually("archived", async || state().await == (1, 1)).await;
    // What it was in before goes, whether anything else happens or not.
    eventually("a sweep is planned", async || {
        planned("sweep-objects").await == 1
    })
    .await;
    assert_eq!(planned("fold-tail").await, 0);
    lab.ingest
        .delete_notebook(placement, notebook)
        .await
        .unwrap();
    assert_eq!(planned("fold-tail").await, 1);

    // What is planned, without the wait for it.
    let mut tx = lab.db.tx(&tenant).await;
    quire_queue::enqueue(&mut tx, &FoldTail {}).await.unwrap();
    tx.commit().await.unwrap();
    eventually("retired", async || state().await == (0, 2)).await;
    let mut tx = lab.db.tx(&tenant).await;
    sqlx::query("update shard.segments set retired_at = now() - interval '2 hours'")
        .execute(tx.connection())
        .await
        .unwrap();
    quire_queue::enqueue(&mut tx, &SweepObjects {})
        .await
        .unwrap();
    tx.commit().await.unwrap();
    eventually("swept", async || state().await == (0, 0)).await;
    let left = lab.db.store.objects().list(placement).await.unwrap();
    assert!(left.iter().all(|key| key.as_str().contains("/originals/")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_too_young_when_it_was_looked_at_is_looked_at_again() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("young", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    let mut tx = lab.db.tx(&tenant).await;
    let object = ObjectKey::original(tenant.placement());
    let content = sources::NewContent {
        name: "a.txt",
        content_hash: b"a",
        size_bytes: 1,
        object: &object,
    };
    let added = sources::add(&mut tx, notebook, &content).await.unwrap();
    let passage = NewPassage {
        context: String::new(),
        body: "crane".to_owned(),
        place: Place::default(),
        embedding: vec![1.0; 8],
    };
    let id = added.source().id;
    let passages = vec![passage; 300];
    passages::publish(&mut tx, id, 1, MediaType::Text, None, &passages)
        .await
        .unwrap();
    sqlx::query("update shard.sources set ended_at = now() - interval '1 hour'")
        .execute(tx.connection())
        .await
        .unwrap();
    // Who sees it says nothing about how long it is there.
    let groups = Groups::parse("office").unwrap();
    sources::set_groups(&mut tx, id, Some(&groups))
        .await
        .unwrap();
    let age_s = segments::tail_size(&mut tx).await.unwrap().age_s;
    assert!(age_s.is_some_and(|age| (3_599.0..3_700.0).contains(&age)));
    sqlx::query("update shard.sources set ended_at = now()")
        .execute(tx.connection())
        .await
        .unwrap();
    quire_queue::enqueue(&mut tx, &FoldTail {}).await.unwrap();
    tx.commit().await.unwrap();
    let _worker = lab.work();
    eventually("planned again", async || {
        let mut tx = lab.db.store.system().await.unwrap();
        let waits: Vec<f64> = sqlx::query_scalar(
            "select extract(epoch from d.run_at - now())::float8 from queue.deferred d
             where d.kind = 'fold-tail'",
        )
        .fetch_all(tx.connection())
        .await
        .unwrap();
        matches!(waits[..], [wait] if (600.0..1_000.0).contains(&wait))
    })
    .await;
}

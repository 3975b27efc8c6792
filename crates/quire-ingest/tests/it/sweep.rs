//! What nothing names any more is removed by a task, after its grace and not before.

use std::time::Duration;

use quire_index::{Search, SearchConfig};
use quire_ingest::tasks::SweepObjects;
use quire_store::sources::Added;
use quire_testkit::postgres::eventually;
use quire_types::SourceState;

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

//! What an older reader read is read again, and search never misses it.

use std::time::Duration;

use quire_ingest::tasks::RereadSources;
use quire_store::sources::{self, Source};
use quire_store::tenants::Tenant;
use quire_store::{passages, readers};
use quire_tenancy::usage;
use quire_testkit::postgres::eventually;
use quire_types::{SourceId, SourceState};

use crate::lab::{Lab, add};

/// Makes the readers that read this look older than they are, and plans the reading again.
async fn upgrade(lab: &Lab, tenant: &Tenant, ids: &[SourceId]) {
    let mut tx = lab.db.tx(tenant).await;
    for id in ids {
        sqlx::query("update shard.sources set processor = 0 where tenant_id = $1 and id = $2")
            .bind(tenant.id.uuid())
            .bind(id.uuid())
            .execute(tx.connection())
            .await
            .unwrap();
    }
    RereadSources::plan(&mut tx, Duration::ZERO).await.unwrap();
    tx.commit().await.unwrap();
}

async fn get(lab: &Lab, tenant: &Tenant, id: SourceId) -> Source {
    let mut tx = lab.db.tx(tenant).await;
    sources::get(&mut tx, id).await.unwrap()
}

/// Versions and texts that search sees of a source.
async fn found(lab: &Lab, tenant: &Tenant, id: SourceId) -> Vec<(i32, String)> {
    let mut tx = lab.db.tx(tenant).await;
    let found = passages::tail(&mut tx, Some(&[id]), None, 100).await;
    let found = found.unwrap().into_iter();
    found
        .map(|passage| (passage.source_version, passage.body))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_reader_read_is_read_again_without_a_gap_or_a_bill() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("reread", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    let worker = lab.work();
    let mut ids = Vec::new();
    for name in ["a.txt", "b.txt"] {
        let text = format!("Concrete of {name} cures.");
        let added = add(&lab.ingest, &tenant, notebook, name, text).await;
        let id = added.unwrap().source().id;
        lab.until(&tenant, id, SourceState::Searchable).await;
        ids.push(id);
    }
    let [good, bad] = ids[..] else { unreachable!() };
    drop(worker);
    let bytes_before = lab.db.store.objects().list(tenant.placement()).await;
    let bytes_before = bytes_before.unwrap();

    // The original of one of them is lost: no reader can read it, and what was read stays.
    let mut tx = lab.db.tx(&tenant).await;
    let content = sources::content(&mut tx, bad, 1).await.unwrap();
    tx.commit().await.unwrap();
    let sources::Content::Object(object) = content else {
        panic!("a file is an object")
    };
    lab.db.store.objects().delete(&object).await.unwrap();

    upgrade(&lab, &tenant, &ids).await;
    // Nobody reads while the place is taken; both are queued, and both are found.
    let place = lab.extracting.enter().await.unwrap();
    let worker = lab.work();
    eventually("both are queued", async || {
        let mut versions = Vec::new();
        for id in &ids {
            versions.push(get(&lab, &tenant, *id).await.latest_version);
        }
        versions == [2, 2]
    })
    .await;
    let old = found(&lab, &tenant, good).await;
    assert_eq!(old, [(1, "Concrete of a.txt cures.".to_owned())]);
    drop(place);
    let read = lab.until(&tenant, good, SourceState::Searchable).await;
    assert_eq!((read.live_version, read.latest_version), (Some(2), 2));
    let new = found(&lab, &tenant, good).await;
    assert_eq!(new, [(2, "Concrete of a.txt cures.".to_owned())]);
    let kept = lab.until(&tenant, bad, SourceState::Searchable).await;
    assert_eq!((kept.live_version, kept.latest_version), (Some(1), 2));
    let reason = kept.reason.unwrap();
    let expected = "could not be read again, and stays as it was read before: ";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!(found(&lab, &tenant, bad).await.len(), 1);
    drop(worker);

    // Both versions have the same bytes, which nobody removes and nobody pays for twice.
    let mut tx = lab.db.tx(&tenant).await;
    let totals = sources::totals(&mut tx).await.unwrap();
    assert_eq!(
        totals.stored_bytes,
        2 * "Concrete of a.txt cures.".len() as i64
    );
    let again = readers::outdated(&mut tx, &[(quire_types::MediaType::Text, 1)], 9).await;
    assert_eq!(again.unwrap(), []);
    let purges: i64 = sqlx::query_scalar(
        "select count(*) from queue.deferred where tenant_id = $1 and kind = 'purge-objects'",
    )
    .bind(tenant.id.uuid())
    .fetch_one(tx.connection())
    .await
    .unwrap();
    assert_eq!(purges, 0);
    drop(tx);
    let left = lab.db.store.objects().list(tenant.placement()).await;
    assert_eq!(left.unwrap().len() + 1, bytes_before.len());
    let mut tx = lab.db.store.system().await.unwrap();
    let charged: i64 = sqlx::query_scalar(
        "select count(*) from control.usage_events where tenant_id = $1 and kind = 'source'",
    )
    .bind(tenant.id.uuid())
    .fetch_one(tx.connection())
    .await
    .unwrap();
    assert_eq!(charged, 2, "{:?}", usage::Kind::Source);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_looks_through_every_tenant_once() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("upgrade", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    let worker = lab.work();
    let added = add(&lab.ingest, &tenant, notebook, "a.txt", "Concrete cures.").await;
    let id = added.unwrap().source().id;
    lab.until(&tenant, id, SourceState::Searchable).await;
    drop(worker);
    let planned = async || {
        let mut tx = lab.db.store.system().await.unwrap();
        let count: i64 =
            sqlx::query_scalar("select count(*) from queue.deferred where kind = 'reread-sources'")
                .fetch_one(tx.connection())
                .await
                .unwrap();
        count
    };
    let age = async || {
        let mut tx = lab.db.tx(&tenant).await;
        sqlx::query("update shard.sources set processor = 0 where tenant_id = $1")
            .bind(tenant.id.uuid())
            .execute(tx.connection())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    // Nothing is older than these readers: nothing is planned, and the next start has nothing to look for.
    lab.ingest.plan_rereading().await.unwrap();
    age().await;
    lab.ingest.plan_rereading().await.unwrap();
    assert_eq!(planned().await, 0);

    let mut tx = lab.db.store.system().await.unwrap();
    sqlx::query("update directory.readers set generation = 0")
        .execute(tx.connection())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let other = lab.other().await;
    let (one, two) = tokio::join!(lab.ingest.plan_rereading(), other.plan_rereading());
    one.unwrap();
    two.unwrap();
    assert_eq!(planned().await, 1, "two processes at once plan one task");
}

//! Notebooks are archived by a task when the rules say so, and come back when they do not.

use quire_index::{Search, SearchConfig};
use quire_ingest::tasks::TierNotebooks;
use quire_store::sources::Added;
use quire_store::tenants::Tenant;
use quire_store::tiers::{self, NotebookTier};
use quire_testkit::postgres::eventually;
use quire_types::{NotebookId, NotebookStatus, SourceState, Tier};

use crate::lab::{Lab, add};

async fn notebook(lab: &Lab, tenant: &Tenant, id: NotebookId) -> NotebookTier {
    let mut tx = lab.db.tx(tenant).await;
    tiers::tiers(&mut tx, Some(id)).await.unwrap().remove(0)
}

async fn waiting(lab: &Lab) -> Vec<f64> {
    let mut tx = lab.db.store.system().await.unwrap();
    sqlx::query_scalar(
        "select extract(epoch from d.run_at - now())::float8 / 86400 from queue.deferred d
         where d.kind = 'tier-notebooks'",
    )
    .fetch_all(tx.connection())
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notebook_nobody_uses_is_archived_and_comes_back_when_its_subject_is_active() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("tiers", &[("archive_after_days", "100")]).await;
    let id = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let added = add(&lab.ingest, &tenant, id, "a.txt", "Old, but worth keeping.").await;
    let Ok(Added::Created(source)) = added else {
        panic!("{added:?}");
    };
    lab.until(&tenant, source.id, SourceState::Searchable).await;
    assert_eq!(notebook(&lab, &tenant, id).await.tier, Tier::Hot);

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
    eventually("the notebook is archived", async || {
        let known = notebook(&lab, &tenant, id).await;
        known.tier == Tier::Archived && known.archived == known.passages
    })
    .await;
    // Looked at again in a month, since somebody may have asked for it.
    eventually(
        "the next look is planned",
        async || matches!(waiting(&lab).await[..], [days] if (29.0..31.0).contains(&days)),
    )
    .await;

    let mut tx = lab.db.tx(&tenant).await;
    tiers::set_status(&mut tx, id, Some(NotebookStatus::Active))
        .await
        .unwrap();
    TierNotebooks::now(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    eventually("it is back", async || {
        let known = notebook(&lab, &tenant, id).await;
        known.tier == Tier::Hot && known.archived == 0
    })
    .await;
    let search = Search::new(lab.db.store.clone(), SearchConfig::default());
    let stats = search.stats(tenant.placement()).await.unwrap();
    assert!(stats.archives.is_empty() && stats.segments.len() == 1);

    // What an operator pinned stays, whatever the rules say.
    let mut tx = lab.db.tx(&tenant).await;
    tiers::pin(&mut tx, id, true).await.unwrap();
    tiers::set_status(&mut tx, id, None).await.unwrap();
    tx.commit().await.unwrap();
    let control = &lab.control;
    let moved =
        quire_ingest::tiers::tier_notebooks(&lab.db.store, &search, control, tenant.placement());
    assert_eq!(moved.await.unwrap(), None);
    assert_eq!(notebook(&lab, &tenant, id).await.tier, Tier::Hot);
}

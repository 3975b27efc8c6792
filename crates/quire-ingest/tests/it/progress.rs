//! How far a source is, and why one that is queued is not being read.

use std::sync::Mutex;
use std::time::Duration;

use quire_ingest::explain;
use quire_ingest::sandbox::Extractor;
use quire_ingest::tasks::ReadSource;
use quire_queue::{Task, pause_kind, pause_tenant};
use quire_store::sources::{self, Source};
use quire_store::tenants::Tenant;
use quire_store::{Placement, progress};
use quire_tenancy::lifecycle;
use quire_testkit::postgres::eventually;
use quire_types::{SourceId, SourceState, TenantState};
use sqlx::types::Uuid;

use crate::lab::{Lab, add};

async fn get(lab: &Lab, tenant: &Tenant, id: SourceId) -> Source {
    let mut tx = lab.db.tx(tenant).await;
    sources::get(&mut tx, id).await.unwrap()
}

async fn reason(lab: &Lab, tenant: &Tenant, id: SourceId) -> String {
    let mut source = [get(lab, tenant, id).await];
    let placement: Placement = tenant.placement();
    explain(&lab.db.store, placement, &mut source)
        .await
        .unwrap();
    let [source] = source;
    source.reason.unwrap_or_default()
}

/// Changes something that the worker role may change.
async fn system(lab: &Lab, statement: &'static str, id: Uuid) {
    let mut tx = lab.db.store.system().await.unwrap();
    let done = sqlx::query(statement).bind(id).execute(tx.connection());
    done.await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_queued_without_a_reason() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("waits", &[("running_tasks", "1")]).await;
    let notebook = lab.notebook(&tenant).await;
    let mut ids = Vec::new();
    for name in ["a.txt", "b.txt", "c.txt"] {
        let added = add(&lab.ingest, &tenant, notebook, name, format!("On {name}.")).await;
        ids.push(added.unwrap().source().id);
    }
    let last = ids[2];
    let is = async |expected: &str| {
        let reason = reason(&lab, &tenant, last).await;
        assert_eq!(reason, expected);
    };
    is("no worker runs: start `quire up` or `quire serve`").await;

    // A worker that lives and does nothing.
    let worker = Uuid::from_u128(7);
    system(
        &lab,
        "insert into queue.workers (id, name, seats, lease_until) values ($1, 'w', 1, now() + interval '1 hour')",
        worker,
    )
    .await;
    is("2 tasks of the tenant are before it").await;
    let first = get(&lab, &tenant, ids[0]).await;
    system(
        &lab,
        "insert into queue.receipts (id, worker, tokens, tails)
         select id, id, array[run_token], array[('x' || substr(id::text, 10, 4) || substr(id::text, 15, 4))::bit(32)::integer]
         from queue.ready where id = $1",
        first.task.unwrap().uuid(),
    )
    .await;
    is("running_tasks is limited to 1 and so many run; 1 more of the tenant's are before it").await;
    assert_eq!(
        reason(&lab, &tenant, ids[0]).await,
        "a worker has taken it and fetches its content"
    );

    let mut tx = lab.db.store.system().await.unwrap();
    pause_kind(&mut tx, ReadSource::KIND, true).await.unwrap();
    tx.commit().await.unwrap();
    is("the operator holds back the reading of files").await;
    let mut tx = lab.db.store.system().await.unwrap();
    pause_tenant(&mut tx, tenant.id, true).await.unwrap();
    tx.commit().await.unwrap();
    is("the operator holds back the tenant's tasks, or its limit running_tasks is 0").await;
    let mut tx = lab.db.store.system().await.unwrap();
    lifecycle::set_state(&mut tx, tenant.id, TenantState::Suspended)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    is("the tenant is suspended").await;

    // Nobody is told about the tasks of somebody else.
    let other = lab.tenant("other", &[]).await;
    let mut foreign = [get(&lab, &tenant, last).await];
    explain(&lab.db.store, other.placement(), &mut foreign)
        .await
        .unwrap();
    assert_eq!(
        foreign[0].reason.as_deref(),
        Some("its task has just ended; its state follows")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_tells_its_stages_and_when_it_is_tried_again() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("stages", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    // Somebody else's file is read for longer than this one waits.
    let place = lab.extracting.enter().await.unwrap();
    let added = add(&lab.ingest, &tenant, notebook, "a.txt", "Concrete cures.").await;
    let id = added.unwrap().source().id;
    let _worker = lab.work();
    eventually("it is to be tried again", async || {
        let reason = reason(&lab, &tenant, id).await;
        reason.starts_with("try 1 of 5 failed and will be repeated: too much to read at once")
            && reason.contains("; next try at ")
            && reason.ends_with(" UTC")
    })
    .await;
    drop(place);
    let source = lab.until(&tenant, id, SourceState::Searchable).await;
    let stages = source.stages(chrono::Utc::now());
    let names: Vec<SourceState> = stages.iter().map(|stage| stage.state).collect();
    assert_eq!(
        names,
        [
            SourceState::Queued,
            SourceState::Extracting,
            SourceState::Embedding
        ]
    );
    let took: Duration = stages.iter().map(|stage| stage.took).sum();
    let ended = source.ended_at.unwrap() - source.queued_at.unwrap();
    assert_eq!(took, ended.to_std().unwrap());
    assert_eq!((source.percent, source.reason), (100, None));

    // A new version begins at the beginning, and one that fails says how far it came.
    let added = add(
        &lab.ingest,
        &tenant,
        notebook,
        "a.txt",
        "%PDF-1.4 and no more",
    )
    .await;
    assert_eq!(added.unwrap().source().percent, 0);
    let failed = lab.until(&tenant, id, SourceState::Failed).await;
    assert_eq!(failed.stages(chrono::Utc::now()).len(), 2);
    let mut tx = lab.db.tx(&tenant).await;
    let summary = progress::summary(&mut tx, notebook, None).await.unwrap();
    assert_eq!(
        (summary.total(), summary.open(), summary.percent),
        (1, 0, 100)
    );
    assert_eq!(summary.passages, 1, "the version before is still found");
}

#[tokio::test]
async fn whoever_reads_for_long_tells_how_far_it_is() {
    let part = |name: &str| {
        format!(
            "--x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename={name}\r\n\r\nOn {name}.\r\n"
        )
    };
    let names = ["a.txt", "b.txt", "c.txt", "d.txt"];
    let parts: String = names.iter().map(|name| part(name)).collect();
    let mail = format!(
        "From: a@example.com\r\nTo: b@example.com\r\nSubject: Four\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=x\r\n\r\n{parts}--x--\r\n"
    );
    let heard = std::sync::Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let extraction = Extractor::new(env!("CARGO_BIN_EXE_quire-parse"))
        .extract("four.eml", mail.into(), &move |percent| {
            told.lock().unwrap().push(percent);
        })
        .await
        .unwrap();
    assert!(extraction.document.text.contains("On d.txt."));
    assert_eq!(*heard.lock().unwrap(), [25, 50, 75]);
}

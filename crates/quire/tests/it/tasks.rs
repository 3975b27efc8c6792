//! The queue as an operator sees it, on the command line and over HTTP.

use std::process::Command;
use std::time::{Duration, Instant};

use quire_postgres::Binaries;
use quire_testkit::remote::RemoteServer;
use serde_json::{Value, json};

use crate::support::{Caller, Quire};

fn cli(quire: &Quire, arguments: &[&str]) -> Value {
    let output = quire.command(&[&["--json", "tasks"], arguments].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The tenant's tasks, once there are as many as expected.
async fn tasks(operator: &Caller, tenant: &str, expected: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let list = operator
            .get(&format!("/v1/tasks?tenant={tenant}"))
            .await
            .ok();
        let tasks = list["items"].as_array().unwrap().clone();
        if tasks.len() == expected {
            return tasks;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{expected} tasks expected: {list:#}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tasks_are_held_back_shown_cancelled_and_let_go() {
    let quire = Quire::shared();
    let owner = quire.tenant("queue").await;
    let operator = quire.caller(&quire.admin_key);
    let notebook = owner.notebook("held").await;
    let tenant = owner.tenant.as_str();

    cli(&quire, &["pause", "--tenant", "queue"]);
    let add = async |name: &str, text: &str| {
        let path = format!("/v1/notebooks/{notebook}/sources");
        let added = owner
            .post(&path, &json!({ "name": name, "text": text }))
            .await
            .is(202);
        added["sources"][0]["id"].as_str().unwrap().to_owned()
    };
    let first = add("first.txt", "The gate code is 4417.").await;
    let second = add("second.txt", "The yard closes at six.").await;
    let waiting = tasks(&operator, tenant, 2).await;
    assert!(
        waiting
            .iter()
            .all(|task| task["state"] == "ready" && task["kind"] == "read-source")
    );
    let listed = cli(&quire, &["list", "--tenant", "queue", "--state", "ready"]);
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 2);
    let of_first = waiting
        .iter()
        .find(|task| task["payload"]["source"] == *first)
        .unwrap();
    let id = of_first["id"].as_str().unwrap();
    let shown = cli(&quire, &["show", id]);
    assert_eq!(
        (&shown["tenant"], &shown["attempts"]),
        (&json!("queue"), &json!(0))
    );
    let fetched = operator.get(&format!("/v1/tasks/{id}")).await.ok();
    assert_eq!(&fetched, of_first);

    // One is cancelled, and who waits for it is told at once; the other one runs once it may.
    let cancelled = operator
        .post("/v1/tasks/cancel", &json!({ "task": id }))
        .await
        .ok();
    assert_eq!(cancelled["tasks"], 1);
    operator.get(&format!("/v1/tasks/{id}")).await.is(404);
    let failed = owner.finished(&first).await;
    assert_eq!(failed["state"], "failed");
    assert!(
        failed["reason"].as_str().unwrap().contains("cancelled"),
        "{failed:#}"
    );
    let resumed = json!({ "tenant": tenant, "paused": false });
    operator.post("/v1/tasks/pause", &resumed).await.ok();
    let done = owner.finished(&second).await;
    assert_eq!(done["state"], "searchable");
    let retry = format!("/v1/sources/{first}/retry");
    owner.post(&retry, &json!({})).await.is(202);
    assert_eq!(owner.finished(&first).await["state"], "searchable");
    tasks(&operator, tenant, 0).await;
    let queue = operator.get("/v1/queue").await.ok();
    assert!(
        queue["workers"]
            .as_u64()
            .is_some_and(|workers| workers >= 1)
    );
    assert_eq!(queue["priorities"].as_array().unwrap().len(), 5);
    assert_eq!(queue["level"], "normal");
    let stats = cli(&quire, &["stats"]);
    assert!(
        stats["queue"]["seats"]
            .as_u64()
            .is_some_and(|seats| seats >= 1)
    );
    assert!(
        cli(&quire, &["advise"])["wanted"]
            .as_u64()
            .is_some_and(|wanted| wanted >= 2)
    );
    let metrics = quire.caller("").get("/metrics").await.text;
    assert!(
        metrics.contains(
            r#"quire_tasks_ended_total{kind="read-source",priority="normal",outcome="done"}"#
        ),
        "{metrics}"
    );
    assert!(!metrics.contains(tenant), "metrics name no tenant");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_next_step() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    for (path, body) in [
        ("/v1/tasks/cancel", json!({})),
        ("/v1/tasks/pause", json!({ "paused": true })),
        ("/v1/tasks/pause", json!({ "kind": "", "paused": true })),
        (
            "/v1/tasks/pause",
            json!({ "kind": "a", "tenant": "ten_x", "paused": true }),
        ),
        ("/v1/tasks/dead/retry", json!({ "kinds": "all" })),
    ] {
        operator.post(path, &body).await.is(400);
    }
    for path in [
        "/v1/tasks?limit=0",
        "/v1/tasks?limit=5000",
        "/v1/tasks?state=lost",
        "/v1/tasks?colour=red",
    ] {
        operator.get(path).await.is(400);
    }
    operator.get("/v1/tasks/tsk_nope").await.is(404);
    operator.get("/v1/tasks?tenant=ten_nope").await.is(404);
    for arguments in [
        &["tasks", "cancel"][..],
        &["tasks", "pause"],
        &["tasks", "show", "nope"],
        &["tasks", "dead", "--tenant", "nobody-of-this-name"],
    ] {
        let output = quire.command(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

/// Waits until the queue's level is the one expected.
async fn level(operator: &Caller, expected: &str) {
    let started = Instant::now();
    loop {
        let queue = operator.get("/v1/queue").await.ok();
        if queue["level"] == expected {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{expected} expected: {queue:#}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn uploads_wait_while_the_queue_is_full() {
    let server = RemoteServer::start();
    let database = server.url("quire");
    let quire = Quire::up_with(&[("QUIRE__DATABASE__URL", &database)]);
    let operator = quire.caller(&quire.admin_key);
    let (flood, owner) = (quire.tenant("flood").await, quire.tenant("owner").await);
    let notebook = owner.notebook("notes").await;
    let path = format!("/v1/notebooks/{notebook}/sources");
    let text = |number: u32| {
        let text = format!("The gate code of yard {number} is 4417.");
        json!({ "name": format!("{number}.txt"), "text": text })
    };
    owner.post(&path, &text(1)).await.is(202);

    // Ready tasks of a paused tenant fill it as much as others.
    cli(&quire, &["pause", "--tenant", "flood"]);
    let psql = Binaries::find(None).unwrap().program("psql");
    let filled = Command::new(psql)
        .args(["--quiet", "-v", "ON_ERROR_STOP=1", &database, "-c"])
        .arg(
            "insert into queue.ready (tenant_id, id, shard, kind, priority, payload)
             select id, gen_random_uuid(), get_byte(uuid_send(id), 15) % 64, 'read-source', 2, '{}'
             from directory.tenants, generate_series(1, 10000) where slug = 'flood'",
        )
        .status();
    assert!(filled.unwrap().success());
    level(&operator, "full").await;
    // Uploads look once a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = owner.post(&path, &text(2)).await;
    let wait = refused.headers["retry-after"].to_str().unwrap().to_owned();
    assert!(wait.parse::<u64>().is_ok_and(|wait| wait > 0), "{wait}");
    refused.is(429);
    let refused = owner.upload(&notebook, &[("3.txt", b"The yard closes at six.")]);
    refused.await.is(429);

    let flood = json!({ "tenant": flood.tenant });
    let cancelled = operator.post("/v1/tasks/cancel", &flood).await.ok();
    assert_eq!(cancelled["tasks"], 10_000);
    level(&operator, "normal").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let added = owner.post(&path, &text(4)).await.is(202);
    let source = added["sources"][0]["id"].as_str().unwrap();
    assert_eq!(owner.finished(source).await["state"], "searchable");
}

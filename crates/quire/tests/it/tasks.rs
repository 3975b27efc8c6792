//! The queue as an operator sees it, on the command line and over HTTP.

use std::time::{Duration, Instant};

use quire_testkit::PATIENCE;
use quire_testkit::notion::NotionDouble;
use quire_testkit::postgres::eventually;
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
            started.elapsed() < PATIENCE,
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
        (
            "/v1/tasks/pause",
            json!({ "schedule": "sch_x", "kind": "a", "paused": true }),
        ),
        (
            "/v1/tasks/pause",
            json!({ "kind": "nul\u{0}", "paused": true }),
        ),
        ("/v1/tasks/cancel", json!({ "kind": "nul\u{0}" })),
        ("/v1/tasks/limit", json!({ "kind": "read-source" })),
        (
            "/v1/tasks/limit",
            json!({ "kind": "read-source", "most_running": 0 }),
        ),
        (
            "/v1/tasks/limit",
            json!({ "kind": "read-source", "most_running": -1 }),
        ),
        (
            "/v1/tasks/limit",
            json!({ "kind": "read-source", "most_running": 1e12 }),
        ),
        ("/v1/tasks/limit", json!({ "kind": "", "most_running": 1 })),
        ("/v1/tasks/dead/retry", json!({ "kinds": "all" })),
    ] {
        operator.post(path, &body).await.is(400);
    }
    for path in [
        "/v1/tasks?limit=0",
        "/v1/tasks?limit=5000",
        "/v1/tasks?state=lost",
        "/v1/tasks?colour=red",
        "/v1/tasks?kind=nul%00",
        "/v1/tasks/dead?signature=nul%00",
        "/v1/queue/tenants?hours=0",
        "/v1/queue/tenants?hours=-1",
        "/v1/queue/tenants?hours=100000",
        "/v1/queue/tenants?limit=0",
        "/v1/queue/events?limit=0",
        "/v1/queue/schedules?limit=0",
        "/v1/queue/schedules?kind=nul%00",
    ] {
        operator.get(path).await.is(400);
    }
    operator.get("/v1/tasks/tsk_nope").await.is(404);
    operator.get("/v1/tasks?tenant=ten_nope").await.is(404);
    operator
        .get("/v1/queue/schedules?schedule=sch_nope")
        .await
        .is(404);
    let nobody = json!({ "schedule": "sch_0198c0de00007000a00000000000dead", "paused": true });
    operator.post("/v1/tasks/pause", &nobody).await.is(404);
    for arguments in [
        &["tasks", "cancel"][..],
        &["tasks", "pause"],
        &["tasks", "show", "nope"],
        &["tasks", "pause", "--schedule", "nope"],
        &["tasks", "limit", "--kind", "read-source"],
        &["tasks", "limit", "--kind", "read-source", "--most", "0"],
        &[
            "tasks",
            "limit",
            "--kind",
            "read-source",
            "--most",
            "3",
            "--no-limit",
        ],
        &["tasks", "stats", "--hours", "0"],
        &["tasks", "schedules", "--limit", "0"],
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
            started.elapsed() < PATIENCE,
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

    // Tasks that nobody may run keep nobody else from adding.
    cli(&quire, &["pause", "--tenant", "flood"]);
    server.run(
        "quire",
        "insert into queue.ready (tenant_id, id, shard, kind, priority, payload)
         select id, gen_random_uuid(), get_byte(uuid_send(id), 15) % 64, 'read-source', 2, '{}'
         from directory.tenants, generate_series(1, 10000) where slug = 'flood'",
    );
    let held = || async {
        let queue = operator.get("/v1/queue").await.ok();
        let normal = queue["priorities"][2].clone();
        assert_eq!(queue["level"], "normal");
        normal["held"].as_u64().unwrap() >= 10_000 && normal["ready"].as_u64().unwrap() >= 10_000
    };
    eventually("they are counted and held", held).await;
    owner.post(&path, &text(2)).await.is(202);
    let flood = json!({ "tenant": flood.tenant });
    let cancelled = operator.post("/v1/tasks/cancel", &flood).await.ok();
    assert_eq!(cancelled["tasks"], 10_000);

    // Another worker, which has more to do than it can.
    server.run(
        "quire",
        r#"insert into queue.workers (id, name, seats, is_draining, lease_until, report)
           values (gen_random_uuid(), 'elsewhere', 4, true, now() + interval '1 hour',
                   '{"seats_used": 4, "busy_share": 1, "unknown_kinds": [], "backlog": [
                       {"queued": 0, "running": 0, "cost_us": 0, "oldest_ms": 0},
                       {"queued": 0, "running": 0, "cost_us": 0, "oldest_ms": 0},
                       {"queued": 10000, "running": 4, "cost_us": 1, "oldest_ms": 1},
                       {"queued": 0, "running": 0, "cost_us": 0, "oldest_ms": 0},
                       {"queued": 0, "running": 0, "cost_us": 0, "oldest_ms": 0}]}')"#,
    );
    level(&operator, "full").await;
    // Uploads look once a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = owner.post(&path, &text(3)).await;
    let wait = refused.headers["retry-after"].to_str().unwrap().to_owned();
    assert!(wait.parse::<u64>().is_ok_and(|wait| wait > 0), "{wait}");
    refused.is(429);
    let refused = owner.upload(&notebook, &[("3.txt", b"The yard closes at six.")]);
    refused.await.is(429);

    server.run(
        "quire",
        "delete from queue.workers where name = 'elsewhere'",
    );
    level(&operator, "normal").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let added = owner.post(&path, &text(4)).await.is(202);
    let source = added["sources"][0]["id"].as_str().unwrap();
    assert_eq!(owner.finished(source).await["state"], "searchable");
}

#[tokio::test]
async fn kinds_are_limited_and_schedules_shown_and_held_back() {
    let notion = NotionDouble::start("secret-1").await.unwrap();
    let quire = Quire::up_with(&[("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']")]);
    let owner = quire.tenant("timed").await;
    let operator = quire.caller(&quire.admin_key);
    cli(&quire, &["limit", "--kind", "read-source", "--most", "3"]);
    let limited = json!({ "kind": "read-source", "paused": false, "most_running": 3 });
    let queue = operator.get("/v1/queue").await.ok();
    assert_eq!(queue["kinds"], json!([limited]));
    let one = json!({ "kind": "read-source", "most_running": 1 });
    let told = operator.post("/v1/tasks/limit", &one).await.ok();
    assert_eq!(told["most_running"], 1);
    let stats = cli(&quire, &["stats"]);
    assert_eq!(stats["queue"]["kinds"][0]["most_running"], 1);
    let shown = String::from_utf8(quire.command(&["tasks", "stats"]).stdout).unwrap();
    assert!(
        shown.contains("kind 'read-source': at most 1 at once"),
        "{shown}"
    );
    let none = json!({ "kind": "read-source", "most_running": null });
    operator.post("/v1/tasks/limit", &none).await.ok();
    cli(&quire, &["limit", "--kind", "read-source", "--no-limit"]);
    assert_eq!(operator.get("/v1/queue").await.ok()["kinds"], json!([]));

    // A connection that is polled has a schedule.
    let connection = json!({ "kind": "notion", "name": "Wiki", "secret": "secret-1",
                             "settings": { "base_url": notion.base_url() } });
    owner.post("/v1/connections", &connection).await.created();
    let path = format!("/v1/queue/schedules?tenant={}", owner.tenant);
    let list = operator.get(&path).await.ok();
    let schedule = &list["items"][0];
    let id = schedule["id"].as_str().unwrap();
    assert_eq!(
        (&schedule["kind"], &schedule["paused"]),
        (&json!("sync-connection"), &json!(false))
    );
    assert!(
        schedule["next_at"].is_string() && schedule["problem"].is_null(),
        "{list:#}"
    );
    cli(&quire, &["pause", "--schedule", id]);
    let paused = cli(
        &quire,
        &[
            "schedules",
            "--tenant",
            "timed",
            "--kind",
            "sync-connection",
        ],
    );
    let paused = &paused["schedules"][0];
    assert_eq!(
        (&paused["id"], &paused["paused"]),
        (&json!(id), &json!(true))
    );
    let resumed = json!({ "schedule": id, "paused": false });
    operator.post("/v1/tasks/pause", &resumed).await.ok();
    let list = operator
        .get(&format!("/v1/queue/schedules?schedule={id}"))
        .await
        .ok();
    assert_eq!(list["items"][0]["paused"], false);
    let broken = operator.get("/v1/queue/schedules?broken=true").await.ok();
    assert_eq!(broken["items"], json!([]));

    // What was done is summed up twice a minute.
    let notebook = owner.notebook("work").await;
    owner
        .add(&notebook, "a.txt", "The yard closes at six.")
        .await;
    let busiest = || async {
        let busiest = operator.get("/v1/queue/tenants?hours=1").await.ok();
        let items = busiest["items"].as_array().unwrap().clone();
        items
            .iter()
            .any(|item| item["tenant"] == *owner.tenant && item["share"].as_f64() > Some(0.0))
    };
    eventually("the tenant's share is told", busiest).await;
    let events = operator.get("/v1/queue/events").await.ok();
    assert!(events["items"].is_array());
}

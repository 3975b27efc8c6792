//! The queue as an operator sees it, on the command line and over HTTP.

use std::time::{Duration, Instant};

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

    // One is cancelled; the other one runs once it may.
    let cancelled = operator
        .post("/v1/tasks/cancel", &json!({ "task": id }))
        .await
        .ok();
    assert_eq!(cancelled["tasks"], 1);
    operator.get(&format!("/v1/tasks/{id}")).await.is(404);
    let resumed = json!({ "tenant": tenant, "paused": false });
    operator.post("/v1/tasks/pause", &resumed).await.ok();
    let done = owner.finished(&second).await;
    assert_eq!(done["state"], "searchable");
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

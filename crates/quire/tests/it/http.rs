//! The HTTP surface: idempotency, paging, request ids, health, metrics, documentation.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Quire;

#[tokio::test]
async fn a_write_with_an_idempotency_key_happens_once() {
    let quire = Quire::shared();
    let caller = quire.tenant("idempotency").await;
    let create = async |key: &str, name: &str| {
        let request = caller
            .request(Method::POST, "/v1/notebooks")
            .header("idempotency-key", key);
        caller.send(request.json(&json!({ "name": name }))).await
    };
    let first = create("k1", "once").await.created();
    let again = create("k1", "once").await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.created(), first);
    assert_eq!(create("k1", "other").await.is(422)["code"], "invalid");
    // A failure frees the key.
    create("k2", "once").await.is(409);
    create("k2", "twice").await.created();
    assert_eq!(
        create(&"x".repeat(256), "long").await.is(400)["code"],
        "invalid"
    );

    // A storm of the same request: one is created, the rest get its answer or are told to wait.
    let storm = futures::future::join_all((0..16).map(|_| create("k3", "storm"))).await;
    let statuses: Vec<u16> = storm.iter().map(|reply| reply.status.as_u16()).collect();
    assert!(
        statuses.iter().all(|status| [201, 409].contains(status)),
        "{statuses:?}"
    );
    let listed = caller.get("/v1/notebooks").await.ok();
    let named = |name: &str| {
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["name"] == name)
            .count()
    };
    assert_eq!((named("once"), named("twice"), named("storm")), (1, 1, 1));

    // A key's secret is shown once, not even for the same request.
    let key = async || {
        let request = caller
            .request(Method::POST, "/v1/keys")
            .header("idempotency-key", "k4");
        caller
            .send(request.json(&json!({ "name": "k", "role": "tenant" })))
            .await
            .created()
    };
    let (first, second) = (key().await, key().await);
    assert!(first["secret"].is_string() && second["secret"].is_null());
    assert_eq!(first["id"], second["id"]);
}

#[tokio::test]
async fn lists_are_paged_without_gaps() {
    let quire = Quire::shared();
    let caller = quire.tenant("paging").await;
    for number in 0..7 {
        caller.notebook(&format!("n{number}")).await;
    }
    let mut names = Vec::new();
    let mut path = "/v1/notebooks?limit=3".to_owned();
    loop {
        let page = caller.get(&path).await.ok();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/notebooks?limit=3&cursor={cursor}");
    }
    assert_eq!(
        names,
        ["Knowledge base", "n0", "n1", "n2", "n3", "n4", "n5", "n6"]
    );
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_until_it_is_resumed() {
    let quire = Quire::shared();
    let (caller, admin) = (
        quire.tenant("suspended").await,
        quire.caller(&quire.admin_key),
    );
    let path = format!("/v1/tenants/{}", caller.tenant);
    admin
        .patch(&path, &json!({ "state": "suspended" }))
        .await
        .ok();
    assert_eq!(
        caller.get("/v1/notebooks").await.is(403)["code"],
        "forbidden"
    );
    admin.patch(&path, &json!({ "state": "active" })).await.ok();
    caller.get("/v1/notebooks").await.ok();
    admin
        .patch(&path, &json!({ "state": "gone" }))
        .await
        .is(400);
    admin
        .post("/v1/tenants", &json!({ "slug": "suspended", "name": "x" }))
        .await
        .is(409);
    admin
        .post("/v1/tenants", &json!({ "slug": "Not A Slug", "name": "x" }))
        .await
        .is(400);
}

#[tokio::test]
async fn the_service_describes_itself() {
    let quire = Quire::shared();
    let anybody = quire.caller("");
    assert_eq!(anybody.get("/healthz").await.ok()["status"], "ok");
    assert_eq!(anybody.get("/readyz").await.ok()["status"], "ok");

    let caller = quire.tenant("described").await;
    let notebook = caller.notebook("n").await;
    let source = caller
        .add(&notebook, "a/b \"c\".txt", "Some words to download.")
        .await;
    let path = format!("/v1/sources/{}/content", source["id"].as_str().unwrap());
    let content = caller.get(&path).await;
    assert_eq!(content.text, "Some words to download.");
    assert_eq!(
        content.headers["content-disposition"],
        "attachment; filename*=UTF-8''b%20%22c%22.txt"
    );
    assert_eq!(content.headers["x-content-type-options"], "nosniff");
    // A newer version that can't be read is there to download, and is not what citations are of.
    let path = format!("/v1/notebooks/{notebook}/sources");
    let newer = json!({ "name": "a/b \"c\".txt", "text": "\u{7}" });
    let newer = caller.post(&path, &newer).await.is(202);
    let newer = &newer["sources"][0];
    assert_eq!(
        (newer["state"].as_str(), newer["id"].as_str()),
        (Some("queued"), source["id"].as_str())
    );
    assert!(newer["reason"].is_string(), "{newer:#}");
    let path = format!("/v1/sources/{}", source["id"].as_str().unwrap());
    let failed = caller.finished(source["id"].as_str().unwrap()).await;
    assert_eq!(
        (&failed["state"], &failed["live_version"]),
        (&json!("failed"), &json!(1))
    );
    for (query, text) in [("", "Some words to download."), ("?version=2", "\u{7}")] {
        let content = caller.get(&format!("{path}/content{query}")).await;
        assert_eq!(content.text, text);
        assert_eq!(
            content.headers["content-length"],
            text.len().to_string().as_str()
        );
    }
    caller
        .get(&format!("{path}/content?version=3"))
        .await
        .is(404);
    let again = caller
        .post(&format!("{path}/retry"), &json!({}))
        .await
        .is(202);
    assert!(again["reason"].is_string(), "{again:#}");

    let request = caller
        .request(Method::GET, "/v1/nowhere")
        .header("x-request-id", "trace-42");
    let reply = caller.send(request).await;
    assert_eq!(
        (&reply.headers["x-request-id"], &reply.json()["request_id"]),
        (&"trace-42".parse().unwrap(), &json!("trace-42"))
    );
    let request = caller
        .request(Method::GET, "/v1/nowhere")
        .header("x-request-id", "not one word");
    assert!(
        caller.send(request).await.json()["request_id"]
            .as_str()
            .unwrap()
            .starts_with("req_")
    );

    let metrics = anybody.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for name in [
        "quire_http_requests_total",
        "quire_http_request_duration_seconds_bucket",
        "quire_build_info",
    ] {
        assert!(
            metrics.text.contains(name),
            "{name} is missing:\n{}",
            metrics.text
        );
    }
    for text in [caller.tenant.as_str(), "described", "ten_", "nb_", "src_"] {
        assert!(!metrics.text.contains(text), "a metric names '{text}'");
    }

    for page in ["/docs", "/docs/problems"] {
        let page = anybody.get(page).await;
        assert_eq!(page.status, 200);
        assert!(
            page.headers["content-security-policy"]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
        assert!(!page.text.contains("<script"));
    }
    let document: Value = anybody.get("/openapi.json").await.ok();
    let docs = anybody.get("/docs").await.text;
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(
            docs.contains(&path.replace('"', "")),
            "/docs does not mention {path}"
        );
    }
}

//! Connections: an account elsewhere is read, followed, lost and found again; signed webhooks bring records.

use std::time::Duration;

use quire_connect::standard;
use quire_testkit::notion::{Fault, NotionDouble, NotionPage};
use quire_types::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Caller, Quire, Reply};

fn open() -> Quire {
    Quire::up_with(&[("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']")])
}

fn page(title: &str, text: &str, edited_s: i64) -> NotionPage {
    NotionPage {
        title: title.to_owned(),
        blocks: vec![
            ("An introduction".to_owned(), Vec::new()),
            (
                "A list".to_owned(),
                vec!["One".to_owned(), "Two".to_owned(), text.to_owned()],
            ),
            ("An end".to_owned(), Vec::new()),
        ],
        edited_s,
        in_trash: false,
        is_hidden: false,
    }
}

/// Waits until something is so; a crash may be in between.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

async fn state(caller: &Caller, id: &str) -> Value {
    caller.get(&format!("/v1/connections/{id}")).await.ok()
}

async fn names(caller: &Caller, notebook: &str) -> Vec<String> {
    let sources = caller
        .get(&format!("/v1/notebooks/{notebook}/sources?limit=200"))
        .await
        .ok();
    let names = sources["items"].as_array().unwrap().iter();
    names
        .map(|source| source["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_notion_workspace_is_read_and_followed() {
    let mut quire = open();
    let mut caller = quire.tenant("wiki").await;
    let notion = NotionDouble::start("secret-1").await.unwrap();
    for at in 0..30 {
        let text = format!("The code of gate {at} is {}", 7_000 + at);
        notion.put(
            &format!("page-{at:02}"),
            page(&format!("Gate {at}"), &text, at),
        );
    }
    let new = |secret: &str| {
        json!({ "kind": "notion", "name": "Team wiki", "secret": secret,
                "settings": { "base_url": notion.base_url() } })
    };
    let refused = caller.post("/v1/connections", &new("wrong")).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    // The other side has too much to do twice, fails once, and forgets where the search was.
    let made = caller
        .post("/v1/connections", &new("secret-1"))
        .await
        .created();
    assert_eq!(made["account"], "Harbor Works");
    assert!(!made.to_string().contains("secret-1"));
    let id = made["id"].as_str().unwrap().to_owned();
    let notebook = made["notebook"].as_str().unwrap().to_owned();
    notion.push(Fault::RateLimited(1));
    notion.push(Fault::Status(500));
    notion.push(Fault::RateLimited(1));
    notion.expire_cursor();
    // Killed in the middle: nothing is lost and nothing there twice.
    until("the first request", async || notion.requests() > 6).await;
    quire.kill_and_restart();
    caller.url = quire.caller("").url;
    until("everything is read", async || {
        state(&caller, &id).await["last_success_at"].is_string()
    })
    .await;
    let mut there = names(&caller, &notebook).await;
    there.sort();
    assert_eq!(there.len(), 30, "{there:?}");
    there.dedup();
    assert_eq!(there.len(), 30);
    let hits = caller.search(&notebook, "code of gate 17").await;
    assert!(hits[0].contains("7017"), "{hits:?}");

    // A page changes, one is hidden from the search, one goes to the trash, one is not shared any more.
    notion.change("page-03", |page| {
        page.blocks = vec![("Gate three is closed for good".to_owned(), Vec::new())];
        page.edited_s = 1_000;
    });
    notion.change("page-04", |page| page.is_hidden = true);
    notion.change("page-05", |page| page.in_trash = true);
    notion.unshare("page-06");
    caller
        .post(&format!("/v1/connections/{id}/sync"), &json!({}))
        .await
        .is(202);
    until("what changed is found", async || {
        let hits = caller.search(&notebook, "closed for good").await;
        hits.iter().any(|hit| hit.contains("closed for good"))
    })
    .await;
    until("what is gone is gone", async || {
        names(&caller, &notebook).await.len() == 28
    })
    .await;
    let left = names(&caller, &notebook).await;
    assert!(left.contains(&"Gate 4".to_owned()), "{left:?}");
    assert!(
        !left.contains(&"Gate 5".to_owned()) && !left.contains(&"Gate 6".to_owned()),
        "{left:?}"
    );

    // The token is revoked: the state says so, a new one goes on.
    notion.set_token("secret-2");
    caller
        .post(&format!("/v1/connections/{id}/sync"), &json!({}))
        .await
        .is(202);
    until("it has failed", async || {
        state(&caller, &id).await["state"] == "failed"
    })
    .await;
    assert!(
        state(&caller, &id).await["reason"]
            .as_str()
            .unwrap()
            .contains("new one")
    );
    let renew = |secret: &str| {
        caller
            .request(Method::PATCH, &format!("/v1/connections/{id}"))
            .json(&json!({ "secret": secret }))
    };
    assert_eq!(caller.send(renew("secret-1")).await.status, 403);
    assert_eq!(caller.send(renew("secret-2")).await.ok()["state"], "active");

    // Removed with what it brought.
    caller
        .delete(&format!("/v1/connections/{id}?purge=true"))
        .await
        .is(204);
    assert!(names(&caller, &notebook).await.is_empty());
    let requests = notion.requests();
    caller
        .post("/v1/search", &json!({ "query": "gate" }))
        .await
        .ok();
    assert!(notion.requests() <= requests + 30);
}

async fn send(
    caller: &Caller,
    hook: &str,
    secret: &Secret,
    id: &str,
    at: i64,
    body: &str,
) -> Reply {
    let signature = standard::sign(std::slice::from_ref(secret), id, at, body.as_bytes()).unwrap();
    let mut anybody = caller.clone();
    anybody.key = String::new();
    let request = anybody
        .request(Method::POST, hook)
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
        .body(body.to_owned());
    caller.send(request).await
}

#[tokio::test]
async fn signed_webhooks_bring_records_once() {
    let quire = Quire::shared();
    let caller = quire.tenant("hooks").await;
    let made = caller
        .post(
            "/v1/connections",
            &json!({ "kind": "webhook", "name": "CMS" }),
        )
        .await
        .created();
    let (id, hook) = (made["id"].as_str().unwrap(), made["hook"].as_str().unwrap());
    let secret = Secret::new(made["secret"].as_str().unwrap());
    let now = chrono::Utc::now().timestamp();
    let event = |version: i64| {
        json!({ "type": "rfi", "id": "14", "action": "update", "version": version,
                "entity": { "type": "job", "id": "1", "name": "Pier Nine" },
                "fields": { "subject": "Lead lining height", "version": version } })
        .to_string()
    };
    assert_eq!(
        send(&caller, hook, &secret, "m1", now, &event(1))
            .await
            .status,
        202
    );
    // A replay is answered like the first time and has no effect, whatever it holds.
    assert_eq!(
        send(&caller, hook, &secret, "m1", now, &event(9))
            .await
            .status,
        202
    );
    let stranger = standard::generate().unwrap();
    for (case, reply, status) in [
        (
            "another secret",
            send(&caller, hook, &stranger, "m2", now, &event(9)).await,
            401,
        ),
        (
            "an old time",
            send(&caller, hook, &secret, "m3", now - 400, &event(9)).await,
            400,
        ),
        (
            "a time ahead",
            send(&caller, hook, &secret, "m4", now + 400, &event(9)).await,
            400,
        ),
        (
            "no events",
            send(&caller, hook, &secret, "m5", now, "nonsense").await,
            400,
        ),
        (
            "too large",
            send(&caller, hook, &secret, "m6", now, &"x".repeat(17 << 20)).await,
            413,
        ),
        (
            "no id",
            send(&caller, hook, &secret, "", now, &event(9)).await,
            400,
        ),
    ] {
        assert_eq!(reply.status, status, "{case}: {}", reply.text);
    }
    // What was refused may come again under its id.
    assert_eq!(
        send(&caller, hook, &secret, "m5", now, &event(2))
            .await
            .status,
        202
    );
    let other = quire.tenant("hooks-other").await;
    let foreign = hook.replace(&caller.tenant, &other.tenant);
    let absent = hook.replace(id, "con_0198c0de00007000a00000000000dead");
    for hook in [foreign.as_str(), absent.as_str(), "/hooks/a/b"] {
        let reply = send(&caller, hook, &secret, "m7", now, &event(9)).await;
        assert_eq!(reply.status, 404, "{hook}: {}", reply.text);
    }
    until("the record is found", async || {
        let records = caller.get("/v1/records?type=rfi").await.ok();
        records["items"][0]["state"] == "searchable" && records["items"][0]["version"] == 2
    })
    .await;
    caller
        .patch(
            &format!("/v1/connections/{id}"),
            &json!({ "is_active": false }),
        )
        .await
        .ok();
    assert_eq!(
        send(&caller, hook, &secret, "m8", now, &event(3))
            .await
            .status,
        404
    );
    // An account elsewhere may not be an address inside.
    let inside = json!({ "kind": "notion", "name": "x", "secret": "s", "settings": { "base_url": "http://127.0.0.1:1/" } });
    assert_eq!(caller.post("/v1/connections", &inside).await.status, 400);
}

//! Endpoints: what happens is told, signed, again after failures and after a crash, and never to an address inside.

use quire_connect::standard;
use quire_testkit::postgres::eventually;
use quire_testkit::receiver::{Message, Receiver, Reply};
use quire_types::Secret;
use serde_json::{Value, json};

use crate::support::{Caller, Quire};

fn open() -> Quire {
    Quire::up_with(&[("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']")])
}

async fn endpoint(caller: &Caller, receiver: &Receiver, more: Value) -> (String, Secret) {
    let mut body = json!({ "url": receiver.url() });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let made = caller.post("/v1/endpoints", &body).await.created();
    let secret = Secret::new(made["secret"].as_str().unwrap());
    (made["id"].as_str().unwrap().to_owned(), secret)
}

/// Checks the signature; returns the id and the body.
fn read(message: &Message, secret: &Secret) -> (String, Value) {
    let (id, at) = (
        message.header("webhook-id"),
        message.header("webhook-timestamp"),
    );
    let signature = message.header("webhook-signature");
    let now = at.parse().unwrap();
    let secrets = std::slice::from_ref(secret);
    standard::verify(secrets, id, at, signature, &message.body, now).unwrap();
    (
        id.to_owned(),
        serde_json::from_slice(&message.body).unwrap(),
    )
}

async fn log(caller: &Caller, endpoint: &str) -> Vec<Value> {
    let log = caller
        .get(&format!("/v1/endpoints/{endpoint}/deliveries"))
        .await
        .ok();
    log["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_happens_is_told_until_it_is_taken() {
    let mut quire = open();
    let mut caller = quire.tenant("told").await;
    let receiver = Receiver::start().await.unwrap();
    let (all, secret) = endpoint(&caller, &receiver, json!({})).await;
    let deaf = Receiver::start().await.unwrap();
    let (deletions, _) = endpoint(&caller, &deaf, json!({ "types": ["source.deleted"] })).await;

    // The first attempt fails, the second is taken; the id stays, the signature holds.
    receiver.push(Reply::Status(500));
    let notebook = caller.notebook("told").await;
    let source = caller
        .add(&notebook, "a.txt", "The slab is poured on May 4.")
        .await;
    eventually("the message arrives twice", async || {
        receiver.received().len() >= 2
    })
    .await;
    let messages: Vec<(String, Value)> = receiver
        .received()
        .iter()
        .map(|message| read(message, &secret))
        .collect();
    assert_eq!(messages[0], messages[1]);
    assert_eq!(messages[0].1["type"], "source.published");
    assert_eq!(messages[0].1["data"]["source"], source["id"]);
    assert!(
        !messages[0].1.to_string().contains("slab"),
        "no content leaves"
    );
    eventually("it is noted", async || {
        log(&caller, &all).await[0]["state"] == "delivered"
    })
    .await;
    assert_eq!(log(&caller, &all).await[0]["attempts"], 2);
    assert_eq!(deaf.received().len(), 0);

    // Killed between what happened and the telling: it is told afterwards.
    caller
        .send(
            caller
                .request(reqwest::Method::PATCH, &format!("/v1/endpoints/{all}"))
                .json(&json!({ "state": "paused" })),
        )
        .await
        .ok();
    caller
        .delete(&format!("/v1/sources/{}", source["id"].as_str().unwrap()))
        .await;
    eventually("the other endpoint hears of it", async || {
        !deaf.received().is_empty()
    })
    .await;
    assert_eq!(receiver.received().len(), 2);
    quire.kill_and_restart();
    caller.url = quire.caller("").url;
    caller
        .patch(
            &format!("/v1/endpoints/{all}"),
            &json!({ "state": "active" }),
        )
        .await
        .ok();
    eventually("what waited is sent", async || {
        receiver.received().len() == 3
    })
    .await;
    let (_, deleted) = read(&receiver.received()[2], &secret);
    assert_eq!(deleted["type"], "source.deleted");

    // Redirects are not followed; whoever says 410 is left alone, and the others hear of that.
    let elsewhere = Receiver::start().await.unwrap();
    deaf.push(Reply::Redirect(elsewhere.url().to_owned()));
    caller
        .post(&format!("/v1/endpoints/{deletions}/test"), &json!({}))
        .await
        .is(202);
    eventually("a redirect is a failure", async || {
        log(&caller, &deletions)
            .await
            .iter()
            .any(|delivery| delivery["status"] == 302)
    })
    .await;
    assert!(elsewhere.received().is_empty());
    for _ in 0..3 {
        deaf.push(Reply::Status(410));
    }
    caller
        .post(&format!("/v1/endpoints/{deletions}/test"), &json!({}))
        .await
        .is(202);
    eventually("it is disabled", async || {
        caller.get(&format!("/v1/endpoints/{deletions}")).await.ok()["state"] == "disabled"
    })
    .await;
    eventually("the others hear of it", async || {
        receiver
            .received()
            .iter()
            .any(|message| read(message, &secret).1["type"] == "endpoint.disabled")
    })
    .await;

    eventually("what the old key alone signs has arrived", async || {
        log(&caller, &all)
            .await
            .iter()
            .all(|delivery| delivery["state"] == "delivered")
    })
    .await;

    // A new key signs beside the old one for a while; a replay sends what was delivered again.
    let rotated = caller
        .post(&format!("/v1/endpoints/{all}/rotate"), &json!({}))
        .await
        .ok();
    let new = Secret::new(rotated["secret"].as_str().unwrap());
    let before = receiver.received().len();
    let range = json!({ "from": "2020-01-01T00:00:00Z", "to": "2999-01-01T00:00:00Z" });
    let replayed = caller
        .post(&format!("/v1/endpoints/{all}/replay"), &range)
        .await
        .is(202);
    let count = usize::try_from(replayed["events"].as_u64().unwrap()).unwrap();
    assert!(count >= 4, "{replayed}");
    eventually("the replay arrives", async || {
        receiver.received().len() >= before + count
    })
    .await;
    for message in &receiver.received()[before..] {
        assert_eq!(read(message, &secret), read(message, &new));
    }
    // The database holds no key that could be read.
    let export = std::process::Command::new("grep")
        .args(["-rlF", new.expose().trim_start_matches("whsec_")])
        .arg(quire.data())
        .output()
        .unwrap();
    assert!(
        export.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&export.stdout)
    );
}

#[tokio::test]
async fn an_endpoint_inside_is_refused() {
    let quire = Quire::shared();
    let caller = quire.tenant("inside").await;
    let receiver = Receiver::start().await.unwrap();
    for url in [
        receiver.url(),
        "https://127.0.0.1/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://2130706433/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:password@example.com/",
        "https://example.com:5432/",
        "file:///etc/passwd",
    ] {
        let refused = caller.post("/v1/endpoints", &json!({ "url": url })).await;
        assert_eq!(refused.status, 400, "{url}: {}", refused.text);
    }
    // A name is looked up when it is sent to, and what it leads to then counts.
    let made = caller
        .post("/v1/endpoints", &json!({ "url": "https://localhost/x" }))
        .await
        .created();
    let id = made["id"].as_str().unwrap();
    caller
        .post(&format!("/v1/endpoints/{id}/test"), &json!({}))
        .await
        .is(202);
    eventually("it is not reached", async || {
        let log = log(&caller, id).await;
        log[0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("no address that may be reached"))
    })
    .await;
    assert!(receiver.received().is_empty());
    let unknown = json!({ "url": "https://example.com/", "types": ["source.eaten"] });
    assert_eq!(caller.post("/v1/endpoints", &unknown).await.status, 400);
}

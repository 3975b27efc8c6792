//! Questions that are answered later: once, by the cheaper chain, told to endpoints, also after a crash.

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{ChatDouble, Script};
use quire_testkit::receiver::Receiver;
use serde_json::{Value, json};

use crate::support::{Caller, Quire};

const QUESTION: &str = "What is the gate code of the yard?";

async fn ask_later(caller: &Caller, question: &str) -> String {
    let asked = json!({ "question": question });
    let asked = caller.post("/v1/questions", &asked).await.is(202);
    assert_eq!(
        (&asked["state"], &asked["question"]),
        (&json!("queued"), &json!(question))
    );
    asked["id"].as_str().unwrap().to_owned()
}

async fn found(caller: &Caller, id: &str) -> Value {
    caller.get(&format!("/v1/questions/{id}")).await.ok()
}

async fn until(caller: &Caller, id: &str, state: &str) -> Value {
    eventually(&format!("{id} is {state}"), async || {
        found(caller, id).await["state"] == state
    })
    .await;
    found(caller, id).await
}

#[tokio::test]
async fn a_question_is_answered_later_once_and_told() {
    let double = ChatDouble::start().await.unwrap();
    let mut quire = Quire::up_with(&[
        ("QUIRE__CHAT__BASE_URL", &double.base_url()),
        ("QUIRE__CHAT__MODEL", "interactive"),
        ("QUIRE__CHAT__INPUT_PRICE", "$0.10"),
        ("QUIRE__CHAT__OUTPUT_PRICE", "$0.40"),
        ("QUIRE__DEPTH__PHRASINGS", "0"),
        ("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']"),
    ]);
    let mut caller = quire.tenant("later").await;
    let notebook = caller.notebook("yard").await;
    let text = "The gate code of the yard is 4417.";
    caller.add(&notebook, "gate.txt", text).await;
    let receiver = Receiver::start().await.unwrap();
    let types = ["question.answered", "question.failed"];
    let endpoint = json!({ "url": receiver.url(), "types": types });
    caller.post("/v1/endpoints", &endpoint).await.created();

    // A provider that is down for a moment is no end of it, and neither is a crash in the middle.
    double.push(Script::HangBefore);
    let id = ask_later(&caller, QUESTION).await;
    eventually("the provider is asked", async || double.count() > 0).await;
    let tenant = caller.tenant.clone();
    quire.kill_and_restart();
    caller = quire.caller(&caller.key);
    double.always(Script::Answer("The gate code is 4417 [1].".to_owned()));
    let answered = until(&caller, &id, "answered").await;
    let answer = &answered["answer"];
    assert_eq!(answer["kind"], "composed");
    assert_eq!(answer["text"], "The gate code is 4417 [1].");
    assert_eq!(answer["citations"][0]["source_name"], "gate.txt");
    assert_eq!(answer["route"]["name"], "batch");
    eventually("it is told", async || !receiver.received().is_empty()).await;
    let told: Value = serde_json::from_slice(&receiver.received()[0].body).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["question"]),
        (&json!("question.answered"), &json!(id))
    );
    assert!(!told.to_string().contains("gate code"), "no content leaves");

    // Whoever asks twice pays twice: the call that the crash broke off, too.
    let admin = quire.caller(&quire.admin_key);
    eventually("every call is accounted for", async || {
        let events = admin.usage_events(&tenant, "chat").await;
        events.len() == double.count() && events.iter().all(|event| event["cost_nanousd"] != 0)
    })
    .await;
    assert_eq!(double.count(), 2);
    eventually("the question is counted", async || {
        !admin.usage_events(&tenant, "question").await.is_empty()
    })
    .await;
    assert_eq!(admin.usage_events(&tenant, "question").await.len(), 1);

    let listed = caller.get("/v1/questions").await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["answer"], Value::Null);
    caller.delete(&format!("/v1/questions/{id}")).await.is(204);
    caller.get(&format!("/v1/questions/{id}")).await.is(404);

    // What can't be asked is refused at once; what the plan lacks, too.
    for (body, status) in [
        (json!({ "question": " " }), 400),
        (json!({ "question": "x".repeat(100_000) }), 400),
        (json!({ "question": QUESTION, "route": "simple" }), 400),
        (
            json!({ "question": QUESTION, "filter": { "notebooks": ["nb_0198c0de00007000a000000000000001"] } }),
            404,
        ),
    ] {
        caller.post("/v1/questions", &body).await.is(status);
    }
    let starter = quire.tenant("small").await;
    let plan = json!({ "plan": "starter" });
    let path = format!("/v1/tenants/{}", starter.tenant);
    admin.patch(&path, &plan).await.ok();
    let asked = json!({ "question": QUESTION });
    let refused = starter.post("/v1/questions", &asked).await.is(403);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("answered later"), "{detail}");

    // Nothing is taken in for a tenant that may not ask.
    let path = format!("/v1/tenants/{tenant}");
    let suspended = json!({ "state": "suspended" });
    admin.patch(&path, &suspended).await.ok();
    eventually("it is known", async || {
        let asked = caller.post("/v1/questions", &asked).await;
        asked.status == 403
    })
    .await;
}

#[tokio::test]
async fn a_new_index_is_tried_with_what_was_asked() {
    let quire = Quire::up();
    let caller = quire.tenant("asked").await;
    let notebook = caller.notebook("yard").await;
    let text = "The gate code of the yard is 4417.";
    caller.add(&notebook, "gate.txt", text).await;
    for question in [QUESTION, "Who paints the fence?", QUESTION] {
        ask_later(&caller, question).await;
    }
    let index = |arguments: &[&str]| {
        let done = quire.command(&[&["index"], arguments, &["--json"]].concat());
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{error}");
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    index(&["fold", "asked"]);
    let rebuilt = index(&["rebuild", "asked", "--seed", "7"]);
    assert_eq!(
        (
            &rebuilt["questions"],
            &rebuilt["own_questions"],
            &rebuilt["recall"]
        ),
        (&json!(100), &json!(2), &json!(1.0))
    );
}

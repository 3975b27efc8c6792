//! Answers that are given again: to whom, until when, and by whom.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{ChatDouble, Script};
use quire_testkit::redis::RedisServer;

use crate::support::{Caller, Quire};

const QUESTION: &str = "Who delivers the rebar?";

fn environment(double: &ChatDouble) -> [(&'static str, String); 2] {
    [
        ("QUIRE__CHAT__BASE_URL", double.base_url()),
        ("QUIRE__CHAT__MODEL", "gpt-4o-mini".to_owned()),
    ]
}

fn up(double: &ChatDouble, more: &[(&str, &str)]) -> Quire {
    let own = environment(double);
    let mut all: Vec<(&str, &str)> = own.iter().map(|(k, v)| (*k, v.as_str())).collect();
    all.extend(more);
    Quire::up_with(&all)
}

fn says(double: &ChatDouble, who: &str) {
    double.push(Script::Answer(format!("{who} delivers the rebar [1].")));
}

async fn ask(caller: &Caller, notebook: Option<&str>) -> Value {
    let filter = notebook.map_or(json!({}), |notebook| json!({ "notebooks": [notebook] }));
    let body = json!({ "question": QUESTION, "filter": filter });
    caller.post("/v1/ask", &body).await.ok()
}

#[tokio::test]
async fn nobody_gets_an_answer_that_was_made_for_others_or_from_other_sources() {
    let double = ChatDouble::start().await.unwrap();
    let quire = up(&double, &[]);
    let (one, other) = (quire.tenant("one").await, quire.tenant("other").await);
    let mut notebooks = Vec::new();
    for caller in [&one, &other] {
        let notebook = caller.notebook("yard").await;
        let text = "Somebody delivers the rebar, and this says who.";
        caller.add(&notebook, "rebar.txt", text).await;
        notebooks.push(notebook);
    }

    // The same words over the same text: by tenant, by notebook, and by the key's reach.
    says(&double, "Ironside");
    let first = ask(&one, None).await;
    assert_eq!(first["cached"], false);
    assert_eq!(ask(&one, None).await["cached"], true);
    says(&double, "Steelmark");
    let theirs = ask(&other, None).await;
    assert_eq!(theirs["cached"], false);
    assert!(theirs["text"].as_str().unwrap().contains("Steelmark"));
    says(&double, "Ironside");
    assert_eq!(ask(&one, Some(&notebooks[0])).await["cached"], false);
    // A key that reaches that notebook only asks the same as who names it.
    let key = json!({ "name": "n", "role": "notebook", "notebook": notebooks[0] });
    let key = one.post("/v1/keys", &key).await.created();
    let bound = quire.caller(key["secret"].as_str().unwrap());
    assert_eq!(ask(&bound, None).await["cached"], true);
    assert_eq!(double.received().len(), 3);

    // A new document, a document less, and an emptied cache.
    let added = one
        .add(&notebooks[0], "new.txt", "Girders come on Monday.")
        .await;
    says(&double, "Ironside");
    assert_eq!(ask(&one, None).await["cached"], false);
    let source = format!("/v1/sources/{}", added["id"].as_str().unwrap());
    assert_eq!(one.delete(&source).await.status, 204);
    says(&double, "Ironside");
    assert_eq!(ask(&one, None).await["cached"], false);
    assert_eq!(ask(&one, None).await["cached"], true);
    let purged = quire.command(&["cache", "purge", "--tenant", "one"]);
    assert!(
        purged.status.success(),
        "{}",
        String::from_utf8_lossy(&purged.stderr)
    );
    says(&double, "Ironside");
    assert_eq!(ask(&one, None).await["cached"], false);
    assert_eq!(ask(&other, None).await["cached"], true);
    let admin = quire.caller(&quire.admin_key);
    let path = format!("/v1/tenants/{}/cache", other.tenant);
    admin.delete(&path).await.ok();
    says(&double, "Steelmark");
    assert_eq!(ask(&other, None).await["cached"], false);

    // No cache between here and the caller may keep an answer.
    let reply = one.post("/v1/ask", &json!({ "question": QUESTION })).await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let metrics = one.get("/metrics").await.text;
    assert!(
        metrics.contains(r#"quire_cache_hits_total{cache="answer",tier="memory"}"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_cause_one_call_and_each_hears_all_of_it() {
    let double = ChatDouble::start().await.unwrap();
    let quire = up(&double, &[]);
    let caller = quire.tenant("yard").await;
    let notebook = caller.notebook("yard").await;
    caller
        .add(&notebook, "rebar.txt", "Ironside delivers the rebar.")
        .await;
    let stampede = async |question: &str| {
        let asks = (0..60).map(|number| {
            let body = json!({ "question": question, "stream": number % 2 == 0 });
            let caller = caller.clone();
            async move { caller.post("/v1/ask", &body).await }
        });
        join_all(asks).await
    };
    says(&double, "Ironside");
    let mut causes = 0;
    for reply in stampede(QUESTION).await {
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.text.contains("Ironside delivers the rebar"));
        causes += usize::from(reply.text.contains(r#""cached":false"#));
    }
    assert_eq!((double.received().len(), causes), (1, 1));

    // When the model fails, everybody is quoted to, and nothing of that is kept.
    double.push(Script::Status {
        code: 500,
        body: "{}".to_owned(),
        retry_after: None,
    });
    for reply in stampede("When is the rebar delivered by Ironside?").await {
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
}

#[tokio::test]
async fn a_leader_that_goes_away_takes_nothing_from_who_follows() {
    let double = ChatDouble::start().await.unwrap();
    let quire = up(&double, &[("QUIRE__CHAT__BETWEEN_TOKENS_TIMEOUT_S", "5")]);
    let caller = quire.tenant("yard").await;
    let notebook = caller.notebook("yard").await;
    caller
        .add(&notebook, "rebar.txt", "Ironside delivers the rebar.")
        .await;
    let body = json!({ "question": QUESTION, "stream": true });
    double.push(Script::HangAfter(30));
    let leader = caller.request(Method::POST, "/v1/ask").json(&body);
    let leader = leader.send().await.unwrap();
    let follower = caller.request(Method::POST, "/v1/ask").json(&body);
    let follower = follower.send().await.unwrap();
    drop(leader);
    // The model never ends a sentence, so the one who is left is quoted to.
    let text = follower.text().await.unwrap();
    assert!(text.contains("event: done"), "{text}");
    assert!(text.contains("AI temporarily limited"), "{text}");
    assert_eq!(double.received().len(), 1);
}

#[tokio::test]
async fn redis_shares_answers_and_may_go_away_at_any_time() {
    let double = ChatDouble::start().await.unwrap();
    let redis = RedisServer::start().await;
    let mut quire = up(&double, &[("QUIRE__CACHE__REDIS_URL", &redis.url())]);
    let caller = quire.tenant("yard").await;
    let notebook = caller.notebook("yard").await;
    caller
        .add(&notebook, "rebar.txt", "Ironside delivers the rebar.")
        .await;
    let answer = "Ironside delivers the rebar [1].";
    double.always(Script::Answer(answer.to_owned()));
    let admin = quire.caller(&quire.admin_key);
    let path = format!("/v1/tenants/{}/cache", caller.tenant);
    // Redis is given a tenth of a second, after which it is left alone for two: a busy machine has to be asked again.
    eventually("redis holds the answer and the vector", async || {
        admin.delete(&path).await;
        ask(&caller, None).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        admin.get(&path).await.json()["redis_entries"] == 2
    })
    .await;

    // Another process remembers nothing of its own.
    let mut caller = caller;
    let mut again = Value::Null;
    for _ in 0..3 {
        quire.kill_and_restart();
        caller = quire.caller(&caller.key);
        let asked = double.received().len();
        again = ask(&caller, None).await;
        assert_eq!(again["text"], answer);
        if again["cached"] == true {
            assert_eq!(double.received().len(), asked);
            break;
        }
    }
    assert_eq!(again["cached"], true, "{again:#}");

    // Without Redis each process remembers its own, and nobody fails.
    drop(redis);
    assert_eq!(ask(&caller, None).await["cached"], true);
    quire.kill_and_restart();
    let caller = quire.caller(&caller.key);
    assert_eq!(ask(&caller, None).await["cached"], false);
    assert_eq!(ask(&caller, None).await["cached"], true);
    let stats = quire.command(&["cache", "stats", "--tenant", "yard", "--json"]);
    // An operator hears that Redis is away.
    assert!(!stats.status.success());
}

#[tokio::test]
async fn nearly_the_same_question_gets_the_same_answer_within_one_tenant_and_no_other_does() {
    let double = ChatDouble::start().await.unwrap();
    let quire = up(&double, &[("QUIRE__CACHE__NEAR_ANSWERS", "true")]);
    let (one, other) = (quire.tenant("one").await, quire.tenant("other").await);
    let text = "Ironside delivers the rebar in week 12, Steelmark the mesh.";
    for caller in [&one, &other] {
        let notebook = caller.notebook("yard").await;
        caller.add(&notebook, "rebar.txt", text).await;
    }
    let asked = async |caller: &Caller, question: &str| {
        says(&double, "Ironside");
        let answer = caller
            .post("/v1/ask", &json!({ "question": question }))
            .await
            .ok();
        let is_new = answer["cached"] == false;
        // The script waits on for the next one.
        if !is_new {
            caller
                .post("/v1/ask", &json!({ "question": question, "fresh": true }))
                .await
                .ok();
        }
        assert_eq!(double.scripts_left(), 0, "{answer:#}");
        (is_new, answer)
    };
    assert!(asked(&one, QUESTION).await.0);
    let (is_new, answer) = asked(&one, "who delivers the rebar, please").await;
    assert_eq!(
        (is_new, &answer["understood"]),
        (false, &json!(QUESTION)),
        "{answer:#}"
    );
    assert!(answer["text"].as_str().unwrap().contains("Ironside"));
    for question in [
        "Who delivers no rebar?",
        "Who delivers the rebar in week 12?",
        "Who delivers the rebar in week 13?",
        "When is the rebar delivered?",
        "Who delivers the rebar of Halvorsen?",
    ] {
        let (is_new, answer) = asked(&one, question).await;
        assert!(is_new, "{question}: {answer:#}");
    }
    assert!(
        asked(&other, "Who delivers the rebar, please?").await.0,
        "another tenant"
    );
    let explained = json!({ "question": "Who delivers the rebar, then?", "explain": true });
    says(&double, "Ironside");
    assert_eq!(one.post("/v1/ask", &explained).await.ok()["cached"], false);

    let stats = async || {
        let output = quire.command(&["cache", "stats", "--tenant", "one", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    eventually("the hit is counted", async || {
        stats().await["hits_by_tier"]["near"] == 1
    })
    .await;
    // What was added since is not answered around.
    let notebook = one.notebook("more").await;
    one.add(
        &notebook,
        "more.txt",
        "From May on Birch delivers the rebar.",
    )
    .await;
    assert!(asked(&one, "who delivers the rebar, please?").await.0);
}

//! What questions cost, and what happens to those that are not let in or do not end.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{ChatDouble, Script};

use crate::support::{Caller, Quire};

const QUESTION: &str = "What is the gate code of the yard?";

struct Yard {
    double: ChatDouble,
    quire: Quire,
    admin: Caller,
    caller: Caller,
    ask: String,
}

impl Yard {
    async fn new() -> Self {
        let double = ChatDouble::start().await.unwrap();
        let quire = Quire::up_with(&[
            ("QUIRE__CHAT__BASE_URL", &double.base_url()),
            ("QUIRE__CHAT__MODEL", "gpt-4o-mini"),
        ]);
        let caller = quire.tenant("yard").await;
        let notebook = caller.notebook("yard").await;
        caller
            .add(&notebook, "gate.txt", "The gate code of the yard is 4417.")
            .await;
        Self {
            double,
            admin: quire.caller(&quire.admin_key),
            quire,
            caller,
            ask: format!("/v1/notebooks/{notebook}/ask"),
        }
    }

    async fn limit(&self, name: &str, value: &str) {
        let path = format!("/v1/tenants/{}/limits/{name}", self.caller.tenant);
        let request = self
            .admin
            .request(Method::PUT, &path)
            .json(&json!({ "value": value }));
        self.admin.send(request).await.ok();
    }

    fn answers(&self) {
        self.double.push(Script::Answer(
            "The gate code of the yard is 4417 [1].".to_owned(),
        ));
    }

    async fn question(&self, fresh: bool) -> crate::support::Reply {
        self.caller
            .post(&self.ask, &json!({ "question": QUESTION, "fresh": fresh }))
            .await
    }

    /// The usage events of the tenant, of one kind.
    async fn events(&self, kind: &str) -> Vec<Value> {
        self.admin.usage_events(&self.caller.tenant, kind).await
    }

    /// What is reserved of the tenant's money right now.
    async fn held(&self) -> i64 {
        let usage = self.caller.get("/v1/usage").await.ok();
        let budgets = usage["budgets"].as_array().unwrap();
        budgets
            .iter()
            .filter(|budget| budget["scope"] == "cost/tenant/month")
            .map(|budget| budget["held"].as_i64().unwrap())
            .sum()
    }
}

fn cost(event: &Value) -> i64 {
    event["cost_nanousd"].as_i64().unwrap()
}

#[tokio::test]
async fn a_composed_answer_is_charged_by_the_price_list_and_counted_once() {
    let yard = Yard::new().await;
    yard.answers();
    yard.question(false).await.ok();
    // The same again is not asked again.
    let again = yard.question(false).await.ok();
    assert_eq!(again["cached"], true);
    assert_eq!(yard.double.received().len(), 1);

    eventually(
        "the attempt is closed and both questions are counted",
        async || {
            let chats = yard.events("chat").await;
            chats.iter().any(|event| event["is_estimated"] == false)
                && yard.events("question").await.len() == 2
        },
    )
    .await;
    let chats = yard.events("chat").await;
    assert_eq!(chats.len(), 1);
    // 12 tokens in, of which 4 cached, at $0.15 and $0.075 a million; those out at $0.60.
    let out = chats[0]["quantities"]["output_tokens"].as_i64().unwrap();
    assert!(out > 0);
    assert_eq!(cost(&chats[0]), 8 * 150 + 4 * 75 + out * 600);
    assert_eq!(yard.events("question").await.len(), 2);
}

#[tokio::test]
async fn without_a_budget_answers_are_quoted_and_say_so() {
    let yard = Yard::new().await;
    yard.limit("cost_per_month", "$0.001").await;
    let answer = yard.question(true).await.ok();
    assert_eq!(answer["kind"], "extractive");
    assert!(
        answer["note"].as_str().unwrap().contains("budget"),
        "{answer:#}"
    );
    assert_eq!(yard.double.received().len(), 0);
    assert_eq!(yard.events("chat").await.len(), 0);
}

#[tokio::test]
async fn beyond_the_rate_what_is_known_is_repeated_and_the_rest_is_told_when_to_come_back() {
    let yard = Yard::new().await;
    yard.answers();
    yard.question(false).await.ok();
    yard.limit("requests_per_minute", "1").await;
    yard.answers();
    let last = yard.question(true).await;
    assert_eq!(last.headers["ratelimit-policy"], "\"tenant\";q=1;w=60");
    last.ok();
    assert_eq!(yard.question(false).await.ok()["cached"], true);
    let other = yard
        .caller
        .post(&yard.ask, &json!({ "question": "Who built the gate?" }))
        .await;
    assert_eq!(
        other.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        other.text
    );
    let wait: u64 = other.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(
        other.headers["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"tenant\";r=0;t=")
    );
}

#[tokio::test]
async fn a_client_that_goes_away_pays_what_was_begun_and_holds_nothing() {
    let yard = Yard::new().await;
    yard.limit("cost_per_month", "$1").await;
    yard.double.push(Script::HangAfter(30));
    let body = json!({ "question": QUESTION, "stream": true });
    let request = yard.caller.request(Method::POST, &yard.ask).json(&body);
    let stream = request.send().await.unwrap();
    eventually("the model was asked", async || {
        !yard.double.received().is_empty()
    })
    .await;
    assert!(yard.held().await > 0);
    drop(stream);
    eventually("the attempt is closed", async || {
        let chats = yard.events("chat").await;
        chats.len() == 1 && chats[0]["is_estimated"] == true && cost(&chats[0]) > 0
    })
    .await;
    // What is held is settled when its time is over, at the latest when the process ends.
    assert!(yard.quire.stop().success());
    let stored = yard.quire.command(&["usage", "--tenant", "yard", "--json"]);
    assert!(
        stored.status.success(),
        "{}",
        String::from_utf8_lossy(&stored.stderr)
    );
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_is_paid_by_what_it_really_took() {
    let yard = Yard::new().await;
    let text = "The gate code of the yard is 4417 [1]. It is written on the gate of the yard, too, and \
        everybody who comes by can read it there by day and by night [1].";
    yard.double.push(Script::Paced {
        text: text.to_owned(),
        first: Duration::ZERO,
        between: Duration::from_millis(100),
    });
    let body = json!({ "question": QUESTION, "stream": true });
    let request = yard.caller.request(Method::POST, &yard.ask).json(&body);
    let mut stream = request.send().await.unwrap();
    let mut heard = String::new();
    while !heard.contains("event: delta") {
        let chunk = stream.chunk().await.unwrap().unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!heard.contains("event: done"), "{heard}");
    drop(stream);
    eventually("the provider said what it used", async || {
        let chats = yard.events("chat").await;
        chats.len() == 1 && chats[0]["is_estimated"] == false
    })
    .await;
    let chats = yard.events("chat").await;
    let words = i64::try_from(text.split_inclusive(' ').count()).unwrap();
    assert_eq!(cost(&chats[0]), 8 * 150 + 4 * 75 + words * 600);
    // The next one has to be answered anew: nothing was remembered of it.
    yard.answers();
    assert_eq!(yard.question(false).await.ok()["cached"], false);
}

#[tokio::test]
async fn a_tenant_suspended_in_the_middle_of_an_answer_gets_no_more_of_it() {
    let yard = Yard::new().await;
    yard.double.push(Script::HangAfter(30));
    let body = json!({ "question": QUESTION, "stream": true });
    let request = yard.caller.request(Method::POST, &yard.ask).json(&body);
    let stream = request.send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    eventually("the model was asked", async || {
        !yard.double.received().is_empty()
    })
    .await;
    let path = format!("/v1/tenants/{}", yard.caller.tenant);
    let suspend = yard
        .admin
        .request(Method::PATCH, &path)
        .json(&json!({ "state": "suspended" }));
    yard.admin.send(suspend).await.ok();
    let rest = tokio::time::timeout(Duration::from_secs(20), stream.text()).await;
    let text = rest.unwrap().unwrap();
    assert!(text.contains("the tenant is suspended"), "{text}");
    assert!(!text.contains("event: done"), "{text}");
    assert_eq!(yard.question(true).await.status, StatusCode::FORBIDDEN);
    let chats = yard.events("chat").await;
    assert!(chats.len() == 1 && cost(&chats[0]) > 0, "{chats:?}");
}

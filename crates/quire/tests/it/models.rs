//! Models of several providers behind one question: who is asked, who is next, where, and what it costs.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{ChatDouble, Dialect, Script};

use crate::support::{Caller, Quire};

const QUESTION: &str = "What is the gate code of the yard?";

/// A customer whose answers come from one provider, and from another one when that fails.
struct Yard {
    quire: Quire,
    admin: Caller,
    caller: Caller,
    notebook: String,
    first: ChatDouble,
    second: ChatDouble,
}

impl Yard {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, &str)]) -> Self {
        let first = ChatDouble::start().await.unwrap();
        let second = ChatDouble::start().await.unwrap();
        let chain = (
            "QUIRE__CHAINS__ANSWER",
            "[\"gpt-4o-mini\", \"claude-haiku-4-5\"]",
        );
        let quire = Quire::up_with(&[&[chain], more].concat());
        let admin = quire.caller(&quire.admin_key);
        let caller = quire.tenant("yard").await;
        let notebook = caller.notebook("yard").await;
        caller
            .add(&notebook, "gate.txt", "The gate code of the yard is 4417.")
            .await;
        Self {
            quire,
            admin,
            caller,
            notebook,
            first,
            second,
        }
    }

    /// Adds a pool of each provider, with keys of its own.
    async fn with_pools(self) -> Self {
        for (id, provider, base_url) in [
            ("openai-1", "openai", self.first.base_url()),
            (
                "anthropic-1",
                "anthropic",
                self.second.base_url_of(Dialect::Anthropic),
            ),
        ] {
            let pool = json!({"id": id, "region": "local", "provider": provider, "base_url": base_url,
                "key": format!("sk-{id}"), "quota": {"requests_per_minute": 1_000}});
            let added = self.admin.post("/v1/pools", &pool).await;
            assert!(
                !added.text.contains("sk-"),
                "a key never comes back: {}",
                added.text
            );
            assert_eq!(added.created()["has_key"], true);
        }
        self
    }

    async fn ask(&self) -> Value {
        self.caller.ask(&self.notebook, QUESTION).await
    }

    /// Asks until the answer is by this model: a change reaches the process within a moment.
    async fn answered_by(&self, model: Value) {
        eventually("the model answers", async || {
            self.ask().await["model"] == model
        })
        .await;
    }

    async fn chats(&self) -> Vec<Value> {
        self.admin.usage_events(&self.caller.tenant, "chat").await
    }
}

fn status(code: u16, message: &str) -> Script {
    Script::Status {
        code,
        body: json!({"error": {"message": message}}).to_string(),
        retry_after: None,
    }
}

const SAID: &str = "The gate code of the yard is 4417 [1].";

fn said() -> Script {
    Script::Answer(SAID.to_owned())
}

#[tokio::test]
async fn whoever_fails_before_the_first_word_is_followed_by_the_next_and_each_is_accounted_for() {
    let yard = Yard::new().await.with_pools().await;
    yard.first.always(said());
    yard.second.always(said());
    yard.answered_by(json!("gpt-4o-mini")).await;
    let asked = yard.first.received();
    assert_eq!(asked[0].header("authorization"), Some("Bearer sk-openai-1"));

    let faults = [
        status(500, "because"),
        Script::EndAfter(0),
        Script::ErrorBody200,
        status(400, "This model's maximum context length is 128000 tokens"),
        // Without Retry-After the pool is left alone for a second.
        status(429, "slow down"),
    ];
    for fault in faults {
        let name = format!("{fault:?}");
        yard.first.push(fault);
        let answer = yard.ask().await;
        assert_eq!(answer["model"], "claude-haiku-4-5", "{name}: {answer:#}");
        assert_eq!(answer["kind"], "composed", "{name}: {answer:#}");
        assert_eq!(
            yard.first.scripts_left(),
            0,
            "{name}: the first was not asked"
        );
    }
    let asked = yard.second.received();
    assert_eq!(asked[0].header("x-api-key"), Some("sk-anthropic-1"));

    eventually("every attempt is told", async || {
        yard.chats().await.len() == yard.first.count() + yard.second.count()
    })
    .await;
    let chats = yard.chats().await;
    let by = |model: &str| chats.iter().filter(|event| event["model"] == model).count();
    assert_eq!(by("claude-haiku-4-5"), 5, "{chats:#?}");
    assert_eq!(by("gpt-4o-mini"), yard.first.received().len(), "{chats:#?}");

    // A refused key takes its pool out of the way; a new one is used at once.
    yard.answered_by(json!("gpt-4o-mini")).await;
    yard.first.push(status(401, "no such key"));
    assert_eq!(yard.ask().await["model"], "claude-haiku-4-5");
    let asked_before = yard.first.count();
    assert_eq!(yard.ask().await["model"], "claude-haiku-4-5");
    assert_eq!(
        yard.first.count(),
        asked_before,
        "a refused key is not shown again and again"
    );
    let output = yard.quire.command_in(
        &["pool", "rotate", "openai-1", "--key-file", "-", "--json"],
        yard.quire.data(),
        b"sk-new\n",
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("sk-new"));
    yard.answered_by(json!("gpt-4o-mini")).await;
    let last = yard.first.received().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer sk-new"));

    let metrics = yard.admin.get("/metrics").await.text;
    for line in [
        "quire_model_calls_total{pool=\"openai-1\",model=\"gpt-4o-mini\",outcome=\"limited\"} 1",
        "quire_model_calls_total{pool=\"openai-1\",model=\"gpt-4o-mini\",outcome=\"bad\"} 3",
        "quire_model_breaker_open{pool=\"anthropic-1\",model=\"claude-haiku-4-5\"} 0",
        "quire_model_first_token_seconds_bucket",
        "quire_model_cost_usd_total{pool=\"openai-1\"",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn no_question_leaves_its_region_and_none_fails_for_want_of_a_model() {
    let yard = Yard::new().await;
    yard.first.always(said());
    let limited = |answer: &Value| {
        assert_eq!(answer["kind"], "extractive", "{answer:#}");
        let note = answer["note"].as_str().unwrap();
        assert!(note.starts_with("AI temporarily limited"), "{note}");
        assert!(answer["text"].as_str().unwrap().contains("4417"));
    };
    limited(&yard.ask().await);

    // A pool of another region is no pool at all for this customer.
    let region = json!({ "name": "European Union", "countries": ["DE"] });
    let request = yard
        .admin
        .request(reqwest::Method::PUT, "/v1/regions/eu")
        .json(&region);
    yard.admin.send(request).await.ok();
    let pool = |id: &str, region: &str| json!({"id": id, "region": region, "provider": "openai", "base_url": yard.first.base_url()});
    yard.admin
        .post("/v1/pools", &pool("eu-1", "eu"))
        .await
        .created();
    limited(&yard.ask().await);
    limited(&yard.ask().await);
    assert_eq!(yard.first.count(), 0, "a question left its region");

    yard.admin
        .post("/v1/pools", &pool("here-1", "local"))
        .await
        .created();
    yard.answered_by(json!("gpt-4o-mini")).await;
    let change = json!({ "status": "maintenance" });
    yard.admin.patch("/v1/pools/here-1", &change).await.ok();
    yard.answered_by(Value::Null).await;
    limited(&yard.ask().await);
    yard.admin
        .patch("/v1/pools/here-1", &json!({ "status": "active" }))
        .await
        .ok();
    yard.answered_by(json!("gpt-4o-mini")).await;
    assert_eq!(
        yard.admin.delete("/v1/pools/here-1").await.status,
        StatusCode::NO_CONTENT
    );
    yard.answered_by(Value::Null).await;
}

#[tokio::test]
async fn pools_and_models_that_make_no_sense_are_refused() {
    let quire = Quire::shared();
    let admin = quire.caller(&quire.admin_key);
    for (pool, word) in [
        (
            json!({"id": "x", "region": "local", "provider": "opnai"}),
            "opnai",
        ),
        (
            json!({"id": "x", "region": "moon", "provider": "openai"}),
            "moon",
        ),
        (
            json!({"id": "X!", "region": "local", "provider": "openai"}),
            "X!",
        ),
        (
            json!({"id": "x", "region": "local", "provider": "compatible"}),
            "base_url",
        ),
        (
            json!({"id": "x", "region": "local", "provider": "openai", "base_url": "ftp://x"}),
            "http",
        ),
        (
            json!({"id": "x", "region": "local", "provider": "openai", "key": "a\nb"}),
            "key",
        ),
        (
            json!({"id": "x", "region": "local", "provider": "openai", "models": ["claude-sonnet-4"]}),
            "claude",
        ),
        (
            json!({"id": "x", "region": "local", "provider": "openai", "quota": {"rpm": 1}}),
            "rpm",
        ),
    ] {
        let reply = admin.post("/v1/pools", &pool).await;
        assert_eq!(
            reply.status,
            StatusCode::BAD_REQUEST,
            "{pool}: {}",
            reply.text
        );
        assert!(reply.text.contains(word), "{pool}: {}", reply.text);
    }
    assert_eq!(
        admin.get("/v1/pools/none").await.status,
        StatusCode::NOT_FOUND
    );
    let document = "[[models]]\nname = \"mine\"\nprovider = \"compatible\"\ndoes = [\"chat\"]\n";
    let apply = async |document: &str| {
        let request = admin.request(reqwest::Method::PUT, "/v1/registry");
        admin
            .send(request.json(&json!({ "document": document })))
            .await
    };
    let refused = apply(document).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let priced = format!(
        "{document}prices = [{{ from = \"2026-01-01\", input = \"$0\", output = \"$0\" }}]\n"
    );
    apply(&priced).await.ok();
    let models = admin.get("/v1/registry/models").await.ok();
    let names: Vec<&Value> = models["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["name"])
        .collect();
    assert!(
        names.contains(&&json!("mine")) && names.contains(&&json!("gpt-4o-mini")),
        "{names:?}"
    );
    let listed = quire.command(&["model", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("mine") && listed.contains("gpt-4o-mini"),
        "{listed}"
    );
}

#[tokio::test]
async fn beside_a_model_that_is_silent_for_long_another_is_asked_and_both_are_accounted_for() {
    // Nobody waits for the end of this patience: only the second model can answer in time.
    let yard = Yard::with(&[
        ("QUIRE__CHAT__FIRST_TOKEN_TIMEOUT_S", "3600"),
        ("QUIRE__CHAT__HEDGED_PERCENT", "5"),
    ])
    .await
    .with_pools()
    .await;
    yard.first.always(said());
    yard.second.always(said());
    yard.answered_by(json!("gpt-4o-mini")).await;
    for name in ["requests_per_minute", "key_requests_per_minute"] {
        let path = format!("/v1/tenants/{}/limits/{name}", yard.caller.tenant);
        let limit = yard.admin.request(Method::PUT, &path);
        yard.admin
            .send(limit.json(&json!({ "value": "1000" })))
            .await
            .ok();
    }
    // What is slow is known from twenty on: here a second, so that a busy machine is not. Each saves up a twentieth.
    for _ in 0..3 {
        yard.first.push(Script::Paced {
            text: SAID.to_owned(),
            first: Duration::from_secs(1),
            between: Duration::ZERO,
        });
    }
    for _ in 0..45 {
        yard.ask().await;
    }
    for silent in [Script::HangBefore, Script::HangAfter(0)] {
        let name = format!("{silent:?}");
        yard.first.push(silent);
        let answer = yard.ask().await;
        assert_eq!(answer["model"], "claude-haiku-4-5", "{name}: {answer:#}");
        assert_eq!(answer["kind"], "composed", "{name}: {answer:#}");
        assert_eq!(yard.first.scripts_left(), 0, "{name}");
    }
    // Those that were cancelled did not say what they took: they cost what their input costs. What is still open costs as
    // much as a thousand tokens of answer, too.
    let is_cheap = |event: &Value| {
        let cost = event["cost_nanousd"].as_i64();
        cost.is_some_and(|cost| cost > 0 && cost < 600_000)
    };
    let requests = |chats: &[Value], model: &str, is_estimated: bool| -> Vec<Value> {
        let of = chats.iter().filter(|event| {
            event["model"] == model && event["is_estimated"] == is_estimated && is_cheap(event)
        });
        of.map(|event| event["request"].clone()).collect()
    };
    eventually("every attempt is told", async || {
        let chats = yard.chats().await;
        chats.len() == yard.first.count() + yard.second.count()
            && requests(&chats, "gpt-4o-mini", true).len() == 2
            && requests(&chats, "claude-haiku-4-5", false).len() == 2
    })
    .await;
    let chats = yard.chats().await;
    let lost = requests(&chats, "gpt-4o-mini", true);
    let won = requests(&chats, "claude-haiku-4-5", false);
    assert!(
        won.iter().all(|request| lost.contains(request)),
        "{chats:#?}"
    );
    // Everybody sees how often it was done, and what it brought; the second is asked for nothing else here.
    let metrics = yard.admin.get("/metrics").await.text;
    let of = r#"{pool="openai-1",model="gpt-4o-mini"}"#;
    for line in [
        format!("\nquire_model_hedges_total{of} {}\n", yard.second.count()),
        format!("\nquire_model_hedges_won_total{of} 2\n"),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

//! Another embedding model for a tenant, from a provider, and back to the one that ships with quire.

use serde_json::{Value, json};

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{BatchFate, ChatDouble, Dialect, Script};

use crate::support::{Caller, Quire};

const MODEL: &str = "text-embedding-3-small";
const SHIPPED: &str = "all-MiniLM-L6-v2";

fn index(quire: &Quire, arguments: &[&str]) -> Value {
    let output = quire.command(&[&["index"], arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until search is of this model, and returns what the index is like then.
async fn of(quire: &Quire, model: &str) -> Value {
    let stats = || index(quire, &["stats", "acme"]);
    eventually(model, async || stats()["embedding"] == model).await;
    stats()
}

async fn search(caller: &Caller, query: &str, mode: &str) -> Value {
    let wanted = json!({ "query": query, "mode": mode });
    caller.post("/v1/search", &wanted).await.ok()
}

/// What was paid for vectors: events, and tokens.
async fn paid(quire: &Quire, caller: &Caller) -> (usize, i64) {
    paid_for(quire, caller, MODEL).await
}

/// The same for those of a model.
async fn paid_for(quire: &Quire, caller: &Caller, model: &str) -> (usize, i64) {
    let admin = quire.caller(&quire.admin_key);
    let mut paid = admin.usage_events(&caller.tenant, "embed").await;
    paid.retain(|event| event["model"] == model);
    let tokens = paid
        .iter()
        .map(|event| event["quantities"]["input_tokens"].as_i64().unwrap());
    (paid.len(), tokens.sum())
}

/// What the provider was asked to embed since it was last asked about.
fn asked(double: &ChatDouble, known: &mut usize) -> Vec<String> {
    let received = double.received();
    let new = std::mem::replace(known, received.len());
    let texts = received[new..].iter().flat_map(|request| {
        assert_eq!(request.path, "/v1/embeddings");
        assert_eq!(
            (&request.body["model"], &request.body["dimensions"]),
            (&json!(MODEL), &json!(64))
        );
        request.body["input"].as_array().unwrap().clone()
    });
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_tenant_moves_to_a_model_of_a_provider_and_back() {
    let double = ChatDouble::start().await.unwrap();
    let mut known = 0;
    let quire = Quire::up();
    let caller = quire.tenant("acme").await;
    let notebook = caller.notebook("n").await;
    caller
        .add(
            &notebook,
            "roof.txt",
            "The warranty of the roof ends in 2031.",
        )
        .await;
    index(&quire, &["fold", "acme"]);
    caller
        .add(
            &notebook,
            "crane.txt",
            "The crane CR-4410 is inspected by Halvorsen.",
        )
        .await;

    // Without a pool that has the model, nothing is begun.
    let move_on = [
        "rebuild",
        "acme",
        "--embedding",
        MODEL,
        "--dimensions",
        "64",
    ];
    let refused = quire.command(&[&["index"], &move_on[..]].concat());
    assert!(!refused.status.success());
    let admin = quire.caller(&quire.admin_key);
    let pool = json!({"id": "openai-1", "region": "local", "provider": "openai",
        "base_url": double.base_url(), "key": "sk-secret"});
    admin.post("/v1/pools", &pool).await.created();
    let begun = index(&quire, &move_on);
    assert_eq!(begun["embedding"], MODEL);
    let stats = of(&quire, MODEL).await;
    assert_eq!(
        (&stats["dimension"], &stats["tail"]["passages"]),
        (&json!(64), &json!(0))
    );
    assert_eq!(stats["build"]["state"], "switched");
    let all = begun["passages"].as_u64().unwrap();
    let texts = asked(&double, &mut known);
    assert_eq!(texts.len() as u64, all);
    assert!(texts.iter().any(|text| text.contains("CR-4410")));
    // The double says five tokens a text.
    let tokens = i64::try_from(all * 5).unwrap();
    let is_paid = async || paid(&quire, &caller).await == (1, tokens);
    eventually("the vectors are paid for", is_paid).await;

    // Questions are embedded by the same model, once; new sources too.
    let found = search(&caller, "Who inspects the crane?", "dense").await;
    assert!(!found["hits"].as_array().unwrap().is_empty(), "{found}");
    assert_eq!(asked(&double, &mut known), ["Who inspects the crane?"]);
    let answer = caller
        .ask(&notebook, "Who inspects the crane CR-4410?")
        .await;
    assert_eq!(answer["kind"], "extractive", "{answer}");
    assert!(
        answer["text"].as_str().unwrap().contains("Halvorsen"),
        "{answer}"
    );
    assert_eq!(
        asked(&double, &mut known),
        ["Who inspects the crane CR-4410?"]
    );
    caller
        .add(&notebook, "gate.txt", "The gate code is 7781.")
        .await;
    let new = asked(&double, &mut known);
    assert!(new.len() == 1 && new[0].contains("7781"), "{new:?}");

    // While the provider is away, words are found.
    double.always(Script::Status {
        code: 500,
        body: "{}".to_owned(),
        retry_after: None,
    });
    let found = search(&caller, "gate code 7781", "hybrid").await;
    assert_eq!(found["degraded"], true, "{found}");
    assert_eq!(found["hits"][0]["source_name"], "gate.txt", "{found}");

    // The way back needs no provider. What came since is embedded by the model of before.
    let back = index(&quire, &["rollback", "acme"]);
    assert!(back["going_on"].is_string(), "{back}");
    let stats = of(&quire, SHIPPED).await;
    assert_eq!(
        (&stats["dimension"], &stats["build"]["state"]),
        (&json!(384), &json!("rolled_back"))
    );
    drop(asked(&double, &mut known));
    for (question, source) in [
        ("When does the guarantee of the roof expire?", "roof.txt"),
        ("Which number opens the gate?", "gate.txt"),
    ] {
        let found = search(&caller, question, "dense").await;
        assert_eq!(found["hits"][0]["source_name"], source, "{found}");
        assert_eq!(found["degraded"], false);
    }
    assert_eq!(asked(&double, &mut known), [""; 0]);
    assert_eq!(index(&quire, &["verify", "acme"])["sound"], true);
}

#[tokio::test]
async fn a_move_by_a_batch_survives_a_crash_sends_nothing_twice_and_mends_what_failed() {
    let double = ChatDouble::start().await.unwrap();
    let mut quire = Quire::up_with(&[("QUIRE__EMBEDDING__BATCH_PASSAGES", "2")]);
    let caller = quire.tenant("acme").await;
    let notebook = caller.notebook("n").await;
    for (name, text) in [
        ("roof.txt", "The warranty of the roof ends in 2031."),
        ("crane.txt", "The crane CR-4410 is inspected by Halvorsen."),
    ] {
        caller.add(&notebook, name, text).await;
    }
    let admin = quire.caller(&quire.admin_key);
    let pool = json!({"id": "openai-1", "region": "local", "provider": "openai",
        "base_url": double.base_url(), "key": "sk-secret"});
    admin.post("/v1/pools", &pool).await.created();
    double.batches(BatchFate::Runs);
    let to_model = [
        "rebuild",
        "acme",
        "--embedding",
        MODEL,
        "--dimensions",
        "64",
    ];
    let begun = index(&quire, &to_model);
    let looked_at = |times: usize| {
        let looks = double.received().into_iter();
        let looks = looks.filter(|one| one.method == "GET" && one.path.starts_with("/v1/batches/"));
        looks.count() >= times
    };
    eventually("a batch is looked at", async || looked_at(1)).await;
    assert_eq!(double.kept(), (1, 1));
    let sent = double.received();
    assert!(
        sent.iter().all(|one| one.path != "/v1/embeddings"),
        "{sent:?}"
    );
    assert_eq!(index(&quire, &["stats", "acme"])["embedding"], SHIPPED);

    quire.kill_and_restart();
    let before = sent.len();
    eventually("it is looked at again", async || {
        double.received().len() > before
    })
    .await;
    assert_eq!(double.kept(), (1, 1), "nothing is sent twice");
    double.batches(BatchFate::FailsLinesWith("CR-4410".to_owned()));
    let stats = of(&quire, MODEL).await;
    assert_eq!(stats["build"]["state"], "switched", "{stats:#}");
    eventually("nothing stays at the provider", async || {
        double.kept() == (0, 1)
    })
    .await;

    // The line that failed was embedded the ordinary way, and nothing else.
    let mut known = 0;
    let received = double.received();
    let mut plain = received.iter().filter(|one| one.path == "/v1/embeddings");
    let texts = plain.next().unwrap().body["input"].clone();
    assert!(plain.next().is_none(), "{received:?}");
    assert!(texts.as_array().unwrap().len() == 1 && texts[0].as_str().unwrap().contains("CR-4410"));
    known += received.len();
    // Five tokens for each: all of the batch but one, and that one as it was made at once.
    let tokens = begun["passages"].as_i64().unwrap() * 5;
    let mut again = quire.caller(&caller.key);
    again.tenant.clone_from(&caller.tenant);
    let is_paid = async || paid(&quire, &again).await == (2, tokens);
    eventually("the vectors are paid for", is_paid).await;
    let found = search(&again, "Who inspects the crane?", "dense").await;
    assert!(!found["hits"].as_array().unwrap().is_empty(), "{found}");
    assert_eq!(asked(&double, &mut known), ["Who inspects the crane?"]);
}

/// Whoever dies between sending a batch and hearing what it is called finds it at the provider, by its mark.
async fn a_batch_of_which_nobody_heard(provider: &str, dialect: Dialect, model: &str) {
    let double = ChatDouble::start().await.unwrap();
    let mut quire = Quire::up_with(&[("QUIRE__EMBEDDING__BATCH_PASSAGES", "2")]);
    let caller = quire.tenant("acme").await;
    let notebook = caller.notebook("n").await;
    for (name, text) in [
        ("roof.txt", "The warranty of the roof ends in 2031."),
        ("crane.txt", "The crane CR-4410 is inspected by Halvorsen."),
    ] {
        caller.add(&notebook, name, text).await;
    }
    let admin = quire.caller(&quire.admin_key);
    let pool = json!({"id": "remote-1", "region": "local", "provider": provider,
        "base_url": double.base_url_of(dialect), "key": "sk-secret"});
    admin.post("/v1/pools", &pool).await.created();
    double.batches(BatchFate::Runs);
    double.hold(true);
    let to_model = [
        "rebuild",
        "acme",
        "--embedding",
        model,
        "--dimensions",
        "64",
    ];
    let begun = index(&quire, &to_model);
    eventually("a batch is made", async || double.kept().1 == 1).await;
    let is_called = |path: &str| {
        let received = double.received().into_iter();
        received
            .filter(|one| one.method == "GET" && one.path.contains(path))
            .count()
            > 0
    };
    assert!(!is_called("batches"), "it has no name yet");

    quire.kill_and_restart();
    double.hold(false);
    eventually("the batch is looked at", async || is_called("batches/")).await;
    assert!(is_called("batches?"), "it was looked for");
    assert_eq!(double.kept().1, 1, "nothing is sent twice");
    double.batches(BatchFate::Completes);
    let stats = of(&quire, model).await;
    assert_eq!(stats["build"]["state"], "switched", "{stats:#}");
    eventually("nothing stays at the provider", async || {
        double.kept() == (0, 1)
    })
    .await;
    let received = double.received().into_iter();
    let mut plain = received
        .filter(|one| one.path == "/v1/embeddings" || one.path.ends_with(":batchEmbedContents"));
    assert!(plain.next().is_none(), "the batch brought all of it");
    // Five tokens for each, once.
    let tokens = begun["passages"].as_i64().unwrap() * 5;
    let is_paid = async || paid_for(&quire, &caller, model).await == (1, tokens);
    eventually("the vectors are paid for", is_paid).await;
}

#[tokio::test]
async fn a_batch_of_openai_of_which_nobody_heard_is_found_again() {
    a_batch_of_which_nobody_heard("openai", Dialect::OpenAi, MODEL).await;
}

#[tokio::test]
async fn a_batch_of_gemini_of_which_nobody_heard_is_found_again() {
    a_batch_of_which_nobody_heard("gemini", Dialect::Gemini, "gemini-embedding-001").await;
}

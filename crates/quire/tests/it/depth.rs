//! The search of complex questions: in other words, put in order, spread and widened; and without each of these
//! where it is left out or fails.

use reqwest::Method;
use serde_json::{Value, json};

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{ChatDouble, Script};

use crate::support::{Caller, Quire};

const QUESTION: &str = "Compare what both contracts hold back until handover.";
const TOPICS: [&str; 12] = [
    "scaffolding",
    "insurance",
    "drainage",
    "painting",
    "lifts",
    "parking",
    "noise",
    "handover",
    "retention",
    "warranty",
    "lighting",
    "catering",
];

/// A customer with two contracts, a model that writes and one that puts passages in order.
struct Yard {
    quire: Quire,
    caller: Caller,
    writer: ChatDouble,
    ranker: ChatDouble,
    ask: String,
}

impl Yard {
    async fn new(more: &[(&str, &str)]) -> Self {
        let writer = ChatDouble::start().await.unwrap();
        let ranker = ChatDouble::start().await.unwrap();
        let base_url = writer.base_url();
        let mut environment = vec![
            ("QUIRE__CHAT__BASE_URL", base_url.as_str()),
            ("QUIRE__CHAT__MODEL", "gpt-4o-mini"),
            ("QUIRE__CHAINS__RERANK", "[\"rerank-v3.5\"]"),
            ("QUIRE__LIMITS__ANSWER_PASSAGES", "1"),
        ];
        environment.extend(more);
        let quire = Quire::up_with(&environment);
        let admin = quire.caller(&quire.admin_key);
        let pool = json!({"id": "cohere-1", "region": "local", "provider": "cohere",
            "base_url": ranker.base_url(), "key": "co-secret"});
        admin.post("/v1/pools", &pool).await.created();
        let caller = quire.tenant("yard").await;
        let notebook = caller.notebook("yard").await;
        for name in ["north", "south"] {
            let mut text = String::new();
            for topic in TOPICS {
                let sentence = format!("The {name} contract says this about {topic}. ");
                text.push_str(&format!("# {topic}\n\n{}\n\n", sentence.repeat(25)));
            }
            caller.add(&notebook, &format!("{name}.md"), &text).await;
        }
        Self {
            caller,
            writer,
            ranker,
            ask: format!("/v1/notebooks/{notebook}/ask"),
            quire,
        }
    }

    /// Asks after the writer was told what to say: the phrasings, and what follows.
    async fn ask(&self, replies: Vec<Script>) -> Value {
        for reply in replies {
            self.writer.push(reply);
        }
        self.writer.push(said());
        let body = json!({ "question": QUESTION, "fresh": true, "explain": true });
        let answer = self.caller.post(&self.ask, &body).await.ok();
        assert_eq!(answer["kind"], "composed", "{answer:#}");
        assert_eq!(answer["route"]["name"], "complex", "{answer:#}");
        assert_eq!(self.writer.scripts_left(), 0);
        answer
    }

    async fn events(&self, kind: &str) -> Vec<Value> {
        let admin = self.quire.caller(&self.quire.admin_key);
        admin.usage_events(&self.caller.tenant, kind).await
    }
}

fn said() -> Script {
    Script::Answer("The north contract says this about retention [1].".to_owned())
}

fn phrasings(list: &[&str]) -> Script {
    Script::Answer(json!({ "phrasings": list }).to_string())
}

fn failure(code: u16) -> Script {
    Script::Status {
        code,
        body: json!({"error": {"message": "secret-host.internal is down"}}).to_string(),
        retry_after: None,
    }
}

fn step<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let steps = answer["explain"]["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["name"] == name);
    found.unwrap_or_else(|| panic!("no step {name}: {answer:#}"))
}

fn outcome<'a>(answer: &'a Value, name: &str) -> &'a str {
    step(answer, name)["outcome"].as_str().unwrap()
}

// The command line waits for providers that this test plays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complex_question_is_searched_deeper_and_every_step_is_told_and_paid() {
    let yard = Yard::new(&[("QUIRE__DEPTH__PER_SOURCE", "1")]).await;
    let other_words = "What does retention mean in the north contract?";
    let answer = yard.ask(vec![phrasings(&[other_words])]).await;
    let explain = &answer["explain"];
    assert_eq!(explain["phrasings"], json!([other_words]));
    let names: Vec<&Value> = (explain["steps"].as_array().unwrap().iter())
        .map(|step| &step["name"])
        .collect();
    assert_eq!(
        json!(names),
        json!([
            "rephrase",
            "search",
            "rerank",
            "per_source",
            "neighbours",
            "context"
        ])
    );
    for name in names {
        let name = name.as_str().unwrap();
        assert_eq!(outcome(&answer, name), "done", "{answer:#}");
    }
    assert_eq!(step(&answer, "rephrase")["model"], "gpt-4o-mini");
    assert_eq!(step(&answer, "rerank")["model"], "rerank-v3.5");
    assert_eq!(step(&answer, "rerank")["cost"], "$0.002");

    // The question's own words decide the order, whatever was looked for beside it.
    let sent = yard.ranker.received();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("authorization"), Some("Bearer co-secret"));
    assert_eq!(sent[0].body["query"], QUESTION);
    assert_eq!(sent[0].body["documents"].as_array().unwrap().len(), 6);
    let passages = explain["passages"].as_array().unwrap();
    let found: Vec<&Value> = (passages.iter())
        .filter(|passage| passage["neighbour"] == false)
        .collect();
    assert_eq!(found.len(), 3, "{explain:#}");
    assert!(found.iter().all(|passage| {
        let ranks = passage["ranks"].as_array().unwrap();
        ranks.len() == 2 && ranks.iter().any(Value::is_u64) && passage["rerank_score"].is_f64()
    }));
    // One of each source first, though one of them may have more of the best.
    assert!(found[0]["rerank_score"].as_f64() >= found[1]["rerank_score"].as_f64());
    assert!(passages.len() > found.len(), "nothing stands beside them");
    let sent = yard.writer.received();
    let prompt = sent[1].body["messages"][1]["content"].as_str().unwrap();
    let read = passages.iter().filter(|passage| passage["read"] == true);
    assert_eq!(prompt.matches("\n[").count(), read.count(), "{prompt}");
    let of = |name: &str| prompt.contains(&format!("] {name}.md ("));
    assert!(of("north") && of("south"), "{prompt}");

    // Two calls of the writer and one of the ranker, each an attempt of its own.
    eventually("every attempt is told", async || {
        let told = [yard.events("chat").await, yard.events("rerank").await].concat();
        told.len() == 3 && told.iter().all(|event| event["is_estimated"] == false)
    })
    .await;
    let ranked = yard.events("rerank").await;
    assert_eq!(ranked[0]["cost_nanousd"], 2_000_000);
    let costs: i64 = [ranked, yard.events("chat").await]
        .concat()
        .iter()
        .map(|event| event["cost_nanousd"].as_i64().unwrap())
        .sum();
    let total: f64 = answer["usage"]["cost"].as_str().unwrap()[1..]
        .parse()
        .unwrap();
    assert_eq!((total * 1e9).round() as i64, costs, "{answer:#}");

    // Whoever does not ask for it is not told.
    yard.writer.push(phrasings(&[]));
    yard.writer.push(said());
    let plain = json!({ "question": QUESTION });
    let plain = yard.caller.post(&yard.ask, &plain).await.ok();
    assert_eq!(
        (&plain["explain"], &plain["cached"]),
        (&Value::Null, &json!(false))
    );
    // The same on the command line.
    yard.writer.push(phrasings(&[other_words]));
    yard.writer.push(said());
    let output = yard
        .quire
        .command(&["ask", "--tenant", "yard", "--explain", QUESTION]);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        shown.contains(other_words) && shown.contains("by rerank-v3.5, $0.002"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_step_that_fails_is_left_out_and_what_a_model_says_is_only_looked_for() {
    let yard = Yard::new(&[]).await;
    // What can't be read is asked for once more.
    let mended = vec![
        Script::Answer("Sure, here you go".to_owned()),
        phrasings(&["what is kept back"]),
    ];
    let answer = yard.ask(mended).await;
    assert_eq!(answer["explain"]["phrasings"], json!(["what is kept back"]));
    let repair = yard.writer.received()[1].body.to_string();
    assert!(
        repair.contains("Sure, here you go") && repair.contains("additionalProperties"),
        "{repair}"
    );

    // And no more often.
    let hopeless = vec![
        Script::Answer("No".to_owned()),
        Script::Answer("{\"phrasings\": 7}".to_owned()),
    ];
    let answer = yard.ask(hopeless).await;
    assert_eq!(outcome(&answer, "rephrase"), "skipped");
    assert_eq!(answer["explain"]["phrasings"], json!([]));

    // Whatever it says, it is short, plain and little, and beside the question.
    let long = "x ".repeat(400);
    let hostile = phrasings(&[
        "\"north contract\" \u{7} catering",
        QUESTION,
        &long,
        "",
        "one more",
        "two more",
        "three more",
        "four more",
    ]);
    let answer = yard.ask(vec![hostile]).await;
    assert_eq!(
        answer["explain"]["phrasings"],
        json!(["north contract catering", "one more", "two more"])
    );

    // A provider that is down says nothing of itself to the one who asks.
    let answer = yard.ask(vec![failure(500)]).await;
    assert_eq!(outcome(&answer, "rephrase"), "skipped");
    assert!(!answer.to_string().contains("secret-host"), "{answer:#}");

    for fault in [
        failure(500),
        Script::Status {
            code: 200,
            body: json!({"results": [{"index": 99, "relevance_score": 0.9}]}).to_string(),
            retry_after: None,
        },
    ] {
        yard.ranker.push(fault);
        let answer = yard.ask(vec![phrasings(&["what is kept back"])]).await;
        assert_eq!(outcome(&answer, "rephrase"), "done", "{answer:#}");
        assert_eq!(outcome(&answer, "rerank"), "skipped", "{answer:#}");
        assert!(!answer.to_string().contains("secret-host"), "{answer:#}");
    }
    // Who said no before it began is not paid; what nobody knows is paid as reserved.
    eventually("both failures are told", async || {
        let ranked = yard.events("rerank").await;
        let cost = |event: &Value| event["cost_nanousd"].as_i64();
        let free = ranked.iter().filter(|event| cost(event) == Some(0));
        let guessed = ranked.iter().filter(|event| event["is_estimated"] == true);
        (free.count(), guessed.count()) == (1, 1)
    })
    .await;

    // Without money there is no model for any of it, and the question is answered all the same.
    let admin = yard.quire.caller(&yard.quire.admin_key);
    let path = format!("/v1/tenants/{}/limits/cost_per_month", yard.caller.tenant);
    let limit = admin.request(Method::PUT, &path);
    admin
        .send(limit.json(&json!({ "value": "$0.000001" })))
        .await
        .ok();
    let asked_before = (yard.writer.count(), yard.ranker.count());
    let body = json!({ "question": QUESTION, "fresh": true, "explain": true });
    let answer = yard.caller.post(&yard.ask, &body).await.ok();
    assert!(
        answer["note"].as_str().unwrap().contains("budget"),
        "{answer:#}"
    );
    assert_eq!((yard.writer.count(), yard.ranker.count()), asked_before);
}

#[tokio::test]
async fn what_the_configuration_leaves_out_is_off() {
    let yard = Yard::new(&[
        ("QUIRE__CHAINS__RERANK", "[]"),
        ("QUIRE__DEPTH__PHRASINGS", "0"),
        ("QUIRE__DEPTH__PER_SOURCE", "0"),
        ("QUIRE__DEPTH__NEIGHBOURS", "0"),
    ])
    .await;
    let answer = yard.ask(Vec::new()).await;
    for name in ["rephrase", "rerank", "per_source", "neighbours"] {
        assert_eq!(outcome(&answer, name), "off", "{answer:#}");
    }
    assert_eq!(yard.ranker.count(), 0);
    assert_eq!(answer["explain"]["passages"].as_array().unwrap().len(), 3);
    // A simple question has no such steps.
    yard.writer.push(said());
    let body = json!({ "question": QUESTION, "route": "simple", "explain": true });
    let answer = yard.caller.post(&yard.ask, &body).await.ok();
    let steps = answer["explain"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{answer:#}");
}

#[tokio::test]
async fn a_question_over_all_notebooks_says_what_was_archived() {
    let quire = Quire::shared();
    let caller = quire.tenant("archived").await;
    let old = caller.notebook("old").await;
    let new = caller.notebook("new").await;
    caller
        .add(&old, "gate.txt", "The old gate code is 1234.")
        .await;
    caller
        .add(&new, "gate.txt", "The new gate code is 4417.")
        .await;
    let ask = async |path: &str| {
        let body = json!({ "question": "What is the new gate code?" });
        caller.post(path, &body).await.ok()
    };
    let before = ask("/v1/ask").await;
    assert_eq!(before.get("archived_notebooks"), None, "{before:#}");
    let archived = quire.command(&["index", "tier", "archived", "old", "--pin", "archived"]);
    assert!(
        archived.status.success(),
        "{}",
        String::from_utf8_lossy(&archived.stderr)
    );
    let after = ask("/v1/ask").await;
    assert_eq!(
        (&after["archived_notebooks"], &after["cached"]),
        (&json!(1), &json!(false)),
        "{after:#}"
    );
    let note = after["note"].as_str().unwrap();
    assert!(
        note.contains("extractive") && note.contains("one archived notebook was left out"),
        "{note}"
    );
    let shown = quire.command(&["ask", "--tenant", "archived", "What is the new gate code?"]);
    let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(shown.contains("one archived notebook"), "{shown}");
    // A question about another notebook leaves nothing out; one about it brings it back.
    let named = ask(&format!("/v1/notebooks/{new}/ask")).await;
    assert_eq!(named.get("archived_notebooks"), None, "{named:#}");
    let path = format!("/v1/notebooks/{old}/ask");
    eventually("the notebook is back", async || {
        let body = json!({ "question": "What is the old gate code?" });
        caller.post(&path, &body).await.status == 200
    })
    .await;
    let back = ask("/v1/ask").await;
    assert_eq!(back.get("archived_notebooks"), None, "{back:#}");
}

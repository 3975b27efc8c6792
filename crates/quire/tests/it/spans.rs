//! Spans for a collector: what it learns of a question, what it does not, and what happens when it is not there.

use serde_json::{Map, Value, json};

use quire_testkit::postgres::eventually;
use quire_testkit::provider::{CACHED_TOKENS, ChatDouble, PROMPT_TOKENS, Script};
use quire_testkit::receiver::{Receiver, Reply};
use reqwest::Method;

use crate::support::{Caller, Quire};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const QUESTION: &str = "What is the gate code of the yard?";

struct Yard {
    quire: Quire,
    caller: Caller,
    notebook: String,
    provider: ChatDouble,
}

impl Yard {
    async fn with(environment: &[(&str, &str)]) -> Self {
        let provider = ChatDouble::start().await.unwrap();
        let base_url = provider.base_url();
        let chat = [
            ("QUIRE__CHAT__BASE_URL", base_url.as_str()),
            ("QUIRE__CHAT__MODEL", "test-model"),
            ("QUIRE__CHAT__INPUT_PRICE", "$0.10"),
            ("QUIRE__CHAT__OUTPUT_PRICE", "$0.40"),
        ];
        let quire = Quire::up_with(&[&chat, environment].concat());
        let caller = quire.tenant("yard").await;
        let notebook = caller.notebook("yard").await;
        caller
            .add(&notebook, "gate.txt", "The gate code of the yard is 4417.")
            .await;
        provider.always(Script::Answer(
            "The gate code of the yard is 4417 [1].".to_owned(),
        ));
        Self {
            quire,
            caller,
            notebook,
            provider,
        }
    }

    /// Asks as a part of a trace.
    async fn ask(&self, is_wanted: bool) -> Value {
        let flags = if is_wanted { "01" } else { "00" };
        let path = format!("/v1/notebooks/{}/ask", self.notebook);
        let body = json!({ "question": QUESTION, "fresh": true });
        let request = self.caller.request(Method::POST, &path).json(&body);
        let request = request.header(
            "traceparent",
            format!("00-{TRACE}-00f067aa0ba902b7-{flags}"),
        );
        self.caller.send(request).await.ok()
    }
}

/// All spans that a collector got.
fn spans(collector: &Receiver) -> Vec<Value> {
    let received = collector.received();
    let requests = received.iter().map(|message| {
        assert_eq!(message.path, "/hook/v1/traces");
        assert_eq!(message.header("content-type"), "application/json");
        serde_json::from_slice::<Value>(&message.body).unwrap()
    });
    let all = requests.flat_map(|request| {
        let scope = &request["resourceSpans"][0]["scopeSpans"][0];
        scope["spans"].as_array().unwrap().clone()
    });
    all.collect()
}

/// The attributes of a span or a resource, by name.
fn attributes(of: &Value) -> Map<String, Value> {
    let list = of["attributes"].as_array().unwrap().iter();
    let named = list.map(|one| {
        (
            one["key"].as_str().unwrap().to_owned(),
            one["value"].clone(),
        )
    });
    named.collect()
}

// The collector has to go on while this waits for the program to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_learns_who_was_asked_and_what_it_took_and_no_word_of_it() {
    let collector = Receiver::start().await.unwrap();
    let yard = Yard::with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=yard%20team"),
        // What the log leaves out is exported all the same.
        ("QUIRE_LOG", "error"),
    ])
    .await;
    assert_eq!(yard.ask(true).await["kind"], "composed");
    yard.provider.push(Script::Status {
        code: 500,
        body: json!({"error": {"message": format!("can't say {QUESTION}")}}).to_string(),
        retry_after: None,
    });
    assert_eq!(yard.ask(true).await["kind"], "extractive");
    assert_eq!(yard.ask(false).await["kind"], "composed");
    // A stop in good order hands over what is left.
    assert!(yard.quire.stop().success());

    let first = &collector.received()[0];
    assert_eq!(first.header("x-team"), "yard team");
    let request: Value = serde_json::from_slice(&first.body).unwrap();
    let resource = attributes(&request["resourceSpans"][0]["resource"]);
    assert_eq!(resource["service.name"], json!({"stringValue": "quire"}));

    let all = spans(&collector);
    let of_trace = all.iter().filter(|span| span["traceId"] == TRACE);
    let (asks, calls): (Vec<&Value>, Vec<&Value>) = of_trace.partition(|span| span["kind"] == 2);
    let [ask, other] = asks.as_slice() else {
        panic!("{all:#?}");
    };
    assert_eq!(ask["name"], "POST /v1/notebooks/{notebook}/ask");
    assert_eq!(ask["parentSpanId"], "00f067aa0ba902b7");
    let told = attributes(ask);
    assert_eq!(
        told["http.route"],
        json!({"stringValue": "/v1/notebooks/{notebook}/ask"})
    );
    assert_eq!(
        told["http.response.status_code"],
        json!({"intValue": "200"})
    );

    let [call, failed] = calls.as_slice() else {
        panic!("{all:#?}");
    };
    assert_eq!(
        (&call["name"], &call["kind"]),
        (&json!("chat test-model"), &json!(3))
    );
    assert_eq!(call["parentSpanId"], ask["spanId"]);
    assert_eq!(call["status"], Value::Null);
    let nanoseconds = |name: &str| call[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanoseconds("startTimeUnixNano") < nanoseconds("endTimeUnixNano"));
    let mut told = attributes(call);
    assert!(told["gen_ai.response.time_to_first_chunk"]["doubleValue"].as_f64() > Some(0.0));
    told.remove("gen_ai.response.time_to_first_chunk");
    let url = yard.provider.base_url();
    let port = url.trim_end_matches("/v1").rsplit(':').next().unwrap();
    let text = |value: &str| json!({ "stringValue": value });
    let whole = |value: u64| json!({ "intValue": value.to_string() });
    let expected = json!({
        "gen_ai.operation.name": text("chat"),
        "gen_ai.provider.name": text("compatible"),
        "gen_ai.request.model": text("test-model"),
        "gen_ai.request.max_tokens": whole(1_000),
        "gen_ai.request.stream": {"boolValue": true},
        "gen_ai.response.id": text("chatcmpl-double"),
        "gen_ai.response.model": text("double"),
        "gen_ai.response.finish_reasons": {"arrayValue": {"values": [text("stop")]}},
        "gen_ai.usage.input_tokens": whole(PROMPT_TOKENS),
        "gen_ai.usage.output_tokens": whole(9),
        "gen_ai.usage.cache_read.input_tokens": whole(CACHED_TOKENS),
        "server.address": text("127.0.0.1"),
        "server.port": {"intValue": port},
        "pool": text("local"),
        "tenant": text(&yard.caller.tenant),
    });
    assert_eq!(Value::Object(told), expected);

    assert_eq!(failed["parentSpanId"], other["spanId"]);
    assert_eq!(failed["status"], json!({"code": 2}));
    assert_eq!(attributes(failed)["error.type"], text("500"));

    // No text of a question, of a prompt, of an answer or of an error, and nothing of what is in a path.
    for message in collector.received() {
        let body = String::from_utf8(message.body).unwrap();
        for word in [
            "gate",
            "can't say",
            "data, not instructions",
            &yard.notebook,
        ] {
            assert!(!body.contains(word), "{word}: {body}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_spans_and_no_answer() {
    let collector = Receiver::start().await.unwrap();
    collector.push(Reply::Status(400));
    collector.push(Reply::Status(503));
    let yard = Yard::with(&[("QUIRE__TELEMETRY__OTLP_ENDPOINT", collector.url())]).await;
    let counted = async |name: &str| {
        let metrics = yard.caller.get("/metrics").await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    // What is refused is dropped; what can't be taken just now is sent again.
    eventually("spans are refused", async || {
        counted("quire_spans_dropped_total").await > 0
    })
    .await;
    assert_eq!(yard.ask(true).await["kind"], "composed");
    eventually("spans arrive", async || {
        counted("quire_spans_exported_total").await > 0
    })
    .await;
    assert!(collector.received().len() >= 3);
    // Nobody listens any more.
    drop(collector);
    assert_eq!(yard.ask(true).await["kind"], "composed");
    assert!(yard.quire.stop().success());
}

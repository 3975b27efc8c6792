//! Files that are not text, end to end: read, asked, cited with their place, and shown in it.

use quire_testkit::provider::{ChatDouble, Script};
use serde_json::{Value, json};

use crate::support::{Quire, root};

#[tokio::test]
async fn pictures_sound_and_office_files_are_cited_in_their_place() {
    let quire = Quire::up();
    let northgate = quire.tenant("northgate").await;
    let notebook = northgate.notebook("site-media").await;
    let mut ids = std::collections::HashMap::new();
    for file in sample_company::media::files() {
        let name = file.path.rsplit('/').next().unwrap();
        let added = northgate
            .upload(&notebook, &[(name, &file.bytes)])
            .await
            .is(202);
        ids.insert(name, added["sources"][0]["id"].as_str().unwrap().to_owned());
    }
    for id in ids.values() {
        let source = northgate.finished(id).await;
        assert_eq!(source["state"], "searchable", "{source:#}");
    }

    let questions = std::fs::read_to_string(root().join("examples/site-media.jsonl")).unwrap();
    for line in questions.lines() {
        let question: Value = serde_json::from_str(line).unwrap();
        let body =
            json!({ "question": question["question"], "filter": { "notebooks": [notebook] } });
        let answer = northgate.post("/v1/ask", &body).await.ok();
        let expect = &question["expect"];
        let is_right = answer["citations"]
            .as_array()
            .unwrap()
            .iter()
            .any(|citation| {
                let quote = citation["quote"].as_str().unwrap();
                let place = expect["place"].as_object().unwrap();
                citation["source_name"] == expect["source"]
                    && quote.contains(expect["contains"].as_str().unwrap())
                    && place
                        .iter()
                        .all(|(name, value)| is_at(&citation["place"], name, value))
            });
        assert!(is_right, "{question:#} → {answer:#}");
    }

    // What the local recogniser makes of speech is found, but hardly a text to quote from.
    let body = json!({ "query": "concrete on friday", "filter": { "notebooks": [notebook] } });
    let found = northgate.post("/v1/search", &body).await.ok();
    let hits = found["hits"].as_array().unwrap();
    let memo = hits
        .iter()
        .find(|hit| hit["source_name"] == "voice-memo.mp3");
    assert_eq!(memo.unwrap()["place"]["start_ms"], 0, "{found:#}");

    for (name, query, status) in [
        ("heater-rental-invoice.pdf", "?page=1", 200),
        ("heater-rental-invoice.pdf", "?page=9", 404),
        ("ceiling-tile-label.jpg", "", 200),
        ("weekly-walk.mp4", "?at_ms=5000", 200),
        ("weekly-walk.mp4", "?at_ms=5000&size=small", 200),
        ("weekly-walk.mp4", "?at_ms=5000&size=tiny", 400),
        ("owner-call.vtt", "", 404),
    ] {
        let path = format!("/v1/sources/{}/picture{query}", ids[name]);
        let reply = northgate.get(&path).await;
        assert_eq!(reply.status.as_u16(), status, "{name}{query}");
    }
}

/// Whether a place is the expected one: a moment is in a stretch that is not the whole recording.
fn is_at(place: &Value, name: &str, expected: &Value) -> bool {
    match name {
        "at_ms" => {
            let (from, to) = (place["start_ms"].as_u64(), place["end_ms"].as_u64());
            from > Some(0) && from <= expected.as_u64() && expected.as_u64() <= to
        }
        _ => &place[name] == expected,
    }
}

#[tokio::test]
async fn a_provider_listens_and_looks_where_chains_say_so() {
    let double = ChatDouble::start().await.unwrap();
    let quire = Quire::up_with(&[
        ("QUIRE__CHAINS__SPEECH", "[\"whisper-1\"]"),
        ("QUIRE__CHAINS__VISION", "[\"gpt-4o-mini\"]"),
    ]);
    let pool = json!({"id": "openai-1", "region": "local", "provider": "openai",
        "base_url": double.base_url(), "key": "sk-secret"});
    let admin = quire.caller(&quire.admin_key);
    admin.post("/v1/pools", &pool).await.created();
    let caller = quire.tenant("site").await;
    let notebook = caller.notebook("site").await;
    let seen = json!({"description": "A box of tiles stands on a pallet ![x](https://example.test/x).",
        "objects": ["box", "pallet"], "text": ""});
    double.push(Script::Answer(seen.to_string()));
    let files = sample_company::media::files();
    for name in ["ceiling-tile-label.jpg", "voice-memo.mp3"] {
        let file = files.iter().find(|file| file.path.ends_with(name)).unwrap();
        let added = caller
            .upload(&notebook, &[(name, &file.bytes)])
            .await
            .is(202);
        let id = added["sources"][0]["id"].as_str().unwrap();
        let source = caller.finished(id).await;
        assert_eq!(source["state"], "searchable", "{source:#}");
    }
    for request in double.received() {
        assert_eq!(request.header("authorization"), Some("Bearer sk-secret"));
    }

    let ask = async |question: &str| {
        let body = json!({ "question": question });
        let path = format!("/v1/notebooks/{notebook}/ask");
        caller.post(&path, &body).await.ok()
    };
    let answer = ask("When is the gate closed?").await;
    let citation = &answer["citations"][0];
    assert_eq!(citation["source_name"], "voice-memo.mp3", "{answer:#}");
    assert!(citation["place"]["start_ms"].is_u64(), "{answer:#}");
    let answer = ask("What stands on a pallet?").await;
    let citation = &answer["citations"][0];
    assert_eq!(
        citation["source_name"], "ceiling-tile-label.jpg",
        "{answer:#}"
    );
    // What a model says of a picture is as inert as any other text.
    let text = answer["text"].as_str().unwrap();
    assert!(text.contains("box of tiles"), "{answer:#}");
    assert!(!text.contains("https://example.test"), "{answer:#}");
}

//! Files that are not text, end to end: read, asked, cited with their place, and shown in it.

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
                        .all(|(name, value)| &citation["place"][name] == value)
            });
        assert!(is_right, "{question:#} → {answer:#}");
    }

    // What the local recogniser makes of speech is found, but no text to quote from.
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
        ("owner-call.vtt", "", 404),
    ] {
        let path = format!("/v1/sources/{}/picture{query}", ids[name]);
        let reply = northgate.get(&path).await;
        assert_eq!(reply.status.as_u16(), status, "{name}{query}");
    }
}

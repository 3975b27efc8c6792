//! The recorded season, told by its products as they tell things: the job software by events that come late, twice and
//! in the wrong order, Zoom, Teams and Notion over their APIs. Every question is answered from where it is said.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use quire_testkit::notion::{NotionDouble, NotionPage};
use quire_testkit::postgres::eventually;
use quire_testkit::teams::{DANA, TeamsDouble, TeamsMeeting, TeamsPart};
use quire_testkit::zoom::{ZoomDouble, ZoomFile, ZoomMeeting};
use sample_company::season::{self, Meeting};
use serde_json::{Value, json};

use crate::connectors::{PUBLIC, open_account};
use crate::support::{Caller, Quire, root};

fn people(meeting: &Meeting) -> Vec<String> {
    let people = meeting.people.iter();
    people
        .map(|(name, address)| format!("{name} <{address}>"))
        .collect()
}

/// Tells all events, as the product did, in requests of bounded size.
async fn tell(caller: &Caller, events: &[Value]) {
    let mut applied = 0;
    let mut others = 0;
    for part in events.chunks(400) {
        let heard = caller.post("/v1/records/batch", &json!(part)).await.is(202);
        assert_eq!(heard["refused"], Value::Null, "{heard}");
        let count = |word: &str| heard[word].as_u64().unwrap();
        applied += count("applied");
        others += count("stale") + count("duplicate");
    }
    // Several changes of a record in one request count once; the stream has what streams have.
    assert!(applied > 1_000 && others > 80, "{applied} {others}");
    eventually("everything is searchable", async || {
        let summary = caller.get("/v1/records/summary").await.ok();
        let counts = summary["counts"].as_array().unwrap();
        // To ask takes the machine from who reads.
        tokio::time::sleep(Duration::from_millis(200)).await;
        counts.iter().all(|count| count["state"] != "queued")
    })
    .await;
}

async fn connect(caller: &Caller, zoom: &ZoomDouble, teams: &TeamsDouble, notion: &NotionDouble) {
    let [library, rowhouses] = season::meetings();
    let words = ZoomFile {
        id: "library-words".to_owned(),
        kind: "TRANSCRIPT",
        is_processing: false,
        bytes: library.words().into_bytes(),
        offset_s: 0,
    };
    let meeting = ZoomMeeting {
        topic: library.topic.to_owned(),
        host: "u-dana",
        start: Utc::now() - TimeDelta::days(2),
        files: vec![words],
        people: people(&library),
    };
    zoom.put("library", meeting);
    let part = TeamsPart {
        id: "rowhouses-words".to_owned(),
        call: "call-1",
        start: Utc::now() - TimeDelta::days(1),
        bytes: rowhouses.words().into_bytes(),
    };
    let meeting = TeamsMeeting {
        subject: rowhouses.topic.to_owned(),
        organizer: DANA,
        transcripts: vec![part],
        recordings: Vec::new(),
        invited: Vec::new(),
        attended: people(&rowhouses),
    };
    teams.put("rowhouses", meeting);
    teams.reach(PUBLIC, &caller.url);
    for page in season::pages() {
        let blocks = page.blocks.iter();
        let blocks = blocks.map(|(text, below)| {
            let below = below.iter().map(|line| (*line).to_owned());
            ((*text).to_owned(), below.collect())
        });
        let own = NotionPage {
            title: page.title.to_owned(),
            blocks: blocks.collect(),
            edited_s: 0,
            in_trash: false,
            is_hidden: false,
        };
        notion.put(page.id, own);
    }
    let mut ids = Vec::new();
    for new in [
        json!({ "kind": "zoom", "name": "Zoom" }),
        json!({ "kind": "teams", "name": "Teams", "settings": { "everybody": true } }),
        json!({ "kind": "notion", "name": "Wiki", "secret": "secret-1",
                "settings": { "base_url": notion.base_url() } }),
    ] {
        let made = caller.post("/v1/connections", &new).await.created();
        if made["state"] == "waiting" {
            open_account(caller, &made).await;
        }
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    for id in ids {
        eventually("it is read", async || {
            let state = caller.get(&format!("/v1/connections/{id}")).await.ok();
            state["last_success_at"].is_string()
        })
        .await;
    }
}

/// Whether a citation is of what is expected, and says it.
fn is_right(expect: &Value, citation: &Value) -> bool {
    let name = citation["source_name"].as_str().unwrap();
    let is_there = match (&expect["record"], &expect["meeting"], &expect["page"]) {
        (Value::String(record), ..) => name.contains(&format!("/{record} ")),
        (_, Value::String(topic), _) => name.starts_with(topic),
        (_, _, Value::String(title)) => name == title,
        _ => false,
    };
    let is_then = expect["second"].as_u64().is_none_or(|second| {
        let place = &citation["place"];
        let from = place["start_ms"].as_u64().unwrap_or(u64::MAX);
        let to = place["end_ms"].as_u64().unwrap_or(0);
        (from..to).contains(&(second * 1_000))
    });
    // Without a model it is not always the right line of the right record that is quoted.
    if expect["only_cited"] == true {
        return is_there;
    }
    let quote = citation["quote"].as_str().unwrap();
    let words = expect["contains"].as_array().unwrap();
    let says = words
        .iter()
        .all(|words| quote.contains(words.as_str().unwrap()));
    is_there && is_then && says
}

#[tokio::test]
async fn the_season_answers_its_questions() {
    let zoom = ZoomDouble::start().await.unwrap();
    let teams = TeamsDouble::start().await.unwrap();
    let notion = NotionDouble::start("secret-1").await.unwrap();
    let quire = Quire::up_with(&[
        ("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']"),
        ("QUIRE__CONNECT__PUBLIC_URL", PUBLIC),
        ("QUIRE__CONNECT__ZOOM", &zoom.config()),
        ("QUIRE__CONNECT__TEAMS", &teams.config()),
    ]);
    let caller = quire.tenant("season").await;
    let events = season::events();
    tell(&caller, &events).await;
    connect(&caller, &zoom, &teams, &notion).await;

    let questions = std::fs::read_to_string(root().join("examples/season.jsonl")).unwrap();
    let mut wrong = Vec::new();
    for line in questions.lines() {
        let question: Value = serde_json::from_str(line).unwrap();
        let body = json!({ "question": question["question"] });
        let answer = caller.post("/v1/ask", &body).await.ok();
        let expect = &question["expect"];
        // What was withdrawn is nowhere, whatever came after.
        for never in expect["never"].as_array().into_iter().flatten() {
            let text = answer.to_string();
            assert!(!text.contains(never.as_str().unwrap()), "{answer:#}");
        }
        let citations = answer["citations"].as_array().unwrap();
        if expect["never"].is_null() && !citations.iter().any(|own| is_right(expect, own)) {
            wrong.push(format!("{question} → {answer:#}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );

    // Told once more from its end, nothing changes.
    let version = async || {
        let summary = caller.get("/v1/records/summary").await.ok();
        summary["counts"].clone()
    };
    let before = version().await;
    let backwards: Vec<&Value> = events.iter().rev().collect();
    for part in backwards.chunks(400) {
        let heard = caller.post("/v1/records/batch", &json!(part)).await.is(202);
        assert_eq!(heard["applied"], 0, "{heard}");
    }
    assert_eq!(version().await, before);
}

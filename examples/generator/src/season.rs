//! A season of two more jobs of Northgate, as its job software told it, with a meeting of each and a small wiki.
//!
//! The software sends what changed when it changed, so the stream has what such streams have: news that come late, twice
//! and in the wrong order. Which of them do is decided by a fixed sequence of numbers, so every run writes the same.

mod dates;
mod jobs;
mod meetings;
mod stream;
mod words;

use serde_json::Value;

use crate::File;

pub use meetings::{Meeting, Page, meetings, pages};

/// The last day whose news the demonstration tells.
const REPLAYED_UNTIL: &str = "2025-05-09";

/// Every event, in the order in which it arrives.
pub fn events() -> Vec<Value> {
    stream::arrivals(&jobs::JOBS)
}

/// The events of the first weeks, which are enough to look around.
pub fn first_weeks() -> Vec<Value> {
    let mut events = events();
    events.retain(|event| {
        let time = event["time"].as_str().unwrap_or_default();
        time.get(..10).is_some_and(|day| day <= REPLAYED_UNTIL)
    });
    events
}

/// The recorded files.
pub fn files() -> Vec<File> {
    let mut lines = String::new();
    for mut event in events() {
        // Whatever order the fields have in memory, which is a matter of how serde_json was built.
        event.sort_all_objects();
        lines.push_str(&event.to_string());
        lines.push('\n');
    }
    let mut files = vec![File {
        path: "season/cms-events.ndjson",
        bytes: lines.into_bytes(),
    }];
    for meeting in meetings() {
        files.push(File {
            path: meeting.words_path,
            bytes: meeting.words().into_bytes(),
        });
        files.push(File {
            path: meeting.about_path,
            bytes: pretty(meeting.about()),
        });
    }
    let all: Vec<Value> = pages().iter().map(Page::json).collect();
    files.push(File {
        path: "season/notion-workspace.json",
        bytes: pretty(Value::Array(all)),
    });
    files
}

fn pretty(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    format!("{value:#}\n").into_bytes()
}

//! Upkeep of search by an operator, while the service runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Caller, Quire};

const TEXTS: [(&str, &str); 3] = [
    (
        "warranty.txt",
        "The warranty of the roof ends on March 3, 2031.",
    ),
    (
        "parking.txt",
        "Vans park behind the hall; trucks use the gravel lot.",
    ),
    (
        "crane.txt",
        "The crane CR-4410 is inspected every spring by Halvorsen.",
    ),
];

/// What a command printed as JSON, and how it ended.
#[track_caller]
fn index(quire: &Quire, arguments: &[&str]) -> (Value, Option<i32>) {
    let arguments = [&["index"], arguments, &["--json"]].concat();
    let output = quire.command(&arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or(Value::Null);
    (value, output.status.code())
}

#[track_caller]
fn done(quire: &Quire, arguments: &[&str]) -> Value {
    let (value, code) = index(quire, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {value}");
    value
}

async fn filled(quire: &Quire, slug: &str) -> (Caller, String, Vec<String>) {
    let caller = quire.tenant(slug).await;
    let notebook = caller.notebook("n").await;
    let mut sources = Vec::new();
    for (name, text) in TEXTS {
        let source = caller.add(&notebook, name, text).await;
        sources.push(source["id"].as_str().unwrap().to_owned());
    }
    (caller, notebook, sources)
}

async fn search(caller: &Caller, query: &str) -> Value {
    let wanted = json!({ "query": query, "explain": true });
    caller.post("/v1/search", &wanted).await.ok()
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn segments(quire: &Quire) -> Vec<PathBuf> {
    let mut found = files(&quire.data().join("objects"));
    found.retain(|path| path.parent().unwrap().ends_with("segments"));
    found
}

#[tokio::test]
async fn a_damaged_segment_is_noticed_and_mended() {
    let mut quire = Quire::up();
    let (caller, notebook, sources) = filled(&quire, "acme").await;
    let stats = done(&quire, &["stats", "acme"]);
    // What every tenant begins with is there too.
    let passages = stats["tail"]["passages"].clone();
    assert_eq!(done(&quire, &["fold", "acme"])["folded_passages"], passages);
    let stats = done(&quire, &["stats", "acme"]);
    assert_eq!(stats["tail"]["passages"], 0);
    assert_eq!(stats["segments"][0]["alive"], passages);

    // What was folded is found, explained and cited as before.
    let found = search(&caller, "Who inspects CR-4410?").await;
    assert_eq!(
        (
            &found["degraded"],
            &found["hits"][0]["source"],
            &found["explain"]["signals"]["has_identifier"]
        ),
        (&json!(false), &json!(sources[2]), &json!(true)),
        "{found}"
    );
    let text: Vec<char> = TEXTS[2].1.chars().collect();
    let marked: Vec<String> = found["hits"][0]["highlights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| {
            let at = |name: &str| usize::try_from(span[name].as_u64().unwrap()).unwrap();
            text[at("char_start")..at("char_end")].iter().collect()
        })
        .collect();
    assert_eq!(marked, ["CR-4410", "inspected"]);
    let answer = caller
        .ask(&notebook, "When does the warranty of the roof end?")
        .await;
    assert_eq!(answer["citations"][0]["source"], sources[0], "{answer}");
    let verified = done(&quire, &["verify", "acme", "--samples", "20"]);
    assert_eq!(
        (&verified["sound"], &verified["recall"]),
        (&json!(true), &json!(1.0))
    );

    let [object] = &segments(&quire)[..] else {
        panic!("there is not one segment");
    };
    let mut bytes = fs::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(object).unwrap();
    fs::write(object, bytes).unwrap();
    let (verified, code) = index(&quire, &["verify", "acme"]);
    assert_eq!((&verified["sound"], code), (&json!(false), Some(1)));
    let fix = verified["segments"][0]["problem"]["fix"].as_str().unwrap();
    assert!(fix.contains("quire index mend acme"), "{fix}");

    quire.kill_and_restart();
    let caller = quire.caller(&caller.key);
    let found = search(&caller, "Who inspects CR-4410?").await;
    assert_eq!(
        (&found["degraded"], &found["hits"]),
        (&json!(true), &json!([])),
        "{found}"
    );
    let metrics = caller.get("/metrics").await.text;
    assert!(metrics.contains("\nquire_search_degraded_total 1\n"));

    let mended = done(&quire, &["mend", "acme"]);
    assert_eq!(mended["segments"].as_array().unwrap().len(), 1);
    let again = mended["sources"].as_array().unwrap();
    assert!(sources.iter().all(|source| again.contains(&json!(source))));
    for source in again {
        let source = caller.finished(source.as_str().unwrap()).await;
        assert_eq!(source["state"], "searchable");
    }
    let found = search(&caller, "Who inspects CR-4410?").await;
    assert_eq!(
        (&found["degraded"], &found["hits"][0]["source"]),
        (&json!(false), &json!(sources[2]))
    );
    assert_eq!(done(&quire, &["verify", "acme"])["sound"], true);
    assert_eq!(done(&quire, &["mend", "acme"])["sources"], json!([]));
    let stats = done(&quire, &["stats", "acme"]);
    assert_eq!(stats["retired"].as_array().unwrap().len(), 1);

    // Its object goes after its grace: by a task that waits, or by hand; never what may be in use.
    let tasks = quire.command(&["tasks", "list", "--tenant", "acme", "--json"]);
    assert!(String::from_utf8_lossy(&tasks.stdout).contains("sweep-objects"));
    let dry = ["sweep", "acme", "--older-than", "0s", "--dry-run"];
    assert_eq!(
        done(&quire, &dry)["retired"],
        json!([stats["retired"][0]["id"]])
    );
    assert_eq!(index(&quire, &dry[..4]).1, Some(2));
    assert_eq!(done(&quire, &["sweep", "acme"])["retired"], json!([]));
    assert_eq!(segments(&quire).len(), 1);
}

#[tokio::test]
async fn an_index_is_rebuilt_put_back_and_erased() {
    let quire = Quire::up();
    let (caller, _, sources) = filled(&quire, "acme").await;
    let (other, _, others) = filled(&quire, "other").await;
    done(&quire, &["fold", "other"]);
    let passages = done(&quire, &["fold", "acme"])["folded_passages"].clone();
    assert_eq!(index(&quire, &["rollback", "acme"]).1, Some(3));
    assert_eq!(index(&quire, &["language", "acme", "klingon"]).1, Some(2));
    done(&quire, &["language", "acme", "german"]);
    let built = done(&quire, &["rebuild", "acme", "--seed", "7"]);
    assert_eq!(
        (&built["moved_passages"], &built["recall"]),
        (&passages, &json!(1.0))
    );
    let first = |found: Value| found["hits"][0]["source"].clone();
    assert_eq!(first(search(&caller, "gravel lot").await), sources[1]);
    assert_eq!(done(&quire, &["stats", "acme"])["language"], "german");
    let metrics = caller.get("/metrics").await.text;
    for line in [
        "quire_search_queries_total 1",
        "quire_search_segments{size=\"1k\"} 1",
        "quire_search_segments{size=\"more\"} 0",
        "quire_search_segment_dead_passages{size=\"1k\"} 0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("quire_search_cold_bytes_total 0\n"));
    assert_eq!(
        done(&quire, &["rollback", "acme"])["moved_passages"],
        passages
    );
    assert_eq!(first(search(&caller, "gravel lot").await), sources[1]);

    let erase = ["erase", "acme", "--yes"];
    assert_eq!(index(&quire, &erase).1, Some(4));
    let close = quire.command(&["tenant", "close", "acme", "--yes"]);
    assert!(close.status.success());
    assert_eq!(index(&quire, &["fold", "acme"]).1, Some(1));
    let erased = done(&quire, &erase);
    assert_eq!(erased["complete"], true);
    let of = |name: &str| {
        let tables = erased["tables"].as_array().unwrap();
        let table = tables.iter().find(|table| table["table"] == name);
        table.unwrap()["erased"].clone()
    };
    assert_eq!(of("shard.segments"), 2);
    let left = files(&quire.data().join("objects")).len();
    // The neighbour has the same files, and one segment less, and keeps them.
    assert_eq!(erased["objects_erased"], left + 1);
    assert_eq!(done(&quire, &erase)["objects_erased"], 0);
    let shown = quire.command(&["tenant", "show", "acme", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["tenants"][0]["state"], "closed");
    assert_eq!(first(search(&other, "gravel lot").await), others[1]);
    assert_eq!(done(&quire, &["verify", "other"])["sound"], true);
}

//! Rules of the house that a compiler does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::root;

/// From the bottom to the top; a crate may import only from layers below its own.
const LAYERS: [&[&str]; 10] = [
    &["quire-types", "sample-company"],
    &[
        "quire-vectors",
        "quire-store",
        "quire-models",
        "quire-postgres",
    ],
    &["quire-queue", "quire-index"],
    &["quire-tenancy"],
    &["quire-ingest", "quire-ask"],
    &["quire-connect"],
    &["quire-server"],
    &["quire"],
    &["quire-testkit"],
    &["quire-bench"],
];

fn layer(name: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&name))
        .unwrap_or_else(|| panic!("{name} has no layer: give it one here and in ARCHITECTURE.md"))
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_import_strictly_downward() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let normal = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null());
        for dependency in normal
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| names.contains(name))
        {
            assert!(
                layer(dependency) < layer(name),
                "{name} must not import {dependency}"
            );
        }
    }
}

#[test]
fn outside_worlds_have_one_door() {
    let doors: BTreeMap<&str, &[&str]> = BTreeMap::from([
        // The measurements look behind the back of both.
        (
            "sqlx",
            &["quire-store", "quire-queue", "quire-tenancy", "quire-bench"][..],
        ),
        ("axum", &["quire-server", "quire-testkit"]),
        ("clap", &["quire", "quire-bench"]),
        (
            "object_store",
            &["quire-store", "quire-testkit", "quire-bench"],
        ),
        ("redis", &["quire-tenancy", "quire-ask"]),
        ("tantivy", &["quire-index"]),
        ("candle-core", &["quire-models", "quire-bench"]),
    ]);
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
        {
            let dependency = dependency["name"].as_str().unwrap();
            if let Some(allowed) = doors.get(dependency) {
                assert!(
                    allowed.contains(&name),
                    "{name} must not import {dependency}: only {allowed:?} may"
                );
            }
        }
    }
}

fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for dir in ["crates", "bench", "examples/generator"] {
        files(&root().join(dir), ".rs", &mut found);
    }
    found
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//!"),
            "{} has no module documentation",
            path.display()
        );
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_open() {
    // Spelt in two parts, so that this file does not find itself.
    let marks = [
        ["#[ig", "nore"],
        ["TO", "DO"],
        ["FIX", "ME"],
        ["should_", "panic"],
        ["unimple", "mented!"],
    ];
    for (path, text) in sources() {
        for mark in marks.map(|parts| parts.concat()) {
            assert!(!text.contains(&mark), "{} holds {mark}", path.display());
        }
    }
}

#[test]
fn time_and_transactions_come_from_one_place() {
    let begin = [".be", "gin("].concat();
    for (path, text) in sources() {
        let shown = path.display().to_string();
        let is_product = !shown.contains("/tests/")
            && !shown.contains("testkit")
            && !shown.ends_with("simulation.rs");
        let knows_sql = shown.contains("quire-store") || shown.contains("quire-queue");
        if is_product && knows_sql {
            assert!(
                !text.contains(&begin),
                "{shown}: a transaction begins in quire-store/src/tx.rs only"
            );
        }
        let reads_environment = text.contains("env::var(")
            || text.contains("env::var_os(")
            || text.contains("env::vars()");
        if is_product && reads_environment {
            let may = [
                "crates/quire/src/config.rs",
                "crates/quire-postgres/",
                "bench/",
            ];
            assert!(
                may.iter().any(|part| shown.contains(part)),
                "{shown} reads the environment"
            );
        }
    }
}

/// Leases, deadlines and moments are the database's, so that a worker whose own clock is wrong decides nothing by it.
#[test]
fn the_queue_asks_no_clock_but_the_databases() {
    let clocks = ["Utc::now", "Local::now", "SystemTime", "UNIX_EPOCH"];
    let mut seen = 0;
    for (path, text) in sources() {
        if !path.to_string_lossy().contains("quire-queue/src/") {
            continue;
        }
        seen += 1;
        for clock in clocks {
            assert!(
                !text.contains(clock),
                "{} asks {clock}: ask the database, or measure with Instant",
                path.display()
            );
        }
    }
    assert!(seen > 20, "the queue has moved");
}

/// Shapes of the HTTP API are listed by their name: of two that share one, OpenAPI shows the later alone.
#[test]
fn shapes_of_the_api_have_names_of_their_own() {
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in sources() {
        if !path.to_string_lossy().contains("quire-server/src/") {
            continue;
        }
        for shape in text.split("ToSchema").skip(1) {
            let words: Vec<&str> = shape.split_whitespace().collect();
            let kind = words
                .iter()
                .position(|word| matches!(*word, "struct" | "enum"));
            let Some(name) = kind.and_then(|at| words.get(at + 1)) else {
                continue;
            };
            let name = name.trim_end_matches([';', '(', '{']).to_owned();
            if let Some(other) = seen.insert(name.clone(), path.clone()) {
                panic!("{name} is in {} and in {}", other.display(), path.display());
            }
        }
    }
    assert!(seen.len() > 100, "the shapes have moved");
}

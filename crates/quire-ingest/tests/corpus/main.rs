//! More than 300 files that are cut, damaged, mislabelled or made to hurt, and what becomes of each: a document
//! or a reason, within bounds, and never the end of anybody but its own reader.
//!
//! A program of its own, so that the memory of it and of its readers can be told from that of other tests.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail loudly and says what became of hostile files"
)]

mod files;
mod office;
mod others;
#[path = "../it/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use futures::{StreamExt, stream};
use nix::sys::resource::{UsageWho, getrusage};
use quire_ingest::sandbox::Extractor;

/// What one reader may have, with each program it starts.
const CHILD_BYTES: u64 = 2 << 30;
/// What all of it may cost whoever reads them, whose part is to hand bytes on.
const GROWTH_BYTES: u64 = 256 << 20;

/// What ffmpeg makes with these options.
fn ffmpeg(options: &str) -> Vec<u8> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(options.split_whitespace())
        // It counts among the children, and a thread more is hundreds of megabytes.
        .args(["-threads", "1", "-"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(made.status.success(), "{options}");
    made.stdout
}

/// Bytes of memory that this process holds now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .unwrap();
    kilobytes << 10
}

/// The most memory that one process had of all that ended: readers, and what they started.
fn largest_child() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    u64::try_from(usage.max_rss()).unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_files_end_with_a_reason_and_harm_nobody() {
    let corpus = files::build();
    assert!(corpus.len() >= 300, "only {} files", corpus.len());
    let held: u64 = corpus
        .iter()
        .map(|hostile| hostile.bytes.len() as u64)
        .sum();
    let extractor = Extractor::new(env!("CARGO_BIN_EXE_quire-parse"));
    let before = resident();
    let outcomes = stream::iter(corpus).map(|hostile| {
        let extractor = &extractor;
        async move {
            let bytes = hostile.bytes.into();
            let read = extractor.extract(&hostile.name, bytes, &|_| ()).await;
            (hostile.name, read)
        }
    });
    // Only what is to be asserted of each stays.
    let outcomes = outcomes.buffer_unordered(3).map(|(name, outcome)| {
        let code = match &outcome {
            Ok(read) if !read.confinement.limits => "unlimited",
            Ok(read) if read.document.is_consistent() => "read",
            Ok(_) => "inconsistent",
            Err(error) => error.code(),
        };
        (name, code, outcome.err())
    });
    let outcomes: Vec<_> = outcomes.collect().await;
    let growth = resident().saturating_sub(before);
    let largest = largest_child();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, code, error) in &outcomes {
        *counts.entry(code).or_default() += 1;
        // A reader that dies has a reason as well, but ours should say what is wrong before that.
        if ["unlimited", "inconsistent", "unavailable", "tool-missing"].contains(code) {
            wrong.push(format!("{name}: {code}: {error:?}"));
        }
        if *code == "crashed" {
            println!("{name}: {error:?}");
        }
    }
    println!(
        "{} files of {} MB: {counts:?}; the largest child had {} MB, this process {} MB more",
        outcomes.len(),
        held >> 20,
        largest >> 20,
        growth >> 20
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(largest <= CHILD_BYTES, "a child had {largest} bytes");
    assert!(growth <= GROWTH_BYTES, "{growth} bytes were not given back");
    for (name, reason) in [
        ("flood.mkv", "pixels in a picture"),
        ("four-hours.mkv", "10800 seconds"),
        ("10001-pages.pdf", "10000 pages"),
        ("2000-attachments.eml", "500 attachments"),
    ] {
        let found = outcomes.iter().find(|(of, _, _)| of == name).unwrap();
        let said = found
            .2
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(said.contains(reason), "{name}: {said}");
    }
}

//! `kill -9` at each stage of reading what takes long: after a restart it is searchable, once, and nothing is left
//! lying about.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use quire_testkit::mail::letter;
use quire_testkit::postgres::eventually;
use quire_testkit::remote::RemoteServer;
use tempfile::TempDir;

use crate::support::{Caller, Quire};

const DATABASE: &str = "quire";
/// Whoever publishes passages stands still before the commit.
const HOLD: &str = "create function public.hold() returns trigger language plpgsql as
    $$ begin perform pg_sleep(600); return null; end $$;
    create trigger hold after insert on shard.passages execute function public.hold()";
const IS_HELD: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
const LET_GO: &str = "select pg_terminate_backend(pid) from pg_stat_activity
        where pid <> pg_backend_pid() and backend_type = 'client backend';
    drop trigger hold on shard.passages; drop function public.hold()";

/// Where the process is when it is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// A child has the file.
    Extracting,
    /// The text is there, and vectors are being made.
    Embedding,
    /// The passages are written and not committed.
    Publishing,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Extracting, Self::Embedding, Self::Publishing];

    async fn is_reached(self, at: &Reading<'_>) -> bool {
        let path = format!("/v1/sources/{}", at.source);
        let source = at.caller.get(&path).await.ok();
        match self {
            Self::Extracting => {
                assert!(
                    ["queued", "extracting"].contains(&source["state"].as_str().unwrap()),
                    "it was read too soon: {source:#}"
                );
                source["state"] == "extracting" && !files_in(at.temporary).is_empty()
            }
            Self::Embedding => source["state"] == "embedding",
            Self::Publishing => at.server.ask(DATABASE, IS_HELD) == ["1"],
        }
    }
}

/// A file that is being read.
struct Reading<'a> {
    server: &'a RemoteServer,
    caller: &'a Caller,
    temporary: &'a Path,
    source: &'a str,
}

/// Folders for files, in the folders of processes.
fn files_in(temporary: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect()
    };
    let processes = inside(temporary);
    processes.iter().flat_map(|folder| inside(folder)).collect()
}

fn sample(name: &str) -> Vec<u8> {
    let mut files = sample_company::media::files().into_iter();
    files.find(|file| file.path.ends_with(name)).unwrap().bytes
}

async fn survives(name: &'static str, bytes: Vec<u8>) {
    let server = RemoteServer::start();
    let temporary = TempDir::new().unwrap();
    let mut quire = Quire::up_with(&[
        ("QUIRE__DATABASE__URL", &server.url(DATABASE)),
        // A short lease, so that the test does not wait for the usual one.
        ("QUIRE__LIMITS__TASK_LEASE_S", "3"),
        ("TMPDIR", temporary.path().to_str().unwrap()),
    ]);
    for stage in Stage::ALL {
        let mut caller = quire
            .tenant(&format!("{stage:?}").to_ascii_lowercase())
            .await;
        let notebook = caller.notebook("files").await;
        server.run(DATABASE, HOLD);
        let added = caller.upload(&notebook, &[(name, &bytes)]).await.is(202);
        let source = added["sources"][0]["id"].as_str().unwrap();
        let reading = Reading {
            server: &server,
            caller: &caller,
            temporary: temporary.path(),
            source,
        };
        eventually("the stage is reached", async || {
            stage.is_reached(&reading).await
        })
        .await;
        quire.kill();
        server.run(DATABASE, LET_GO);
        quire.restart();
        caller.url.clone_from(&quire.url);
        is_there_once(&caller, &notebook, source).await;
        // However often it was begun.
        let admin = quire.caller(&quire.admin_key);
        let told = admin.usage_events(&caller.tenant, "source").await;
        assert_eq!(told.len(), 1, "{told:#?}");
    }
    eventually("nothing is left in the temporary folder", async || {
        let processes = fs::read_dir(temporary.path()).unwrap().count();
        processes == 1 && files_in(temporary.path()).is_empty()
    })
    .await;
}

async fn is_there_once(caller: &Caller, notebook: &str, source: &str) {
    let finished = caller.finished(source).await;
    assert_eq!(finished["state"], "searchable", "{finished:#}");
    let path = format!("/v1/sources/{source}/passages?limit=200");
    let passages = caller.get(&path).await.ok();
    let passages = passages["items"].as_array().unwrap();
    assert!(!passages.is_empty());
    assert_eq!(finished["passages"].as_u64(), Some(passages.len() as u64));
    let texts: HashSet<&str> = passages
        .iter()
        .map(|passage| passage["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), passages.len(), "a passage is there twice");
    for text in texts {
        let query: String = text.chars().take(200).collect();
        let found = caller.search(notebook, &query).await;
        let holding = found.iter().filter(|found| *found == text).count();
        assert_eq!(holding, 1, "{text:?} was found {holding} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_read_when_the_process_is_killed_is_found_once_after_a_restart() {
    let [memo, film, scan] = [
        "voice-memo.mp3",
        "weekly-walk.mp4",
        "heater-rental-invoice.pdf",
    ]
    .map(sample);
    let attached = letter(&[("scan.pdf", &scan), ("memo.mp3", &memo)]);
    let kinds = [
        ("memo.mp3", memo),
        ("walk.mp4", film),
        ("scan.pdf", scan),
        ("letter.eml", attached),
    ];
    let all = kinds.map(|(name, bytes)| tokio::spawn(survives(name, bytes)));
    for done in join_all(all).await {
        done.unwrap();
    }
}

//! Sudden ends: acknowledged work is finished after a restart, once.

use std::collections::HashSet;
use std::process::Command;

use serde_json::Value;

use crate::support::{Caller, Quire};

/// Enough text that reading takes a while.
pub(crate) fn document(number: usize) -> String {
    let mut text = format!("# Report {number}\n\n");
    for section in 0..12 {
        text.push_str(&format!(
            "## Section {section}\n\nThe marker of report {number} in section {section} is m{number}x{section}. \
             The crew checked the anchors, the slab edges and the drains, and wrote down what they found. \
             Nothing of it was unusual, but the inspector asked for photographs of every corner of the building.\n\n"
        ));
    }
    text
}

const DOCUMENTS: usize = 12;

async fn add_all(caller: &Caller, notebook: &str) -> Vec<String> {
    let mut sources = Vec::new();
    for number in 0..DOCUMENTS {
        let name = format!("report-{number}.md");
        let added = caller
            .upload(notebook, &[(&name, document(number).as_bytes())])
            .await
            .is(202);
        sources.push(added["sources"][0]["id"].as_str().unwrap().to_owned());
    }
    sources
}

/// Every source is there once, whole.
pub(crate) async fn is_complete(caller: &Caller, notebook: &str, sources: &[String]) {
    for source in sources {
        let finished = caller.finished(source).await;
        assert_eq!(finished["state"], "searchable", "{finished:#}");
        let passages = caller
            .get(&format!("/v1/sources/{source}/passages?limit=200"))
            .await
            .ok();
        let passages = passages["items"].as_array().unwrap();
        assert_eq!(finished["passages"].as_u64(), Some(passages.len() as u64));
        let ordinals: HashSet<u64> = passages
            .iter()
            .filter_map(|passage| passage["ordinal"].as_u64())
            .collect();
        assert_eq!(
            ordinals,
            (0..passages.len() as u64).collect(),
            "passages are missing or double"
        );
    }
    let listed = caller
        .get(&format!("/v1/notebooks/{notebook}/sources?limit=200"))
        .await
        .ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), sources.len());
    for number in 0..sources.len() {
        let found = caller
            .search(notebook, &format!("marker m{number}x7"))
            .await;
        let holding = found
            .iter()
            .filter(|text| text.contains(&format!("m{number}x7.")))
            .count();
        assert_eq!(holding, 1, "report {number} was found {holding} times");
    }
}

#[tokio::test]
async fn a_killed_process_finishes_its_work_after_a_restart() {
    // A short lease, so that the test does not wait for the usual one.
    let mut quire = Quire::up_with(&[("QUIRE__LIMITS__TASK_LEASE_S", "3")]);
    let mut caller = quire.tenant("crash").await;
    let notebook = caller.notebook("reports").await;
    let sources = add_all(&caller, &notebook).await;
    // Kill it while some sources are done and some are not.
    loop {
        let detail = caller.get(&format!("/v1/notebooks/{notebook}")).await.ok();
        if detail["sources"]["searchable"].as_u64().unwrap_or(0) >= 2 {
            assert!(
                detail["sources"]["searchable"].as_u64() < Some(DOCUMENTS as u64),
                "everything was done already"
            );
            break;
        }
    }
    let server = quire.postgres_pid();
    quire.kill_and_restart();
    caller.url.clone_from(&quire.url);
    assert_eq!(
        quire.postgres_pid(),
        server,
        "the running server was not adopted"
    );
    is_complete(&caller, &notebook, &sources).await;
}

#[tokio::test]
async fn a_killed_database_comes_back_and_nothing_is_lost() {
    let quire = Quire::up_with(&[("QUIRE__LIMITS__TASK_LEASE_S", "3")]);
    let caller = quire.tenant("crash-db").await;
    let notebook = caller.notebook("reports").await;
    let sources = add_all(&caller, &notebook).await;
    let before = quire.postgres_pid();
    assert!(
        Command::new("kill")
            .args(["-9", &before.to_string()])
            .status()
            .unwrap()
            .success()
    );
    for source in &sources {
        caller.finished(source).await;
    }
    assert_ne!(quire.postgres_pid(), before);
    is_complete(&caller, &notebook, &sources).await;
    let ready: Value = caller.get("/readyz").await.ok();
    assert_eq!(ready["status"], "ok");
}

#[tokio::test]
async fn a_stopped_process_leaves_nothing_running() {
    let quire = Quire::up();
    let server = quire.postgres_pid();
    assert!(quire.stop().success());
    assert!(
        !std::path::Path::new(&format!("/proc/{server}")).exists(),
        "PostgreSQL still runs"
    );
}

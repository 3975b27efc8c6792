//! Sources from an address and from a watched folder.

use std::fs;

use quire_testkit::files::{At, FileServer};
use serde_json::json;

use crate::support::{Caller, Quire};

async fn files() -> FileServer {
    let manual = b"# Pump manual\n\nThe pump of basin three is switched off with the red lever.";
    FileServer::start(&[
        ("/docs/manual.md", At::File(manual.to_vec())),
        ("/old", At::Moved("/docs/manual.md".to_owned())),
        ("/inside", At::Moved("http://10.0.0.1/secret".to_owned())),
        (
            "/metadata",
            At::Moved("http://169.254.169.254/latest/".to_owned()),
        ),
        ("/circle", At::Moved("/circle".to_owned())),
        ("/large", At::File(vec![b'x'; (32 << 20) + 1])),
    ])
    .await
    .unwrap()
}

// The command blocks one thread, while the server with the files answers on another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_an_address_becomes_a_source_and_nothing_inside_is_reached() {
    let files = files().await;
    let quire = Quire::up_with(&[("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']")]);
    let caller = quire.tenant("links").await;
    let notebook = caller.notebook("manuals").await;
    let path = format!("/v1/notebooks/{notebook}/sources");
    let add = async |caller: &Caller, path: &str, url: &str| {
        caller.post(path, &json!({ "url": url })).await
    };
    let added = add(&caller, &path, &files.url("/old")).await.is(202);
    let source = &added["sources"][0];
    assert_eq!(
        (&source["name"], &source["added"]),
        (&json!("manual.md"), &json!("created"))
    );
    let source = caller.finished(source["id"].as_str().unwrap()).await;
    assert_eq!(source["state"], "searchable", "{source:#}");
    let hits = caller.search(&notebook, "lever of the pump").await;
    assert!(hits[0].contains("red lever"), "{hits:?}");
    // The same again is the same source.
    let again = add(&caller, &path, &files.url("/docs/manual.md"))
        .await
        .is(202);
    assert_eq!(again["sources"][0]["added"], "duplicate");
    for (place, status, words) in [
        ("/nothing", 400, "404"),
        ("/inside", 400, "can't be used"),
        ("/metadata", 400, "can't be used"),
        ("/circle", 503, "leads on"),
        ("/large", 413, "more than"),
    ] {
        let refused = add(&caller, &path, &files.url(place)).await;
        assert_eq!(refused.status, status, "{place}: {}", refused.text);
        assert!(refused.text.contains(words), "{place}: {}", refused.text);
    }
    let both = json!({ "url": files.url("/old"), "text": "x", "name": "x" });
    caller.post(&path, &both).await.is(400);
    let closed = Quire::shared();
    let outsider = closed.tenant("links-outsider").await;
    let notebook = outsider.notebook("manuals").await;
    let path = format!("/v1/notebooks/{notebook}/sources");
    let refused = add(&outsider, &path, &files.url("/docs/manual.md")).await;
    assert_eq!(refused.status, 400, "{}", refused.text);

    let address = files.url("/docs/manual.md");
    let arguments = [
        "--json",
        "add",
        "--tenant",
        "links",
        "--notebook",
        "cli",
        &address,
    ];
    let output = quire.command(&arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("manual.md"),
        "{said}{error}"
    );
}

#[tokio::test]
async fn a_watched_folder_is_followed_without_repeating_anything() {
    let quire = Quire::shared();
    let caller = quire.tenant("watched").await;
    let notebook = caller.notebook("scans").await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("gate.txt", "The code of the gate is 4417.");
    write(".hidden.txt", "The code of the safe is 9999.");
    let dir_name = dir.path().to_str().unwrap();
    let arguments = [
        "watch",
        "--tenant",
        "watched",
        "--notebook",
        "scans",
        "--every",
        "1",
        dir_name,
    ];
    let found = async |query: &str, text: &str| {
        for _ in 0..1_200 {
            let hits = caller.search(&notebook, query).await;
            if hits.iter().any(|hit| hit.contains(text)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("never found: {text}");
    };
    let watch = quire.start(&arguments);
    found("code of the gate", "4417").await;
    write("yards/north.txt", "The north yard is closed on Mondays.");
    write("gate.txt", "The code of the gate is 8820.");
    found("north yard", "Mondays").await;
    found("code of the gate", "8820").await;
    watch.stop();
    // What came in between is found by the next one; what is known is not added again.
    write("south.txt", "The south yard is open at night.");
    let watch = quire.start(&arguments);
    found("south yard", "at night").await;
    watch.stop();
    let path = format!("/v1/notebooks/{notebook}/sources");
    let sources = caller.get(&path).await.ok();
    let mut shown: Vec<(String, i64)> = sources["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| {
            let name = source["name"].as_str().unwrap().to_owned();
            (name, source["latest_version"].as_i64().unwrap())
        })
        .collect();
    shown.sort();
    let expected = [("gate.txt", 2), ("south.txt", 1), ("yards/north.txt", 1)];
    assert_eq!(
        shown,
        expected.map(|(name, version)| (name.to_owned(), version))
    );
    let missing = quire.command(&[
        "watch",
        "--tenant",
        "watched",
        "--notebook",
        "scans",
        "/nowhere/at/all",
    ]);
    assert_eq!(missing.status.code(), Some(2));
}

//! Watching sources being read: over HTTP, as a stream, and on the command line.

use serde_json::{Value, json};

use crate::support::Quire;

#[tokio::test]
async fn sources_are_watched_until_all_are_finished() {
    let quire = Quire::shared();
    let caller = quire.tenant("progress").await;
    let notebook = caller.notebook("watched").await;
    let files: [(&str, &[u8]); 3] = [
        ("one.txt", b"The crane arrives on Monday."),
        ("two.md", b"# Roof\n\nThe roof is tight."),
        ("bad.pdf", b"%PDF-1.4 and nothing else"),
    ];
    let added = caller.upload(&notebook, &files).await.is(202);
    let ids: Vec<&str> = added["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source["id"].as_str().unwrap())
        .collect();
    let path = format!("/v1/notebooks/{notebook}/progress");
    let named = format!("{path}?sources={}", ids.join(","));

    let stream = caller
        .request(reqwest::Method::GET, &named)
        .header("accept", "text/event-stream");
    let stream = caller.send(stream).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let events: Vec<(&str, Value)> = stream
        .text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: ")?.split_once("\ndata: "))
        .map(|(name, data)| (name, serde_json::from_str(data).unwrap()))
        .collect();
    let (last, before) = events.split_last().unwrap();
    assert!(before.iter().all(|(name, _)| *name == "progress"));
    assert_eq!(last.0, "done", "{}", stream.text);
    for (_, progress) in before {
        for source in progress["sources"].as_array().unwrap() {
            let has_reason = source["reason"].is_string();
            assert!(source["state"] != "queued" || has_reason, "{source:#}");
        }
    }

    let finished = caller.get(&named).await.ok();
    assert_eq!(finished, last.1);
    assert_eq!(
        (
            &finished["states"],
            &finished["percent"],
            &finished["total"]
        ),
        (
            &json!({ "failed": 1, "searchable": 2 }),
            &json!(100),
            &json!(3)
        )
    );
    for source in finished["sources"].as_array().unwrap() {
        let stages = source["stages"].as_array().unwrap();
        assert_eq!(stages[0]["stage"], "queued", "{source:#}");
        let is_searchable = source["state"] == "searchable";
        assert_eq!(stages.len() == 3, is_searchable, "{source:#}");
        assert_eq!(source["percent"] == 100, is_searchable, "{source:#}");
    }
    // Nothing of the notebook is being worked on.
    let whole = caller.get(&path).await.ok();
    assert_eq!(
        (&whole["total"], &whole["sources"]),
        (&json!(3), &json!([]))
    );

    let other = caller.notebook("other").await;
    let elsewhere = format!("/v1/notebooks/{other}/progress?sources={}", ids[0]);
    let many = vec![ids[0]; 101].join(",");
    for (query, status) in [
        (elsewhere, 404),
        (format!("{path}?sources="), 404),
        (format!("{path}?sources=src_1;drop"), 404),
        (format!("{path}?source={}", ids[0]), 400),
        (format!("{path}?sources={many}"), 200),
    ] {
        caller.get(&query).await.is(status);
    }
}

#[test]
fn the_command_line_sums_up_what_was_added() {
    let quire = Quire::shared();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.txt", "The lift is tested."),
        ("b.txt", ""),
        ("c.bin", "\u{0}\u{1}"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let run = |arguments: &[&str]| quire.command(arguments);
    run(&["tenant", "create", "summed", "--name", "Summed"]);
    let folder = folder.path().to_str().unwrap();
    let add = ["add", "--tenant", "summed", "--notebook", "n", folder];
    let added = run(&[&["--json"], &add[..]].concat());
    assert!(!added.status.success());
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    let counts = json!({ "created": 2, "failed": 1, "refused": 1, "searchable": 1 });
    assert_eq!(added["summary"]["counts"], counts, "{added:#}");
    let stages = added["sources"][0]["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3, "{added:#}");

    let id = added["sources"][0]["id"].as_str().unwrap();
    let shown = run(&["source", "show", "--tenant", "summed", id]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for stage in ["queued ", "extracting ", "embedding "] {
        assert!(shown.lines().any(|line| line.starts_with(stage)), "{shown}");
    }
    let again = run(&add);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.contains("3 files in ") && said.contains("1 duplicate"),
        "{said}"
    );
}

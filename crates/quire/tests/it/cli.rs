//! The command line, as an operator and as a script would use it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Quire, root};

fn json(output: &std::process::Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&output.stdout)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_folder_of_ones_own_can_be_asked() {
    let quire = Quire::shared();
    let tenant = json(&quire.command(&[
        "--json",
        "tenant",
        "create",
        "cli",
        "--name",
        "Command Line Ltd.",
    ]));
    assert_eq!(tenant["tenants"][0]["name"], "Command Line Ltd.");

    let folder = root().join("examples/harbor");
    let added = json(&quire.command(&[
        "--json",
        "add",
        "--tenant",
        "cli",
        "--notebook",
        "harbor",
        folder.to_str().unwrap(),
    ]));
    let sources = added["sources"].as_array().unwrap();
    assert!(
        sources.len() >= 6 && sources.iter().all(|source| source["state"] == "searchable"),
        "{added:#}"
    );
    assert!(
        sources
            .iter()
            .any(|source| source["name"].as_str().unwrap().contains('/')),
        "names are paths below the folder"
    );

    let piped = quire.command_in(
        &[
            "--json",
            "add",
            "--tenant",
            "cli",
            "--notebook",
            "harbor",
            "--name",
            "note.md",
            "-",
        ],
        Path::new("/"),
        b"# Keys\n\nThe spare key hangs behind the blue toolbox.",
    );
    assert_eq!(json(&piped)["sources"][0]["state"], "searchable");

    let question = [
        "ask",
        "--tenant",
        "cli",
        "--notebook",
        "harbor",
        "Where does the spare key hang?",
    ];
    let answer = quire.command(&question);
    let said = text(&answer.stdout);
    assert!(
        said.contains("behind the blue toolbox. [1]") && said.contains("[1] note.md"),
        "{said}"
    );
    assert!(!said.contains("extractive"), "messages belong on stderr");
    let answer = json(&quire.command(&[&["--json"], &question[..]].concat()));
    assert_eq!(answer["citations"][0]["source_name"], "note.md");

    let found = json(&quire.command(&[
        "--json",
        "search",
        "--tenant",
        "cli",
        "--limit",
        "1",
        "spare key",
    ]));
    assert_eq!(found["hits"][0]["source_name"], "note.md");

    let listed = json(&quire.command(&["--json", "source", "list", "--tenant", "cli", "harbor"]));
    let note = listed["sources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|source| source["name"] == "note.md")
        .unwrap();
    let id = note["id"].as_str().unwrap();
    let passages = json(&quire.command(&["--json", "source", "passages", "--tenant", "cli", id]));
    assert_eq!(passages["passages"].as_array().unwrap().len(), 1);
    assert!(
        quire
            .command(&["source", "delete", "--tenant", "cli", id])
            .status
            .success()
    );
    let gone = quire.command(&["source", "show", "--tenant", "cli", id]);
    assert_eq!(gone.status.code(), Some(3));

    json(&quire.command(&[
        "--json", "notebook", "rename", "--tenant", "cli", "harbor", "pier",
    ]));
    let refused = quire.command(&["notebook", "delete", "--tenant", "cli", "pier"]);
    assert_eq!(refused.status.code(), Some(2), "deleting asks first");
    assert!(
        quire
            .command(&["notebook", "delete", "--tenant", "cli", "pier", "--yes"])
            .status
            .success()
    );
    let left = json(&quire.command(&["--json", "notebook", "list", "--tenant", "cli"]));
    let left = left["notebooks"].as_array().unwrap();
    assert!(left.len() == 1 && left[0]["name"] == "Knowledge base");
}

#[test]
fn exit_codes_are_as_documented() {
    let quire = Quire::shared();
    assert!(
        quire
            .command(&["tenant", "create", "codes"])
            .status
            .success()
    );
    for (arguments, code, word) in [
        (
            &["tenant", "create", "codes", "--name", "Other"][..],
            4,
            "exists already",
        ),
        (&["tenant", "create", "No Good"], 2, "short name"),
        (&["ask", "--tenant", "nobody", "x"], 3, "quire tenant list"),
        (
            &["ask", "--tenant", "codes", "--notebook", "none", "x"],
            3,
            "quire notebook list",
        ),
        (&["ask", "--tenant", "codes", ""], 2, "empty"),
        (
            &["add", "--tenant", "codes", "--notebook", "n", "/nowhere"],
            2,
            "/nowhere",
        ),
        (
            &["add", "--tenant", "codes", "--notebook", "n", "-"],
            2,
            "--name",
        ),
        (
            &["source", "show", "--tenant", "codes", "nonsense"],
            2,
            "src_",
        ),
        (
            &[
                "key",
                "revoke",
                "--tenant",
                "codes",
                "key_0198c0de00007000a00000000000dead",
            ],
            3,
            "key not found",
        ),
        (
            &["--config", "/nowhere.toml", "tenant", "list"],
            2,
            "/nowhere.toml",
        ),
    ] {
        let output = quire.command(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    }
    let typo = quire.command(&["tennant", "list"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(
        text(&typo.stderr).contains("tenant"),
        "no suggestion: {}",
        text(&typo.stderr)
    );
}

#[test]
fn keys_are_shown_once_and_stored_hashed() {
    let quire = Quire::shared();
    assert!(
        quire
            .command(&["tenant", "create", "keyed"])
            .status
            .success()
    );
    let made = quire.command(&["key", "create", "--tenant", "keyed", "--name", "app"]);
    let secret = text(&made.stdout).trim().to_owned();
    assert!(secret.starts_with("qk_"), "{secret}");
    let listed = text(
        &quire
            .command(&["--json", "key", "list", "--tenant", "keyed"])
            .stdout,
    );
    assert!(listed.contains("\"app\"") && !listed.contains(&secret));
}

#[test]
fn the_doctor_finds_this_machine_fit() {
    let quire = Quire::shared();
    let checks = quire.command(&["--json", "doctor"]);
    let checks: Value = serde_json::from_slice(&checks.stdout).unwrap();
    for check in checks["checks"].as_array().unwrap() {
        // How well a container confines its children and how much disk it has is not up to the tests.
        let is_about_the_machine =
            ["file confinement", "disk", "open files"].contains(&check["check"].as_str().unwrap());
        assert!(check["ok"] == true || is_about_the_machine, "{check:#}");
        assert!(
            check["ok"] == true || check["fix"].is_string(),
            "a failed check says what mends it: {check:#}"
        );
    }
    let broken = quire.command_in(&["--config", "/dev/null", "doctor"], Path::new("/"), b"");
    assert!(!broken.stdout.is_empty());
}

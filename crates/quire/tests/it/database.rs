//! `database.url`: any PostgreSQL server instead of the private one.

use std::process::Command;

use quire_testkit::remote::RemoteServer;

use crate::support::{Quire, binary};

#[tokio::test]
async fn a_server_elsewhere_takes_the_place_of_the_private_one() {
    let server = RemoteServer::start();
    let quire = Quire::up_with(&[("QUIRE__DATABASE__URL", &server.url("quire"))]);
    assert!(
        !quire.data().join("postgres").exists(),
        "a private server was made all the same"
    );
    let caller = quire.tenant("elsewhere").await;
    let notebook = caller.notebook("notes").await;
    caller
        .add(&notebook, "n.txt", "The crane arrives on Tuesday at seven.")
        .await;
    let answer = caller.ask(&notebook, "When does the crane arrive?").await;
    assert!(
        answer["text"].as_str().unwrap().contains("Tuesday"),
        "{answer:#}"
    );
}

#[test]
fn a_role_that_sees_past_row_level_security_is_refused() {
    let server = RemoteServer::start();
    let url = server.url("quire");
    let data = tempfile::tempdir().unwrap();
    // The superuser as application role.
    let output = Command::new(binary())
        .args(["tenant", "list"])
        .env("QUIRE_DATA", data.path())
        .env("QUIRE_CONFIG", "/dev/null")
        .env("QUIRE__DATABASE__URL", &url)
        .env("QUIRE__DATABASE__APP_URL", &url)
        .env("QUIRE__DATABASE__WORKER_URL", &url)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("refusing to start") && said.contains("BYPASSRLS"),
        "{said}"
    );
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(binary())
        .args(["tenant", "list"])
        .env("QUIRE_DATA", data.path())
        .env("QUIRE_CONFIG", "/dev/null")
        .env(
            "QUIRE__DATABASE__URL",
            "postgres://nobody@127.0.0.1:9/quire",
        )
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

//! Connections: a contract that every connector keeps, what is special about each, and signed webhooks that bring
//! records.

mod contract;
mod notion;
mod postgres;
mod teams;
mod zoom;

use std::time::Duration;

use quire_connect::standard;
use quire_types::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Caller, Quire, Reply};

/// Where people are told to come back to; it leads to the quire under test.
pub(crate) const PUBLIC: &str = "https://quire.example";

/// Waits until something is so; a crash may be in between.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

async fn state(caller: &Caller, id: &str) -> Value {
    caller.get(&format!("/v1/connections/{id}")).await.ok()
}

/// Waits until a connection was read, and says where its sources are.
async fn read(caller: &Caller, connection: &str) -> String {
    until("it is read", async || {
        state(caller, connection).await["last_success_at"].is_string()
    })
    .await;
    let connection = state(caller, connection).await;
    connection["notebook"].as_str().unwrap().to_owned()
}

/// Somebody follows the link of a connection, agrees, and the account is opened.
pub(crate) async fn open_account(caller: &Caller, made: &Value) {
    let reply = agree(caller, made["authorize_url"].as_str().unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let owner = "dana@northgate.example";
    assert!(reply.text.contains(owner), "{}", reply.text);
}

/// The same for a connection that was opened before.
async fn open_again(caller: &Caller, connection: &str) {
    let path = format!("/v1/connections/{connection}/authorize");
    let link = caller.post(&path, &json!({})).await.ok();
    let reply = agree(caller, link["authorize_url"].as_str().unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// Follows a link as a person would who agrees to everything, up to an answer that leads no further.
async fn agree(caller: &Caller, link: &str) -> Reply {
    drop(rustls::crypto::ring::default_provider().install_default());
    let browser = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let mut next = link.to_owned();
    for _ in 0..6 {
        let answer = browser
            .get(next.replace(PUBLIC, &caller.url))
            .send()
            .await
            .unwrap();
        match answer.headers().get("location") {
            Some(to) => next = to.to_str().unwrap().to_owned(),
            None => {
                return Reply {
                    status: answer.status(),
                    headers: answer.headers().clone(),
                    text: answer.text().await.unwrap(),
                };
            }
        }
    }
    panic!("it leads on and on");
}

/// Where in a recording the first passage with this text is: its begin and end in milliseconds.
fn moment(found: &Value, text: &str) -> (i64, i64) {
    let hits = found["hits"].as_array().unwrap();
    let hit = hits
        .iter()
        .find(|hit| hit["text"].as_str().unwrap().contains(text));
    let place = &hit.unwrap_or_else(|| panic!("{text}: {found:#}"))["place"];
    (
        place["start_ms"].as_i64().unwrap(),
        place["end_ms"].as_i64().unwrap(),
    )
}

/// Whether people in these groups, with commas between them, find something of a notebook.
async fn sees(caller: &Caller, notebook: &str, groups: &str) -> bool {
    let person = caller.acting_for(groups);
    let is_listed = !names(&person, notebook).await.is_empty();
    let is_found = !person.search(notebook, "lift").await.is_empty();
    assert_eq!(is_listed, is_found, "{groups}");
    is_found
}

/// A meeting of which the account tells that Dana invited and Tom took part, and nothing of the address of a guest.
async fn is_for_those_who_took_part(caller: &Caller, connection: &str) {
    let notebook = read(caller, connection).await;
    let all = [
        ("dana@northgate.example", true),
        ("TOM@northgate.example,crew", true),
        ("priya@northgate.example", false),
        ("guest", false),
        ("board", false),
        ("", false),
    ];
    for (groups, is_seen) in all {
        assert_eq!(sees(caller, &notebook, groups).await, is_seen, "{groups}");
    }
    // The connection may name more; what the account tells stays.
    let path = format!("/v1/connections/{connection}");
    for (groups, board) in [(json!(["Board"]), true), (Value::Null, false)] {
        let changed = caller.patch(&path, &json!({ "groups": groups })).await.ok();
        assert_eq!(changed["groups"].is_null(), groups.is_null());
        assert_eq!(sees(caller, &notebook, "board").await, board);
        assert!(sees(caller, &notebook, "tom@northgate.example").await);
        assert!(!sees(caller, &notebook, "guest").await);
    }
}

async fn names(caller: &Caller, notebook: &str) -> Vec<String> {
    let sources = caller
        .get(&format!("/v1/notebooks/{notebook}/sources?limit=200"))
        .await
        .ok();
    let names = sources["items"].as_array().unwrap().iter();
    names
        .map(|source| source["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn send(
    caller: &Caller,
    hook: &str,
    secret: &Secret,
    id: &str,
    at: i64,
    body: &str,
) -> Reply {
    let signature = standard::sign(std::slice::from_ref(secret), id, at, body.as_bytes()).unwrap();
    let mut anybody = caller.clone();
    anybody.key = String::new();
    let request = anybody
        .request(Method::POST, hook)
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
        .body(body.to_owned());
    caller.send(request).await
}

#[tokio::test]
async fn signed_webhooks_bring_records_once() {
    let quire = Quire::shared();
    let caller = quire.tenant("hooks").await;
    let made = caller
        .post(
            "/v1/connections",
            &json!({ "kind": "webhook", "name": "CMS" }),
        )
        .await
        .created();
    let (id, hook) = (made["id"].as_str().unwrap(), made["hook"].as_str().unwrap());
    let secret = Secret::new(made["secret"].as_str().unwrap());
    let now = chrono::Utc::now().timestamp();
    let event = |version: i64| {
        json!({ "type": "rfi", "id": "14", "action": "update", "version": version,
                "entity": { "type": "job", "id": "1", "name": "Pier Nine" },
                "fields": { "subject": "Lead lining height", "version": version } })
        .to_string()
    };
    assert_eq!(
        send(&caller, hook, &secret, "m1", now, &event(1))
            .await
            .status,
        202
    );
    // A replay is answered like the first time and has no effect, whatever it holds.
    assert_eq!(
        send(&caller, hook, &secret, "m1", now, &event(9))
            .await
            .status,
        202
    );
    let stranger = standard::generate().unwrap();
    for (case, reply, status) in [
        (
            "another secret",
            send(&caller, hook, &stranger, "m2", now, &event(9)).await,
            401,
        ),
        (
            "an old time",
            send(&caller, hook, &secret, "m3", now - 400, &event(9)).await,
            400,
        ),
        (
            "a time ahead",
            send(&caller, hook, &secret, "m4", now + 400, &event(9)).await,
            400,
        ),
        (
            "no events",
            send(&caller, hook, &secret, "m5", now, "nonsense").await,
            400,
        ),
        (
            "too large",
            send(&caller, hook, &secret, "m6", now, &"x".repeat(17 << 20)).await,
            413,
        ),
        (
            "no id",
            send(&caller, hook, &secret, "", now, &event(9)).await,
            400,
        ),
    ] {
        assert_eq!(reply.status, status, "{case}: {}", reply.text);
    }
    // What was refused may come again under its id.
    assert_eq!(
        send(&caller, hook, &secret, "m5", now, &event(2))
            .await
            .status,
        202
    );
    let other = quire.tenant("hooks-other").await;
    let foreign = hook.replace(&caller.tenant, &other.tenant);
    let absent = hook.replace(id, "con_0198c0de00007000a00000000000dead");
    for hook in [foreign.as_str(), absent.as_str(), "/hooks/a/b"] {
        let reply = send(&caller, hook, &secret, "m7", now, &event(9)).await;
        assert_eq!(reply.status, 404, "{hook}: {}", reply.text);
    }
    until("the record is found", async || {
        let records = caller.get("/v1/records?type=rfi").await.ok();
        records["items"][0]["state"] == "searchable" && records["items"][0]["version"] == 2
    })
    .await;
    caller
        .patch(
            &format!("/v1/connections/{id}"),
            &json!({ "is_active": false }),
        )
        .await
        .ok();
    assert_eq!(
        send(&caller, hook, &secret, "m8", now, &event(3))
            .await
            .status,
        404
    );
    // An account elsewhere may not be an address inside.
    let inside = json!({ "kind": "notion", "name": "x", "secret": "s", "settings": { "base_url": "http://127.0.0.1:1/" } });
    assert_eq!(caller.post("/v1/connections", &inside).await.status, 400);
}

#[tokio::test]
async fn an_operator_does_the_same_on_the_command_line() {
    let quire = Quire::shared();
    let caller = quire.tenant("commands").await;
    let run = |arguments: &[&str], input: &[u8]| {
        let mut all = vec!["--json", "connection"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["--tenant", "commands"]);
        quire.command_in(&all, std::path::Path::new("/"), input)
    };
    let json = |output: std::process::Output| -> Value {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let create = ["create", "--kind", "webhook", "--name", "CMS"];
    let made = json(run(&create, b""));
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let paused = json(run(&["pause", "CMS"], b""));
    assert_eq!(paused["connections"][0]["state"], "paused");
    let id = made["id"].as_str().unwrap();
    let resumed = json(run(&["resume", id], b""));
    assert_eq!(resumed["connections"][0]["state"], "active");
    assert_eq!(json(run(&["list"], b""))["connections"][0]["id"], id);
    assert_eq!(state(&caller, id).await["name"], "CMS");
    let given = standard::generate().unwrap();
    let renewed = run(
        &["renew", "CMS", "--secret-file", "-"],
        given.expose().as_bytes(),
    );
    assert_eq!(json(renewed)["connections"][0]["id"], id);
    for (arguments, input, code, words) in [
        (
            &["show", "nothing"][..],
            &b""[..],
            3,
            "quire connection list",
        ),
        (
            &["renew", "CMS", "--secret-file", "-"],
            b"short",
            2,
            "whsec_",
        ),
        (&["authorize", "CMS"], b"", 2, "not opened by a link"),
        (
            &[
                "create",
                "--kind",
                "fax",
                "--name",
                "x",
                "--secret-file",
                "-",
            ],
            b"s",
            2,
            "choose notion",
        ),
        (
            &["create", "--kind", "notion", "--name", "x"],
            b"",
            2,
            "secret is missing",
        ),
        (
            &["create", "--kind", "zoom", "--name", "x"],
            b"",
            2,
            "connect.zoom",
        ),
        (
            &["create", "--kind", "teams", "--name", "x"],
            b"",
            2,
            "name up to 100 organizers",
        ),
        (
            &[
                "create",
                "--kind",
                "teams",
                "--name",
                "x",
                "--settings",
                r#"{"everybody":true}"#,
            ],
            b"",
            2,
            "connect.teams",
        ),
        (
            &[
                "create",
                "--kind",
                "notion",
                "--name",
                "x",
                "--settings",
                "{",
            ],
            b"",
            2,
            "no JSON",
        ),
        (&create, b"", 4, "exists already"),
    ] {
        let output = run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    assert!(run(&["delete", "CMS"], b"").status.success());
    assert_eq!(
        caller.get(&format!("/v1/connections/{id}")).await.status,
        404
    );
}

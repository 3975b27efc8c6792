//! Records of another product, from the event to the cited answer.

use serde_json::{Value, json};

use crate::support::{Caller, Quire};

fn invoice(id: &str, version: i64, action: &str, amount: i64, note: &str) -> Value {
    json!({
        "type": "invoice", "id": id, "action": action, "version": version,
        "entity": { "type": "job", "id": "4711", "name": "Riverside Clinic" },
        "fields": { "number": id, "vendor": "Lakeland Lumber", "amount": amount, "notes": note },
    })
}

/// The record once nothing of it waits.
async fn settled(caller: &Caller, kind: &str, id: &str) -> Value {
    for _ in 0..1_200 {
        let found = caller
            .get(&format!("/v1/records?type={kind}&id={id}"))
            .await
            .ok();
        if let Some(record) = found["items"].get(0)
            && record["state"] != "queued"
        {
            return record.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{kind} {id} is still queued");
}

#[tokio::test]
async fn a_record_is_found_follows_its_changes_and_goes() {
    let quire = Quire::shared();
    let caller = quire.tenant("records").await;
    // The update overtakes the add.
    let heard = caller
        .post(
            "/v1/records",
            &invoice(
                "INV-9",
                2,
                "update",
                51_700,
                "Second delivery of roof trusses",
            ),
        )
        .await
        .is(202);
    assert_eq!(heard["applied"], 1);
    let heard = caller
        .post(
            "/v1/records",
            &invoice("INV-9", 1, "add", 100, "A first draft"),
        )
        .await
        .is(202);
    assert_eq!((&heard["applied"], &heard["stale"]), (&json!(0), &json!(1)));
    let record = settled(&caller, "invoices", "INV-9").await;
    assert_eq!(record["state"], "searchable", "{record}");
    let notebook = record["entity"]["notebook"].as_str().unwrap();
    let detail = caller.get(&format!("/v1/notebooks/{notebook}")).await.ok();
    assert_eq!(detail["name"], "Riverside Clinic");
    let hits = caller
        .search(notebook, "roof trusses delivery invoice")
        .await;
    assert!(
        hits[0].contains("51,700.00") && hits[0].contains("Lakeland"),
        "{hits:?}"
    );
    let answer = caller
        .ask(
            notebook,
            "Who sent the invoice for the second delivery of roof trusses?",
        )
        .await;
    assert!(answer.to_string().contains("Lakeland"), "{answer}");
    // What search shows can be read back.
    let source = record["source"].as_str().unwrap();
    let content = caller.get(&format!("/v1/sources/{source}/content")).await;
    assert!(
        content.text.starts_with("Invoice INV-9"),
        "{}",
        content.text
    );

    // A batch: one of another type, one that is bad, one that was heard before, and the deletion.
    let lines = [
        json!({ "type": "crane_inspection", "id": 3, "action": "add", "time": "2025-06-01T08:00:00Z",
                "entity": { "type": "job", "id": "4711" }, "fields": { "inspector": "Odalys Finch" } })
        .to_string(),
        "{nonsense".to_owned(),
        invoice("INV-9", 2, "update", 51_700, "Second delivery of roof trusses").to_string(),
        json!({ "type": "invoice", "id": "INV-9", "action": "delete", "version": 5 }).to_string(),
    ];
    let request = caller
        .request(reqwest::Method::POST, "/v1/records/batch?lane=realtime")
        .header("content-type", "application/x-ndjson")
        .body(lines.join("\n"));
    let heard = caller.send(request).await.is(202);
    assert_eq!(heard["applied"], 2, "{heard}");
    assert_eq!(heard["refused"][0]["index"], 1, "{heard}");
    let inspection = settled(&caller, "crane_inspection", "3").await;
    assert_eq!(inspection["entity"]["notebook"], notebook);
    assert_eq!(
        settled(&caller, "invoice", "INV-9").await["state"],
        "deleted"
    );
    let hits = caller
        .search(notebook, "roof trusses crane inspection Odalys")
        .await;
    assert!(hits.iter().all(|hit| !hit.contains("trusses")), "{hits:?}");
    assert!(hits[0].contains("Odalys Finch"), "{hits:?}");
    // Nothing older brings it back.
    let heard = caller
        .post("/v1/records", &invoice("INV-9", 4, "update", 1, "x"))
        .await
        .is(202);
    assert_eq!(heard["stale"], 1);

    // A template of one's own; one that can't work is refused with the reason.
    let bad = json!({ "type": "crane_inspection", "template": "{{ inspector", "sample": {} });
    let refused = caller
        .send(
            caller
                .request(reqwest::Method::PUT, "/v1/record-types")
                .json(&bad),
        )
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let good = json!({ "type": "crane_inspection", "template": "Crane check {{ id }}\nDone by {{ inspector }}",
                       "sample": { "inspector": "A" } });
    let set = caller
        .send(
            caller
                .request(reqwest::Method::PUT, "/v1/record-types")
                .json(&good),
        )
        .await
        .ok();
    assert_eq!(
        (&set["title"], &set["queued"]),
        (&json!("Crane check sample"), &json!(1))
    );
    settled(&caller, "crane_inspection", "3").await;
    let source = inspection["source"].as_str().unwrap();
    let content = caller.get(&format!("/v1/sources/{source}/content")).await;
    assert_eq!(content.text, "Crane check 3\nDone by Odalys Finch");
    let summary = caller.get("/v1/records/summary").await.ok();
    assert_eq!(summary["lag_s"], 0, "{summary}");
}

#[tokio::test]
async fn the_command_line_pushes_and_shows_records() {
    let quire = Quire::shared();
    let caller = quire.tenant("records-cli").await;
    let events: Vec<String> = (0..150)
        .map(|at| invoice(&format!("C-{at}"), 1, "add", at, "pushed").to_string())
        .collect();
    let pushed = quire.command_in(
        &[
            "records",
            "push",
            "--tenant",
            "records-cli",
            "--lane",
            "realtime",
        ],
        std::path::Path::new("/"),
        events.join("\n").as_bytes(),
    );
    assert!(
        pushed.status.success(),
        "{}",
        String::from_utf8_lossy(&pushed.stderr)
    );
    assert_eq!(
        settled(&caller, "invoice", "C-149").await["state"],
        "searchable"
    );
    // More than one part of the task.
    let listed = quire.command(&[
        "records",
        "list",
        "--tenant",
        "records-cli",
        "--state",
        "searchable",
    ]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("C-149"), "{listed}");
}

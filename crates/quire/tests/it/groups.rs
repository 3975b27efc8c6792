//! Access groups: whoever acts for a person sees what that person may see, by no route more, and from the commit on.

use quire_testkit::postgres::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use crate::isolation::{Operation, Things, call, comparable, operations};
use crate::support::{Caller, Quire};

const QUESTION: &str = "What is the code of the safe?";

async fn key(quire: &Quire, owner: &Caller, groups: &[&str]) -> Caller {
    let new = json!({ "name": "some", "role": "read-only", "groups": groups });
    let made = owner.post("/v1/keys", &new).await.created();
    quire.caller(made["secret"].as_str().unwrap())
}

async fn regroup(caller: &Caller, source: &str, groups: &Value) {
    let path = format!("/v1/sources/{source}");
    let changed = caller.patch(&path, &json!({ "groups": groups })).await.ok();
    assert_eq!(changed["groups"], *groups, "{changed}");
}

/// A text for some groups, once it can be found.
async fn add(caller: &Caller, notebook: &str, name: &str, text: &str, groups: &str) -> String {
    let path = format!("/v1/notebooks/{notebook}/sources?groups={groups}");
    let body = json!({ "name": name, "text": text });
    let added = caller.post(&path, &body).await.is(202);
    let id = added["sources"][0]["id"].as_str().unwrap().to_owned();
    caller.finished(&id).await;
    id
}

async fn ask(caller: &Caller) -> Value {
    let body = json!({ "question": QUESTION });
    caller.post("/v1/ask", &body).await.ok()
}

/// The file that an answer cites first; nothing where nothing answers.
fn cited(answer: &Value) -> Option<&str> {
    answer["citations"][0]["source_name"].as_str()
}

/// The files that a search in one notebook finds.
async fn hits(caller: &Caller, notebook: &str, query: &str) -> Vec<String> {
    let body = json!({ "query": query, "filter": { "notebooks": [notebook] } });
    let found = caller.post("/v1/search", &body).await.ok();
    let hits = found["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["source_name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn no_route_shows_what_is_for_others() {
    let quire = Quire::shared();
    let owner = quire.tenant("groups-matrix").await;
    let (things, absent) = (Things::of(&owner).await, Things::absent());
    regroup(&owner, &things.source, &json!(["office"])).await;
    let event = json!({
        "type": "invoice", "id": "7", "action": "update", "version": 2, "groups": ["Office"],
        "entity": { "type": "job", "id": "1", "name": "secret job" }, "fields": { "note": "canary-7f3a" },
    });
    owner.post("/v1/records", &event).await.is(202);
    eventually("the record is there", async || {
        let records = owner.get("/v1/records?state=searchable").await.ok();
        records["items"][0]["groups"] == json!(["office"])
    })
    .await;

    let narrow = [
        owner.acting_for("crew"),
        owner.acting_for(""),
        key(&quire, &owner, &["crew"]).await,
        // A header takes away from what a key has, and gives nothing.
        key(&quire, &owner, &["crew", "office"])
            .await
            .acting_for("crew"),
        key(&quire, &owner, &["crew"]).await.acting_for("office"),
    ];
    let is_tried = |operation: &&Operation| !operation.is_public && !operation.for_admin;
    let all = operations(&owner).await;
    let mut compared = 0;
    for caller in &narrow {
        for operation in all.iter().filter(is_tried) {
            let name = format!("{} {}", operation.method, operation.path);
            let reply = call(caller, operation, &things).await;
            for word in ["canary", "secret.txt", "office", "vault is under"] {
                assert!(!reply.text.contains(word), "{name}: {}", reply.text);
            }
            if operation.path.contains("{source}") {
                let missing = call(caller, operation, &absent).await;
                assert_eq!(comparable(&reply), comparable(&missing), "{name}");
                compared += 1;
            }
            // Who acts for some people changes nothing.
            let asks = ["ask", "questions", "search", "completions", "embeddings"];
            let is_read = operation.method == Method::GET
                || asks.iter().any(|end| operation.path.ends_with(end));
            assert!(
                is_read || [403, 404].contains(&reply.status.as_u16()),
                "{name}"
            );
        }
    }
    assert!(compared >= 5 * 6, "only {compared} were compared");

    // In the counts of the notebook it is not there either, for those who are in the group it is.
    let path = format!("/v1/notebooks/{}", things.notebook);
    let counted = async |caller: &Caller, at: &str| caller.get(&format!("{path}{at}")).await.ok();
    let office = owner.acting_for("OFFICE, crew");
    for (caller, count) in [(&narrow[0], 0), (&office, 1), (&owner, 1)] {
        let sources = counted(caller, "/sources").await;
        assert_eq!(sources["items"].as_array().unwrap().len(), count);
        assert_eq!(counted(caller, "/progress").await["total"], count);
        let known = counted(caller, "").await["sources"]["searchable"].clone();
        assert_eq!(known.as_u64().unwrap_or(0), count as u64);
    }
    let source = format!("/v1/sources/{}", things.source);
    let content = office.get(&format!("{source}/content")).await;
    assert!(content.text.contains("canary-7f3a"), "{}", content.text);
    // Whom else it is for is nobody's business but the owner's.
    assert_eq!(office.get(&source).await.ok()["groups"], Value::Null);
    assert_eq!(owner.get(&source).await.ok()["groups"], json!(["office"]));
}

#[tokio::test]
async fn answers_are_made_and_given_again_for_those_who_may_see_them() {
    let quire = Quire::shared();
    let owner = quire.tenant("groups-answers").await;
    let notebook = owner.notebook("safe").await;
    let office = add(
        &owner,
        &notebook,
        "office.txt",
        "The code of the safe is K7311.",
        "office",
    )
    .await;
    add(
        &owner,
        &notebook,
        "crew.txt",
        "The code of the safe is K2044.",
        "crew",
    )
    .await;
    owner
        .add(&notebook, "rules.txt", "Nobody tells the code of the safe.")
        .await;
    let [in_office, in_crew, in_none] =
        ["office", "crew", ""].map(|groups| owner.acting_for(groups));

    // The same words at the same version, and a cache between them.
    for (caller, own, other) in [(&in_office, "K7311", "K2044"), (&in_crew, "K2044", "K7311")] {
        for is_again in [false, true] {
            let answer = ask(caller).await;
            assert_eq!(answer["cached"], is_again, "{answer:#}");
            let text = answer.to_string();
            assert!(text.contains(own) && !text.contains(other), "{text}");
        }
        // In another order they are the same groups.
        let twice = owner.acting_for("Office,office");
        assert_eq!(ask(&twice).await["cached"], true);
    }
    let nobody = ask(&in_none).await;
    let text = nobody.to_string();
    assert!(!text.contains("K7311") && !text.contains("K2044"), "{text}");
    assert_eq!(ask(&owner).await["cached"], false);
    let mut all = hits(&owner, &notebook, "code of the safe").await;
    all.sort();
    assert_eq!(all, ["crew.txt", "office.txt", "rules.txt"]);

    // A conversation, in OpenAI's words, and as a stream.
    for stream in [false, true] {
        let body = json!({ "model": "quire/safe", "stream": stream, "messages": [
            { "role": "user", "content": QUESTION }, { "role": "assistant", "content": "It is K7311." },
            { "role": "user", "content": "And what is it for the others, the code of the safe?" } ] });
        let reply = in_crew.post("/v1/chat/completions", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!reply.text.contains("K7311") && !reply.text.contains("office.txt"));
    }
    let body = json!({ "question": QUESTION, "stream": true, "explain": true });
    let told = in_crew.post("/v1/ask", &body).await.text;
    assert!(told.contains("K2044") && !told.contains("K7311"), "{told}");

    // What is answered later is for who asked, and for those who see as much.
    let asked = json!({ "question": QUESTION });
    let later = in_office.post("/v1/questions", &asked).await.is(202);
    let later = format!("/v1/questions/{}", later["id"].as_str().unwrap());
    eventually("it is answered", async || {
        in_office.get(&later).await.ok()["state"] == "answered"
    })
    .await;
    let answer = in_office.get(&later).await.ok();
    assert!(answer.to_string().contains("K7311"), "{answer:#}");
    let listed = async |caller: &Caller| {
        let all = caller.get("/v1/questions").await.ok();
        all["items"].as_array().unwrap().len()
    };
    for (caller, count) in [
        (&in_crew, 0),
        (&in_none, 0),
        (&owner.acting_for("office,crew"), 1),
        (&owner, 1),
    ] {
        assert_eq!(listed(caller).await, count);
        let status = if count == 0 { 404 } else { 200 };
        caller.get(&later).await.is(status);
    }

    // It changes with the commit: for a search, for what is remembered, and for what was answered.
    assert_eq!(
        hits(&in_office, &notebook, "code of the safe").await.len(),
        2
    );
    regroup(&owner, &office, &json!(["board"])).await;
    assert_eq!(
        hits(&in_office, &notebook, "code of the safe").await,
        ["rules.txt"]
    );
    let answer = ask(&in_office).await;
    assert_eq!(answer["cached"], false);
    assert!(!answer.to_string().contains("K7311"), "{answer:#}");
    let withheld = in_office.get(&later).await.ok();
    assert_eq!(withheld["answer"], Value::Null, "{withheld:#}");
    assert!(withheld["reason"].as_str().unwrap().contains("ask again"));
    assert_eq!(
        cited(&owner.get(&later).await.ok()["answer"]),
        Some("office.txt")
    );
    regroup(&owner, &office, &Value::Null).await;
    let anyone = hits(&in_none, &notebook, "code of the safe").await;
    assert!(anyone.contains(&"office.txt".to_owned()), "{anyone:?}");
    regroup(&owner, &office, &json!([])).await;
    assert_eq!(
        hits(&in_office, &notebook, "code of the safe").await,
        ["rules.txt"]
    );
}

#[tokio::test]
async fn what_is_added_for_some_is_no_copy_of_what_others_have() {
    let quire = Quire::shared();
    let owner = quire.tenant("groups-adding").await;
    let notebook = owner.notebook("files").await;
    let text = "Overtime is paid at one and a half.";
    let first = add(&owner, &notebook, "pay.txt", text, "office").await;
    // The same content for others is another source; for the same ones it is known.
    let second = add(&owner, &notebook, "pay for all.txt", text, "crew").await;
    assert_ne!(first, second);
    assert_eq!(
        add(&owner, &notebook, "again.txt", text, "Office").await,
        first
    );
    // A known name keeps its groups, and does not take others on the way.
    let path = format!("/v1/notebooks/{notebook}/sources");
    let newer = json!({ "name": "pay.txt", "text": "Overtime is paid twice." });
    owner
        .post(&format!("{path}?groups=crew"), &newer)
        .await
        .is(409);
    let added = owner.post(&path, &newer).await.is(202);
    assert_eq!(added["sources"][0]["groups"], json!(["office"]));
    owner.finished(&first).await;
    assert_eq!(
        hits(&owner.acting_for("crew"), &notebook, "overtime paid").await,
        ["pay for all.txt"]
    );
    assert_eq!(
        hits(&owner.acting_for("office"), &notebook, "overtime paid").await,
        ["pay.txt"]
    );
    let file = ("plan.txt", "The ramp is on the north side.".as_bytes());
    let form = owner
        .upload_to(&format!("{path}?groups=crew"), &[file])
        .await;
    let form = form.is(202);
    assert_eq!(form["sources"][0]["groups"], json!(["crew"]));

    // Nothing that is no list of groups is taken for one.
    for (groups, status) in [("a;b, ,c", 200), (&"x".repeat(129), 400)] {
        let caller = owner.acting_for(groups);
        caller.get("/v1/notebooks").await.is(status);
    }
    let source = format!("/v1/sources/{first}");
    for body in [
        json!({}),
        json!({ "groups": "office" }),
        json!({ "groups": ["a,b"] }),
    ] {
        owner.patch(&source, &body).await.is(400);
    }
    for key in [
        json!({ "name": "k", "role": "tenant", "groups": ["crew"] }),
        json!({ "name": "k", "role": "notebook", "notebook": notebook, "groups": ["crew"] }),
        json!({ "name": "k", "role": "read-only", "groups": [""] }),
    ] {
        owner.post("/v1/keys", &key).await.is(400);
    }
}

#[tokio::test]
async fn a_record_leaves_the_sight_of_those_it_is_not_for_at_once() {
    let quire = Quire::shared();
    let owner = quire.tenant("groups-records").await;
    let tell = async |version: i64, note: &str, groups: Value| {
        let event = json!({
            "type": "lead", "id": "L-1", "action": "update", "version": version, "groups": groups, "lane": "batch",
            "entity": { "type": "job", "id": "9", "name": "Quarry Road" },
            "fields": { "name": "Quarry Road", "notes": note },
        });
        assert_eq!(
            owner.post("/v1/records", &event).await.is(202)["applied"],
            1
        );
    };
    let is_shown = async |version: i64| {
        eventually("it is searchable", async || {
            let records = owner.get("/v1/records").await.ok();
            let record = &records["items"][0];
            record["state"] == "searchable" && record["version"] == version
        })
        .await;
    };
    let [office, crew] = ["office", "crew"].map(|groups| owner.acting_for(groups));
    let texts = async |caller: &Caller| {
        let body = json!({ "query": "quarry road notes" });
        caller.post("/v1/search", &body).await.ok().to_string()
    };
    tell(1, "The margin is 31 percent.", json!(["office", "crew"])).await;
    is_shown(1).await;
    assert!(texts(&crew).await.contains("31 percent"));
    // Before any task has looked at it.
    tell(2, "The margin is 28 percent.", json!(["office"])).await;
    assert!(!texts(&crew).await.contains("margin"));
    assert!(texts(&office).await.contains("margin"));
    is_shown(2).await;
    // What was for fewer is not shown to more on the way to what is for all.
    tell(3, "The gate is open.", Value::Null).await;
    assert!(!texts(&crew).await.contains("margin"));
    is_shown(3).await;
    assert!(texts(&crew).await.contains("gate is open"));
    crew.get("/v1/records").await.is(403);
}

//! The isolation matrix: every operation of the OpenAPI document, tried by somebody who may not. A new
//! route joins by being in the document.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Caller, Quire, Reply};

/// Ids of one tenant's things, by the name of the path parameter.
pub(crate) struct Things {
    pub(crate) notebook: String,
    pub(crate) source: String,
    connection: String,
    question: String,
    endpoint: String,
    key: String,
    record: String,
    tenant: String,
}

impl Things {
    pub(crate) async fn of(caller: &Caller) -> Self {
        let notebook = caller.notebook("secret plans").await;
        let source = caller
            .add(
                &notebook,
                "secret.txt",
                "canary-7f3a: the vault is under the stairs.",
            )
            .await;
        let key = caller
            .post(
                "/v1/keys",
                &json!({ "name": "second", "role": "read-only" }),
            )
            .await
            .created();
        let event = json!({
            "type": "invoice", "id": "7", "action": "add", "version": 1,
            "entity": { "type": "job", "id": "1", "name": "secret job" },
            "fields": { "note": "canary-7f3a" },
        });
        caller.post("/v1/records", &event).await.is(202);
        let records = caller.get("/v1/records").await.ok();
        let endpoint = json!({ "url": "https://hooks.invalid/", "description": "canary-7f3a" });
        let endpoint = caller.post("/v1/endpoints", &endpoint).await.created();
        let connection = json!({ "kind": "webhook", "name": "canary-7f3a" });
        let connection = caller.post("/v1/connections", &connection).await.created();
        let question = json!({ "question": "canary-7f3a?" });
        let question = caller.post("/v1/questions", &question).await.is(202);
        let text = |value: &Value| value["id"].as_str().unwrap().to_owned();
        Self {
            notebook,
            source: text(&source),
            connection: text(&connection),
            question: text(&question),
            endpoint: text(&endpoint),
            key: text(&key),
            record: text(&records["items"][0]),
            tenant: caller.tenant.clone(),
        }
    }

    /// Ids of the same form that belong to nobody.
    pub(crate) fn absent() -> Self {
        let id = |prefix: &str| format!("{prefix}0198c0de00007000a00000000000dead");
        Self {
            notebook: id("nb_"),
            source: id("src_"),
            connection: id("con_"),
            question: id("qst_"),
            endpoint: id("whk_"),
            key: id("key_"),
            record: id("rec_"),
            tenant: id("ten_"),
        }
    }

    fn fill(&self, path: &str) -> String {
        path.replace("{notebook}", &self.notebook)
            .replace("{source}", &self.source)
            .replace("{key}", &self.key)
            .replace("{connection}", &self.connection)
            .replace("{question}", &self.question)
            .replace("{endpoint}", &self.endpoint)
            .replace("{record}", &self.record)
            .replace("{type}", "permit")
            .replace("{tenant}", &self.tenant)
            .replace("{name}", "requests_per_minute")
            .replace("{feature}", "insights")
            .replace("{region}", "local")
            .replace("{pool}", "local")
    }
}

pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) is_public: bool,
    pub(crate) for_admin: bool,
}

pub(crate) async fn operations(caller: &Caller) -> Vec<Operation> {
    let document = caller.get("/openapi.json").await.ok();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            found.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                is_public: operation["security"].is_null(),
                for_admin: operation["security"].to_string().contains("admin_key"),
            });
        }
    }
    assert!(
        found.len() > 20,
        "the document lists {} operations",
        found.len()
    );
    found
}

/// A body that would be fine for the caller's own things, with the given ids where a body has ids.
fn body(operation: &Operation, things: &Things) -> Value {
    match operation.path.as_str() {
        "/v1/ask" | "/v1/questions" => {
            json!({ "question": "where is the vault?", "filter": { "notebooks": [things.notebook] } })
        }
        "/v1/chat/completions" => json!({
            "model": format!("quire/{}", things.notebook),
            "messages": [{ "role": "user", "content": "where is the vault?" }],
        }),
        "/v1/embeddings" => json!({ "model": "quire", "input": "where is the vault?" }),
        "/v1/search" => json!({ "query": "vault", "filter": { "notebooks": [things.notebook] } }),
        "/v1/keys" | "/v1/tenants/{tenant}/keys" => {
            json!({ "name": "k", "role": "notebook", "notebook": things.notebook })
        }
        path if path.ends_with("/ask") => json!({ "question": "where is the vault?" }),
        path if path.ends_with("/sources") => json!({ "name": "x.txt", "text": "planted" }),
        "/v1/tenants" => json!({ "slug": "planted", "name": "planted" }),
        "/v1/tenants/{tenant}" => json!({ "state": "suspended" }),
        "/v1/tenants/{tenant}/limits/{name}" => json!({ "value": "0" }),
        "/v1/tenants/{tenant}/features/{feature}" => json!({ "on": true }),
        "/v1/features/{feature}" => json!({ "percent": 100 }),
        "/v1/regions/{region}" => json!({ "name": "planted", "countries": [] }),
        "/v1/pools" => {
            json!({ "id": "planted", "region": "local", "provider": "openai", "key": "sk" })
        }
        "/v1/pools/{pool}" => json!({ "status": "maintenance" }),
        "/v1/catalogue" | "/v1/registry" => json!({ "document": "" }),
        "/v1/usage/reconcile" => json!({ "provider": "p", "invoice": "" }),
        _ => json!({ "name": "renamed" }),
    }
}

fn has_body(operation: &Operation) -> bool {
    [Method::POST, Method::PATCH, Method::PUT].contains(&operation.method)
}

pub(crate) async fn call(caller: &Caller, operation: &Operation, things: &Things) -> Reply {
    let request = caller.request(operation.method.clone(), &things.fill(&operation.path));
    caller
        .send(if has_body(operation) {
            request.json(&body(operation, things))
        } else {
            request
        })
        .await
}

/// An answer without what differs between any two requests.
pub(crate) fn comparable(reply: &Reply) -> (u16, Value) {
    let mut body: Value = serde_json::from_str(&reply.text).unwrap_or(Value::Null);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("request_id");
        fields.remove("instance");
    }
    (reply.status.as_u16(), body)
}

#[tokio::test]
async fn a_foreign_id_answers_exactly_like_a_missing_one() {
    let quire = Quire::shared();
    let owner = quire.tenant("matrix-owner").await;
    let stranger = quire.tenant("matrix-stranger").await;
    let (theirs, absent) = (Things::of(&owner).await, Things::absent());
    let mut compared = 0;
    for operation in operations(&owner).await {
        let body_has_id =
            has_body(&operation) && body(&operation, &theirs) != body(&operation, &absent);
        let has_id = operation.path.contains('{') || body_has_id;
        if operation.is_public || operation.for_admin || !has_id {
            continue;
        }
        let foreign = call(&stranger, &operation, &theirs).await;
        let missing = call(&stranger, &operation, &absent).await;
        let name = format!("{} {}", operation.method, operation.path);
        assert_eq!(comparable(&foreign), comparable(&missing), "{name}");
        assert_eq!(foreign.status, 404, "{name}: {}", foreign.text);
        assert!(!foreign.text.contains("canary-7f3a"), "{name}");
        compared += 1;
    }
    assert!(compared >= 12, "only {compared} operations were compared");
    // Nothing of it had an effect.
    assert!(
        owner
            .search(&theirs.notebook, "vault under the stairs")
            .await
            .len()
            == 1
    );
    let sources = owner
        .get(&format!("/v1/notebooks/{}/sources", theirs.notebook))
        .await
        .ok();
    assert_eq!(sources["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn no_operation_works_without_the_right_key() {
    let quire = Quire::shared();
    let owner = quire.tenant("keys-owner").await;
    let things = Things::of(&owner).await;
    let revoked = owner
        .post("/v1/keys", &json!({ "name": "r", "role": "tenant" }))
        .await
        .created();
    let id = revoked["id"].as_str().unwrap();
    owner.delete(&format!("/v1/keys/{id}")).await.ok();
    let revoked = revoked["secret"].as_str().unwrap();
    let typo = format!("{}x", &owner.key[..owner.key.len() - 1]);
    let admin = quire.caller(&quire.admin_key);

    for operation in operations(&owner).await {
        let name = format!("{} {}", operation.method, operation.path);
        if operation.is_public {
            assert!(!operation.path.starts_with("/v1"), "{name} needs no key");
            continue;
        }
        for key in ["", "qk_nonsense", &typo, revoked] {
            let refused = call(&quire.caller(key), &operation, &things).await;
            assert_eq!(
                refused.status, 401,
                "{name} with key '{key}': {}",
                refused.text
            );
        }
        // The operator reaches no content, and a tenant does not operate.
        let wrong = if operation.for_admin { &owner } else { &admin };
        let refused = call(wrong, &operation, &things).await;
        assert_eq!(
            refused.status, 403,
            "{name} with the other side's key: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn a_narrow_key_reaches_no_further() {
    let quire = Quire::shared();
    let owner = quire.tenant("narrow").await;
    let things = Things::of(&owner).await;
    let other = owner.notebook("other").await;
    let new_key = async |body: Value| {
        let key = owner.post("/v1/keys", &body).await.created();
        quire.caller(key["secret"].as_str().unwrap())
    };
    let narrow = new_key(json!({ "name": "n", "role": "notebook", "notebook": other })).await;
    let reader = new_key(json!({ "name": "r", "role": "read-only" })).await;
    let narrow_reader =
        new_key(json!({ "name": "nr", "role": "read-only", "notebook": other })).await;

    for operation in operations(&owner)
        .await
        .iter()
        .filter(|operation| !operation.is_public && !operation.for_admin)
    {
        let name = format!("{} {}", operation.method, operation.path);
        let is_read = operation.method == Method::GET
            || ["ask", "questions", "search", "completions", "embeddings"]
                .iter()
                .any(|end| operation.path.ends_with(end));
        for key in [&narrow, &narrow_reader] {
            let reply = call(key, operation, &things).await;
            let is_refused = [403, 404].contains(&reply.status.as_u16());
            // These answer with what the key reaches.
            let own = ["/v1/notebooks", "/v1/usage", "/v1/models", "/v1/embeddings"];
            let is_own = own.contains(&operation.path.as_str());
            assert!(
                is_refused || is_own,
                "{name} beyond the notebook: {}",
                reply.text
            );
            assert!(
                !reply.text.contains("canary-7f3a") && !reply.text.contains("secret plans"),
                "{name}"
            );
        }
        let reply = call(&reader, operation, &things).await;
        if is_read && !operation.path.contains("keys") {
            // The source of this tenant is a text, of which there is no picture.
            let has_none =
                operation.path.ends_with("/picture") && reply.text.contains("no such picture");
            assert!(
                reply.status.is_success() || has_none,
                "{name} with a read-only key: {}",
                reply.text
            );
        } else {
            assert_eq!(
                reply.status, 403,
                "{name} with a read-only key: {}",
                reply.text
            );
        }
    }
    // Without naming notebooks, a narrow key searches its own.
    let found = narrow
        .post("/v1/search", &json!({ "query": "vault under the stairs" }))
        .await
        .ok();
    assert_eq!(found["hits"], json!([]));
    assert!(
        narrow
            .add(&other, "own.txt", "The own notebook works.")
            .await["state"]
            == "searchable"
    );
}

#[tokio::test]
async fn a_cursor_or_idempotency_key_of_another_tenant_means_nothing() {
    let quire = Quire::shared();
    let (one, two) = (
        quire.tenant("cursor-one").await,
        quire.tenant("cursor-two").await,
    );
    for name in ["a", "b", "c"] {
        one.notebook(name).await;
    }
    let page = one.get("/v1/notebooks?limit=2").await.ok();
    let cursor = page["next_cursor"].as_str().unwrap();
    let stolen = two
        .get(&format!("/v1/notebooks?cursor={cursor}"))
        .await
        .ok();
    assert_eq!(stolen["items"], json!([]));

    let create = |caller: &Caller| {
        caller
            .request(Method::POST, "/v1/notebooks")
            .header("idempotency-key", "shared-word")
            .json(&json!({ "name": "mine" }))
    };
    let first = one.send(create(&one)).await.created();
    let second = two.send(create(&two)).await.created();
    assert_ne!(first["id"], second["id"]);
}

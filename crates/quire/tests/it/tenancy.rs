//! Customers as an operator handles them: onboarded, limited, moved to plans, suspended, counted.

use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};

use quire_testkit::postgres::eventually;

use crate::support::{Caller, Quire, Reply};

async fn put(caller: &Caller, path: &str, body: &Value) -> Reply {
    caller
        .send(caller.request(Method::PUT, path).json(body))
        .await
}

async fn limit(operator: &Caller, tenant: &Caller, name: &str, value: &str) {
    let path = format!("/v1/tenants/{}/limits/{name}", tenant.tenant);
    put(operator, &path, &json!({ "value": value })).await.ok();
}

async fn search(caller: &Caller) -> Reply {
    caller
        .post("/v1/search", &json!({ "query": "getting started" }))
        .await
}

fn cli(quire: &Quire, arguments: &[&str]) -> Value {
    let output = quire.command(&[&["--json"], arguments].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[tokio::test]
async fn a_customer_is_onboarded_once_however_often_it_is_asked_for() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    let wanted =
        json!({ "slug": "newcomer", "name": "Newcomer", "country": "DE", "plan": "premium" });
    let first = operator.post("/v1/tenants", &wanted).await.created();
    assert_eq!(
        (&first["country"], &first["plan"]),
        (&json!("DE"), &json!("premium"))
    );
    assert!(first["ready_at"].is_string() && first["pool"].is_string());
    let again = operator.post("/v1/tenants", &wanted).await.ok();
    assert_eq!(again["id"], first["id"]);
    assert!(again["secret"].is_null(), "a key is shown once");
    for other in [
        json!({ "plan": "starter" }),
        json!({ "country": "FR" }),
        json!({ "name": "X" }),
    ] {
        let mut differing = wanted.clone();
        differing
            .as_object_mut()
            .unwrap()
            .extend(other.as_object().unwrap().clone());
        let refused = operator.post("/v1/tenants", &differing).await.is(409);
        assert_eq!(refused["code"], "conflict", "{other}");
    }

    // The first key works at once, on what the plan's templates brought.
    let caller = quire.caller(first["secret"].as_str().unwrap());
    let notebooks = caller.get("/v1/notebooks").await.ok();
    assert_eq!(notebooks["items"][0]["name"], "Knowledge base");
    let found = search(&caller).await.ok();
    assert!(!found["hits"].as_array().unwrap().is_empty());
    let shown = cli(&quire, &["tenant", "create", "newcomer", "--country", "DE"]);
    assert_eq!(shown["tenants"][0]["id"], first["id"]);
    assert_eq!(
        cli(&quire, &["tenant", "show", "newcomer"])["tenants"][0]["plan"],
        "premium"
    );
}

#[tokio::test]
async fn a_limit_counts_from_the_next_request_on() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    let caller = quire.tenant("limited").await;
    let limits = format!("/v1/tenants/{}/limits", caller.tenant);
    let named = async |name: &str| {
        let list = operator.get(&limits).await.ok();
        let all = list["items"].as_array().unwrap().clone();
        all.into_iter().find(|limit| limit["name"] == name).unwrap()
    };
    assert_eq!(named("notebooks").await["source"], "plan");
    assert_eq!(named("notebooks").await["value"], "unlimited");
    assert!(named("notebooks").await["most"].is_null());

    // What is there stays; nothing new is added.
    let notebook = json!({ "name": "second" });
    limit(&operator, &caller, "notebooks", "1").await;
    // The one it began with does not count.
    let first = json!({ "name": "first" });
    caller.post("/v1/notebooks", &first).await.created();
    let full = caller.post("/v1/notebooks", &notebook).await;
    assert!(full.headers.contains_key("retry-after"));
    assert_eq!(full.is(429)["code"], "quota");
    assert_eq!(named("notebooks").await["source"], "override");
    let back = operator.delete(&format!("{limits}/notebooks")).await.ok();
    assert_eq!(
        (&back["source"], &back["value"]),
        (&json!("plan"), &json!("unlimited"))
    );
    caller.post("/v1/notebooks", &notebook).await.created();

    limit(&operator, &caller, "requests_per_minute", "2").await;
    let refused = async || {
        for _ in 0..4 {
            let reply = search(&caller).await;
            assert!(reply.headers.contains_key("ratelimit"), "{}", reply.text);
            if reply.status == 429 {
                return reply;
            }
        }
        panic!("four searches at two a minute were let in");
    };
    let refused = refused().await;
    assert_eq!(refused.headers["ratelimit-policy"], "\"tenant\";q=2;w=60");
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.json()["code"], "rate-limited");

    limit(&operator, &caller, "requests_per_minute", "0").await;
    let off = search(&caller).await.is(403);
    assert!(
        off["detail"]
            .as_str()
            .unwrap()
            .contains("requests_per_minute"),
        "{off:#}"
    );
}

#[tokio::test]
async fn a_plan_and_a_state_change_while_the_tenant_works() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    let caller = quire.tenant("moved").await;
    let path = format!("/v1/tenants/{}", caller.tenant);
    let patch = async |body: Value| operator.patch(&path, &body).await;
    assert_eq!(caller.get("/v1/usage").await.ok()["plan"], "standard");
    assert_eq!(
        patch(json!({ "plan": "starter" })).await.ok()["plan"],
        "starter"
    );
    let usage = caller.get("/v1/usage").await.ok();
    assert_eq!(usage["plan"], "starter");
    let notebooks = usage["limits"]
        .as_array()
        .unwrap()
        .iter()
        .find(|limit| limit["name"] == "notebooks")
        .unwrap();
    assert_eq!(notebooks["most"], 1);
    assert_eq!(
        cli(&quire, &["tenant", "plan", "moved", "premium"])["tenants"][0]["plan"],
        "premium"
    );
    eventually("another process's change is heard of", async || {
        caller.get("/v1/usage").await.ok()["plan"] == "premium"
    })
    .await;

    patch(json!({ "state": "suspended" })).await.ok();
    assert_eq!(
        search(&caller).await.is(403)["detail"],
        "the tenant is suspended"
    );
    cli(&quire, &["limits", "show", "--tenant", "moved"]);
    patch(json!({ "state": "active" })).await.ok();
    search(&caller).await.ok();
    patch(json!({ "state": "closing" })).await.ok();
    search(&caller).await.is(403);
    assert_eq!(
        patch(json!({ "state": "active" })).await.is(409)["code"],
        "conflict"
    );
    patch(json!({ "state": "closed" })).await.ok();
}

#[tokio::test]
async fn what_a_tenant_uses_is_counted_and_exported() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    let caller = quire.tenant("counted").await;
    let notebook = caller.notebook("yard").await;
    caller
        .add(&notebook, "gate.txt", "The gate code of the yard is 4417.")
        .await;
    limit(&operator, &caller, "questions_per_month", "2").await;
    caller
        .ask(&notebook, "What is the gate code of the yard?")
        .await;
    caller.ask(&notebook, "Which yard has a gate code?").await;
    let path = format!("/v1/notebooks/{notebook}/ask");
    let third = caller
        .post(&path, &json!({ "question": "Who built the gate?" }))
        .await;
    assert_eq!(third.is(429)["code"], "quota");

    eventually("both questions are counted", async || {
        caller.get("/v1/usage").await.ok()["today"]["questions"] == 2
    })
    .await;
    let usage = caller.get("/v1/usage").await.ok();
    assert_eq!(usage["this_month"]["questions"], 2);
    assert_eq!(usage["this_month"]["tenant"], json!(caller.tenant));
    let budgets = usage["budgets"].as_array().unwrap();
    let questions = budgets
        .iter()
        .find(|budget| budget["scope"] == "questions/tenant/month")
        .unwrap();
    assert_eq!(
        (&questions["limit"], &questions["most"]),
        (&json!("questions_per_month"), &json!(2))
    );
    let taken = questions["spent"].as_i64().unwrap() + questions["held"].as_i64().unwrap();
    assert_eq!(taken, 2, "{questions:#}");

    // The operator sees the same, by tenant and among all.
    let of_tenant = format!("/v1/tenants/{}/usage", caller.tenant);
    for query in ["", "?period=month"] {
        let list = operator.get(&format!("{of_tenant}{query}")).await.ok();
        assert_eq!(list["items"][0]["questions"], 2, "{query}");
    }
    let top = operator.get("/v1/usage/top?limit=1000").await.ok();
    let is_there = |sum: &Value| sum["tenant"] == json!(caller.tenant);
    assert!(top["items"].as_array().unwrap().iter().any(is_there));
    let shown = cli(&quire, &["usage", "--tenant", "counted"]);
    assert_eq!(
        shown["usage"].as_array().unwrap().last().unwrap()["questions"],
        2
    );

    // Events in pages are the same as all at once.
    let events = format!("{of_tenant}/events?format=csv");
    let all = operator.get(&events).await;
    assert_eq!(all.headers["content-type"], "text/csv; charset=utf-8");
    assert!(!all.headers.contains_key("quire-next-cursor"));
    let mut pages = String::new();
    let mut cursor = String::new();
    loop {
        let page = operator.get(&format!("{events}&limit=1{cursor}")).await;
        pages.push_str(&page.text);
        match page.headers.get("quire-next-cursor") {
            Some(next) => cursor = format!("&cursor={}", next.to_str().unwrap()),
            None => break,
        }
    }
    assert_eq!(pages, all.text);
    assert_eq!(
        all.text
            .lines()
            .filter(|line| line.contains(",question,"))
            .count(),
        2
    );
    let exported = quire.command(&["usage", "--tenant", "counted", "--events", "csv"]);
    assert_eq!(String::from_utf8(exported.stdout).unwrap(), all.text);
    let lines = operator.get(&format!("{of_tenant}/events")).await;
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let event: Value = serde_json::from_str(lines.text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&event["specversion"], &event["subject"]),
        (&json!("1.0"), &json!(caller.tenant))
    );

    let invoice =
        json!({ "provider": "nobody", "invoice": "day,model,cost_usd\n2026-11-01,m,1\n" });
    let compared = operator.post("/v1/usage/reconcile", &invoice).await.ok();
    assert_eq!(compared["drifts"][0]["difference_nanousd"], 1_000_000_000);
    operator.get("/v1/notices").await.ok();
    let metrics = quire.caller("").get("/metrics").await.text;
    assert!(
        metrics.contains("quire_requests_admitted_total"),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"quire_requests_refused_total{reason="budget"}"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"quire_requests{class="interactive",state="running"}"#),
        "{metrics}"
    );
    assert!(!metrics.contains(&caller.tenant));
}

#[tokio::test]
async fn features_and_plans_are_data() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    let caller = quire.tenant("trial").await;
    let switch = format!("/v1/tenants/{}/features/early-access", caller.tenant);
    put(&operator, &switch, &json!({ "on": true }))
        .await
        .is(404);
    put(
        &operator,
        "/v1/features/early-access",
        &json!({ "percent": 0 }),
    )
    .await
    .ok();
    assert_eq!(
        put(&operator, &switch, &json!({ "on": true })).await.ok()["on"],
        true
    );
    assert_eq!(
        caller.get("/v1/usage").await.ok()["features"],
        json!(["early-access"])
    );
    assert_eq!(operator.delete(&switch).await.ok()["on"], false);
    cli(&quire, &["feature", "set", "early-access", "100"]);
    eventually("the feature is on", async || {
        caller.get("/v1/usage").await.ok()["features"] == json!(["early-access"])
    })
    .await;

    let shipped = operator.get("/v1/catalogue").await.ok();
    let document = shipped["document"].as_str().unwrap();
    let tiny = "\n[plans.tiny]\nname = \"Tiny\"\nprice = \"$1\"\nweight = 1\nisolation = \"shared\"\n\
        refresh = \"weekly\"\nquestion_types = [\"simple\"]\n\
        embedding = { model = \"all-MiniLM-L6-v2\", dimensions = 384 }\n";
    let applied = json!({ "document": format!("{document}{tiny}") });
    put(&operator, "/v1/catalogue", &applied).await.ok();
    let plans = operator.get("/v1/plans").await.ok();
    let tiny = plans["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|plan| plan["id"] == "tiny")
        .unwrap();
    assert_eq!(tiny["price"], "$1.00");
    let stored = tiny["limits"]
        .as_array()
        .unwrap()
        .iter()
        .find(|limit| limit["name"] == "storage_bytes");
    let stored = stored.unwrap();
    assert_eq!(
        (&stored["source"], &stored["value"]),
        (&json!("default"), &json!("100 GB"))
    );

    // A plan that somebody is on can't be left out.
    let path = format!("/v1/tenants/{}", caller.tenant);
    operator.patch(&path, &json!({ "plan": "tiny" })).await.ok();
    let refused = put(&operator, "/v1/catalogue", &shipped).await.is(400);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("move them first"),
        "{refused:#}"
    );
    operator
        .patch(&path, &json!({ "plan": "standard" }))
        .await
        .ok();
    put(&operator, "/v1/catalogue", &shipped).await.ok();
    let exported = quire.command(&["plan", "export"]);
    assert_eq!(
        String::from_utf8(exported.stdout).unwrap().trim(),
        document.trim()
    );
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing_and_says_why() {
    let quire = Quire::shared();
    let operator = quire.caller(&quire.admin_key);
    let caller = quire.tenant("sense").await;
    let of = |rest: &str| format!("/v1/tenants/{}{rest}", caller.tenant);
    let absent = "/v1/tenants/ten_0198c0de00007000a00000000000dead";
    let new = |field: &str, value: &str| json!({ "slug": "nonsense", "name": "N", field: value });
    for (method, path, body, status, word) in [
        (
            Method::POST,
            "/v1/tenants".to_owned(),
            new("plan", "gold"),
            400,
            "no plan 'gold'",
        ),
        (
            Method::POST,
            "/v1/tenants".into(),
            new("country", "XX"),
            400,
            "ISO 3166-1",
        ),
        (
            Method::POST,
            "/v1/tenants".into(),
            new("country", "de"),
            400,
            "capital",
        ),
        (
            Method::PATCH,
            of(""),
            json!({ "plan": "gold" }),
            400,
            "no plan 'gold'",
        ),
        (
            Method::PATCH,
            of(""),
            json!({ "state": "gone" }),
            400,
            "active, suspended",
        ),
        (Method::PATCH, of(""), json!({}), 400, "a state or a plan"),
        (
            Method::PATCH,
            absent.into(),
            json!({ "plan": "starter" }),
            404,
            "tenant",
        ),
        (
            Method::PUT,
            of("/limits/notebooks"),
            json!({ "value": "-1" }),
            400,
            "negative",
        ),
        (
            Method::PUT,
            of("/limits/notebooks"),
            json!({ "value": "many" }),
            400,
            "whole number",
        ),
        (
            Method::PUT,
            of("/limits/storage_bytes"),
            json!({ "value": "9 yards" }),
            400,
            "not a size",
        ),
        (
            Method::PUT,
            of("/limits/note_books"),
            json!({ "value": "1" }),
            400,
            "use one of",
        ),
        (
            Method::PUT,
            format!("{absent}/limits/notebooks"),
            json!({ "value": "1" }),
            404,
            "tenant",
        ),
        (
            Method::PUT,
            of("/features/no-such-thing"),
            json!({ "on": true }),
            404,
            "feature",
        ),
        (
            Method::PUT,
            "/v1/features/No%20Good".into(),
            json!({ "percent": 1 }),
            400,
            "a-z",
        ),
        (
            Method::PUT,
            "/v1/features/some".into(),
            json!({ "percent": 101 }),
            400,
            "0 and 100",
        ),
        (
            Method::PUT,
            "/v1/regions/x".into(),
            json!({ "name": "X", "countries": ["EU"] }),
            400,
            "'EU'",
        ),
        (
            Method::PUT,
            "/v1/regions/x".into(),
            json!({ "name": "X", "countries": ["*"] }),
            409,
            "local",
        ),
        (
            Method::PUT,
            "/v1/catalogue".into(),
            json!({ "document": "[plans" }),
            400,
            "catalogue",
        ),
        (
            Method::PUT,
            "/v1/catalogue".into(),
            json!({ "document": "" }),
            400,
            "catalogue",
        ),
        (
            Method::POST,
            "/v1/usage/reconcile".into(),
            json!({ "provider": "p", "invoice": "a,b\n" }),
            400,
            "lines",
        ),
        (
            Method::GET,
            of("/usage?period=year"),
            json!({}),
            400,
            "day or month",
        ),
        (
            Method::GET,
            of("/usage?from=2026-02-01&until=2026-01-01"),
            json!({}),
            400,
            "before until",
        ),
        (
            Method::GET,
            of("/usage/events?format=xml"),
            json!({}),
            400,
            "cloudevents or csv",
        ),
        (
            Method::GET,
            of("/usage/events?cursor=x"),
            json!({}),
            400,
            "cursor",
        ),
        (
            Method::GET,
            "/v1/usage/top?limit=0".into(),
            json!({}),
            400,
            "between 1",
        ),
    ] {
        let request = operator.request(method.clone(), &path);
        let request = match method {
            Method::GET => request,
            _ => request.json(&body),
        };
        let problem = operator.send(request).await.is(status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{method} {path} {body}: {detail}");
    }
    let limits = operator.get(&of("/limits")).await.ok();
    let is_plan = |limit: &Value| limit["source"] == "plan";
    assert!(limits["items"].as_array().unwrap().iter().all(is_plan));
    let listed = operator.get("/v1/tenants?limit=200").await.text;
    assert!(!listed.contains("nonsense"));

    for (arguments, code, word) in [
        (
            &["limits", "set", "--tenant", "sense", "notebooks", "-1"][..],
            2,
            "negative",
        ),
        (
            &["limits", "set", "--tenant", "sense", "note_books", "1"],
            2,
            "use one of",
        ),
        (
            &["limits", "show", "--tenant", "nobody"],
            3,
            "quire tenant list",
        ),
        (&["plan", "show", "gold"], 2, "no plan 'gold'"),
        (&["plan", "apply", "/nowhere.toml"], 2, "/nowhere.toml"),
        (
            &["feature", "on", "--tenant", "sense", "no-such-thing"],
            3,
            "quire feature set",
        ),
        (
            &["region", "set", "x", "--name", "X", "--countries", "DE,EU"],
            2,
            "'EU'",
        ),
        (&["usage", "--month", "november"], 2, "2026-11"),
        (&["tenant", "close", "sense"], 2, "--yes"),
        (
            &["tenant", "create", "other", "--country", "XX"],
            2,
            "ISO 3166-1",
        ),
    ] {
        let output = quire.command(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn an_import_goes_past_bad_lines_and_can_be_repeated() {
    let quire = Quire::shared();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.csv");
    let import = |table: &str| {
        std::fs::write(folder.path().join("new.csv"), table).unwrap();
        let arguments = [
            "--json", "tenant", "import", "new.csv", "--keys", "keys.csv",
        ];
        quire.command_in(&arguments, folder.path(), b"")
    };
    let first = import(
        "slug,name,country,plan\nimport-a,Import A,DE,starter\nImport B,,,\nimport-c,,ZZ,\n\
         import-d,too,many,columns,here\nimport-e,,,\n",
    );
    assert_eq!(first.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(
        (&report["created"], &report["existing"]),
        (&json!(2), &json!(0)),
        "{report:#}"
    );
    let failed: Vec<_> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| failed["line"].as_u64().unwrap())
        .collect();
    assert_eq!(failed, [3, 4, 5], "{report:#}");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let written = std::fs::read_to_string(&keys).unwrap();
    assert_eq!(written.lines().count(), 2);

    let again = import(
        "slug,name,country,plan\nimport-a,Import A,DE,starter\nimport-c,,FR,\nimport-e,,,\n",
    );
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (&report["created"], &report["existing"]),
        (&json!(1), &json!(2))
    );
    let written = std::fs::read_to_string(&keys).unwrap();
    assert_eq!(written.lines().count(), 3);
    let (slug, key) = written.lines().next().unwrap().split_once(',').unwrap();
    let usage = quire.caller(key).get("/v1/usage").await.ok();
    let plan = if slug == "import-a" {
        "starter"
    } else {
        "standard"
    };
    assert_eq!(usage["plan"], plan);

    let useless = import("slug,nmae\nx,y\n");
    assert_eq!(useless.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&useless.stderr).contains("nmae"));
}

//! Records out of the tables of a product: what changes there, what goes, what is dated wrongly, and what happens
//! while the product's database is down.

use quire_testkit::remote::RemoteServer;
use serde_json::{Value, json};

use super::{names, state, until};
use crate::support::{Caller, Quire};

/// More than a page.
const MANY: i64 = 1_200;

const SCHEMA: &str = "
    create table jobs (id uuid primary key, name text not null, updated_at timestamptz not null default now());
    create table invoices (
        id bigint primary key, job_id uuid, vendor text, amount numeric(12, 2), scan bytea,
        updated_at timestamp not null default (now() at time zone 'UTC'), deleted_at timestamp);
    create table salaries (like invoices, \"job's name\" text);
    create index on invoices (updated_at, id);
    create view \"Invoice lines\" as
        select i.*, j.name as \"job's name\" from invoices i left join jobs j on j.id = i.job_id;
    create function write() returns bigint language sql security definer
        as $$ insert into jobs values (gen_random_uuid(), 'Trap') returning 1::bigint $$;
    create view trap as
        select write() as id, now() as updated_at, null::timestamptz as deleted_at, 1 as job_id, 'x' as \"job's name\";
    create role reader login password 'secret';
    grant select on jobs, invoices, trap, \"Invoice lines\" to reader;
    insert into jobs values ('00000000-0000-4000-8000-000000004711', 'Riverside Clinic');
";

const CLINIC: &str = "'00000000-0000-4000-8000-000000004711'";

/// A product with its database.
struct Cms {
    server: RemoteServer,
}

impl Cms {
    fn start() -> Self {
        let server = RemoteServer::start();
        server.run("quire", SCHEMA);
        Self { server }
    }

    fn run(&self, statements: &str) {
        self.server.run("quire", statements);
    }

    fn connection(&self, tables: &Value) -> Value {
        json!({ "kind": "postgres", "name": "CMS", "settings": { "tables": tables },
                "secret": self.server.url_of("reader", "secret", "quire") })
    }
}

fn invoices() -> Value {
    json!({ "table": "public.Invoice lines", "record": "invoice", "id": "id", "updated_at": "updated_at",
            "deleted_at": "deleted_at", "entity": { "type": "job", "id": "job_id", "name": "job's name" } })
}

fn jobs() -> Value {
    json!({ "table": "jobs", "record": "job", "id": "id", "updated_at": "updated_at", "columns": ["name"],
            "entity": { "type": "job", "id": "id", "name": "name" } })
}

fn up() -> Quire {
    Quire::up_with(&[("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']")])
}

async fn record(caller: &Caller, id: i64) -> Value {
    let path = format!("/v1/records?type=invoice&id={id}");
    caller.get(&path).await.ok()["items"][0].clone()
}

/// How many invoices there are that are not deleted.
async fn count(caller: &Caller) -> i64 {
    let summary = caller.get("/v1/records/summary").await.ok();
    let counts = summary["counts"].as_array().unwrap().iter();
    counts
        .filter(|row| row["type"] == "invoice" && row["state"] != "deleted")
        .map(|row| row["count"].as_i64().unwrap())
        .sum()
}

/// Reads now, and waits until that came to an end.
async fn sync(caller: &Caller, id: &str) {
    let before = state(caller, id).await["last_success_at"].clone();
    caller
        .post(&format!("/v1/connections/{id}/sync"), &json!({}))
        .await
        .is(202);
    until("it is read", async || {
        state(caller, id).await["last_success_at"] != before
    })
    .await;
}

/// Reads now, and waits for words about what went wrong.
async fn sync_in_vain(caller: &Caller, id: &str, words: &str) {
    caller
        .post(&format!("/v1/connections/{id}/sync"), &json!({}))
        .await
        .is(202);
    until(words, async || {
        let error = state(caller, id).await["last_error"].clone();
        error.as_str().is_some_and(|error| error.contains(words))
    })
    .await;
}

#[tokio::test]
async fn rows_become_records_and_follow_their_changes_over_crashes() {
    let cms = Cms::start();
    cms.run(&format!(
        "insert into invoices (id, job_id, vendor, amount, updated_at)
         select n, {CLINIC}, 'Lakeland Lumber', n * 10, timestamp '2026-01-01' + n / 300 * interval '1 hour'
         from generate_series(1, {MANY}) n"
    ));
    let mut quire = up();
    let mut caller = quire.tenant("builder").await;
    let mut stranger = quire.tenant("stranger").await;
    let made = caller
        .post(
            "/v1/connections",
            &cms.connection(&json!([jobs(), invoices()])),
        )
        .await;
    let made = made.created();
    assert_eq!(made["account"], "quire as reader");
    assert!(!made.to_string().contains("secret"), "{made:#}");
    let id = made["id"].as_str().unwrap();

    // It dies between pages; nothing is missing and nothing is there twice.
    until("the first page is here", async || count(&caller).await > 0).await;
    quire.kill_and_restart();
    caller.url = quire.caller("").url;
    until("everything is read", async || {
        state(&caller, id).await["last_success_at"].is_string()
    })
    .await;
    assert_eq!(count(&caller).await, MANY);
    let first = record(&caller, 7).await;
    assert_eq!(first["fields"]["vendor"], "Lakeland Lumber");
    assert_eq!(first["fields"]["amount"].as_f64(), Some(70.0));
    assert_eq!(first["entity"]["name"], "Riverside Clinic");
    // Neither when it was touched nor what nobody can read is content.
    for column in ["updated_at", "deleted_at", "scan"] {
        assert!(first["fields"].get(column).is_none(), "{column}: {first:#}");
    }

    // Told before the table says it; what the table says later is older and changes nothing.
    let told = json!({ "type": "invoice", "id": 8, "action": "update", "time": "2026-06-01T00:00:00Z",
                       "entity": { "type": "job", "id": CLINIC.trim_matches('\'') },
                       "fields": { "vendor": "Told Timber" } });
    caller.post("/v1/records", &told).await.is(202);
    // One change, one that was committed late, one far behind, one that has no job, one of tomorrow, two that went.
    cms.run(&format!(
        "update invoices set vendor = 'Harbor Steel', updated_at = now() at time zone 'UTC' where id = 7;
         update invoices set updated_at = updated_at + interval '1 minute' where id = 8;
         update invoices set deleted_at = now(), updated_at = now() at time zone 'UTC' where id = 9;
         delete from invoices where id = 10;
         insert into invoices (id, job_id, vendor, updated_at) values
             (2001, {CLINIC}, 'Late', now() at time zone 'UTC' - interval '5 minutes'),
             (2002, {CLINIC}, 'Behind', timestamp '2020-01-01'),
             (2003, null, 'Homeless', now() at time zone 'UTC'),
             (2004, {CLINIC}, 'Tomorrow', now() at time zone 'UTC' + interval '1 day')"
    ));
    sync(&caller, id).await;
    // The comparison is the last step, and the round that ended may have begun before.
    until("what is gone is gone", async || {
        record(&caller, 10).await["fields"] == json!({})
    })
    .await;
    assert_eq!(record(&caller, 7).await["fields"]["vendor"], "Harbor Steel");
    assert_eq!(record(&caller, 8).await["fields"]["vendor"], "Told Timber");
    for gone in [9, 10] {
        let shown = record(&caller, gone).await;
        assert!(
            shown["version"] != Value::Null && shown["fields"] == json!({}),
            "{shown:#}"
        );
    }
    assert_eq!(record(&caller, 2001).await["fields"]["vendor"], "Late");
    assert_eq!(record(&caller, 2002).await["fields"]["vendor"], "Behind");
    for left_out in [2003, 2004] {
        assert_eq!(record(&caller, left_out).await, Value::Null, "{left_out}");
    }
    let told = state(&caller, id).await;
    let error = told["last_error"].as_str().unwrap();
    assert!(
        error.contains("1 rows, such as 2003: its job_id is empty"),
        "{error}"
    );
    let changed = record(&caller, 7).await;
    sync(&caller, id).await;
    assert_eq!(record(&caller, 7).await["version"], changed["version"]);

    // What is there again, is here again, although nothing says that it changed.
    cms.run("update invoices set deleted_at = null where id = 9");
    sync(&caller, id).await;
    until("what came back is back", async || {
        record(&caller, 9).await["fields"]["vendor"] == "Lakeland Lumber"
    })
    .await;

    // It can be found and cited, by nobody else.
    let notebook = changed["entity"]["notebook"].as_str();
    let notebook = match notebook {
        Some(notebook) => notebook.to_owned(),
        None => {
            until("there is a notebook", async || {
                record(&caller, 7).await["entity"]["notebook"].is_string()
            })
            .await;
            let shown = record(&caller, 7).await;
            shown["entity"]["notebook"].as_str().unwrap().to_owned()
        }
    };
    until("the change is found", async || {
        let hits = caller.search(&notebook, "Harbor Steel invoice").await;
        hits.iter().any(|hit| hit.contains("Harbor Steel"))
    })
    .await;
    let everywhere = json!({ "query": "Harbor Steel invoice", "limit": 50 });
    stranger.url.clone_from(&caller.url);
    let found = stranger.post("/v1/search", &everywhere).await.ok();
    assert!(!found.to_string().contains("Harbor"), "{found:#}");

    // At the end nothing is left, and it can all be read again.
    let connection = format!("/v1/connections/{id}?purge=true");
    caller.delete(&connection).await.is(204);
    assert_eq!(count(&caller).await, 0);
    assert!(names(&caller, &notebook).await.is_empty());
}

#[tokio::test]
async fn what_goes_wrong_over_there_is_said_and_destroys_nothing() {
    let cms = Cms::start();
    cms.run(&format!(
        "insert into invoices (id, job_id, vendor) select n, {CLINIC}, 'Lakeland Lumber' from generate_series(1, 20) n"
    ));
    let quire = up();
    let caller = quire.tenant("careful").await;
    let table = |name: &str, value: Value| {
        let mut table = invoices();
        table[name] = value;
        json!([table])
    };
    for (tables, words) in [
        (table("table", json!("public.bills")), "bills"),
        (table("table", json!("nowhere.invoices")), "nowhere"),
        (
            table("updated_at", json!("changed")),
            "has no column 'changed': it has id",
        ),
        (
            table("updated_at", json!("amount")),
            "no timestamp but numeric",
        ),
        (table("columns", json!(["price"])), "no column 'price'"),
        (table("table", json!("salaries")), "permission denied"),
        (table("table", json!("trap")), "read-only transaction"),
        (
            table("table", json!("invoices\" where false; --")),
            "does not exist",
        ),
    ] {
        let refused = caller
            .post("/v1/connections", &cms.connection(&tables))
            .await;
        assert_eq!(refused.status, 400, "{words}: {}", refused.text);
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    let mut stranger = cms.connection(&json!([invoices()]));
    stranger["secret"] = cms.server.url_of("reader", "guessed", "quire").into();
    let refused = caller.post("/v1/connections", &stranger).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(!refused.text.contains("guessed"), "{}", refused.text);
    // Where the operator does not say so, nobody reaches a database inside.
    let closed = Quire::shared();
    let outsider = closed.tenant("outsider").await;
    let refused = outsider
        .post("/v1/connections", &cms.connection(&json!([invoices()])))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.text.contains("allow_networks"), "{}", refused.text);

    let made = caller
        .post(
            "/v1/connections",
            &cms.connection(&json!([jobs(), invoices()])),
        )
        .await;
    let made = made.created();
    let id = made["id"].as_str().unwrap();
    until("everything is read", async || {
        state(&caller, id).await["last_success_at"].is_string()
    })
    .await;
    assert_eq!(count(&caller).await, 20);

    // A table that is suddenly empty.
    cms.run("create table kept as table invoices; truncate invoices");
    sync_in_vain(
        &caller,
        id,
        "20 of 20 records of type invoice are no longer in",
    )
    .await;
    assert_eq!(count(&caller).await, 20);
    // One that may not be read any more keeps nothing from the others.
    cms.run(
        "insert into invoices table kept; revoke select on \"Invoice lines\" from reader;
         update jobs set name = 'Riverside Hospital', updated_at = now()",
    );
    sync_in_vain(&caller, id, "permission denied").await;
    let job = caller.get("/v1/records?type=job").await.ok();
    assert_eq!(job["items"][0]["fields"]["name"], "Riverside Hospital");
    assert_eq!(count(&caller).await, 20);
    let behind = state(&caller, id).await["last_success_at"].clone();

    // Down: it is said, tried again without anybody's help, and how far behind it is can be seen.
    cms.run(
        "grant select on \"Invoice lines\" to reader;
         update invoices set vendor = 'Harbor Steel', updated_at = now() at time zone 'UTC' where id = 7;
         alter role reader connection limit 0",
    );
    sync_in_vain(&caller, id, "can't be reached").await;
    let down = state(&caller, id).await;
    assert_eq!(
        (&down["state"], &down["last_success_at"]),
        (&json!("active"), &behind)
    );
    let tested = caller
        .post(&format!("/v1/connections/{id}/test"), &json!({}))
        .await;
    assert_eq!(tested.status, 503, "{}", tested.text);
    cms.run("alter role reader connection limit -1");
    until("it goes on by itself", async || {
        record(&caller, 7).await["fields"]["vendor"] == "Harbor Steel"
    })
    .await;

    // A login that is taken back stops it, with what to do; a new one goes on.
    cms.run("alter role reader nologin");
    sync_in_vain(&caller, id, "refuses the login").await;
    until("it has failed", async || {
        state(&caller, id).await["state"] == "failed"
    })
    .await;
    cms.run(
        "create role other login password 'fresh';
         grant select on jobs, \"Invoice lines\" to other; delete from invoices where id > 2",
    );
    let connection = format!("/v1/connections/{id}");
    let renew = json!({ "secret": cms.server.url_of("other", "fresh", "quire") });
    assert_eq!(
        caller.patch(&connection, &renew).await.ok()["state"],
        "active"
    );
    sync_in_vain(&caller, id, "18 of 20 records").await;

    // Whoever looked and finds it right says so.
    let bold =
        |share: f64| json!({ "settings": { "tables": [invoices()], "most_deleted_share": share } });
    caller.patch(&connection, &bold(7.0)).await.is(400);
    let set = caller.patch(&connection, &bold(1.0)).await.ok();
    assert_eq!(set["settings"]["most_deleted_share"], 1.0);
    until("they are gone", async || count(&caller).await == 2).await;
    until("nothing is wrong any more", async || {
        state(&caller, id).await["last_error"] == Value::Null
    })
    .await;
}

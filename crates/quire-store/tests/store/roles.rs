//! Logins: a server that wants passwords over TCP, and logins that row-level security does not bind.

use std::path::Path;

use quire_store::tenants::NewTenant;
use quire_store::{Database, Error, Objects, Store, StoreConfig, notebooks, tenants};
use quire_testkit::remote::RemoteServer;
use sqlx::{Connection, PgConnection};

async fn connect(objects: &Path, database: Result<Database, Error>) -> Result<Store, Error> {
    Box::pin(Store::connect(StoreConfig {
        database: database?,
        objects: Objects::directory(objects)?,
        connections: 2,
        migrations: &[],
    }))
    .await
}

#[tokio::test]
async fn a_remote_server_is_used_safely_or_not_at_all() {
    let server = RemoteServer::start();
    let objects = tempfile::tempdir().unwrap();
    let objects = objects.path();
    let admin = server.url("quire");
    let (_, address) = admin.split_once('@').unwrap();
    let url = |user: &str, password: &str| format!("postgres://{user}:{password}@{address}");

    // quire's own roles get the password they are given, quotes and all.
    let own = Database::remote(&admin, None, None, r"it's $$ a \ word");
    let store = connect(objects, own).await.unwrap();
    let report = store.roles();
    assert_eq!(
        (report.app.as_str(), report.worker.as_str()),
        ("quire_app", "quire_worker")
    );
    let mut tx = store.system().await.unwrap();
    let tenant = tenants::create(&mut tx, &NewTenant::local("acme", "Acme"))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.tenant(tenant.placement()).await.unwrap();
    notebooks::create(&mut tx, "Site").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.isolation_gaps().await.unwrap(), []);
    store.close().await;

    let mut operator = PgConnection::connect(&admin).await.unwrap();
    sqlx::raw_sql(
        "create role plain_app login password 'p'; grant quire_app to plain_app;
         create role plain_worker login password 'p'; grant quire_worker to plain_worker;
         create role super login superuser password 'p';
         create role bypass login bypassrls password 'p';
         create role owner_member login password 'p'; grant quire_owner to owner_member;
         create role table_owner login password 'p';
         create table shard.mine (); alter table shard.mine owner to table_owner;",
    )
    .execute(&mut operator)
    .await
    .unwrap();
    operator.close().await.unwrap();

    let (app, worker) = (url("plain_app", "p"), url("plain_worker", "p"));
    let with = |app: &str, worker: &str| Database::remote(&admin, Some(app), Some(worker), "");
    let store = connect(objects, with(&app, &worker)).await.unwrap();
    assert_eq!(store.roles().app, "plain_app");
    store.close().await;
    for role in ["super", "bypass", "owner_member", "table_owner"] {
        let bad = url(role, "p");
        for database in [with(&bad, &worker), with(&app, &bad)] {
            let refused = connect(objects, database).await.err();
            assert!(
                matches!(&refused, Some(Error::UnsafeRole(text)) if text.contains(role)),
                "{role}: {refused:?}"
            );
        }
    }
    let refused = connect(objects, with(&worker, &worker)).await.err();
    assert!(matches!(refused, Some(Error::UnsafeRole(_))), "{refused:?}");

    let wrong = Database::remote(&url("operator", "wrong"), None, None, "p");
    assert!(matches!(
        connect(objects, wrong).await.err(),
        Some(Error::Database(_))
    ));
    for database in [
        Database::remote(&admin, Some(&app), None, "p"),
        Database::remote("http://127.0.0.1", None, None, "p"),
    ] {
        assert!(matches!(database.err(), Some(Error::Invalid(_))));
    }
}

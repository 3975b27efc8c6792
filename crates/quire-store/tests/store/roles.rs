//! Logins: a server that wants passwords over TCP, and logins that row-level security does not bind.

use quire_store::{Database, Error, Objects, Store, StoreConfig, notebooks, tenants};
use quire_testkit::postgres::{Cluster, TestStore};
use sqlx::Connection;

use crate::connect_as;

async fn connect(test: &TestStore, database: Result<Database, Error>) -> Result<Store, Error> {
    Box::pin(Store::connect(StoreConfig {
        database: database?,
        objects: Objects::directory(test.objects_dir())?,
        connections: 2,
        migrations: &[],
    }))
    .await
}

#[tokio::test]
async fn a_remote_server_is_used_safely_or_not_at_all() {
    let cluster: &Cluster = Box::leak(Box::new(Cluster::start().await));
    let test = TestStore::on(cluster).await;
    let mut admin = connect_as(&test, "quire_admin").await;
    sqlx::raw_sql(
        "alter role quire_admin password 'admin';
         create role plain_app login password 'p'; grant quire_app to plain_app;
         create role plain_worker login password 'p'; grant quire_worker to plain_worker;
         create role super login superuser password 'p';
         create role bypass login bypassrls password 'p';
         create role owner_member login password 'p'; grant quire_owner to owner_member;
         create role table_owner login password 'p';
         create table queue.mine (); alter table queue.mine owner to table_owner;",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    admin.close().await.unwrap();
    test.store.close().await;
    let port = cluster.serve_tcp_with_passwords().await;
    let url = |user: &str, password: &str| {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{port}/{}",
            test.name()
        )
    };
    let admin = url("quire_admin", "admin");

    // quire's own roles get the password they are given, quotes and all.
    let store = connect(&test, Database::remote(&admin, None, None, "it's"))
        .await
        .unwrap();
    assert_eq!(
        (store.roles().app.as_str(), store.roles().worker.as_str()),
        ("quire_app", "quire_worker")
    );
    let mut tx = store.system().await.unwrap();
    let tenant = tenants::create(&mut tx, "acme", "Acme").await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.tenant(tenant.placement()).await.unwrap();
    notebooks::create(&mut tx, "Site").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        store.isolation_gaps().await.unwrap().len(),
        1,
        "only the table of this test"
    );
    store.close().await;

    let (app, worker) = (url("plain_app", "p"), url("plain_worker", "p"));
    let with = |app: &str, worker: &str| Database::remote(&admin, Some(app), Some(worker), "");
    let store = connect(&test, with(&app, &worker)).await.unwrap();
    assert_eq!(store.roles().app, "plain_app");
    store.close().await;
    for role in ["super", "bypass", "owner_member", "table_owner"] {
        let bad = url(role, "p");
        for database in [with(&bad, &worker), with(&app, &bad)] {
            let refused = connect(&test, database).await.err();
            assert!(
                matches!(&refused, Some(Error::UnsafeRole(text)) if text.contains(role)),
                "{role}: {refused:?}"
            );
        }
    }

    let refused = connect(&test, with(&worker, &worker)).await.err();
    assert!(matches!(refused, Some(Error::UnsafeRole(_))), "{refused:?}");

    let wrong = connect(
        &test,
        Database::remote(&url("quire_admin", "wrong"), None, None, "p"),
    )
    .await;
    assert!(matches!(wrong.err(), Some(Error::Database(_))));
    for database in [
        Database::remote(&admin, Some(&app), None, "p"),
        Database::remote("http://127.0.0.1", None, None, "p"),
    ] {
        assert!(matches!(database.err(), Some(Error::Invalid(_))));
    }
}

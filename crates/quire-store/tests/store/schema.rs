//! The check of the schema: silent on ours, and loud on every hole it is there to find.

use quire_store::IsolationGap;
use quire_testkit::postgres::TestStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::connect_as;

const TENANT: &str = "(tenant_id = nullif(current_setting('quire.tenant', true), '')::uuid)";

/// A table as it should be.
const SAFE: &str = "create table shard.t (tenant_id uuid primary key, word text);
    alter table shard.t enable row level security;
    alter table shard.t force row level security;
    create policy tenant on shard.t using TENANT with check TENANT;
    grant select, insert, update, delete on shard.t to quire_app;";

/// What the administrator does, and what the check says then. SAFE comes first.
const HOLES: &[(&str, &str)] = &[
    (
        "create table shard.u (id int primary key)",
        "has no tenant_id",
    ),
    (
        "alter table shard.t disable row level security",
        "not enabled and forced",
    ),
    (
        "alter table shard.t no force row level security",
        "not enabled and forced",
    ),
    (
        "drop policy tenant on shard.t",
        "no policy compares the tenant",
    ),
    (
        "alter policy tenant on shard.t with check (true)",
        "no policy compares the tenant",
    ),
    (
        "alter policy tenant on shard.t using (tenant_id = current_setting('app.tenant')::uuid)",
        "no policy compares the tenant",
    ),
    (
        "create policy open on shard.t using (true)",
        "policy open lets quire_app past",
    ),
    (
        "create policy open on shard.t for select to quire_app using (true)",
        "policy open lets quire_app past",
    ),
    (
        "create policy open on shard.t for insert to quire_app with check (true)",
        "policy open lets quire_app past",
    ),
    (
        "create policy open on shard.t using TENANT with check (true)",
        "policy open lets quire_app past",
    ),
    (
        "create role quire_test_group; grant quire_test_group to quire_app;
         create policy open on shard.t to quire_test_group using (true)",
        "policy open lets quire_app past",
    ),
    (
        "grant select on directory.tenants to quire_app",
        "quire_app reaches what all tenants share",
    ),
    (
        "grant select (secret_hash) on directory.admin_keys to quire_app",
        "quire_app reaches what all tenants share",
    ),
    (
        "grant select on shard.t to quire_worker",
        "quire_worker reaches content",
    ),
    (
        "grant select (body) on shard.passages to quire_worker",
        "quire_worker reaches content",
    ),
    (
        "grant delete on shard.passages to public",
        "quire_worker reaches content",
    ),
    (PARTITIONED, "can touch a partition directly"),
    (BARE_PARTITION, "not enabled and forced"),
    (
        "grant truncate on shard.t to quire_app",
        "quire_app can truncate",
    ),
    (
        "create view shard.v as select * from shard.t",
        "view without security_invoker",
    ),
    (
        "create view shard.v with (security_invoker = false) as select * from shard.t",
        "view without security_invoker",
    ),
    (
        "create materialized view shard.m as select * from shard.t",
        "materialized view",
    ),
    (
        "create function shard.f() returns bigint language sql security definer as 'select count(*) from shard.t'",
        "security definer function that quire_app can call",
    ),
    (
        "create unique index on shard.t (word)",
        "key does not start with tenant_id",
    ),
    (
        "create unique index on shard.t (word, tenant_id)",
        "key does not start with tenant_id",
    ),
    (
        "alter table shard.t add exclude using btree (word with =)",
        "key does not start with tenant_id",
    ),
    (
        "create unique index u on shard.t (word); alter table shard.notebooks add foreign key (name) references shard.t (word)",
        "foreign key without tenant_id",
    ),
    ("alter table shard.t owner to quire_app", "owns a relation"),
    (
        "alter role quire_app bypassrls",
        "bypasses row-level security",
    ),
    (
        "alter role quire_worker superuser",
        "bypasses row-level security",
    ),
    ("grant quire_owner to quire_app", "member of the owner"),
];

const PARTITIONED: &str =
    "create table shard.p (tenant_id uuid primary key) partition by hash (tenant_id);
    create table shard.p0 partition of shard.p for values with (modulus 1, remainder 0);
    alter table shard.p0 enable row level security;
    alter table shard.p0 force row level security;
    grant select on shard.p0 to quire_app";

const BARE_PARTITION: &str =
    "create table shard.p (tenant_id uuid primary key) partition by hash (tenant_id);
    alter table shard.p enable row level security;
    alter table shard.p force row level security;
    create policy tenant on shard.p using TENANT with check TENANT;
    create table shard.p0 partition of shard.p for values with (modulus 1, remainder 0)";

/// What the check says about a database in which `statements` were run. They are undone.
async fn gaps_after(admin: &mut PgConnection, statements: &str) -> Vec<IsolationGap> {
    let mut tx = admin.begin().await.unwrap();
    let statements = statements.replace("TENANT", TENANT);
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut *tx)
        .await
        .unwrap();
    let gaps = sqlx::query_as(include_str!("../../src/isolation.sql"))
        .fetch_all(&mut *tx)
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    gaps
}

#[tokio::test]
async fn our_schema_has_no_gap_and_every_hole_is_found() {
    let test = TestStore::new().await;
    assert_eq!(test.store.isolation_gaps().await.unwrap(), []);

    let mut admin = connect_as(&test, "quire_admin").await;
    assert_eq!(gaps_after(&mut admin, SAFE).await, []);
    let mut found = Vec::new();
    for (hole, expected) in HOLES {
        let gaps = gaps_after(&mut admin, &format!("{SAFE} {hole}")).await;
        assert!(
            gaps.iter().any(|gap| gap.why.contains(expected)),
            "{hole}: {gaps:?}"
        );
        found.extend(gaps.into_iter().map(|gap| gap.why));
    }
    // Each branch of the check ends in one `union all` or in the end.
    let branches = include_str!("../../src/isolation.sql")
        .matches("union all")
        .count()
        + 1;
    let expected: std::collections::HashSet<&str> =
        HOLES.iter().map(|(_, expected)| *expected).collect();
    println!("{} holes, {branches} branches", HOLES.len());
    assert!(
        expected.len() >= branches,
        "a branch of the check is not proven able to fail"
    );

    sqlx::query("create view shard.v as select 1 as one")
        .execute(&mut admin)
        .await
        .unwrap();
    let gaps = test.store.isolation_gaps().await.unwrap();
    assert_eq!(
        gaps.len(),
        1,
        "the product sees what the administrator sees: {gaps:?}"
    );
}

#[tokio::test]
async fn every_installation_has_its_own_rotation_and_keeps_it() {
    let (one, other) = (TestStore::new().await, TestStore::new().await);
    let seed = one.store.rotation_seed();
    assert_ne!(seed, other.store.rotation_seed());
    assert_eq!(seed, one.reopened(1).await.rotation_seed());
}

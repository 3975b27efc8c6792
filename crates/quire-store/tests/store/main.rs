//! The store on a real PostgreSQL: who sees what, what survives cancellation, and what each resource does.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says how much it tried"
)]

mod cancellation;
mod copies;
mod foreign;
mod groups;
mod isolation;
mod object_faults;
mod object_stores;
mod objects;
mod resources;
mod roles;
mod schema;

use quire_store::tenants::Tenant;
use quire_store::{ObjectKey, TenantTx, notebooks, passages, sources};
use quire_testkit::postgres::TestStore;
use quire_types::{MediaType, NotebookId, Place, SourceId, Spot};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// A connection to the database of a test as this role.
async fn connect_as(test: &TestStore, role: &str) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(test.cluster().socket_dir().await)
        .port(quire_testkit::postgres::PORT)
        .database(test.name())
        .username(role);
    PgConnection::connect_with(&options).await.unwrap()
}

/// Adds content that has this name and these bytes.
async fn add(tx: &mut TenantTx, notebook: NotebookId, name: &str, content: &str) -> sources::Added {
    let object = ObjectKey::original(tx.placement());
    let content = sources::NewContent {
        name,
        content_hash: content.as_bytes(),
        size_bytes: i64::try_from(content.len()).unwrap(),
        object: &object,
    };
    sources::add(tx, notebook, &content).await.unwrap()
}

fn passage(body: &str) -> passages::NewPassage {
    passages::NewPassage {
        context: "Title".to_owned(),
        body: body.to_owned(),
        place: Place {
            page: Some(2),
            heading_path: vec!["One".to_owned(), "Two".to_owned()],
            char_start: 0,
            char_end: u32::try_from(body.len()).unwrap(),
            spot: Spot {
                slide: Some(4),
                ..Spot::default()
            },
        },
        embedding: vec![1.0, 0.0],
    }
}

async fn publish(
    tx: &mut TenantTx,
    source: SourceId,
    version: i32,
    bodies: &[&str],
) -> passages::Published {
    let passages: Vec<_> = bodies.iter().map(|body| passage(body)).collect();
    passages::publish(tx, source, version, MediaType::Text, Some(3), &passages)
        .await
        .unwrap()
}

/// A tenant with a notebook that holds one searchable source.
struct Filled {
    tenant: Tenant,
    notebook: NotebookId,
    source: SourceId,
}

async fn filled(test: &TestStore, slug: &str) -> Filled {
    let tenant = test.tenant(slug).await;
    let mut tx = test.tx(&tenant).await;
    let notebook = notebooks::create(&mut tx, "Site").await.unwrap().id;
    let source = add(&mut tx, notebook, "a.txt", slug).await.source().id;
    publish(&mut tx, source, 1, &["first", "second"]).await;
    tx.commit().await.unwrap();
    Filled {
        tenant,
        notebook,
        source,
    }
}

//! Notebooks of a tenant.

use uuid::Uuid;

use quire_types::{NotebookId, Timestamp};

use crate::corpus::{self, Change};
use crate::{Error, ObjectKey, Page, PageRequest, TenantTx, sources};

/// A tenant's container of sources.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Notebook {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: NotebookId,
    /// Its name, unique in the tenant.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last renamed.
    pub updated_at: Timestamp,
}

/// Creates an empty notebook.
pub async fn create(tx: &mut TenantTx, name: &str) -> Result<Notebook, Error> {
    sqlx::query_as(
        "insert into shard.notebooks (tenant_id, id, name) values ($1, $2, $3) returning *",
    )
    .bind(tx.tenant_id())
    .bind(NotebookId::generate().uuid())
    .bind(name)
    .fetch_one(tx.connection())
    .await
    .map_err(|error| name_error(error, name))
}

/// Finds a notebook by its name or creates it, and makes additions to it wait for each other until the
/// transaction ends.
pub async fn ensure(tx: &mut TenantTx, name: &str) -> Result<Notebook, Error> {
    sqlx::query(
        "insert into shard.notebooks (tenant_id, id, name) values ($1, $2, $3)
         on conflict (tenant_id, name) do nothing",
    )
    .bind(tx.tenant_id())
    .bind(NotebookId::generate().uuid())
    .bind(name)
    .execute(tx.connection())
    .await
    .map_err(|error| name_error(error, name))?;
    let notebook = by_name(tx, name).await?;
    lock(tx, notebook.id).await?;
    Ok(notebook)
}

/// How many there are besides the one of this name.
pub async fn count_besides(tx: &mut TenantTx, name: &str) -> Result<i64, Error> {
    let count = sqlx::query_scalar(
        "select count(*) from shard.notebooks where tenant_id = $1 and name <> $2",
    )
    .bind(tx.tenant_id())
    .bind(name)
    .fetch_one(tx.connection())
    .await?;
    Ok(count)
}

/// One notebook.
pub async fn get(tx: &mut TenantTx, id: NotebookId) -> Result<Notebook, Error> {
    sqlx::query_as("select * from shard.notebooks where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NOT_FOUND)
}

/// One notebook by its name.
pub async fn by_name(tx: &mut TenantTx, name: &str) -> Result<Notebook, Error> {
    sqlx::query_as("select * from shard.notebooks where tenant_id = $1 and name = $2")
        .bind(tx.tenant_id())
        .bind(name)
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NOT_FOUND)
}

/// Notebooks in order of creation.
pub async fn list(tx: &mut TenantTx, page: PageRequest) -> Result<Page<Notebook>, Error> {
    let rows = sqlx::query_as(
        "select * from shard.notebooks where tenant_id = $1 and id > $2 order by id limit $3",
    )
    .bind(tx.tenant_id())
    .bind(page.sql_after())
    .bind(page.sql_limit())
    .fetch_all(tx.connection())
    .await?;
    Ok(page.page(rows))
}

/// Gives a notebook another name.
pub async fn rename(tx: &mut TenantTx, id: NotebookId, name: &str) -> Result<Notebook, Error> {
    sqlx::query_as(
        "update shard.notebooks set name = $3, updated_at = now()
         where tenant_id = $1 and id = $2 returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(name)
    .fetch_optional(tx.connection())
    .await
    .map_err(|error| name_error(error, name))?
    .ok_or(NOT_FOUND)
}

/// Removes a notebook with everything in it, from rows and from search. Returns the objects that
/// nothing refers to any more.
pub async fn delete(tx: &mut TenantTx, id: NotebookId) -> Result<Vec<ObjectKey>, Error> {
    lock(tx, id).await?;
    let objects = sources::object_keys(tx, id, None).await?;
    let live = sources::live_versions(tx, id, None).await?;
    corpus::record(tx, Change::Removed, &live).await?;
    sqlx::query("delete from shard.notebooks where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .execute(tx.connection())
        .await?;
    Ok(objects)
}

/// Makes additions to and removal of a notebook wait for each other until the transaction ends.
pub(crate) async fn lock(tx: &mut TenantTx, id: NotebookId) -> Result<(), Error> {
    sqlx::query("select from shard.notebooks where tenant_id = $1 and id = $2 for update")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .map(drop)
        .ok_or(NOT_FOUND)
}

const NOT_FOUND: Error = Error::NotFound { what: "notebook" };

fn name_error(error: sqlx::Error, name: &str) -> Error {
    match Error::constraint(&error) {
        Some("notebooks_name_key") => {
            Error::Conflict(format!("a notebook named '{name}' exists already"))
        }
        Some("notebooks_name_check") => Error::Invalid("a name has 1 to 200 characters".to_owned()),
        _ => error.into(),
    }
}

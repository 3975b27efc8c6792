//! Tenants in the directory: who exists, where, on which plan.

use uuid::Uuid;

use quire_types::{TenantId, TenantState, Timestamp};

use crate::{Error, Page, PageRequest, Placement, SystemTx};

/// A tenant as the directory knows it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Tenant {
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: TenantId,
    /// Its short name, unique in the installation.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The region its data stays in.
    pub region: String,
    /// The shard that holds its rows.
    pub shard: i16,
    /// Its plan.
    pub plan: String,
    /// Random at every (re)creation.
    pub incarnation: Uuid,
    /// Whether it may use the service.
    #[sqlx(try_from = "String")]
    pub state: TenantState,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Tenant {
    /// Where its rows and objects are.
    pub fn placement(&self) -> Placement {
        Placement {
            tenant: self.id,
            incarnation: self.incarnation,
            shard: self.shard,
        }
    }
}

/// Creates a tenant in the only region, on the only plan; placement becomes a choice with the second.
pub async fn create(tx: &mut SystemTx, slug: &str, name: &str) -> Result<Tenant, Error> {
    sqlx::query_as(
        "insert into directory.tenants (id, slug, name, region, shard, plan, incarnation)
         values ($1, $2, $3, 'local', 0, 'standard', $4)
         returning *",
    )
    .bind(TenantId::generate().uuid())
    .bind(slug)
    .bind(name)
    .bind(Uuid::new_v4())
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("tenants_slug_key") => {
            Error::Conflict(format!("a tenant named '{slug}' exists already"))
        }
        Some("tenants_slug_form") => Error::Invalid(format!(
            "'{slug}' can't be a tenant's short name: use 1 to 64 of a-z, 0-9 and inner hyphens"
        )),
        Some("tenants_name_check") => Error::Invalid("a name has 1 to 200 characters".to_owned()),
        _ => error.into(),
    })
}

/// One tenant by id.
pub async fn get(tx: &mut SystemTx, id: TenantId) -> Result<Tenant, Error> {
    sqlx::query_as("select * from directory.tenants where id = $1")
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(Error::NotFound { what: "tenant" })
}

/// One tenant by its short name.
pub async fn by_slug(tx: &mut SystemTx, slug: &str) -> Result<Tenant, Error> {
    sqlx::query_as("select * from directory.tenants where slug = $1")
        .bind(slug)
        .fetch_optional(tx.connection())
        .await?
        .ok_or(Error::NotFound { what: "tenant" })
}

/// Tenants in order of creation.
pub async fn list(tx: &mut SystemTx, page: PageRequest) -> Result<Page<Tenant>, Error> {
    let rows = sqlx::query_as("select * from directory.tenants where id > $1 order by id limit $2")
        .bind(page.sql_after())
        .bind(page.sql_limit())
        .fetch_all(tx.connection())
        .await?;
    Ok(page.page(rows))
}

/// Suspends a tenant or lets it work again.
pub async fn set_state(
    tx: &mut SystemTx,
    id: TenantId,
    state: TenantState,
) -> Result<Tenant, Error> {
    sqlx::query_as("update directory.tenants set state = $2 where id = $1 returning *")
        .bind(id.uuid())
        .bind(state.as_str())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(Error::NotFound { what: "tenant" })
}

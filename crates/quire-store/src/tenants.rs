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
    /// ISO 3166-1 code of where it is, if it said so.
    pub country: Option<String>,
    /// The AI project that works for it.
    pub pool: String,
    /// Random at every (re)creation.
    pub incarnation: Uuid,
    /// Whether it may use the service.
    #[sqlx(try_from = "String")]
    pub state: TenantState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When everything it starts with was there; none while that is still being made.
    pub ready_at: Option<Timestamp>,
}

/// A tenant that is to be.
#[derive(Clone, Debug)]
pub struct NewTenant<'a> {
    /// Its id: chosen before, since its place may depend on it.
    pub id: TenantId,
    /// Its short name.
    pub slug: &'a str,
    /// Its name for people.
    pub name: &'a str,
    /// Its plan.
    pub plan: &'a str,
    /// Where it is.
    pub country: Option<&'a str>,
    /// The region its data stays in.
    pub region: &'a str,
    /// The shard of its rows.
    pub shard: i16,
    /// The AI project that works for it.
    pub pool: &'a str,
}

impl<'a> NewTenant<'a> {
    /// A tenant of the region, shard and pool that every installation has, on the plan of installations
    /// that sell none.
    pub fn local(slug: &'a str, name: &'a str) -> Self {
        Self {
            id: TenantId::generate(),
            slug,
            name,
            plan: "standard",
            country: None,
            region: "local",
            shard: 0,
            pool: "local",
        }
    }
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

/// Creates a tenant at the place that was chosen for it.
pub async fn create(tx: &mut SystemTx, new: &NewTenant<'_>) -> Result<Tenant, Error> {
    let slug = new.slug;
    sqlx::query_as(
        "insert into directory.tenants (id, slug, name, plan, country, region, shard, pool, incarnation)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         returning *",
    )
    .bind(new.id.uuid())
    .bind(slug)
    .bind(new.name)
    .bind(new.plan)
    .bind(new.country)
    .bind(new.region)
    .bind(new.shard)
    .bind(new.pool)
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
        Some("tenants_plan_fkey") => Error::Invalid(format!("there is no plan '{}'", new.plan)),
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

/// One tenant by id, which nobody else changes until the transaction ends.
pub async fn lock(tx: &mut SystemTx, id: TenantId) -> Result<Tenant, Error> {
    sqlx::query_as("select * from directory.tenants where id = $1 for update")
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

/// Which of these tenants and incarnations are gone, or on their way: nothing of them is to be kept.
pub async fn gone(tx: &mut SystemTx, owners: &[(Uuid, Uuid)]) -> Result<Vec<(Uuid, Uuid)>, Error> {
    let (tenants, incarnations): (Vec<Uuid>, Vec<Uuid>) = owners.iter().copied().unzip();
    let gone = sqlx::query_as(
        "select o.tenant, o.incarnation from unnest($1::uuid[], $2::uuid[]) as o (tenant, incarnation)
         where not exists (select from directory.tenants t
                           where t.id = o.tenant and t.incarnation = o.incarnation
                             and t.state not in ('closing', 'closed'))",
    )
    .bind(tenants)
    .bind(incarnations)
    .fetch_all(tx.connection())
    .await?;
    Ok(gone)
}

/// Puts a tenant on another plan.
pub async fn set_plan(tx: &mut SystemTx, id: TenantId, plan: &str) -> Result<Tenant, Error> {
    sqlx::query_as("update directory.tenants set plan = $2 where id = $1 returning *")
        .bind(id.uuid())
        .bind(plan)
        .fetch_optional(tx.connection())
        .await
        .map_err(|error| match Error::constraint(&error) {
            Some("tenants_plan_fkey") => Error::Invalid(format!("there is no plan '{plan}'")),
            _ => error.into(),
        })?
        .ok_or(Error::NotFound { what: "tenant" })
}

/// Notes that everything a tenant starts with is there.
pub async fn set_ready(tx: &mut SystemTx, id: TenantId) -> Result<Tenant, Error> {
    sqlx::query_as(
        "update directory.tenants set ready_at = coalesce(ready_at, now()) where id = $1 returning *",
    )
    .bind(id.uuid())
    .fetch_optional(tx.connection())
    .await?
    .ok_or(Error::NotFound { what: "tenant" })
}

/// Moves a tenant to another state.
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

//! Connecting: roles and migrations first, as the administrative login; then the two pools that
//! everything else uses, after a check that neither role can bypass row-level security.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row};

use quire_types::Groups;

use crate::tx::Isolation;
use crate::{
    Error, MigrationSet, Objects, Placement, RoleReport, SystemTx, TenantTx, migrate, roles,
};

/// A PostgreSQL database and the logins that quire uses on it.
#[derive(Clone)]
pub struct Database {
    admin: PgConnectOptions,
    app: PgConnectOptions,
    worker: PgConnectOptions,
    /// Set for the two roles when quire made up their logins itself.
    role_password: Option<String>,
    /// Whether quire may create the database.
    create: bool,
}

impl Database {
    /// A private server on a unix socket that only this user can reach; roles need no password there.
    pub fn private(socket_dir: &Path, port: u16, admin_user: &str, name: &str) -> Self {
        let base = PgConnectOptions::new_without_pgpass()
            .socket(socket_dir)
            .port(port)
            .database(name);
        Self {
            admin: base.clone().username(admin_user),
            app: base.clone().username(roles::APP),
            worker: base.username(roles::WORKER),
            role_password: None,
            create: true,
        }
    }

    /// Any server. `url` is a login that may create roles and schemas in an existing database. Without
    /// `app_url` and `worker_url` quire logs its own roles in at the same address with `role_password`.
    pub fn remote(
        url: &str,
        app_url: Option<&str>,
        worker_url: Option<&str>,
        role_password: &str,
    ) -> Result<Self, Error> {
        let parse = |name: &str, url: &str| {
            let bad = |why: &dyn std::fmt::Display| {
                Error::Invalid(format!("{name} is not a PostgreSQL address: {why}"))
            };
            // sqlx takes any scheme.
            if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                return Err(bad(&"it does not start with postgres://"));
            }
            PgConnectOptions::from_str(url).map_err(|error| bad(&error))
        };
        let admin = parse("database.url", url)?;
        let own = |role: &str| admin.clone().username(role).password(role_password);
        let (app, worker, role_password) = match (app_url, worker_url) {
            (Some(app), Some(worker)) => (
                parse("database.app_url", app)?,
                parse("database.worker_url", worker)?,
                None,
            ),
            (None, None) => (
                own(roles::APP),
                own(roles::WORKER),
                Some(role_password.to_owned()),
            ),
            _ => {
                return Err(Error::Invalid(
                    "set both database.app_url and database.worker_url, or neither".to_owned(),
                ));
            }
        };
        Ok(Self {
            admin,
            app,
            worker,
            role_password,
            create: false,
        })
    }
}

/// The last net for a client that vanished inside a transaction; nothing of quire idles that long.
const APP_SETTINGS: &[(&str, &str)] = &[("idle_in_transaction_session_timeout", "60s")];
/// A worker that froze in the middle must not hold what others want to take over. As in a `SystemTx`, no
/// statement reads a whole table because it was empty a minute ago.
const WORKER_SETTINGS: &[(&str, &str)] = &[
    ("idle_in_transaction_session_timeout", "15s"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// What the store needs to start.
pub struct StoreConfig {
    /// The database of the directory and of shard 0.
    pub database: Database,
    /// Where the bytes of sources are kept.
    pub objects: Objects,
    /// Connections of the tenant pool; half as many serve directory, queue and control plane.
    pub connections: u32,
    /// Migrations of higher layers that keep their tables in the same database.
    pub migrations: &'static [MigrationSet],
}

/// A place where the schema does not keep tenants apart.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct IsolationGap {
    /// The relation, function or role.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// The open store. A clone is the same store.
#[derive(Clone)]
pub struct Store {
    parts: Arc<Parts>,
}

struct Parts {
    admin: PgConnectOptions,
    app: PgPool,
    worker: PgPool,
    objects: Objects,
    report: RoleReport,
    rotation_seed: u64,
}

impl Store {
    /// Prepares the database and opens the pools.
    pub async fn connect(config: StoreConfig) -> Result<Self, Error> {
        let database = &config.database;
        if database.create {
            create_database(&database.admin).await?;
        }
        let mut admin = PgConnection::connect_with(&database.admin).await?;
        roles::ensure(&mut admin, database.role_password.as_deref()).await?;
        roles::set(&mut admin, database.app.get_username(), APP_SETTINGS).await?;
        roles::set(&mut admin, database.worker.get_username(), WORKER_SETTINGS).await?;
        migrate::run(&mut admin, config.migrations).await?;
        admin.close().await?;

        let app = pool(&database.app, config.connections).await?;
        let worker = pool(&database.worker, (config.connections / 2).max(6)).await?;
        let report = roles::check(&app, &worker).await?;
        let rotation_seed: i64 =
            sqlx::query_scalar("select rotation_seed from directory.installation")
                .fetch_one(&worker)
                .await?;
        let parts = Parts {
            admin: config.database.admin,
            app,
            worker,
            objects: config.objects,
            report,
            rotation_seed: rotation_seed.cast_unsigned(),
        };
        Ok(Self {
            parts: Arc::new(parts),
        })
    }

    /// Begins a transaction that sees one tenant.
    pub async fn tenant(&self, placement: Placement) -> Result<TenantTx, Error> {
        TenantTx::begin(self.shard(placement)?, placement, Isolation::ReadCommitted).await
    }

    /// The same for somebody who sees only sources for everybody and those of these groups; none sees everything.
    pub async fn tenant_seen_by(
        &self,
        placement: Placement,
        groups: Option<&Groups>,
    ) -> Result<TenantTx, Error> {
        let mut tx = self.tenant(placement).await?;
        if let Some(groups) = groups {
            tx.narrow(groups).await?;
        }
        Ok(tx)
    }

    /// Begins a read-only transaction that sees one tenant at one instant.
    pub async fn tenant_snapshot(&self, placement: Placement) -> Result<TenantTx, Error> {
        TenantTx::begin(self.shard(placement)?, placement, Isolation::Snapshot).await
    }

    /// Begins a transaction over the directory and the queue.
    pub async fn system(&self) -> Result<SystemTx, Error> {
        SystemTx::begin(&self.parts.worker).await
    }

    /// A connection over the directory, the queue and the control plane for a single statement, which is a
    /// transaction of its own: for what is in the way of every request and can't afford three round trips.
    pub async fn statement(&self) -> Result<PoolConnection<Postgres>, Error> {
        Ok(self.parts.worker.acquire().await?)
    }

    /// A connection of its own as the owner of the tables, for upkeep that only the owner may do.
    pub async fn owner(&self) -> Result<PgConnection, Error> {
        let mut owner = PgConnection::connect_with(&self.parts.admin).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("set role {}", roles::OWNER)))
            .execute(&mut owner)
            .await?;
        Ok(owner)
    }

    /// Hears notices of a channel, on a connection of its own. It is one of the administrative login, which
    /// never goes through a pooler: there, notices of a listener reach whoever has its connection next.
    pub async fn listen(&self, channel: &str) -> Result<PgListener, Error> {
        let own = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(self.parts.admin.clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.listen(channel).await?;
        Ok(listener)
    }

    /// The seed of the rotation of vectors in new segments: chosen once for this installation, the same for all
    /// tenants.
    pub fn rotation_seed(&self) -> u64 {
        self.parts.rotation_seed
    }

    /// The bytes of sources.
    pub fn objects(&self) -> &Objects {
        &self.parts.objects
    }

    /// What the start-up check found out about server and roles.
    pub fn roles(&self) -> &RoleReport {
        &self.parts.report
    }

    /// Every way in which the schema lets one tenant reach another's rows; none is what it should be.
    pub async fn isolation_gaps(&self) -> Result<Vec<IsolationGap>, Error> {
        let mut tx = self.system().await?;
        let gaps = sqlx::query_as(include_str!("isolation.sql"))
            .fetch_all(tx.connection())
            .await?;
        tx.commit().await?;
        Ok(gaps)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut tx = self.system().await?;
        sqlx::query("select 1").execute(tx.connection()).await?;
        tx.commit().await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.parts.app.close().await;
        self.parts.worker.close().await;
    }

    /// The pool of the shard that holds a tenant. One shard so far: its number is checked all the same,
    /// since a row of another shard must not be looked for here.
    fn shard(&self, placement: Placement) -> Result<&PgPool, Error> {
        if placement.shard == 0 {
            Ok(&self.parts.app)
        } else {
            Err(Error::Invalid(format!(
                "shard {} is not part of this installation",
                placement.shard
            )))
        }
    }
}

async fn create_database(admin: &PgConnectOptions) -> Result<(), Error> {
    let name = admin.get_database().unwrap_or("quire").to_owned();
    let mut connection = PgConnection::connect_with(&admin.clone().database("postgres")).await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        let statement = format!("create database \"{}\"", name.replace('"', ""));
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(())
}

async fn pool(options: &PgConnectOptions, connections: u32) -> Result<PgPool, Error> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .after_release(|connection, _| Box::pin(leaves_nothing_behind(connection)))
        .connect_with(options.clone().application_name("quire"))
        .await
        .map_err(|error| match error {
            // Invalid authorization: the role was made by somebody else, with another password.
            sqlx::Error::Database(refused) if refused.code().is_some_and(|code| code.starts_with("28")) => {
                Error::Invalid(format!(
                    "the database refuses one of quire's roles: {refused}; if another installation made them, \
                     set database.app_url and database.worker_url"
                ))
            }
            other => other.into(),
        })?;
    Ok(pool)
}

/// A connection goes back to the pool only outside a transaction and without a tenant; otherwise it is
/// closed. Guards against what `begin_uncancelled` does not know of.
async fn leaves_nothing_behind(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // In the simple protocol both times are that of this message, unless a transaction began before it; in
    // the extended protocol each step of a statement moves the second one on.
    let row = sqlx::raw_sql(
        "select now() = statement_timestamp() and coalesce(current_setting('quire.tenant', true), '') = ''",
    )
    .fetch_one(connection)
    .await?;
    row.try_get(0)
}

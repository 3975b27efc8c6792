//! The database roles: who owns the tables, who works on them, and the refusal to start when one of
//! them could see past row-level security.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::Error;

pub(crate) const OWNER: &str = "quire_owner";
pub(crate) const APP: &str = "quire_app";
pub(crate) const WORKER: &str = "quire_worker";

/// What the start-up check found out.
#[derive(Clone, Debug)]
pub struct RoleReport {
    /// `server_version_num` of PostgreSQL: 150018 is 15.18.
    pub server_version: i32,
    /// The login of tenant work.
    pub app: String,
    /// The login of directory and queue.
    pub worker: String,
}

impl RoleReport {
    /// The oldest minor release of each major that has the fixes of CVE-2024-10976 and CVE-2025-8713,
    /// both of which let hidden rows be inferred despite row-level security.
    pub fn oldest_safe_minor(major: i32) -> i32 {
        match major {
            15 => 14,
            16 => 10,
            17 => 6,
            _ => 0,
        }
    }

    /// Whether the server has every known fix for leaks through row-level security.
    pub fn is_safe_version(&self) -> bool {
        self.server_version % 10_000 >= Self::oldest_safe_minor(self.server_version / 10_000)
    }
}

/// Creates the roles that are missing and lets the administrative login act as the owner. A password is
/// given to a new role only: roles belong to the whole server, and another installation on it may be
/// using the ones that are there.
pub(crate) async fn ensure(admin: &mut PgConnection, password: Option<&str>) -> Result<(), Error> {
    let login = password.map_or("login".to_owned(), |text| {
        format!("login password '{}'", text.replace('\'', "''"))
    });
    for (role, rights) in [(OWNER, "nologin"), (APP, &login), (WORKER, &login)] {
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
                .bind(role)
                .fetch_one(&mut *admin)
                .await?;
        if exists {
            continue;
        }
        match run(admin, format!("create role {role} {rights}")).await {
            // Another installation was creating the same one.
            Err(Error::Database(sqlx::Error::Database(error)))
                if matches!(error.code().as_deref(), Some("42710" | "23505")) => {}
            other => other?,
        }
    }
    let is_member: bool = sqlx::query_scalar("select pg_has_role(current_user, $1, 'usage')")
        .bind(OWNER)
        .fetch_one(&mut *admin)
        .await?;
    if !is_member {
        run(admin, format!("grant {OWNER} to current_user")).await?;
    }
    Ok(())
}

/// Gives a login settings that every session of it begins with. They are settings of the role and not of the
/// connection, so that they hold behind a pooler too. A login that somebody else manages is left as it is.
pub(crate) async fn set(
    admin: &mut PgConnection,
    login: &str,
    settings: &[(&str, &str)],
) -> Result<(), Error> {
    let known: Vec<String> = sqlx::query_scalar(
        "select unnest(rolconfig) from pg_roles where rolname = $1 and rolconfig is not null",
    )
    .bind(login)
    .fetch_all(&mut *admin)
    .await?;
    let login = login.replace('"', "\"\"");
    for (name, value) in settings {
        if known.contains(&format!("{name}={value}")) {
            continue;
        }
        match run(
            admin,
            format!("alter role \"{login}\" set {name} = '{value}'"),
        )
        .await
        {
            // Not ours to change, or another process of this installation is changing it.
            Err(Error::Database(sqlx::Error::Database(error)))
                if matches!(
                    error.code().as_deref(),
                    Some("42501" | "42704" | "23505" | "XX000")
                ) =>
            {
                tracing::warn!(%error, login, name, value, "a setting of a database login is missing");
            }
            other => other?,
        }
    }
    Ok(())
}

async fn run(admin: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(admin)
        .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Role {
    name: String,
    server_version: i32,
    bypasses: bool,
    owns: bool,
    is_owner: bool,
    is_worker: bool,
}

/// Refuses logins that row-level security does not bind.
pub(crate) async fn check(app: &PgPool, worker: &PgPool) -> Result<RoleReport, Error> {
    let app = check_one(app).await?;
    if app.is_worker {
        return Err(Error::UnsafeRole(format!(
            "database role {} is a member of quire_worker, which sees the queue and the keys of all \
             tenants; use one login for database.app_url and another for database.worker_url",
            app.name
        )));
    }
    let worker = check_one(worker).await?;
    Ok(RoleReport {
        server_version: app.server_version,
        app: app.name,
        worker: worker.name,
    })
}

async fn check_one(pool: &PgPool) -> Result<Role, Error> {
    let role: Role = sqlx::query_as(
        "select r.rolname::text as name,
                current_setting('server_version_num')::int as server_version,
                r.rolsuper or r.rolbypassrls as bypasses,
                exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                        where c.relowner = r.oid and n.nspname in ('directory', 'shard', 'queue', 'control')) as owns,
                pg_has_role(r.oid, 'quire_owner', 'member') as is_owner,
                pg_has_role(r.oid, 'quire_worker', 'member') as is_worker
         from pg_roles r where r.rolname = session_user",
    )
    .fetch_one(pool)
    .await?;
    let name = &role.name;
    if role.bypasses {
        return Err(Error::UnsafeRole(format!(
            "database role {name} is a superuser or has BYPASSRLS, so tenants would not be kept apart; \
             use a plain login, or leave database.app_url and database.worker_url unset"
        )));
    }
    if role.owns || role.is_owner {
        return Err(Error::UnsafeRole(format!(
            "database role {name} owns tables of quire or is a member of quire_owner; \
             use a login that is neither"
        )));
    }
    Ok(role)
}

//! A PostgreSQL of somebody else: one connection to an address that was checked, one transaction that only reads.
//!
//! Names of tables and columns come from whoever mapped them and are quoted; types come from its catalogue; values
//! are bound. Whatever it answers ends up in a [`ForeignError`], which says what to do over there. Knows nothing of
//! tenants and writes nothing.

mod error;
mod relation;
mod way;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::timeout;

use quire_types::Secret;

pub use error::ForeignError;
use relation::{Column, Found};
pub use relation::{Relation, TableName};
use way::Way;

/// How long the server may work on a statement.
const STATEMENT: &str = "60s";
/// How long the end may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How the way there is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Disable,
    /// If the server can do it.
    Prefer,
    /// Against listening.
    Require,
    /// Against listening and against somebody else who answers.
    VerifyFull,
}

/// Who asks for what, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// `postgres://user:password@host/database`; what follows `?` does not count.
    pub url: Secret,
    /// How the way there is protected.
    pub tls: Tls,
    /// A certificate, or several, that the server's may be signed with beside those everybody knows.
    pub root_certificate: Option<String>,
    /// The zone of times that have none.
    pub time_zone: String,
}

/// Where reading a relation goes on.
#[derive(Clone, Debug)]
pub enum Place {
    /// At the beginning.
    Start,
    /// A while before this time, or before now if that is earlier there.
    Before {
        /// The time.
        at: String,
        /// The while.
        lookback_s: u32,
    },
    /// After the row with this time and id.
    After {
        /// The time.
        at: String,
        /// The id.
        id: String,
    },
}

/// A row.
#[derive(Clone, Debug)]
pub struct ForeignRow {
    /// Its id.
    pub id: String,
    /// When it was last changed, in the server's words.
    pub at: Option<String>,
    /// The same in microseconds.
    pub version: i64,
    /// Whether it counts as deleted.
    pub is_deleted: bool,
    /// Its columns, a JSON object.
    pub fields: String,
}

/// Rows of one reading.
#[derive(Clone, Debug, Default)]
pub struct ForeignRows {
    /// The rows in order.
    pub rows: Vec<ForeignRow>,
    /// Whether there may be more.
    pub has_more: bool,
}

/// An open connection. Dropping it ends its transaction.
pub struct Foreign {
    connection: PgConnection,
    way: Way,
}

/// A relation as it is over there.
pub struct Opened<'a> {
    foreign: &'a mut Foreign,
    found: Found,
}

impl Foreign {
    /// Logs in and begins.
    pub async fn open(address: SocketAddr, login: &Login) -> Result<Self, ForeignError> {
        let way = Way::to(address).await?;
        let bare = login.url.expose().split('?').next().unwrap_or_default();
        let mode = match login.tls {
            Tls::Disable => PgSslMode::Disable,
            Tls::Prefer => PgSslMode::Prefer,
            Tls::Require => PgSslMode::Require,
            Tls::VerifyFull => PgSslMode::VerifyFull,
        };
        let mut options = PgConnectOptions::from_str(bare)
            .map_err(|_| ForeignError::Invalid("the address of the database can't be read".into()))?
            // The name stays for the certificate; the way leads to the address that was checked.
            .socket(way.socket_dir())
            .port(way::PORT)
            .ssl_mode(mode)
            .application_name("quire")
            .statement_cache_capacity(0);
        if let Some(certificate) = &login.root_certificate {
            options = options.ssl_root_cert_from_pem(certificate.clone().into_bytes());
        }
        let connect = timeout(way::CONNECT, PgConnection::connect_with(&options));
        let connection = connect.await.map_err(|_| ForeignError::Timeout)??;
        let mut foreign = Self { connection, way };
        foreign.read_only(&login.time_zone).await?;
        Ok(foreign)
    }

    /// Says goodbye, so that nobody over there has to wonder.
    pub async fn close(self) {
        let Self {
            connection,
            mut way,
        } = self;
        let goodbye = async {
            drop(connection.close().await);
            way.end().await;
        };
        drop(timeout(GOODBYE, goodbye).await);
    }

    async fn read_only(&mut self, time_zone: &str) -> Result<(), ForeignError> {
        let asked = async {
            sqlx::raw_sql("begin transaction isolation level read committed read only")
                .execute(&mut self.connection)
                .await?;
            sqlx::query(
                "select set_config('statement_timeout', $1, true), set_config('lock_timeout', '10s', true),
                        set_config('datestyle', 'ISO', true), set_config('timezone', $2, true)",
            )
            .bind(STATEMENT)
            .bind(time_zone)
            .execute(&mut self.connection)
            .await?;
            Ok(())
        };
        self.way.answer(asked).await
    }

    /// The database and the role, for people.
    pub async fn account(&mut self) -> Result<String, ForeignError> {
        let query = sqlx::query_scalar("select current_database() || ' as ' || current_user");
        self.way.answer(query.fetch_one(&mut self.connection)).await
    }

    /// Looks for a relation and its columns.
    pub async fn relation(&mut self, wanted: &Relation) -> Result<Opened<'_>, ForeignError> {
        let table = wanted.table.quoted();
        let columns = sqlx::query_as(
            "select a.attname::text as name, format_type(a.atttypid, null) as type_name,
                        t.typcategory::text as category, t.typname::text as base,
                        has_column_privilege(a.attrelid, a.attnum, 'select') as is_readable
                 from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
                 where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
                 order by a.attnum",
        )
        .bind(&table);
        let columns: Vec<Column> = self
            .way
            .answer(columns.fetch_all(&mut self.connection))
            .await?;
        let found = Found::new(wanted, columns)?;
        Ok(Opened {
            foreign: self,
            found,
        })
    }
}

impl Opened<'_> {
    /// Rows from there on, in the order of their changes: at most `most`, and not much more than `most_bytes`. What is
    /// dated more than an hour ahead is left for later.
    pub async fn changed(
        &mut self,
        from: &Place,
        most: usize,
        most_bytes: usize,
    ) -> Result<ForeignRows, ForeignError> {
        let (sql, first, second) = self.found.changed(from, most);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for bound in [first, second].into_iter().flatten() {
            query = query.bind(bound);
        }
        let Foreign { connection, way } = &mut *self.foreign;
        way.answer(async {
            let mut found = ForeignRows::default();
            let mut stream = query.fetch(connection);
            let mut bytes = 0;
            while let Some(row) = stream.try_next().await? {
                let row = foreign_row(&row)?;
                bytes += row.fields.len();
                found.rows.push(row);
                if bytes > most_bytes {
                    found.has_more = true;
                    return Ok(found);
                }
            }
            found.has_more = found.rows.len() >= most;
            Ok(found)
        })
        .await
    }

    /// Ids of what is there and not deleted or dated ahead, each with its version, in the order of the ids.
    pub async fn ids(
        &mut self,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, i64)>, ForeignError> {
        let mut query = sqlx::query_as(AssertSqlSafe(self.found.ids(after.is_some(), most)));
        if let Some(after) = after {
            query = query.bind(after);
        }
        let foreign = &mut *self.foreign;
        foreign
            .way
            .answer(query.fetch_all(&mut foreign.connection))
            .await
    }

    /// The rows with these ids.
    pub async fn rows(&mut self, ids: &[String]) -> Result<Vec<ForeignRow>, ForeignError> {
        let query = sqlx::query(AssertSqlSafe(self.found.rows())).bind(ids);
        let Foreign { connection, way } = &mut *self.foreign;
        way.answer(async {
            let rows = query.fetch_all(connection).await?;
            rows.iter().map(foreign_row).collect()
        })
        .await
    }

    /// Those of the ids that are there and not deleted.
    pub async fn existing(&mut self, ids: &[String]) -> Result<HashSet<String>, ForeignError> {
        let query = sqlx::query_scalar(AssertSqlSafe(self.found.existing())).bind(ids);
        let foreign = &mut *self.foreign;
        let found: Vec<String> = foreign
            .way
            .answer(query.fetch_all(&mut foreign.connection))
            .await?;
        Ok(found.into_iter().collect())
    }
}

fn foreign_row(row: &sqlx::postgres::PgRow) -> Result<ForeignRow, sqlx::Error> {
    Ok(ForeignRow {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        version: row.try_get("version")?,
        is_deleted: row.try_get("is_deleted")?,
        fields: row.try_get("fields")?,
    })
}

/// Whether a text can be the name of a table or column.
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && !text.chars().any(char::is_control)
}

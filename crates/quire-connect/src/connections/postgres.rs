//! Tables of a product's own PostgreSQL: their rows are records, read with a role that may only read.
//!
//! [`pull`] reads what changed, a page at a time in the order of (time of the last change, id), from a while before
//! the last one: what was committed late, or dated by a clock that is behind, is met again, and records that are the
//! same have no effect. [`compare`] asks from time to time which ids there are: what was missed all the same comes,
//! what is gone goes. Neither writes anything over there.

mod compare;
mod pull;
mod table;

use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use quire_store::foreign::{Foreign, ForeignError, Login, Tls};
use quire_types::{ErrorKind, Kind, Secret};

use crate::Error;
use crate::egress::Egress;
use table::{Mapping, Table};

/// The most tables of one connection.
const MOST_TABLES: usize = 100;

/// What whoever connects a database chooses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Which tables and views are read.
    tables: Vec<Mapping>,
    /// How long before the last change reading begins again: longer than any transaction over there, and than its
    /// clocks differ.
    #[serde(default = "ten_minutes")]
    lookback_s: u32,
    /// The zone of times that have none.
    #[serde(default = "utc")]
    time_zone: String,
    /// How much of a table may go at once; more is taken for a mistake.
    #[serde(default = "a_fifth")]
    most_deleted_share: f64,
    /// Who signed the server's certificate, when it is nobody known.
    root_certificate: Option<String>,
}

fn ten_minutes() -> u32 {
    600
}

fn utc() -> String {
    "UTC".to_owned()
}

fn a_fifth() -> f64 {
    0.2
}

/// A database of a product.
pub(super) struct Cms {
    egress: Egress,
    host: String,
    port: u16,
    /// What its address says about the way there, if it says anything.
    tls: Option<Tls>,
    url: Secret,
    time_zone: String,
    root_certificate: Option<String>,
    lookback_s: u32,
    most_deleted_share: f64,
    tables: Vec<Table>,
}

impl Cms {
    /// Reads by these settings; the secret is `postgres://user:password@host:port/database`.
    pub(super) fn new(egress: Egress, settings: &Value, secret: &Secret) -> Result<Self, Error> {
        let bad = |why: String| Error::Invalid(format!("settings: {why}"));
        let settings = Settings::deserialize(settings).map_err(|error| bad(error.to_string()))?;
        if !(1..=MOST_TABLES).contains(&settings.tables.len()) {
            return Err(bad(format!("name 1 to {MOST_TABLES} tables")));
        }
        if settings.lookback_s > 86_400 {
            return Err(bad("lookback_s is at most a day, 86400".to_owned()));
        }
        if !(0.0..=1.0).contains(&settings.most_deleted_share) {
            return Err(bad("most_deleted_share is 0 to 1".to_owned()));
        }
        let tables = Table::all(settings.tables).map_err(bad)?;
        let (url, tls) = address(secret).map_err(|why| {
            Error::Invalid(format!(
                "the secret is no address of a database: {why}; write postgres://user:password@host:5432/database"
            ))
        })?;
        Ok(Self {
            egress,
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port().unwrap_or(5432),
            tls,
            url: secret.clone(),
            time_zone: settings.time_zone,
            root_certificate: settings.root_certificate,
            lookback_s: settings.lookback_s,
            most_deleted_share: settings.most_deleted_share,
            tables,
        })
    }

    /// Asks whether every table can be read; says which database it is.
    pub(super) async fn test(&self) -> Result<String, Error> {
        let mut foreign = self.open().await?;
        let account = foreign.account().await?;
        for table in &self.tables {
            let mut opened = foreign.relation(&table.relation).await?;
            drop(opened.ids(None, 1).await?);
        }
        foreign.close().await;
        Ok(account)
    }

    /// Logs in, at the first address that answers.
    async fn open(&self) -> Result<Foreign, Error> {
        let mut last = Error::Remote("the name of its host leads nowhere".to_owned());
        for (address, is_own) in self.egress.database(&self.host, self.port).await? {
            let tls = match (&self.tls, is_own) {
                (None, true) => Tls::Prefer,
                (None, false) => Tls::VerifyFull,
                (Some(Tls::Disable | Tls::Prefer), false) => {
                    return Err(Error::Invalid(
                        "the way to a database on the public Internet has to be protected: choose sslmode=verify-full \
                         or sslmode=require"
                            .to_owned(),
                    ));
                }
                (Some(tls), _) => tls.clone(),
            };
            let login = Login {
                url: self.url.clone(),
                tls,
                root_certificate: self.root_certificate.clone(),
                time_zone: self.time_zone.clone(),
            };
            match Foreign::open(address, &login).await {
                Ok(foreign) => return Ok(foreign),
                Err(error @ (ForeignError::Down(_) | ForeignError::Timeout)) => last = error.into(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last)
    }
}

/// The address of a database and what it says about the way there. Other parameters could name files of this
/// machine, or another host.
fn address(secret: &Secret) -> Result<(Url, Option<Tls>), String> {
    let url = Url::parse(secret.expose()).map_err(|error| error.to_string())?;
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err("it does not begin with postgres://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    if url.username().is_empty() || url.password().is_none_or(str::is_empty) {
        return Err("it has no user or no password".to_owned());
    }
    if url.path().trim_matches('/').is_empty() {
        return Err("it names no database".to_owned());
    }
    let mut tls = None;
    for (name, value) in url.query_pairs() {
        tls = match (&*name, &*value) {
            ("sslmode", "disable") => Some(Tls::Disable),
            ("sslmode", "prefer") => Some(Tls::Prefer),
            ("sslmode", "require") => Some(Tls::Require),
            ("sslmode", "verify-full") => Some(Tls::VerifyFull),
            ("sslmode", _) => {
                return Err(
                    "its sslmode is none of disable, prefer, require, verify-full".to_owned(),
                );
            }
            (other, _) => return Err(format!("'{other}' can't be chosen in it, only sslmode")),
        };
    }
    Ok((url, tls))
}

/// Whether a failure is that of one table and not of the way there.
fn is_of_table(error: &ForeignError) -> bool {
    [ErrorKind::Invalid, ErrorKind::Timeout].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_leads_nowhere_else_than_it_says() {
        for (bad, why) in [
            ("https://u:p@cms.example.com/app", "postgres://"),
            ("postgres:///app", "host"),
            ("postgres://cms.example.com/app", "user"),
            ("postgres://u@cms.example.com/app", "password"),
            ("postgres://u:p@cms.example.com", "no database"),
            (
                "postgres://u:p@cms.example.com/app?host=/run/postgresql",
                "'host'",
            ),
            (
                "postgres://u:p@cms.example.com/app?hostaddr=127.0.0.1",
                "'hostaddr'",
            ),
            (
                "postgres://u:p@cms.example.com/app?sslrootcert=/etc/passwd",
                "'sslrootcert'",
            ),
            (
                "postgres://u:p@cms.example.com/app?options=-csearch_path=x",
                "'options'",
            ),
            (
                "postgres://u:p@cms.example.com/app?sslmode=allow",
                "sslmode",
            ),
        ] {
            let refused = address(&Secret::new(bad)).unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
        let good = Secret::new("postgresql://u:p%40ss@cms.example.com:6432/app?sslmode=require");
        assert_eq!(address(&good).unwrap().1, Some(Tls::Require));
    }

    #[test]
    fn settings_that_can_not_work_are_refused_with_the_reason() {
        let table = |more: Value| {
            let mut table = json!({
                "table": "public.invoices", "record": "invoice", "id": "id", "updated_at": "updated_at",
                "entity": { "type": "job", "id": "job_id" } });
            for (name, value) in more.as_object().unwrap() {
                table[name] = value.clone();
            }
            table
        };
        let plain = || table(json!({}));
        let login = Secret::new("postgres://u:p@cms.example.com/app");
        let new = |settings: &Value| {
            let egress = Egress::new(Vec::new()).unwrap();
            Cms::new(egress, settings, &login)
        };
        for (bad, why) in [
            (json!({}), "tables"),
            (json!({ "tables": [] }), "1 to 100"),
            (json!({ "tables": [plain(), plain()] }), "twice"),
            (
                json!({ "tables": [table(json!({ "record": "Invoices" })), plain()] }),
                "twice",
            ),
            (
                json!({ "tables": [table(json!({ "record": "a/b" }))] }),
                "no type",
            ),
            (
                json!({ "tables": [table(json!({ "table": "" }))] }),
                "no name",
            ),
            (
                json!({ "tables": [table(json!({ "table": "a.b.c" }))] }),
                "no name",
            ),
            (
                json!({ "tables": [table(json!({ "id": "a\u{0}b" }))] }),
                "no name",
            ),
            (
                json!({ "tables": [table(json!({ "colums": [] }))] }),
                "colums",
            ),
            (
                json!({ "tables": [plain()], "lookback_s": 90_000 }),
                "a day",
            ),
            (
                json!({ "tables": [plain()], "most_deleted_share": 2 }),
                "0 to 1",
            ),
        ] {
            let refused = new(&bad).err().map(|error| error.to_string());
            assert!(
                refused
                    .as_ref()
                    .is_some_and(|refused| refused.contains(why)),
                "{why}: {refused:?}"
            );
        }
        assert!(new(&json!({ "tables": [plain()] })).is_ok());
    }
}

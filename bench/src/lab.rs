//! A private PostgreSQL with durable commits, a database for each scenario, and processes of this program
//! that work on one of them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Args;
use object_store::ObjectStore;
use quire_postgres::Server;
use quire_store::{Database, Objects, Store, StoreConfig};
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::failure::Failure;
use crate::report::Report;

/// What is set on the server for every queue alike.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("autovacuum_naptime", "10s"),
];

pub(crate) struct Lab {
    server: Server,
    folder: TempDir,
    databases: AtomicU32,
}

impl Lab {
    pub(crate) async fn open() -> Result<Self, Failure> {
        let folder = open_folder()?;
        let mut options = quire_postgres::Options::new(folder.path().join("pg"));
        options.settings = SETTINGS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let server = Server::open(options).await?;
        Ok(Self {
            server,
            folder,
            databases: AtomicU32::new(0),
        })
    }

    pub(crate) fn version(&self) -> String {
        self.server.version().to_string()
    }

    /// Closes, whatever came of the measurement, and ends its report.
    pub(crate) async fn report(self, measured: Result<Report, Failure>) -> Result<(), Failure> {
        let closed = self.close().await;
        let report = measured?;
        closed?;
        report.end();
        Ok(())
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.server.close().await?)
    }

    pub(crate) fn socket(&self) -> (PathBuf, u16) {
        (self.server.socket_dir(), self.server.port())
    }

    /// A fresh database. Its name can be given to another process.
    pub(crate) async fn database(&self) -> Result<(String, Store), Failure> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let store = self.address(&name).connect().await?;
        Ok((name, store))
    }

    pub(crate) fn address(&self, database: &str) -> Address {
        let (socket, port) = self.socket();
        Address {
            socket,
            port,
            admin: self.admin_user(),
            database: database.to_owned(),
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn admin_user(&self) -> String {
        self.server.admin_user().to_owned()
    }
}

/// A temporary folder that other users may pass through: PostgreSQL never runs as root.
pub(crate) fn open_folder() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("quire-bench-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .map_err(Failure::doing("making a folder"))
}

/// Where a database is, as a process is told.
#[derive(Args, Clone)]
pub(crate) struct Address {
    #[arg(long)]
    socket: PathBuf,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    admin: String,
    #[arg(long)]
    pub(crate) database: String,
}

impl Address {
    pub(crate) async fn connect(&self) -> Result<Store, Failure> {
        self.connect_with(|objects| objects).await
    }

    /// Connects with something around the object store.
    pub(crate) async fn connect_with(
        &self,
        around: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<Store, Failure> {
        let objects = self.socket.join("objects");
        Ok(Store::connect(StoreConfig {
            database: Database::private(&self.socket, self.port, &self.admin, &self.database),
            objects: Objects::directory(&objects)?.wrapped(around),
            connections: 16,
            migrations: &[quire_queue::MIGRATIONS, quire_tenancy::MIGRATIONS],
        })
        .await?)
    }
}

/// A process of this program; killed when forgotten.
pub(crate) struct Process {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a hidden command of this program on a database.
    pub(crate) fn start(
        command: &str,
        address: &Address,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::doing("finding my own file"))?;
        let mut child = Command::new(program)
            .arg(command)
            .arg("--socket")
            .arg(&address.socket)
            .args(["--port", &address.port.to_string()])
            .args(["--admin", &address.admin])
            .args(["--database", &address.database])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::doing("starting a process"))?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| Failure::failed("a process has no output"))?;
        Ok(Self {
            child,
            said: BufReader::new(output).lines(),
        })
    }

    /// None once it ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for a line of JSON.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let line = self.said.next_line().await;
        let line = line.map_err(Failure::doing("listening to a process"))?;
        let line = line.ok_or_else(|| Failure::failed("a process ended without a word"))?;
        serde_json::from_str(&line).map_err(Failure::doing("understanding a process"))
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        let killed = self.child.kill().await;
        killed.map_err(Failure::doing("killing a process"))
    }
}

/// Runs SQL that only a measurement needs.
pub(crate) async fn sql(store: &Store, statement: &str) -> Result<(), Failure> {
    let mut owner = store.owner().await?;
    let run = sqlx::raw_sql(AssertSqlSafe(format!("reset role; {statement}")));
    run.execute(&mut owner)
        .await
        .map_err(Failure::doing("running SQL"))?;
    Ok(())
}

/// A number from the database.
pub(crate) async fn number(store: &Store, query: &str) -> Result<i64, Failure> {
    let mut owner = store.owner().await?;
    sqlx::raw_sql("reset role")
        .execute(&mut owner)
        .await
        .map_err(Failure::doing("running SQL"))?;
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_one(&mut owner)
        .await
        .map_err(Failure::doing("running SQL"))
}

/// The middle and the tail of some waits, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Waits {
    pub(crate) fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |share: f64| {
            let index = ((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1));
            waits
                .get(index)
                .map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
        };
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

//! The configuration: a file, overridden by `QUIRE__SECTION__KEY` in the environment, overridden by
//! flags. Every field has a default that works offline on one machine.

mod chat;
mod connect;
mod objects;
mod telemetry;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use quire_tenancy::{GateConfig, Ladder};
use quire_types::Secret;

use crate::cli::Cli;
use crate::failure::Failure;

use chat::{Chat, DepthOptions};
use connect::Connect;
use objects::Objects;
use telemetry::Telemetry;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data: Data,
    pub(crate) objects: Objects,
    pub(crate) server: Server,
    pub(crate) database: Database,
    pub(crate) model: Model,
    pub(crate) embedding: EmbeddingOptions,
    pub(crate) chat: Chat,
    /// Models by name in the order in which they are asked, by what they are for: `answer`, `answer-complex`,
    /// `rephrase`, `rerank`, `speech`, `ocr`, `vision`.
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    pub(crate) depth: DepthOptions,
    pub(crate) limits: Limits,
    /// What one file may have, whatever a plan gives; its bytes are `limits.file_bytes`.
    pub(crate) files: quire_ingest::extract::Limits,
    pub(crate) cache: Cache,
    pub(crate) admission: Admission,
    pub(crate) connect: Connect,
    pub(crate) telemetry: Telemetry,
}

/// Where everything is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Data {
    /// The data directory: objects, secrets, and the private PostgreSQL.
    pub(crate) dir: Option<PathBuf>,
}

/// The HTTP service.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Where to listen. Put a proxy that speaks TLS in front before listening beyond this machine.
    pub(crate) listen: SocketAddr,
    /// Where a process that only runs tasks answers `/healthz`, `/readyz` and `/metrics`. Unset: nowhere, so that
    /// several of them fit on one machine.
    pub(crate) worker_listen: Option<SocketAddr>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)),
            worker_listen: None,
        }
    }
}

/// PostgreSQL.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Database {
    /// A login that may create roles and schemas in an existing database. Unset: a private server in the
    /// data directory.
    pub(crate) url: Option<Secret>,
    /// Logins of the roles quire_app and quire_worker. Unset: quire makes them.
    pub(crate) app_url: Option<Secret>,
    pub(crate) worker_url: Option<Secret>,
    /// Connections for tenants' work.
    pub(crate) connections: u32,
    /// The directory of the server programs (initdb, postgres). Unset: the newest on the machine.
    pub(crate) binaries: Option<PathBuf>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            app_url: None,
            worker_url: None,
            connections: 16,
            binaries: None,
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("private", &self.url.is_none())
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// The embedding model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    /// A directory with all-MiniLM-L6-v2. Unset: `quire/models` in the user's cache.
    pub(crate) dir: Option<PathBuf>,
}

/// Vectors by models of providers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EmbeddingOptions {
    /// From how many passages on a tenant's move to another model goes through the batches of its provider, which may
    /// take a day and cost half; 0 for never.
    pub(crate) batch_passages: usize,
}

/// How much is accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// The largest file, in bytes.
    pub(crate) file_bytes: u64,
    /// The largest JSON body, in bytes.
    pub(crate) json_bytes: usize,
    /// The longest question, in characters.
    pub(crate) question_chars: usize,
    /// Passages an answer is made from.
    pub(crate) answer_passages: usize,
    /// Memory for the search views of recently active tenants, in bytes.
    pub(crate) search_memory_bytes: usize,
    /// Tasks that run at once.
    pub(crate) task_seats: usize,
    /// Seconds after which the tasks of a process that says nothing more are taken over.
    pub(crate) task_lease_s: u64,
    /// Memory for answers that were given, in bytes.
    pub(crate) answer_cache_bytes: u64,
    /// Hours that deleted bytes are kept, so that a restored database still finds them. At least as long
    /// as point-in-time recovery reaches back.
    pub(crate) object_grace_hours: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 200 << 20,
            json_bytes: 16 << 20,
            question_chars: 4_000,
            answer_passages: 12,
            search_memory_bytes: 256 << 20,
            task_seats: 4,
            task_lease_s: 5,
            answer_cache_bytes: 64 << 20,
            object_grace_hours: 24,
        }
    }
}

impl Limits {
    pub(crate) fn object_grace(&self) -> Duration {
        Duration::from_secs(self.object_grace_hours * 3_600)
    }
}

/// What was worked out before, beyond the memory of this process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// A Redis or Valkey that processes share answers in, such as redis://127.0.0.1:6379. Unset: each process
    /// remembers its own.
    pub(crate) redis_url: Option<Secret>,
    /// Whether an answer is also given to whoever asks nearly the same.
    pub(crate) near_answers: bool,
}

/// How many requests are worked on at once, and what happens when more come. What a tenant may use is not
/// here but in its plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admission {
    /// Requests at once.
    pub(crate) seats: u32,
    /// Requests that may wait, of all tenants.
    pub(crate) most_waiting: u32,
    /// How full the room to wait may be, from 0 to 1, before answers are made the cheaper way.
    pub(crate) cheaper_at: f64,
    /// Refusals in a minute beyond which a tenant is held off.
    pub(crate) throttle_after: u32,
    /// For how many seconds.
    pub(crate) throttle_for_s: u64,
    /// A Redis or Valkey that counts rates, such as redis://127.0.0.1:6379. Unset: PostgreSQL does.
    pub(crate) redis_url: Option<Secret>,
    /// The most searches at once; how many really run is learned from how long they take.
    pub(crate) searches: u32,
    /// The most files that are read at once; learned likewise.
    pub(crate) extractions: u32,
}

impl Default for Admission {
    fn default() -> Self {
        let ladder = Ladder::default();
        let gate = GateConfig::default();
        Self {
            seats: gate.seats,
            most_waiting: gate.most_waiting,
            cheaper_at: ladder.cheaper_at,
            throttle_after: ladder.throttle_after,
            throttle_for_s: ladder.throttle_for.as_secs(),
            redis_url: None,
            searches: 64,
            extractions: 16,
        }
    }
}

impl Admission {
    pub(crate) fn gate(&self) -> GateConfig {
        GateConfig {
            seats: self.seats,
            most_waiting: self.most_waiting,
            ..GateConfig::default()
        }
    }

    pub(crate) fn ladder(&self) -> Ladder {
        Ladder {
            cheaper_at: self.cheaper_at,
            throttle_after: self.throttle_after,
            throttle_for: Duration::from_secs(self.throttle_for_s),
        }
    }
}

/// A variable of the environment; one that is empty counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The part of the environment that decides where files are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// `$XDG_CACHE_HOME`, or `.cache` in the home directory.
    pub(crate) cache: PathBuf,
    data: PathBuf,
    config: Vec<PathBuf>,
}

impl Places {
    pub(crate) fn find() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let is_root = rustix::process::geteuid().is_root();
        let home =
            variable("HOME").unwrap_or_else(|| PathBuf::from(if is_root { "/root" } else { "." }));
        let config_home = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Self {
            cache: variable("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")),
            // The server never runs as root, and no other user may enter root's home.
            data: if is_root {
                PathBuf::from("/var/lib/quire")
            } else {
                variable("XDG_DATA_HOME")
                    .unwrap_or_else(|| home.join(".local/share"))
                    .join("quire")
            },
            config: vec![
                config_home.join("quire/quire.toml"),
                PathBuf::from("/etc/quire/quire.toml"),
            ],
        }
    }
}

impl Config {
    /// Reads file and environment and applies the flags.
    pub(crate) fn load(cli: &Cli, places: &Places) -> Result<Self, Failure> {
        let file = cli
            .config
            .clone()
            .or_else(|| places.config.iter().find(|path| path.is_file()).cloned());
        let mut table = match &file {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        for (name, value) in std::env::vars() {
            if let Some(path) = name.strip_prefix("QUIRE__") {
                set(&mut table, &name, path, &value)?;
            }
        }
        let mut config: Self = table.try_into().map_err(|error| {
            let place = file.map_or("the environment".to_owned(), |path| {
                path.display().to_string()
            });
            Failure::invalid(format!("configuration in {place}: {error}"))
        })?;
        if cli.data.is_some() {
            config.data.dir.clone_from(&cli.data);
        }
        Ok(config)
    }

    /// The data directory, absolute.
    pub(crate) fn data_dir(&self, places: &Places) -> Result<PathBuf, Failure> {
        let dir = self.data.dir.as_ref().unwrap_or(&places.data);
        std::path::absolute(dir)
            .map_err(|error| Failure::invalid(format!("data directory {}: {error}", dir.display())))
    }
}

fn read(path: &Path) -> Result<Table, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::invalid(format!(
            "can't read the configuration {}: {error}",
            path.display()
        ))
    })?;
    text.parse()
        .map_err(|error| Failure::invalid(format!("configuration {}: {error}", path.display())))
}

/// `QUIRE__SECTION__KEY=value`; a value that is no TOML is a text.
fn set(table: &mut Table, name: &str, path: &str, value: &str) -> Result<(), Failure> {
    let path = path.to_lowercase();
    let (section, key) = path
        .split_once("__")
        .ok_or_else(|| Failure::invalid(format!("{name} must look like QUIRE__SECTION__KEY")))?;
    let parsed = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    let section = table
        .entry(section.to_owned())
        .or_insert_with(|| Value::Table(Table::new()));
    match section.as_table_mut() {
        Some(section) => {
            section.insert(key.to_owned(), value);
            Ok(())
        }
        None => Err(Failure::invalid(format!(
            "{name}: the configuration file has no such section"
        ))),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_environment_overrides_the_file() {
        let mut table: Table = "[limits]\nfile_bytes = 1\ntask_seats = 2\n"
            .parse()
            .unwrap();
        set(&mut table, "", "LIMITS__FILE_BYTES", "99").unwrap();
        set(&mut table, "", "CHAT__BASE_URL", "http://127.0.0.1:1/v1").unwrap();
        set(&mut table, "", "SERVER__LISTEN", "127.0.0.1:9").unwrap();
        let config: Config = table.try_into().unwrap();
        assert_eq!(
            (config.limits.file_bytes, config.limits.task_seats),
            (99, 2)
        );
        assert_eq!(
            config.chat.base_url.as_deref(),
            Some("http://127.0.0.1:1/v1")
        );
        assert_eq!(config.server.listen.port(), 9);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let table: Table = "[limits]\nfile_byte = 1\n".parse().unwrap();
        assert!(table.try_into::<Config>().is_err());
    }
}

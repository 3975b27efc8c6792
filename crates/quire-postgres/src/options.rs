//! What the caller decides, and the settings quire gives the server. Refuses to know processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::server::PORT;

/// How to open a [`crate::Server`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory that belongs to the server alone, such as `<data>/postgres`.
    pub dir: PathBuf,
    /// The directory of `postgres` and `initdb`; searched on the machine when absent.
    pub binaries: Option<PathBuf>,
    /// More server settings, by name; they win over quire's own.
    pub settings: Vec<(String, String)>,
    /// How long a server may take until it accepts connections, crash recovery included.
    pub start_timeout: Duration,
}

impl Options {
    /// The defaults for a server in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            binaries: None,
            settings: Vec::new(),
            start_timeout: Duration::from_secs(60),
        }
    }
}

/// For a machine of two cores that the models share: little memory, no parallel plans, no JIT, and full
/// durability, because the queue lives in these tables.
const TUNING: [(&str, &str); 23] = [
    ("cluster_name", "quire"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("effective_cache_size", "512MB"),
    ("work_mem", "8MB"),
    ("maintenance_work_mem", "64MB"),
    ("max_worker_processes", "4"),
    ("max_parallel_workers_per_gather", "0"),
    ("max_parallel_maintenance_workers", "0"),
    ("autovacuum_max_workers", "2"),
    ("jit", "off"),
    ("random_page_cost", "1.1"),
    ("max_wal_size", "1GB"),
    ("checkpoint_timeout", "15min"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_destination", "stderr"),
    ("logging_collector", "off"),
    ("log_checkpoints", "off"),
    ("log_line_prefix", "%m [%p] "),
];

/// Trust authentication is sound only while these stay as they are.
const RESERVED: [&str; 10] = [
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
];

/// Refuses settings that would open the server up or are no setting at all.
pub(crate) fn check_settings(settings: &[(String, String)]) -> Result<(), Error> {
    for (name, _) in settings {
        let lower = name.to_ascii_lowercase();
        let is_name = !lower.is_empty()
            && lower
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
        if !is_name || RESERVED.contains(&lower.as_str()) {
            return Err(Error::BadSetting(name.clone()));
        }
    }
    Ok(())
}

/// The arguments after `postgres -D <data>`. The command line wins over every configuration file.
pub(crate) fn arguments(socket_dir: &Path, settings: &[(String, String)]) -> Vec<OsString> {
    let mut pairs: Vec<(&str, OsString)> = Vec::new();
    pairs.extend(TUNING.iter().map(|(name, value)| (*name, (*value).into())));
    pairs.extend(
        settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.into())),
    );
    pairs.push(("listen_addresses", OsString::new()));
    pairs.push(("port", PORT.to_string().into()));
    pairs.push(("unix_socket_directories", quoted(socket_dir)));
    pairs.push(("unix_socket_permissions", "0700".into()));

    let mut arguments = Vec::new();
    for (name, value) in pairs {
        let mut setting = OsString::from(name);
        setting.push("=");
        setting.push(value);
        arguments.push("-c".into());
        arguments.push(setting);
    }
    arguments
}

/// The setting is a comma-separated list, so a path with a comma needs the quotes. The layout sees to it
/// that the path itself has none.
fn quoted(path: &Path) -> OsString {
    let mut quoted = OsString::from("\"");
    quoted.push(path);
    quoted.push("\"");
    quoted
}

#[cfg(test)]
mod tests;

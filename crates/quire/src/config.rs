//! The configuration: a file, overridden by `QUIRE__SECTION__KEY` in the environment, overridden by
//! flags. Every field has a default that works offline on one machine.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use quire_ask::Depth;
use quire_connect::connections::App;
use quire_connect::egress::Network;
use quire_store::{CopiesConfig, S3Config, S3Credentials};
use quire_tenancy::{GateConfig, Ladder};
use quire_types::Secret;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::telemetry::Destination;

mod telemetry;

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

/// Where the bytes of sources and the segments of the search index are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Objects {
    /// A directory of its own in the data directory, or a bucket.
    pub(crate) store: ObjectStore,
    /// The bucket. It must exist.
    pub(crate) bucket: Option<String>,
    /// Its region.
    pub(crate) region: String,
    /// The address of a server that is not AWS, such as `https://minio.internal:9000`.
    pub(crate) endpoint: Option<String>,
    /// Whether the bucket is in the path of an address, not in its host. Unset: with an endpoint only.
    pub(crate) path_style: Option<bool>,
    /// Whether the endpoint may be http beyond this machine.
    pub(crate) allow_http: bool,
    /// A file with the key, as other tools have it in ~/.aws/credentials. Unset: AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; without those the role of the machine.
    pub(crate) credentials_file: Option<PathBuf>,
    /// Seconds that the server may say nothing.
    pub(crate) timeout_s: u64,
    /// Tries after the first.
    pub(crate) retries: usize,
    /// Copies of often-read segments in `<data>/copies`, in bytes at most; 0 keeps none. For a bucket only.
    pub(crate) copies_bytes: u64,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ObjectStore {
    #[default]
    Directory,
    S3,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            store: ObjectStore::Directory,
            bucket: None,
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: None,
            allow_http: false,
            credentials_file: None,
            timeout_s: 30,
            retries: 3,
            copies_bytes: 10_000_000_000,
        }
    }
}

impl Objects {
    /// Opens the store; `data` is the data directory. A server is not asked yet.
    pub(crate) fn open(&self, data: &Path) -> Result<quire_store::Objects, Failure> {
        if self.store == ObjectStore::Directory {
            return Ok(quire_store::Objects::directory(&data.join("objects"))?);
        }
        let bucket = self.bucket.clone().ok_or_else(|| {
            Failure::invalid("objects.store is s3, so objects.bucket must name a bucket")
        })?;
        let objects = quire_store::Objects::s3(S3Config {
            bucket,
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.path_style.unwrap_or(self.endpoint.is_some()),
            allow_http: self.allow_http,
            credentials: self.credentials()?,
            timeout: Duration::from_secs(self.timeout_s),
            retries: self.retries,
        })?;
        if self.copies_bytes == 0 {
            return Ok(objects);
        }
        Ok(objects.with_copies(CopiesConfig {
            dir: data.join("copies"),
            bytes: self.copies_bytes,
        })?)
    }

    fn credentials(&self) -> Result<Option<S3Credentials>, Failure> {
        let Some(file) = &self.credentials_file else {
            let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            return Ok(credentials(
                variable("AWS_ACCESS_KEY_ID"),
                variable("AWS_SECRET_ACCESS_KEY"),
                variable("AWS_SESSION_TOKEN"),
            ));
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::invalid(format!("can't read the key in {}: {error}", file.display()))
        })?;
        credentials_in(&text).map(Some).ok_or_else(|| {
            // Says nothing of what is in it.
            Failure::invalid(format!(
                "{} holds no key: it must have aws_access_key_id and aws_secret_access_key",
                file.display()
            ))
        })
    }
}

fn credentials(
    id: Option<String>,
    key: Option<String>,
    token: Option<String>,
) -> Option<S3Credentials> {
    Some(S3Credentials {
        access_key_id: id?,
        secret_access_key: key?,
        session_token: token,
    })
}

/// The key in a file of AWS's format: of the profile `default`, or of no profile at all.
fn credentials_in(text: &str) -> Option<S3Credentials> {
    let mut is_ours = true;
    let mut values: HashMap<&str, &str> = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[') {
            is_ours = profile.trim_end_matches(']').trim() == "default";
        } else if let (true, Some((name, value))) = (is_ours, line.split_once('=')) {
            values.insert(name.trim(), value.trim());
        }
    }
    let value = |name: &str| values.get(name).map(|value| (*value).to_owned());
    credentials(
        value("aws_access_key_id"),
        value("aws_secret_access_key"),
        value("aws_session_token"),
    )
}

/// The HTTP service.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Where to listen. Put a proxy that speaks TLS in front before listening beyond this machine.
    pub(crate) listen: SocketAddr,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)),
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

/// How models are called, and the one of the pool `local`. Without a model here and without `[chains]` answers are
/// quoted from the sources.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Chat {
    /// Any OpenAI-compatible address, such as http://127.0.0.1:11434/v1.
    pub(crate) base_url: Option<String>,
    /// Its model.
    pub(crate) model: Option<String>,
    /// Its model for questions that compare or weigh. Unset: the same.
    pub(crate) large_model: Option<String>,
    /// A file that holds the key, if the server wants one.
    pub(crate) api_key_file: Option<PathBuf>,
    /// What a million tokens cost, for a model that the registry lacks: "$0" for one of your own.
    pub(crate) input_price: Option<String>,
    pub(crate) output_price: Option<String>,
    /// What such a model holds, question and answer together.
    pub(crate) context_tokens: Option<u64>,
    /// Seconds until the first word.
    pub(crate) first_token_timeout_s: u64,
    /// Seconds between two words.
    pub(crate) between_tokens_timeout_s: u64,
    /// Seconds until all is written down that is said in ten minutes of sound.
    pub(crate) sound_timeout_s: u64,
    /// The longest answer.
    pub(crate) max_tokens: u32,
    /// Percent of questions for which a second model may be asked while the first is silent for unusually long, 5 at
    /// most; 0 for none.
    pub(crate) hedged_percent: f64,
}

impl Chat {
    /// The share of questions that may be hedged.
    pub(crate) fn hedged(&self) -> Result<f64, Failure> {
        match (0.0..=5.0).contains(&self.hedged_percent) {
            true => Ok(self.hedged_percent / 100.0),
            false => Err(Failure::invalid(
                "chat.hedged_percent is 0 to 5: both models are paid for",
            )),
        }
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            base_url: None,
            model: None,
            large_model: None,
            api_key_file: None,
            input_price: None,
            output_price: None,
            context_tokens: None,
            first_token_timeout_s: 20,
            between_tokens_timeout_s: 10,
            sound_timeout_s: 300,
            max_tokens: 1_000,
            hedged_percent: 0.0,
        }
    }
}

/// How the search of complex questions is made deeper; 0 leaves a step out. What was found is put in order where
/// there is a chain `rerank`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DepthOptions {
    /// Further phrasings of the question that a model is asked for, 8 at most: the chain `rephrase`, else `answer`.
    pub(crate) phrasings: usize,
    /// Passages of one source beyond which those of other sources come first.
    pub(crate) per_source: usize,
    /// Of how many of the best passages those right beside them are read, too; 16 at most.
    pub(crate) neighbours: usize,
}

impl Default for DepthOptions {
    fn default() -> Self {
        Self {
            phrasings: 3,
            per_source: 8,
            neighbours: 4,
        }
    }
}

impl DepthOptions {
    pub(crate) fn depth(&self) -> Result<Depth, Failure> {
        if self.phrasings > 8 || self.neighbours > 16 {
            return Err(Failure::invalid(
                "depth.phrasings is 8 at most and depth.neighbours 16: each costs time with every complex question",
            ));
        }
        Ok(Depth {
            phrasings: self.phrasings,
            per_source: self.per_source,
            neighbours: self.neighbours,
        })
    }
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

/// What flows in and out by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connect {
    /// Networks that addresses given by tenants may lead to although they are not public, such as 10.1.0.0/16.
    pub(crate) allow_networks: Vec<String>,
    /// Where others reach this service, such as `https://quire.example.com`: people come back here from Zoom and
    /// Microsoft.
    pub(crate) public_url: Option<String>,
    /// The app of this installation at Zoom. Unset: nobody can connect an account of Zoom.
    pub(crate) zoom: Option<ProviderApp>,
    /// The app of this installation at Microsoft. Unset: nobody can connect Microsoft Teams.
    pub(crate) teams: Option<ProviderApp>,
}

/// An app at a provider: of Zoom (marketplace.zoom.us, a general app with OAuth), or of Microsoft (Entra, an app of
/// several organisations).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderApp {
    /// Its client id.
    pub(crate) client_id: String,
    /// Its client secret.
    pub(crate) client_secret: Secret,
    /// The secret token of its event subscription; for Microsoft, anything long that nobody can guess.
    pub(crate) webhook_secret: Secret,
    /// Where people agree and tokens are given, if not at the provider's usual address.
    pub(crate) login_url: Option<String>,
    /// Where content is read, likewise.
    pub(crate) api_url: Option<String>,
}

impl ProviderApp {
    fn app(&self, login_url: &str, api_url: &str) -> App {
        let address = |own: &Option<String>, usual: &str| {
            let address = own.as_deref().unwrap_or(usual);
            address.trim_end_matches('/').to_owned()
        };
        App {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            webhook_secret: self.webhook_secret.clone(),
            login_url: address(&self.login_url, login_url),
            api_url: address(&self.api_url, api_url),
        }
    }
}

impl Connect {
    pub(crate) fn zoom(&self) -> Option<App> {
        let zoom = self.zoom.as_ref()?;
        Some(zoom.app("https://zoom.us", "https://api.zoom.us/v2"))
    }

    pub(crate) fn teams(&self) -> Result<Option<App>, Failure> {
        let Some(teams) = &self.teams else {
            return Ok(None);
        };
        // It is all that tells notifications of Microsoft from those of anybody else.
        if teams.webhook_secret.expose().len() < 16 {
            return Err(Failure::invalid(
                "connect.teams.webhook_secret is too short: give it 16 characters or more that nobody can guess",
            ));
        }
        Ok(Some(teams.app(
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com/v1.0",
        )))
    }

    pub(crate) fn networks(&self) -> Result<Vec<Network>, Failure> {
        let networks: Result<Vec<Network>, _> = self
            .allow_networks
            .iter()
            .map(|text| text.parse())
            .collect();
        Ok(networks?)
    }
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

impl Telemetry {
    /// Where spans go; none where nobody wants any.
    pub(crate) fn destination(&self) -> Result<Option<Destination>, Failure> {
        self.destination_in(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
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
        assert!(Config::try_from_table(table).is_err());
    }

    #[test]
    fn what_costs_time_with_every_complex_question_has_a_bound() {
        let depth = |text: &str| {
            let config = Config::try_from_table(text.parse().unwrap()).unwrap();
            config.depth.depth()
        };
        assert_eq!(depth("").unwrap().phrasings, 3);
        assert_eq!(depth("[depth]\nphrasings = 0").unwrap().phrasings, 0);
        assert!(depth("[depth]\nphrasings = 9").is_err());
        assert!(depth("[depth]\nneighbours = 17").is_err());
    }

    #[test]
    fn objects_are_in_the_data_directory_or_in_a_bucket() {
        let open = |text: &str| {
            let data = tempfile::tempdir().unwrap();
            let config = Config::try_from_table(text.parse().unwrap()).unwrap();
            config
                .objects
                .open(data.path())
                .map(|_| data.path().join("objects").exists())
        };
        assert!(open("").unwrap());
        assert!(open("[objects]\nstore = 's3'").is_err());
        assert!(!open("[objects]\nstore = 's3'\nbucket = 'b'").unwrap());
        let endpoint = "[objects]\nstore = 's3'\nbucket = 'b'\nendpoint = ";
        assert!(open(&format!("{endpoint}'http://10.0.0.1:9000'")).is_err());
        let allowed = format!("{endpoint}'http://10.0.0.1:9000'\nallow_http = true");
        assert!(!open(&allowed).unwrap());
        let keyless = format!("{endpoint}'https://s3.example'\ncredentials_file = '/dev/null'");
        assert!(open(&keyless).is_err());
    }

    #[test]
    fn a_key_is_read_as_other_tools_write_it() {
        let text = "# ours\n[other]\naws_access_key_id = x\n[default]\naws_access_key_id = id\n\
                    aws_secret_access_key=a+b/c=\n[last]\naws_session_token = t\n";
        let key = credentials_in(text).unwrap();
        assert_eq!(
            (
                key.access_key_id.as_str(),
                key.secret_access_key.as_str(),
                key.session_token
            ),
            ("id", "a+b/c=", None)
        );
        assert!(credentials_in("aws_access_key_id = id").is_none());
        let bare = "aws_access_key_id = id\naws_secret_access_key = k\naws_session_token = t";
        assert_eq!(
            credentials_in(bare).unwrap().session_token.as_deref(),
            Some("t")
        );
    }

    impl Config {
        fn try_from_table(table: Table) -> Result<Self, toml::de::Error> {
            table.try_into()
        }
    }
}

//! The command line: what can be said. What happens is in `commands`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quire_types::{Groups, Lane, RecordState};

use quire_types::{NotebookStatus, Tier, UnknownName};

const EXAMPLES: &str = "\
Examples:
  quire up                                     start everything on this machine
  quire tenant create acme --name 'Acme Inc.'  add a customer
  quire add --tenant acme --notebook files ~/contracts notes.md
  quire ask --tenant acme 'When does the warranty end?'

Data goes to stdout, messages to stderr.
Exit codes: 0 done · 1 failed · 2 wrong input · 3 not found · 4 conflict · 5 not available right now";

/// A private AI notebook service for every customer of a SaaS company.
#[derive(Parser)]
#[command(name = "quire", version, about, after_help = EXAMPLES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file [default: quire.toml in ~/.config/quire or /etc/quire, if there].
    #[arg(long, global = true, env = "QUIRE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory [default: ~/.local/share/quire; for root /var/lib/quire].
    #[arg(long, global = true, env = "QUIRE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log: error, warn, info, debug, or a tracing filter [default: warn; for servers info].
    #[arg(long, global = true, env = "QUIRE_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start everything on this machine and serve HTTP until Ctrl-C.
    Up(UpArgs),
    /// Run as a service, all roles or one.
    Serve(ServeArgs),
    /// Customers: create, import, list, show, plan, suspend, resume, close.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// What is sold: list, show, export, apply.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// AI projects with their key and quota: list, show, add, status, quota, rotate, remove, reseal.
    #[command(
        subcommand,
        after_help = "Examples:\n  quire pool add eu-1 --region eu --provider openai --key-file eu-1.key --requests-per-minute 500\n  pass show openai/eu-1 | quire pool rotate eu-1 --key-file -\n  quire pool status eu-1 maintenance"
    )]
    Pool(PoolCommand),
    /// Models with their prices and their ends: list, show, export, apply.
    #[command(subcommand)]
    Model(ModelCommand),
    /// What one customer may use: show, set, unset.
    #[command(
        subcommand,
        after_help = "Examples:\n  quire limits show --tenant acme\n  quire limits set --tenant acme cost_per_month '$100'\n  quire limits set --tenant acme storage_bytes '2 TB'"
    )]
    Limits(LimitsCommand),
    /// Features: for a share of all customers, or switched for one.
    #[command(subcommand)]
    Feature(FeatureCommand),
    /// Which countries go to which region: list, set.
    #[command(subcommand)]
    Region(RegionCommand),
    /// What was used and what it cost.
    #[command(
        after_help = "Examples:\n  quire usage                                    the customers that cost most this month\n  quire usage --tenant acme --month 2026-11\n  quire usage --tenant acme --events csv > november.csv\n  quire usage reconcile --provider openai invoice.csv"
    )]
    Usage(UsageArgs),
    /// Records of other products: push events, list, summary, retry, templates.
    #[command(subcommand)]
    Records(RecordsCommand),
    /// Accounts elsewhere: list, show, create, authorize, test, sync, pause, resume, renew, configure, delete.
    #[command(
        subcommand,
        after_help = "Examples:\n  pass show notion | quire connection create --tenant acme --kind notion --name 'Team wiki' --secret-file -\n  quire connection create --tenant acme --kind zoom --name Meetings\n  quire connection create --tenant acme --kind teams --name Meetings --settings '{\"everybody\": true}'\n  quire connection create --tenant acme --kind postgres --name CMS --secret-file cms.url --settings \"$(cat cms.json)\"\n  quire connection sync --tenant acme 'Team wiki'\n\ndocs/connect.md says what each kind brings."
    )]
    Connection(ConnectionCommand),
    /// Notebooks of a tenant: create, list, rename, delete.
    #[command(subcommand)]
    Notebook(NotebookCommand),
    /// API keys: create, list, revoke.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Add files, folders, what is at an address, or standard input to a notebook.
    #[command(
        after_help = "Examples:\n  quire add --tenant acme --notebook files ~/contracts plan.pdf\n  pdftotext plan.pdf - | quire add --tenant acme --notebook files --name plan.txt -\n  quire add --tenant acme --notebook files https://example.com/manual.pdf"
    )]
    Add(AddArgs),
    /// Add the files of a folder as they come and change, until Ctrl-C.
    #[command(after_help = "Example:\n  quire watch --tenant acme --notebook scans /srv/scans")]
    Watch(WatchArgs),
    /// Ask a question and get a cited answer.
    #[command(
        after_help = "Examples:\n  quire ask --tenant acme 'When does the warranty end?'\n  quire ask --tenant acme --notebook contracts --notebook letters --json 'Who signed?'"
    )]
    Ask(AskArgs),
    /// Find passages.
    Search(SearchArgs),
    /// Answers that were given before: how often they are given again, and forgetting them.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Sources of a notebook: list, show, passages, retry, delete.
    #[command(subcommand)]
    Source(SourceCommand),
    /// The queue of background work: list, show, stats, dead, retry, discard, cancel, pause, resume, advise.
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// The search index of a customer: stats, fold, verify, mend, rebuild, rollback, language, sweep, erase.
    #[command(
        subcommand,
        after_help = "Examples:\n  quire index stats acme\n  quire index verify acme && echo sound\n  quire index mend acme                 read the sources of damaged segments again\n  quire index sweep acme --dry-run\n\ndocs/search.md says what these words mean."
    )]
    Index(IndexCommand),
    /// Check this machine and say how to mend what is wrong.
    Doctor,
    /// Print the OpenAPI document.
    Openapi,
    /// Read one file in confinement; started by quire itself.
    #[command(hide = true)]
    Parse {
        #[arg(long)]
        name: String,
        #[arg(long)]
        limits: Option<String>,
        #[arg(long, default_value_t = 60)]
        cpu_seconds: u64,
        #[arg(long)]
        ask: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct UpArgs {
    /// Load the sample company, ask it three questions, then serve.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Stop when everything is up (and the demonstration is over) instead of serving.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where to listen [default: 127.0.0.1:7700].
    #[arg(long, env = "QUIRE_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// What this process does.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,
    /// Where to listen [default: 127.0.0.1:7700].
    #[arg(long, env = "QUIRE_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Run tasks of this tenant only; see `quire tasks dedicate`.
    #[arg(long, value_name = "SLUG")]
    pub(crate) tenant: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Answers requests and runs tasks.
    All,
    /// Answers requests.
    Api,
    /// Runs tasks.
    Worker,
}

#[derive(Subcommand)]
pub(crate) enum TenantCommand {
    /// Add a customer and print its first key, once. The same again changes nothing.
    Create {
        /// Short name: a-z, 0-9 and hyphens.
        slug: String,
        /// Name for people [default: the short name].
        #[arg(long)]
        name: Option<String>,
        /// Where it is, as ISO 3166-1 code such as DE; decides the region.
        #[arg(long)]
        country: Option<String>,
        /// Its plan [default: that of the catalogue].
        #[arg(long)]
        plan: Option<String>,
    },
    /// Add many customers; to go on after an error, repeat it.
    Import {
        /// CSV with the columns slug, name, country and plan; only slug is needed.
        file: PathBuf,
        /// Write the first keys of new customers here, readable by this user only [default: nowhere].
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
    },
    /// List customers.
    List,
    /// Show one customer.
    Show { slug: String },
    /// Put a customer on another plan, from its next request on.
    Plan {
        slug: String,
        /// Its id; see `quire plan list`.
        plan: String,
    },
    /// Refuse every call of a customer until it is resumed; nothing is deleted.
    Suspend { slug: String },
    /// Let a suspended customer work again.
    Resume { slug: String },
    /// Refuse every call of a customer for good.
    Close {
        slug: String,
        /// It can't be taken back.
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum PlanCommand {
    /// List plans.
    List,
    /// Show a plan with its limits.
    Show {
        /// Its id.
        plan: String,
    },
    /// Print the catalogue of plans and prices.
    Export,
    /// Make a catalogue the one that counts: all of it, or nothing when something is wrong with it.
    Apply {
        /// TOML, as `quire plan export` prints it.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum LimitsCommand {
    /// Show every limit and where it comes from.
    Show {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Agree on a limit, whatever the plan says.
    Set {
        #[command(flatten)]
        tenant: TenantArg,
        /// Such as questions_per_month.
        name: String,
        /// A number, '$20', '100 GB' or unlimited; 0 turns the thing off.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Go back to what the plan says.
    Unset {
        #[command(flatten)]
        tenant: TenantArg,
        name: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum FeatureCommand {
    /// List features with their percentages.
    List,
    /// Turn a feature on for so many percent of all customers; a new name is a new feature.
    Set {
        feature: String,
        /// 0 to 100.
        percent: u8,
    },
    /// Turn a feature on for one customer, whatever the percentage.
    On {
        #[command(flatten)]
        tenant: TenantArg,
        feature: String,
    },
    /// Turn a feature off for one customer, whatever the percentage.
    Off {
        #[command(flatten)]
        tenant: TenantArg,
        feature: String,
    },
    /// Let the percentage decide for a customer again.
    Unset {
        #[command(flatten)]
        tenant: TenantArg,
        feature: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum PoolCommand {
    /// List pools.
    List,
    /// Show a pool.
    Show { pool: String },
    /// Add a pool, or give a provider to one that only placed customers so far.
    Add(PoolAddArgs),
    /// Say for whom a pool works: active, full (for those that are in it) or maintenance (for nobody).
    Status { pool: String, status: String },
    /// Say what the provider allows a pool, for each model; what is left out is unlimited.
    Quota {
        pool: String,
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// Replace the key of a pool, from the next call on; calls that run go on with the old one.
    Rotate {
        pool: String,
        /// A file that holds the new key; - reads standard input.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
    },
    /// Remove a pool that no customer is in.
    Remove { pool: String },
    /// Make a new master key, and seal the keys of all pools with it.
    Reseal,
}

#[derive(Args)]
pub(crate) struct PoolAddArgs {
    /// Its name, such as eu-1.
    pub(crate) pool: String,
    /// The region it is in.
    #[arg(long, default_value = "local")]
    pub(crate) region: String,
    /// Whose it is, by the name in the registry: openai, anthropic, gemini, cohere,
    /// google-speech, document-ai, compatible.
    #[arg(long)]
    pub(crate) provider: String,
    /// Its address, unless it is where its provider is.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// A file that holds its key, for Google's recognisers also that of a service account; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The models it has [default: all of its provider].
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    /// The one customer it is for.
    #[arg(long, value_name = "SLUG")]
    pub(crate) reserved_for: Option<String>,
    #[command(flatten)]
    pub(crate) quota: QuotaArgs,
}

#[derive(Args)]
pub(crate) struct QuotaArgs {
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_minute: Option<u64>,
    #[arg(long, value_name = "N")]
    pub(crate) input_tokens_per_minute: Option<u64>,
    #[arg(long, value_name = "N")]
    pub(crate) output_tokens_per_minute: Option<u64>,
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_day: Option<u64>,
    #[arg(long, value_name = "N")]
    pub(crate) tokens_per_day: Option<u64>,
}

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// List models with today's prices; those that end within 90 days say so.
    List,
    /// Show a model.
    Show { model: String },
    /// Print what was applied beside the shipped registry, as TOML.
    Export {
        /// The shipped registry instead.
        #[arg(long)]
        shipped: bool,
    },
    /// Add models and providers to the shipped registry, in place of what was applied before.
    Apply { file: PathBuf },
}

#[derive(Subcommand)]
pub(crate) enum RegionCommand {
    /// List regions with their countries.
    List,
    /// Say which countries a region takes; a new id is a new region.
    Set {
        /// Its id, such as eu.
        region: String,
        /// Name for people.
        #[arg(long)]
        name: String,
        /// ISO 3166-1 codes such as DE,FR; * is every country that no other region names.
        #[arg(long, value_delimiter = ',', required = true)]
        countries: Vec<String>,
    },
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct UsageArgs {
    #[command(subcommand)]
    pub(crate) command: Option<UsageCommand>,
    /// One customer, day by day [default: those that cost most].
    #[arg(long, value_name = "SLUG")]
    pub(crate) tenant: Option<String>,
    /// Which month [default: this one].
    #[arg(long, value_name = "YYYY-MM")]
    pub(crate) month: Option<String>,
    /// How many customers are listed.
    #[arg(long, default_value_t = 20, conflicts_with = "tenant", value_parser = clap::value_parser!(i64).range(1..=1000))]
    pub(crate) top: i64,
    /// Print every event of the customer instead, for billing.
    #[arg(long, value_enum, requires = "tenant")]
    pub(crate) events: Option<EventFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventFormat {
    /// A table with a header.
    Csv,
    /// CloudEvents 1.0, one JSON document a line.
    #[value(name = "cloudevents")]
    CloudEvents,
}

#[derive(Subcommand)]
pub(crate) enum UsageCommand {
    /// Compare a provider's invoice with what quire counted, by day and model.
    Reconcile {
        /// The provider, as usage events name it.
        #[arg(long)]
        provider: String,
        /// Differences up to this many percent are none.
        #[arg(long, value_name = "PERCENT", default_value_t = 1)]
        tolerance: u32,
        /// CSV with the columns day, model and cost_usd.
        file: PathBuf,
    },
    /// What an operator should look at: cost spikes, noisy neighbours, throttled customers.
    Notices {
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
}

/// Whose content; may be left out while there is only one tenant.
#[derive(Args, Clone)]
pub(crate) struct TenantArg {
    /// The tenant's short name [default: the only tenant].
    #[arg(long, env = "QUIRE_TENANT", value_name = "SLUG")]
    pub(crate) tenant: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum ConnectionCommand {
    /// List connections with their state.
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a connection, as JSON.
    Show(ConnectionArg),
    /// Connect an account; it is tried first.
    Create(ConnectionCreateArgs),
    /// Print a link by which somebody opens the account, for the first time or again.
    Authorize(ConnectionArg),
    /// Try a connection, and say whose account it is.
    Test(ConnectionArg),
    /// Read a connection now, and look at everything.
    Sync(ConnectionArg),
    /// Read a connection no more until it is resumed.
    Pause(ConnectionArg),
    /// Go on with a connection.
    Resume(ConnectionArg),
    /// Give a connection a new token, which is tried first.
    Renew {
        #[command(flatten)]
        connection: ConnectionArg,
        /// A file that holds the new token; - reads standard input.
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
    },
    /// Give a connection other settings, which are tried first.
    Configure {
        #[command(flatten)]
        connection: ConnectionArg,
        /// All of them, as a JSON object.
        #[arg(long, value_name = "JSON")]
        settings: String,
    },
    /// Remove a connection with its token.
    Delete {
        #[command(flatten)]
        connection: ConnectionArg,
        /// Remove its sources as well.
        #[arg(long)]
        purge: bool,
    },
}

#[derive(Args)]
pub(crate) struct ConnectionArg {
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// Its name or id.
    pub(crate) connection: String,
}

#[derive(Args)]
pub(crate) struct ConnectionCreateArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// What is on the other side: notion, postgres, teams, zoom or webhook.
    #[arg(long)]
    pub(crate) kind: String,
    /// What people call it, and its notebook where none is named.
    #[arg(long)]
    pub(crate) name: String,
    /// Where its sources go.
    #[arg(long, value_name = "NAME")]
    pub(crate) notebook: Option<String>,
    /// People who see its sources: groups, with commas between them [default: everybody].
    #[arg(long, value_name = "GROUPS", value_parser = Groups::parse)]
    pub(crate) groups: Option<Groups>,
    /// A file that holds its token; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// What its kind lets one choose, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum RecordsCommand {
    /// Take in events from a file or standard input: a JSON array, or one JSON object a line.
    Push {
        #[command(flatten)]
        tenant: TenantArg,
        /// The file [default: standard input].
        file: Option<PathBuf>,
        /// For events that name none: realtime, standard or batch.
        #[arg(long, default_value = "batch")]
        lane: Lane,
    },
    /// List records.
    List {
        #[command(flatten)]
        tenant: TenantArg,
        /// Only of this type.
        #[arg(long = "type")]
        kind: Option<String>,
        /// Only in this state: queued, searchable, failed or deleted.
        #[arg(long)]
        state: Option<RecordState>,
    },
    /// How many there are, and how far behind search is.
    Summary {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Try failed records again.
    Retry {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Set the template of a type, tried on a sample first.
    Template {
        #[command(flatten)]
        tenant: TenantArg,
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The template; without it the one in use is printed.
        #[arg(requires = "sample")]
        file: Option<PathBuf>,
        /// A JSON file with the fields of such a record.
        #[arg(long)]
        sample: Option<PathBuf>,
        /// Remove the tenant's own template.
        #[arg(long, conflicts_with = "file")]
        remove: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum NotebookCommand {
    /// Create an empty notebook.
    Create {
        #[command(flatten)]
        tenant: TenantArg,
        name: String,
    },
    /// List notebooks with the number of their sources.
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Give a notebook another name.
    Rename {
        #[command(flatten)]
        tenant: TenantArg,
        /// Name or id.
        notebook: String,
        name: String,
    },
    /// Delete a notebook with everything in it.
    Delete {
        #[command(flatten)]
        tenant: TenantArg,
        /// Name or id.
        notebook: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key; it is printed once and can't be shown again.
    Create {
        #[command(flatten)]
        tenant: TenantArg,
        /// What people call it.
        #[arg(long)]
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value_t = KeyKind::Tenant)]
        role: KeyKind,
        /// The notebook (name or id) a notebook key is for; also narrows a read-only key.
        #[arg(long)]
        notebook: Option<String>,
        /// A read-only key for people in these groups, with commas between them.
        #[arg(long, value_name = "GROUPS", value_parser = Groups::parse)]
        groups: Option<Groups>,
    },
    /// List a tenant's keys.
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Stop a key from working, at once and for good.
    Revoke {
        #[command(flatten)]
        tenant: TenantArg,
        /// Its id, key_….
        key: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    /// The operator: tenants and keys, no content.
    Admin,
    /// Everything inside the tenant.
    Tenant,
    /// Everything inside one notebook.
    Notebook,
    /// Read and ask.
    ReadOnly,
}

#[derive(Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// Name or id of the notebook; a name that does not exist is created.
    #[arg(long)]
    pub(crate) notebook: String,
    /// The name of the source when reading standard input.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only for people in these groups, with commas between them [default: everybody].
    #[arg(long, value_name = "GROUPS", value_parser = Groups::parse)]
    pub(crate) groups: Option<Groups>,
    /// Return when everything is stored and queued, not when it can be found.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Files, folders and https:// addresses; - is standard input. Hidden files in folders are left out.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// Name or id of the notebook; a name that does not exist is created.
    #[arg(long)]
    pub(crate) notebook: String,
    /// Only for people in these groups, with commas between them [default: everybody].
    #[arg(long, value_name = "GROUPS", value_parser = Groups::parse)]
    pub(crate) groups: Option<Groups>,
    /// Seconds between two looks. A file that did not change from one to the next is added.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    /// The folder. Hidden files and links in it are left out; what is deleted there stays here.
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// Only these notebooks (name or id); may be repeated [default: all].
    #[arg(long)]
    pub(crate) notebook: Vec<String>,
    /// As somebody in these groups, with commas between them, would be answered [default: from everything].
    #[arg(long, value_name = "GROUPS", value_parser = Groups::parse)]
    pub(crate) groups: Option<Groups>,
    /// How to answer it [default: as its words call for].
    #[arg(long, value_enum)]
    pub(crate) route: Option<AskRoute>,
    /// Say how the passages of the answer were found.
    #[arg(long)]
    pub(crate) explain: bool,
    /// The question.
    pub(crate) question: String,
}

#[derive(Subcommand)]
pub(crate) enum CacheCommand {
    /// Questions of this month, and how many the cache answered.
    Stats(CacheScope),
    /// Give no answer again that was given before.
    Purge(CacheScope),
}

#[derive(Args)]
pub(crate) struct CacheScope {
    /// The tenant [default: all].
    #[arg(long, value_name = "SLUG")]
    pub(crate) tenant: Option<String>,
}

/// A way to answer; docs/ask.md says what they are.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AskRoute {
    Simple,
    Moderate,
    Complex,
}

#[derive(Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
    /// Only these notebooks (name or id); may be repeated [default: all].
    #[arg(long)]
    pub(crate) notebook: Vec<String>,
    /// What somebody in these groups, with commas between them, would find [default: everything].
    #[arg(long, value_name = "GROUPS", value_parser = Groups::parse)]
    pub(crate) groups: Option<Groups>,
    /// How many passages.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Which paths are used.
    #[arg(long, value_enum, default_value_t = SearchMode::Hybrid)]
    pub(crate) mode: SearchMode,
    /// What to look for.
    pub(crate) query: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchMode {
    Hybrid,
    Lexical,
    Dense,
}

#[derive(Subcommand)]
pub(crate) enum SourceCommand {
    /// List the sources of a notebook.
    List {
        #[command(flatten)]
        tenant: TenantArg,
        /// Name or id.
        notebook: String,
    },
    /// Show one source with its state.
    Show {
        #[command(flatten)]
        tenant: TenantArg,
        /// Its id, src_….
        source: String,
    },
    /// Print the passages of a source that search sees.
    Passages {
        #[command(flatten)]
        tenant: TenantArg,
        /// Its id, src_….
        source: String,
    },
    /// Try a failed source again.
    Retry {
        #[command(flatten)]
        tenant: TenantArg,
        /// Its id, src_….
        source: String,
    },
    /// Delete a source; it can't be found from then on.
    Delete {
        #[command(flatten)]
        tenant: TenantArg,
        /// Its id, src_….
        source: String,
    },
}

/// Which tasks are meant; what is left out lets everything through.
#[derive(Args)]
pub(crate) struct TaskSelection {
    /// One task, tsk_….
    pub(crate) task: Option<String>,
    /// Those of one tenant.
    #[arg(long, value_name = "SLUG")]
    pub(crate) tenant: Option<String>,
    /// Those of one kind.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Those of one group of dead tasks.
    #[arg(long)]
    pub(crate) signature: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Held {
    /// A kind of task.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// A tenant.
    #[arg(long, value_name = "SLUG")]
    pub(crate) tenant: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum TasksCommand {
    /// List tasks, oldest first.
    List {
        #[command(flatten)]
        selection: TaskSelection,
        /// ready, running, deferred or dead.
        #[arg(long)]
        state: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: i64,
    },
    /// Show one task with its payload and its last error.
    Show {
        /// Its id, tsk_….
        task: String,
    },
    /// What waits, what runs, and whose work it was lately.
    Stats {
        /// The tenants that used most time in this many hours.
        #[arg(long, default_value_t = 1)]
        hours: i32,
    },
    /// Dead tasks by what went wrong.
    Dead(TaskSelection),
    /// Try dead tasks again, with all their attempts.
    Retry(TaskSelection),
    /// Remove dead tasks for good.
    Discard(TaskSelection),
    /// Cancel tasks that are not dead; one that runs is stopped within seconds.
    Cancel(TaskSelection),
    /// Hold back the tasks of a kind or a tenant; what runs goes on.
    Pause(Held),
    /// Let them go again.
    Resume(Held),
    /// Give a tenant a shard of its own, for `quire serve --role worker --tenant <slug>`.
    Dedicate {
        /// The tenant.
        slug: String,
    },
    /// How many workers there should be, and why.
    Advise,
}

#[derive(Subcommand)]
pub(crate) enum IndexCommand {
    /// Show segments, tail and sizes; reads no object.
    Stats {
        /// The tenant's short name.
        tenant: String,
    },
    /// Move everything from the tail into segments now, and merge what is due.
    Fold {
        /// The tenant's short name.
        tenant: String,
    },
    /// Read every byte of every segment, and compare search with an exact one. Fails when something is wrong.
    Verify {
        /// The tenant's short name.
        tenant: String,
        /// Questions that are compared.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        samples: u32,
    },
    /// Give up segments that are gone or damaged, and read their sources again from the originals.
    ///
    /// Until they are read again, these sources can't be found.
    Mend {
        /// The tenant's short name.
        tenant: String,
    },
    /// Make all segments anew beside the old ones, and switch when they find as much.
    Rebuild {
        /// The tenant's short name.
        tenant: String,
        /// What words are reduced with from then on, such as german [default: as now].
        #[arg(long)]
        language: Option<String>,
        /// Of the rotation of vectors [default: the installation's, which later folds use in any case].
        #[arg(long)]
        seed: Option<u64>,
        /// Embed every passage anew by this model, or by that of the tenant's plan: a running quire does it, page by
        /// page.
        #[arg(long, value_name = "MODEL|plan", conflicts_with_all = ["language", "seed"])]
        embedding: Option<String>,
        /// Numbers in each vector [default: as many as the model has].
        #[arg(long, requires = "embedding", value_parser = clap::value_parser!(u32).range(1..=65_536))]
        dimensions: Option<u32>,
    },
    /// Show where notebooks are kept, or choose it for one of them.
    Tier {
        /// The tenant's short name.
        tenant: String,
        /// Name or id of one notebook.
        notebook: Option<String>,
        /// Keep it there, whatever the rules say: hot, warm, cold or archived.
        #[arg(long, value_name = "TIER", requires = "notebook", value_parser = known::<Tier>)]
        pin: Option<Tier>,
        /// Let the rules decide again.
        #[arg(long, requires = "notebook", conflicts_with = "pin")]
        unpin: bool,
        /// The state of what it is about: active or completed.
        #[arg(long, requires = "notebook", value_parser = known::<NotebookStatus>)]
        status: Option<NotebookStatus>,
    },
    /// Put the segments back that the newest rebuild took the place of, unless a sweep removed them.
    Rollback {
        /// The tenant's short name.
        tenant: String,
    },
    /// Set what words are reduced with: of questions and the tail at once, of segments by a rebuild. Where there are
    /// segments, `rebuild --language` does both in one step.
    Language {
        /// The tenant's short name.
        tenant: String,
        /// Such as german.
        language: String,
    },
    /// Remove segments that were retired, and objects that no row names. A service does it by itself.
    Sweep {
        /// The tenant's short name.
        tenant: String,
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// What was retired or written at least so long ago, such as 12h or 7d [default: limits.object_grace_hours].
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Option<Duration>,
    },
    /// Remove all content of a closed customer, and prove it.
    ///
    /// Removed are notebooks, sources with all versions, passages, the search index, and every object: originals
    /// and segments. Kept are the customer's entry and what it used: usage events, sums and budgets, which
    /// invoices rest on. Backups of the database and the bucket are yours to remove.
    Erase {
        /// The tenant's short name; close it first with `quire tenant close`.
        tenant: String,
        /// It can't be taken back.
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// A number and a unit: s, m, h or d.
fn known<T: FromStr<Err = UnknownName>>(text: &str) -> Result<T, UnknownName> {
    text.parse()
}

fn age(text: &str) -> Result<Duration, String> {
    let seconds = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(seconds)
        });
    let age = seconds.map(Duration::from_secs);
    age.ok_or_else(|| "write a number and s, m, h or d, such as 12h or 7d".to_owned())
}

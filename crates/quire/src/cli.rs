//! The command line: what can be said. What happens is in `commands`.

mod content;
mod customers;
mod models;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use content::*;
pub(crate) use customers::*;
pub(crate) use models::*;
pub(crate) use work::*;

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
    /// The queue of background work: list, show, stats, dead, retry, discard, cancel, pause, resume, limit, schedules,
    /// dedicate, advise.
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

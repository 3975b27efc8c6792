//! What comes in, and what is asked of it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use quire_types::{Groups, Lane, RecordState};

use super::TenantArg;

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

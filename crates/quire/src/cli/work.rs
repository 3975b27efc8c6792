//! Background work and the index.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use quire_types::{NotebookStatus, Tier, UnknownName};

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
    /// A schedule, sch_….
    #[arg(long, value_name = "SCHEDULE")]
    pub(crate) schedule: Option<String>,
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
        /// The tenants that used most time in this many hours, up to 720.
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
    /// Hold back the tasks of a kind or a tenant, or a schedule; what runs goes on.
    Pause(Held),
    /// Let them go again.
    Resume(Held),
    /// Set how many tasks of a kind all workers together may run at once, at most as many as its code says.
    Limit {
        /// The kind.
        #[arg(long)]
        kind: String,
        /// So many.
        #[arg(long, value_name = "N", required_unless_present = "no_limit", conflicts_with = "no_limit",
              value_parser = clap::value_parser!(i32).range(1..))]
        most: Option<i32>,
        /// As many as its code says.
        #[arg(long)]
        no_limit: bool,
    },
    /// List schedules: when each fires next, and which fire no more.
    Schedules {
        /// Those of one tenant.
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
        /// Those that add tasks of one kind.
        #[arg(long)]
        kind: Option<String>,
        /// Only those that fire no more because something is wrong with them.
        #[arg(long)]
        broken: bool,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: i64,
    },
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

fn known<T: FromStr<Err = UnknownName>>(text: &str) -> Result<T, UnknownName> {
    text.parse()
}

/// A number and a unit: s, m, h or d.
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

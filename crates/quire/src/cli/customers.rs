//! What customers are, may do and use.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use quire_types::Groups;

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

//! What answers are made with, and what is kept of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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

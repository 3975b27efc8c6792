//! `quire index`: upkeep of one tenant's search, when an operator wants it rather than a task.

mod check;
mod embedding;
mod show;
mod tier;

use quire_index::{Rebuild, Search};
use quire_ingest::tasks::{EmbedCorpus, SweepObjects};
use quire_store::tenants::Tenant;
use quire_store::{corpus, questions, segments};
use quire_tenancy::lifecycle;
use quire_types::{ErrorKind, Language, TenantState};

use super::tenant_named;
use crate::cli::IndexCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;
use crate::progress::Progress;

pub(super) async fn run(
    command: &IndexCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let search = node.search();
    match command {
        IndexCommand::Stats { tenant } => {
            let tenant = named(node, tenant).await?;
            show::stats(output, &search.stats(tenant.placement()).await?)
        }
        IndexCommand::Fold { tenant } => {
            let tenant = in_use(node, tenant).await?;
            let done = search.fold(tenant.placement()).await?;
            plan_sweep(node, &tenant).await?;
            show::folded(output, done)
        }
        IndexCommand::Verify { tenant, samples } => {
            let tenant = named(node, tenant).await?;
            let verified = search.verify(tenant.placement(), *samples as usize).await?;
            check::verified(output, &tenant.slug, &verified)
        }
        IndexCommand::Mend { tenant } => {
            let tenant = in_use(node, tenant).await?;
            let mended = quire_ingest::mend(&node.store, &search, tenant.placement()).await?;
            plan_sweep(node, &tenant).await?;
            check::mended(output, &tenant.slug, &mended)
        }
        IndexCommand::Rebuild {
            tenant,
            embedding: Some(model),
            dimensions,
            ..
        } => {
            let tenant = in_use(node, tenant).await?;
            embedding::begin(node, &search, output, &tenant, model, *dimensions).await
        }
        IndexCommand::Rebuild {
            tenant,
            language,
            seed,
            ..
        } => {
            let change = Rebuild {
                rotation_seed: *seed,
                language: language.as_deref().map(known_language).transpose()?,
                ..Rebuild::default()
            };
            let tenant = in_use(node, tenant).await?;
            rebuild(node, &search, output, &tenant, change).await
        }
        IndexCommand::Tier {
            tenant,
            notebook,
            pin,
            unpin,
            status,
        } => {
            let tenant = in_use(node, tenant).await?;
            let change = tier::Change {
                pin: *pin,
                unpin: *unpin,
                status: *status,
            };
            tier::run(node, &search, output, &tenant, notebook.as_deref(), &change).await?;
            plan_sweep(node, &tenant).await
        }
        IndexCommand::Rollback { tenant } => {
            let tenant = in_use(node, tenant).await?;
            let back = search.rollback(tenant.placement()).await?;
            if let Some(build) = back.going_on {
                embedding::go_on(node, &tenant, &EmbedCorpus { build }).await?;
            }
            plan_sweep(node, &tenant).await?;
            show::rolled_back(output, &tenant.slug, &back)
        }
        IndexCommand::Language { tenant, language } => {
            let language = known_language(language)?;
            let tenant = in_use(node, tenant).await?;
            let mut tx = node.store.tenant(tenant.placement()).await?;
            segments::set_language(&mut tx, language.as_str()).await?;
            tx.commit().await?;
            show::language(output, &tenant.slug, language)
        }
        IndexCommand::Sweep {
            tenant,
            dry_run,
            older_than,
        } => {
            let grace = node.config.limits.object_grace();
            let age = older_than.unwrap_or(grace.max(SweepObjects::LEAST_AGE));
            if !dry_run && age < SweepObjects::LEAST_AGE {
                return Err(Failure::invalid(
                    "what is younger than an hour may belong to an upload or fold under way: sweep with \
                     --older-than 1h or more, or look with --dry-run",
                ));
            }
            let tenant = named(node, tenant).await?;
            let mut tx = node.store.tenant(tenant.placement()).await?;
            let now = segments::now(&mut tx).await?;
            tx.commit().await?;
            let swept = search.sweep(tenant.placement(), now, age, *dry_run).await?;
            check::swept(output, &swept, *dry_run)
        }
        IndexCommand::Erase { tenant, .. } => {
            let tenant = named(node, tenant).await?;
            erase(node, &search, output, &tenant).await
        }
    }
}

async fn named(node: &Node, slug: &str) -> Result<Tenant, Failure> {
    let mut tx = node.store.system().await?;
    let tenant = tenant_named(&mut tx, slug).await?;
    tx.commit().await?;
    Ok(tenant)
}

/// The tenant, unless it is going or gone: nothing is written for it any more.
async fn in_use(node: &Node, slug: &str) -> Result<Tenant, Failure> {
    let tenant = named(node, slug).await?;
    match tenant.state {
        TenantState::Active | TenantState::Suspended => Ok(tenant),
        state => Err(Failure::new(
            ErrorKind::Forbidden,
            format!("tenant '{slug}' is {state}: nothing is written for it any more"),
        )),
    }
}

fn known_language(name: &str) -> Result<Language, Failure> {
    name.parse().map_err(|_| {
        let known: Vec<&str> = Language::ALL.iter().map(|one| one.as_str()).collect();
        Failure::invalid(format!(
            "'{name}' is no language that quire knows: one of {}",
            known.join(", ")
        ))
    })
}

/// Whatever was retired just now is removed after its grace.
async fn plan_sweep(node: &Node, tenant: &Tenant) -> Result<(), Failure> {
    let mut tx = node.store.tenant(tenant.placement()).await?;
    SweepObjects::plan(&mut tx, node.config.limits.object_grace()).await?;
    Ok(tx.commit().await?)
}

async fn rebuild(
    node: &Node,
    search: &Search,
    output: &Output,
    tenant: &Tenant,
    change: Rebuild,
) -> Result<(), Failure> {
    let rows = search.stats(tenant.placement()).await?;
    let rows: i64 = rows.segments.iter().map(|segment| segment.alive).sum();
    let own = own_questions(node, tenant, change.questions).await?;
    let progress = Progress::new(output, "passages", rows.unsigned_abs());
    let built = search
        .rebuild(tenant.placement(), change, &own, |at| {
            progress.at(at.rows_done, "");
        })
        .await;
    progress.finish();
    let built = built?;
    plan_sweep(node, tenant).await?;
    show::rebuilt(output, &tenant.slug, &built)
}

/// The vectors of what a tenant asked lately. A model is only opened where there is something.
async fn own_questions(
    node: &Node,
    tenant: &Tenant,
    most: usize,
) -> Result<Vec<Vec<f32>>, Failure> {
    let placement = tenant.placement();
    let mut tx = node.store.tenant(placement).await?;
    let has_asked = !questions::latest_texts(&mut tx, 1).await?.is_empty();
    let embedding = corpus::embedding(&mut tx).await?;
    tx.commit().await?;
    if !has_asked {
        return Ok(Vec::new());
    }
    let services = node.services().await?;
    Ok(services.ingest.asked(placement, &embedding, most).await?)
}

async fn erase(
    node: &Node,
    search: &Search,
    output: &Output,
    tenant: &Tenant,
) -> Result<(), Failure> {
    if !matches!(tenant.state, TenantState::Closing | TenantState::Closed) {
        return Err(Failure::new(
            ErrorKind::Conflict,
            format!(
                "tenant '{slug}' is {}: close it first with `quire tenant close {slug} --yes`",
                tenant.state,
                slug = tenant.slug
            ),
        ));
    }
    let erased = search.erase(tenant.placement()).await?;
    if erased.is_complete() {
        let mut tx = node.store.system().await?;
        lifecycle::set_state(&mut tx, tenant.id, TenantState::Closed).await?;
        tx.commit().await?;
    }
    check::erased(output, &tenant.slug, &erased)
}

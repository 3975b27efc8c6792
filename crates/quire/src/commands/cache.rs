//! `quire cache`.

use chrono::Utc;
use serde_json::json;

use quire_ask::{Caches, Tier};
use quire_store::tenants::Tenant;
use quire_store::{PageRequest, SystemTx, tenants};
use quire_tenancy::budgets::Period;
use quire_tenancy::sums;

use super::tenant_named;
use crate::cli::{CacheCommand, CacheScope};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

/// Tenants that are read at a time.
const PAGE: u32 = 200;

pub(super) async fn run(
    command: &CacheCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let caches = node.caches()?;
    match command {
        CacheCommand::Stats(scope) => stats(scope, &caches, node, output).await,
        CacheCommand::Purge(scope) => purge(scope, &caches, node, output).await,
    }
}

/// This month's questions of some tenants, and how many were answered by what was known.
async fn stats(
    scope: &CacheScope,
    caches: &Caches,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    let tenants = in_scope(scope, &mut tx).await?;
    tx.commit().await?;
    let one = scope.tenant.as_ref().and(tenants.first());
    sums::sum(&node.store, one.map(|tenant| tenant.id)).await?;

    let month = Period::Month.start(Utc::now().date_naive());
    let days = (month, Period::Month.next(month));
    let (mut questions, mut hits) = (0, [0_i64; Tier::ALL.len()]);
    let mut tx = node.store.system().await?;
    for tenant in &tenants {
        for sum in sums::of_tenant(&mut tx, tenant.id, Period::Month, days).await? {
            questions += sum.questions;
            for (count, tier) in hits.iter_mut().zip(Tier::ALL) {
                let name = format!("cache:{}", tier.as_str());
                *count += sum.models.0.get(&name).map_or(0, |model| model.calls);
            }
        }
    }
    tx.commit().await?;
    let shared = caches.shared_entries(one.map(|tenant| tenant.id)).await?;
    let found: i64 = hits.iter().sum();
    let rate = found as f64 / questions.max(1) as f64;
    let [memory, redis, flight, near] = hits;
    if output.is_json() {
        return output.json(&json!({
            "month": month.format("%Y-%m").to_string(), "questions": questions, "hits": found, "hit_rate": rate,
            "hits_by_tier": { "memory": memory, "redis": redis, "flight": flight, "near": near }, "redis_entries": shared,
        }));
    }
    output.line(format!(
        "{}: {questions} questions, {found} answered from the cache ({:.1} %): {memory} memory, {redis} redis, {flight} at the same time, {near} nearly the same",
        month.format("%Y-%m"),
        rate * 100.0
    ));
    output.line(match shared {
        Some(entries) => format!("redis holds {entries} entries"),
        None => "no redis is configured: each process remembers its own answers".to_owned(),
    });
    Ok(())
}

async fn purge(
    scope: &CacheScope,
    caches: &Caches,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    let tenants = in_scope(scope, &mut tx).await?;
    tx.commit().await?;
    let mut removed = 0;
    for tenant in &tenants {
        removed += caches.purge(tenant.placement()).await?;
    }
    if output.is_json() {
        return output.json(&json!({ "tenants": tenants.len(), "redis_entries": removed }));
    }
    output.line(format!(
        "the cache of {} is empty; {removed} entries left redis",
        match &tenants[..] {
            [one] => one.slug.clone(),
            all => format!("{} tenants", all.len()),
        }
    ));
    Ok(())
}

async fn in_scope(scope: &CacheScope, tx: &mut SystemTx) -> Result<Vec<Tenant>, Failure> {
    if let Some(slug) = &scope.tenant {
        return Ok(vec![tenant_named(tx, slug).await?]);
    }
    let mut all: Vec<Tenant> = Vec::new();
    loop {
        let page = PageRequest {
            limit: PAGE,
            after: all.last().map(|tenant| tenant.id.uuid()),
        };
        let page = tenants::list(tx, page).await?;
        all.extend(page.items);
        if !page.more {
            return Ok(all);
        }
    }
}

//! `quire index rebuild --embedding`: another embedding model for a tenant. Begun here, done by a running quire.

use serde_json::json;

use quire_index::Search;
use quire_ingest::tasks::EmbedCorpus;
use quire_models::SHIPPED_EMBEDDER;
use quire_store::corpus::Embedding;
use quire_store::tenants::Tenant;
use quire_tenancy::models;

use crate::failure::Failure;
use crate::node::Node;
use crate::output::{Output, count};

/// What stands for the model of the tenant's plan.
const OF_PLAN: &str = "plan";

pub(super) async fn begin(
    node: &Node,
    search: &Search,
    output: &Output,
    tenant: &Tenant,
    model: &str,
    dimensions: Option<u32>,
) -> Result<(), Failure> {
    let embedding = known(node, tenant, model, dimensions).await?;
    let name = embedding.model.clone();
    let name = name.unwrap_or_else(|| SHIPPED_EMBEDDER.to_owned());
    let build = search
        .begin_embedding(tenant.placement(), embedding)
        .await?;
    go_on(node, tenant, &EmbedCorpus { build }).await?;
    let stats = search.stats(tenant.placement()).await?;
    let passages = stats.build.map_or(0, |build| build.rows_total);
    if output.is_json() {
        return output.json(&json!({ "build": build, "embedding": name, "passages": passages }));
    }
    output.line(format!(
        "{} to be embedded by {name}; questions are answered as before until all are",
        count(passages, "passage")
    ));
    output.note(format!(
        "a running quire does it: `quire index stats {}` shows how far it is",
        tenant.slug
    ));
    Ok(())
}

/// Has a running quire go on with a build.
pub(super) async fn go_on(node: &Node, tenant: &Tenant, task: &EmbedCorpus) -> Result<(), Failure> {
    let mut tx = node.store.tenant(tenant.placement()).await?;
    task.plan(&mut tx).await?;
    Ok(tx.commit().await?)
}

/// The model, if this installation can ask it for the tenant.
async fn known(
    node: &Node,
    tenant: &Tenant,
    model: &str,
    dimensions: Option<u32>,
) -> Result<Embedding, Failure> {
    let account = node.control.account(tenant.id).await?;
    let of_plan = &account.terms.plan.embedding;
    let (model, dimensions) = match model {
        OF_PLAN => (
            of_plan.model.as_str(),
            dimensions.or(Some(of_plan.dimensions)),
        ),
        model => (model, dimensions),
    };
    if model == SHIPPED_EMBEDDER {
        return Ok(Embedding::default());
    }
    node.providers()?.can_embed(&account, model).await?;
    let mut tx = node.store.system().await?;
    let registry = models::registry(&mut tx).await?;
    tx.commit().await?;
    let own = registry
        .model(model)
        .ok()
        .and_then(|model| model.dimensions);
    let dimensions = dimensions.or(own).ok_or_else(|| {
        Failure::invalid(format!(
            "the registry does not say how many numbers a vector of '{model}' has: give --dimensions"
        ))
    })?;
    Ok(Embedding {
        model: Some(model.to_owned()),
        dimension: i32::try_from(dimensions).ok(),
    })
}

//! `quire tenant`.

mod import;

use serde_json::json;

use quire_store::every;
use quire_store::tenants::{self, Tenant};
use quire_tenancy::lifecycle::{self, Newcomer};
use quire_tenancy::plans;
use quire_types::TenantState;

use super::tenant_named;
use crate::cli::TenantCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &TenantCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        TenantCommand::Create {
            slug,
            name,
            country,
            plan,
        } => {
            let newcomer = Newcomer {
                slug: slug.clone(),
                name: name.clone(),
                country: country.clone(),
                plan: plan.clone(),
            };
            create(node, output, &newcomer).await
        }
        TenantCommand::Import { file, keys } => {
            import::run(node, output, file, keys.as_deref()).await
        }
        TenantCommand::List => {
            let mut tx = node.store.system().await?;
            let tenants = every(
                async |page| tenants::list(&mut tx, page).await,
                |tenant| tenant.id.uuid(),
            )
            .await?;
            tx.commit().await?;
            show(output, &tenants)
        }
        TenantCommand::Show { slug } => {
            let mut tx = node.store.system().await?;
            let tenant = tenant_named(&mut tx, slug).await?;
            tx.commit().await?;
            show_one(output, tenant)
        }
        TenantCommand::Plan { slug, plan } => {
            let mut tx = node.store.system().await?;
            let tenant = tenant_named(&mut tx, slug).await?;
            let tenant = plans::set_plan(&mut tx, tenant.id, plan).await?;
            tx.commit().await?;
            show(output, &[tenant])
        }
        TenantCommand::Suspend { slug } => set(node, slug, TenantState::Suspended, output).await,
        TenantCommand::Resume { slug } => set(node, slug, TenantState::Active, output).await,
        TenantCommand::Close { slug, .. } => set(node, slug, TenantState::Closing, output).await,
    }
}

async fn create(node: &Node, output: &Output, newcomer: &Newcomer) -> Result<(), Failure> {
    let services = node.services().await?;
    let onboarded = services.ingest.onboard(newcomer).await?;
    let key = onboarded.key.as_ref().map(|(_, text)| text.expose());
    if output.is_json() {
        let tenants = [as_json(&onboarded.tenant)];
        return match key {
            Some(secret) => output.json(&json!({ "tenants": tenants, "secret": secret })),
            None => output.json(&json!({ "tenants": tenants })),
        };
    }
    show(output, &[onboarded.tenant])?;
    match key {
        Some(secret) => {
            output.note("keep this key of the whole tenant: it is not shown again");
            output.line(secret);
        }
        None => output.note("this tenant was there already; `quire key create` makes another key"),
    }
    output.note(format!(
        "next: quire add --tenant {} --notebook <name> <files>",
        newcomer.slug
    ));
    Ok(())
}

async fn set(node: &Node, slug: &str, state: TenantState, output: &Output) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    let tenant = tenant_named(&mut tx, slug).await?;
    let tenant = lifecycle::set_state(&mut tx, tenant.id, state).await?;
    tx.commit().await?;
    show(output, &[tenant])
}

fn as_json(tenant: &Tenant) -> serde_json::Value {
    json!({
        "id": tenant.id, "slug": tenant.slug, "name": tenant.name, "country": tenant.country,
        "region": tenant.region, "pool": tenant.pool, "plan": tenant.plan, "state": tenant.state,
        "created_at": tenant.created_at, "ready_at": tenant.ready_at,
    })
}

fn show(output: &Output, tenants: &[Tenant]) -> Result<(), Failure> {
    if output.is_json() {
        let tenants: Vec<_> = tenants.iter().map(as_json).collect();
        return output.json(&json!({ "tenants": tenants }));
    }
    let rows: Vec<Vec<String>> = tenants
        .iter()
        .map(|tenant| {
            vec![
                tenant.slug.clone(),
                tenant.name.clone(),
                tenant.plan.clone(),
                tenant.state.to_string(),
                tenant.id.to_string(),
            ]
        })
        .collect();
    output.table(&["slug", "name", "plan", "state", "id"], &rows);
    Ok(())
}

fn show_one(output: &Output, tenant: Tenant) -> Result<(), Failure> {
    if output.is_json() {
        return show(output, &[tenant]);
    }
    let rows = [
        ("id", tenant.id.to_string()),
        ("slug", tenant.slug),
        ("name", tenant.name),
        ("country", tenant.country.unwrap_or_default()),
        ("region", tenant.region),
        ("shard", tenant.shard.to_string()),
        ("pool", tenant.pool),
        ("plan", tenant.plan),
        ("state", tenant.state.to_string()),
        ("created", tenant.created_at.to_rfc3339()),
        (
            "ready",
            tenant.ready_at.map_or_else(
                || "not yet: repeat `quire tenant create`".to_owned(),
                |at| at.to_rfc3339(),
            ),
        ),
    ];
    for (name, value) in rows {
        output.line(format!("{name:8} {value}"));
    }
    Ok(())
}

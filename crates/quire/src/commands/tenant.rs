//! `quire tenant`.

use serde_json::json;

use quire_store::tenants::{self, NewTenant, Tenant};
use quire_store::{SystemTx, every};
use quire_types::TenantState;

use crate::cli::TenantCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &TenantCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    match command {
        TenantCommand::Create { slug, name } => {
            let tenant = tenants::create(
                &mut tx,
                &NewTenant::local(slug, name.as_deref().unwrap_or(slug)),
            )
            .await?;
            tx.commit().await?;
            show(output, &[tenant])?;
            output.note(format!(
                "next: quire add --tenant {slug} --notebook <name> <files>"
            ));
        }
        TenantCommand::List => {
            let tenants = every(
                async |page| tenants::list(&mut tx, page).await,
                |tenant| tenant.id.uuid(),
            )
            .await?;
            tx.commit().await?;
            show(output, &tenants)?;
        }
        TenantCommand::Suspend { slug } => set(tx, slug, TenantState::Suspended, output).await?,
        TenantCommand::Resume { slug } => set(tx, slug, TenantState::Active, output).await?,
    }
    Ok(())
}

async fn set(
    mut tx: SystemTx,
    slug: &str,
    state: TenantState,
    output: &Output,
) -> Result<(), Failure> {
    let tenant = tenants::by_slug(&mut tx, slug).await?;
    let tenant = tenants::set_state(&mut tx, tenant.id, state).await?;
    tx.commit().await?;
    show(output, &[tenant])
}

fn show(output: &Output, tenants: &[Tenant]) -> Result<(), Failure> {
    if output.is_json() {
        let tenants: Vec<_> = tenants
            .iter()
            .map(|tenant| {
                json!({
                    "id": tenant.id, "slug": tenant.slug, "name": tenant.name, "region": tenant.region,
                    "plan": tenant.plan, "state": tenant.state, "created_at": tenant.created_at,
                })
            })
            .collect();
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

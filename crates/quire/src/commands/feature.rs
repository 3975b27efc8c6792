//! `quire feature`.

use serde_json::json;

use quire_store::SystemTx;
use quire_tenancy::plans;
use quire_types::ErrorKind;

use super::tenant_in_any_state;
use crate::cli::{FeatureCommand, TenantArg};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &FeatureCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    match command {
        FeatureCommand::List => list(&mut tx, output).await?,
        FeatureCommand::Set { feature, percent } => {
            plans::set_feature(&mut tx, feature, *percent).await?;
            list(&mut tx, output).await?;
        }
        FeatureCommand::On { tenant, feature } => {
            switch(&mut tx, tenant, feature, Some(true), output).await?;
        }
        FeatureCommand::Off { tenant, feature } => {
            switch(&mut tx, tenant, feature, Some(false), output).await?;
        }
        FeatureCommand::Unset { tenant, feature } => {
            switch(&mut tx, tenant, feature, None, output).await?;
        }
    }
    Ok(tx.commit().await?)
}

async fn list(tx: &mut SystemTx, output: &Output) -> Result<(), Failure> {
    let features = plans::features(tx).await?;
    if output.is_json() {
        let features: Vec<_> = features
            .iter()
            .map(|(feature, percent)| json!({ "feature": feature, "percent": percent }))
            .collect();
        return output.json(&json!({ "features": features }));
    }
    let rows: Vec<Vec<String>> = features
        .into_iter()
        .map(|(feature, percent)| vec![feature, format!("{percent} %")])
        .collect();
    output.table(&["feature", "customers"], &rows);
    Ok(())
}

async fn switch(
    tx: &mut SystemTx,
    arg: &TenantArg,
    feature: &str,
    on: Option<bool>,
    output: &Output,
) -> Result<(), Failure> {
    let tenant = tenant_in_any_state(tx, arg).await?;
    // A switch for a misspelt name would do nothing and say nothing.
    let known = plans::features(tx).await?;
    if known.iter().all(|(name, _)| name != feature) {
        return Err(Failure::new(
            ErrorKind::NotFound,
            format!("there is no feature '{feature}': `quire feature set {feature} 0` makes it"),
        ));
    }
    plans::set_switch(tx, tenant.id, feature, on).await?;
    let state = match on {
        Some(true) => "on",
        Some(false) => "off",
        None => "as its percentage says",
    };
    output.note(format!("'{feature}' is {state} for '{}'", tenant.slug));
    Ok(())
}

//! `quire plan`.

use std::sync::Arc;

use serde_json::json;

use quire_tenancy::catalogue::{Catalogue, Plan};
use quire_tenancy::plans;
use quire_tenancy::terms::Terms;

use super::{limits, read_file};
use crate::cli::PlanCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &PlanCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    match command {
        PlanCommand::List => {
            let document = plans::document(&mut tx).await?;
            list(output, Catalogue::parse(&document)?)?;
        }
        PlanCommand::Show { plan } => show(output, plans::plan(&mut tx, plan).await?)?,
        PlanCommand::Export => {
            let document = plans::document(&mut tx).await?;
            match output.is_json() {
                true => output.json(&json!({ "document": document }))?,
                false => output.line(document.trim_end()),
            }
        }
        PlanCommand::Apply { file } => {
            let catalogue = plans::apply(&mut tx, &read_file(file)?).await?;
            tx.commit().await?;
            return list(output, catalogue);
        }
    }
    Ok(tx.commit().await?)
}

fn list(output: &Output, catalogue: Catalogue) -> Result<(), Failure> {
    let Catalogue { default, plans, .. } = catalogue;
    if output.is_json() {
        let plans: Vec<_> = plans.into_values().map(as_json).collect();
        return output.json(&json!({ "default": default, "plans": plans }));
    }
    let rows: Vec<Vec<String>> = plans
        .into_values()
        .map(|plan| {
            let is_default = if plan.id == default { "default" } else { "" };
            vec![
                plan.id.to_string(),
                plan.name,
                plan.price.to_string(),
                plan.weight.to_string(),
                is_default.to_owned(),
            ]
        })
        .collect();
    output.table(&["plan", "name", "a month", "weight", ""], &rows);
    Ok(())
}

fn as_json(plan: Plan) -> serde_json::Value {
    let mut json = json!(plan);
    json["limits"] = limits::as_json(&Terms::of_plan(Arc::new(plan)));
    json
}

fn show(output: &Output, plan: Plan) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&as_json(plan));
    }
    output.line(format!(
        "{} ({}), {} a month, weight {}, templates: {}",
        plan.name,
        plan.id,
        plan.price,
        plan.weight,
        plan.templates.join(", ")
    ));
    limits::table(output, &Terms::of_plan(Arc::new(plan)));
    Ok(())
}

//! `quire limits`.

use serde_json::{Value, json};

use quire_tenancy::terms::Terms;
use quire_tenancy::{LimitName, plans};

use super::tenant_in_any_state;
use crate::cli::LimitsCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &LimitsCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let (LimitsCommand::Show { tenant: arg }
    | LimitsCommand::Set { tenant: arg, .. }
    | LimitsCommand::Unset { tenant: arg, .. }) = command;
    let mut tx = node.store.system().await?;
    let tenant = tenant_in_any_state(&mut tx, arg).await?.id;
    match command {
        LimitsCommand::Show { .. } => {}
        LimitsCommand::Set { name, value, .. } => {
            plans::set_override(&mut tx, tenant, name.parse()?, Some(value)).await?;
        }
        LimitsCommand::Unset { name, .. } => {
            plans::set_override(&mut tx, tenant, name.parse()?, None).await?;
        }
    }
    tx.commit().await?;
    let account = node.control.account(tenant).await?;
    if output.is_json() {
        return output.json(&json!({ "limits": as_json(&account.terms) }));
    }
    table(output, &account.terms);
    Ok(())
}

/// Every limit, for programs.
pub(super) fn as_json(terms: &Terms) -> Value {
    let limits = LimitName::ALL.iter().map(|name| {
        let limit = terms.limit(*name);
        json!({
            "name": name.as_str(), "most": limit.most(), "value": name.show(limit),
            "unit": name.unit().as_str(), "description": name.describe(),
            "source": terms.source_of(*name).as_str(),
        })
    });
    limits.collect()
}

/// Every limit, for people.
pub(super) fn table(output: &Output, terms: &Terms) {
    let rows: Vec<Vec<String>> = LimitName::ALL
        .iter()
        .map(|name| {
            vec![
                name.to_string(),
                name.show(terms.limit(*name)),
                terms.source_of(*name).as_str().to_owned(),
                name.describe().to_owned(),
            ]
        })
        .collect();
    output.table(&["limit", "value", "from", ""], &rows);
}

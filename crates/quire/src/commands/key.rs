//! `quire key`.

use serde_json::json;

use quire_store::keys::{self, ApiKey, KeyText};
use quire_types::{KeyId, KeyRole};

use super::tenant;
use crate::cli::{KeyCommand, KeyKind};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(command: &KeyCommand, node: &Node, output: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Create {
            name,
            role: KeyKind::Admin,
            ..
        } => {
            let mut tx = node.store.system().await?;
            let (id, text) = keys::create_admin(&mut tx, name).await?;
            tx.commit().await?;
            new_key(output, id, "admin", &text)
        }
        KeyCommand::Create {
            tenant: arg,
            name,
            role,
            notebook,
            groups,
        } => {
            let tenant = tenant(&node.store, arg).await?;
            let notebook = match notebook {
                Some(notebook) => {
                    let mut tx = node.store.tenant(tenant.placement()).await?;
                    let notebook = super::notebook(&mut tx, notebook).await?;
                    tx.commit().await?;
                    Some(notebook.id)
                }
                None => None,
            };
            let role = match role {
                KeyKind::Notebook => KeyRole::Notebook,
                KeyKind::ReadOnly => KeyRole::ReadOnly,
                KeyKind::Tenant | KeyKind::Admin => KeyRole::Tenant,
            };
            if role == KeyRole::Tenant && notebook.is_some() {
                return Err(Failure::invalid(
                    "a tenant key reaches every notebook: use --role notebook, or leave --notebook out",
                ));
            }
            let mut tx = node.store.system().await?;
            let (key, text) =
                keys::create(&mut tx, tenant.id, role, notebook, groups.as_ref(), name).await?;
            tx.commit().await?;
            new_key(output, key.id, role.as_str(), &text)
        }
        KeyCommand::List { tenant: arg } => {
            let tenant = tenant(&node.store, arg).await?;
            let mut tx = node.store.system().await?;
            let keys = keys::list(&mut tx, tenant.id).await?;
            tx.commit().await?;
            show(output, &keys)
        }
        KeyCommand::Revoke { tenant: arg, key } => {
            let tenant = tenant(&node.store, arg).await?;
            let key: KeyId = key
                .parse()
                .map_err(|error| Failure::invalid(format!("{error}")))?;
            let mut tx = node.store.system().await?;
            let key = keys::revoke(&mut tx, tenant.id, key).await?;
            tx.commit().await?;
            show(output, &[key])
        }
    }
}

fn new_key(output: &Output, id: KeyId, role: &str, text: &KeyText) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "id": id, "role": role, "secret": text.expose() }));
    }
    output.note("keep this key: it is not shown again");
    output.line(text.expose());
    Ok(())
}

fn show(output: &Output, keys: &[ApiKey]) -> Result<(), Failure> {
    if output.is_json() {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.id, "name": key.name, "role": key.role, "notebook": key.notebook,
                    "groups": key.groups, "created_at": key.created_at, "revoked_at": key.revoked_at,
                })
            })
            .collect();
        return output.json(&json!({ "keys": keys }));
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let state = if key.revoked_at.is_some() {
                "revoked"
            } else {
                "valid"
            };
            vec![
                key.name.clone(),
                key.role.to_string(),
                state.to_owned(),
                key.id.to_string(),
            ]
        })
        .collect();
    output.table(&["name", "role", "state", "id"], &rows);
    Ok(())
}

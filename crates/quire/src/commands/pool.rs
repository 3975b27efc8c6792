//! `quire pool`: AI projects with their region, key and quota.

use serde_json::{Value, json};

use quire_models::Quota;
use quire_tenancy::pools::{self, NewPool, PoolRow};
use quire_types::Secret;

use super::{read_key, tenant_named};
use crate::cli::{PoolAddArgs, PoolCommand, QuotaArgs};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &PoolCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    let pool = match command {
        PoolCommand::List => {
            let pools = pools::list(&mut tx).await?;
            tx.commit().await?;
            return list(output, &pools);
        }
        PoolCommand::Show { pool } => pools::get(&mut tx, pool).await?,
        PoolCommand::Add(args) => {
            let reserved_for = match &args.reserved_for {
                Some(slug) => Some(tenant_named(&mut tx, slug).await?.id),
                None => None,
            };
            let new = NewPool {
                id: args.pool.clone(),
                region: args.region.clone(),
                provider: args.provider.clone(),
                base_url: args.base_url.clone(),
                key: key(args)?,
                models: args.models.clone(),
                quota: quota(&args.quota),
                reserved_for,
            };
            pools::add(&mut tx, &node.keyring()?, new).await?
        }
        PoolCommand::Status { pool, status } => {
            pools::set_state(&mut tx, pool, status.parse()?).await?
        }
        PoolCommand::Quota { pool, quota: args } => {
            pools::set_quota(&mut tx, pool, quota(args)).await?
        }
        PoolCommand::Rotate { pool, key_file } => {
            let key = read_key(key_file)?;
            pools::rotate(&mut tx, &node.keyring()?, pool, &key).await?
        }
        PoolCommand::Remove { pool } => {
            pools::remove(&mut tx, pool).await?;
            tx.commit().await?;
            output.note(format!(
                "pool '{pool}' is gone; its key still works at the provider: revoke it there"
            ));
            return Ok(());
        }
        PoolCommand::Reseal => {
            let keyring = node.keyring()?;
            let number = keyring.add_key()?;
            let resealed = pools::reseal(&mut tx, &keyring).await?;
            tx.commit().await?;
            output.note(format!(
                "{resealed} keys of pools are now sealed with master key {number}"
            ));
            return Ok(());
        }
    };
    tx.commit().await?;
    show(output, &pool)
}

fn key(args: &PoolAddArgs) -> Result<Option<Secret>, Failure> {
    args.key_file.as_deref().map(read_key).transpose()
}

fn quota(args: &QuotaArgs) -> Quota {
    Quota {
        requests_per_minute: args.requests_per_minute,
        input_tokens_per_minute: args.input_tokens_per_minute,
        output_tokens_per_minute: args.output_tokens_per_minute,
        requests_per_day: args.requests_per_day,
        tokens_per_day: args.tokens_per_day,
    }
}

fn as_json(pool: &PoolRow) -> Value {
    json!({
        "id": pool.id,
        "region": pool.region,
        "provider": pool.provider,
        "base_url": pool.base_url,
        "models": pool.models,
        "quota": pool.quota(),
        "status": pool.state(),
        "reserved_for": pool.reserved_for(),
        "has_key": pool.has_key,
        "tenants": pool.tenants,
        "changed_at": pool.changed_at,
    })
}

fn list(output: &Output, pools: &[PoolRow]) -> Result<(), Failure> {
    if output.is_json() {
        let pools: Vec<Value> = pools.iter().map(as_json).collect();
        return output.json(&json!({ "pools": pools }));
    }
    let rows: Vec<Vec<String>> = pools
        .iter()
        .map(|pool| {
            vec![
                pool.id.clone(),
                pool.region.clone(),
                pool.provider.clone().unwrap_or_else(|| "-".to_owned()),
                pool.state().as_str().to_owned(),
                pool.tenants.to_string(),
                if pool.has_key { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    output.table(
        &["pool", "region", "provider", "status", "customers", "key"],
        &rows,
    );
    Ok(())
}

fn show(output: &Output, pool: &PoolRow) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&as_json(pool));
    }
    list(output, std::slice::from_ref(pool))?;
    let quota = pool.quota();
    for (name, most) in [
        ("requests a minute", quota.requests_per_minute),
        ("tokens in a minute", quota.input_tokens_per_minute),
        ("tokens out a minute", quota.output_tokens_per_minute),
        ("requests a day", quota.requests_per_day),
        ("tokens a day", quota.tokens_per_day),
    ] {
        if let Some(most) = most {
            output.line(format!("{name}: {most}"));
        }
    }
    if !pool.models.is_empty() {
        output.line(format!("models: {}", pool.models.join(", ")));
    }
    if let Some(base_url) = &pool.base_url {
        output.line(format!("address: {base_url}"));
    }
    Ok(())
}

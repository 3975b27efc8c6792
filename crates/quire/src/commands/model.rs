//! `quire model`: what models there are, what they cost and when they end.

use chrono::Utc;
use serde_json::{Value, json};

use quire_models::registry::{Model, Registry};
use quire_tenancy::models;

use super::read_file;
use crate::cli::ModelCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &ModelCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    match command {
        ModelCommand::List => list(output, &models::registry(&mut tx).await?)?,
        ModelCommand::Show { model } => {
            let registry = models::registry(&mut tx).await?;
            let model = registry.model(model).map_err(quire_tenancy::Error::from)?;
            show(output, model)?;
        }
        ModelCommand::Export { shipped } => {
            let document = match shipped {
                true => Some(Registry::SHIPPED.to_owned()),
                false => models::document(&mut tx).await?,
            };
            let document = document.unwrap_or_default();
            match output.is_json() {
                true => output.json(&json!({ "document": document }))?,
                false => output.line(document.trim_end()),
            }
        }
        ModelCommand::Apply { file } => {
            let registry = models::apply(&mut tx, &read_file(file)?).await?;
            tx.commit().await?;
            return list(output, &registry);
        }
    }
    Ok(tx.commit().await?)
}

fn as_json(model: &Model) -> Value {
    let now = Utc::now();
    let price = model.price(now).ok();
    json!({
        "name": model.name,
        "provider": model.provider,
        "does": model.does,
        "features": model.features,
        "context_tokens": model.context_tokens,
        "output_tokens": model.output_tokens,
        "dimensions": model.dimensions,
        "ends": model.ends.map(|ends| ends.date_naive().to_string()),
        "days_left": model.days_left(now),
        "input_price": price.map(|price| price.input.to_string()),
        "cached_input_price": price.map(|price| price.cached_input.to_string()),
        "output_price": price.map(|price| price.output.to_string()),
    })
}

/// What to tell of a model that ends soon.
fn ending(model: &Model) -> String {
    match (model.ends, model.days_left(Utc::now())) {
        (Some(_), Some(0)) => "ended".to_owned(),
        (Some(ends), Some(days)) => format!("ends {} ({days} days)", ends.date_naive()),
        (Some(ends), None) => ends.date_naive().to_string(),
        _ => String::new(),
    }
}

fn list(output: &Output, registry: &Registry) -> Result<(), Failure> {
    if output.is_json() {
        let models: Vec<Value> = registry.models().map(|model| as_json(model)).collect();
        return output.json(&json!({ "models": models }));
    }
    let rows: Vec<Vec<String>> = registry
        .models()
        .map(|model| {
            let price = model.price(Utc::now()).ok();
            let does: Vec<String> = model
                .does
                .iter()
                .map(|capability| format!("{capability:?}").to_lowercase())
                .collect();
            vec![
                model.name.clone(),
                model.provider.clone(),
                does.join(","),
                price.map_or("none".to_owned(), |price| price.input.to_string()),
                price.map_or("none".to_owned(), |price| price.output.to_string()),
                ending(model),
            ]
        })
        .collect();
    output.table(
        &["model", "provider", "does", "a million in", "out", "until"],
        &rows,
    );
    Ok(())
}

fn show(output: &Output, model: &Model) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&as_json(model));
    }
    let mut fields = as_json(model);
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        for (name, value) in fields {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            output.line(format!("{name}: {text}"));
        }
    }
    Ok(())
}

//! The pool of models that every installation begins with. Knows no other pool.

use std::fs;

use quire_models::registry::Model;
use quire_models::{Pool, PoolState, Quota};
use quire_tenancy::LocalPool;
use quire_types::Secret;

use crate::config::Config;
use crate::failure::Failure;

/// What the configuration says about the pool that every installation begins with.
pub(super) fn local_pool(config: &Config) -> Result<Option<LocalPool>, Failure> {
    let chat = &config.chat;
    let (base_url, name) = match (&chat.base_url, &chat.model) {
        (None, None) => return Ok(None),
        (Some(base_url), Some(name)) => (base_url.clone(), name.clone()),
        _ => {
            return Err(Failure::invalid(
                "set both chat.base_url and chat.model, or neither",
            ));
        }
    };
    let key = match &chat.api_key_file {
        Some(path) => {
            let key = fs::read_to_string(path).map_err(|error| {
                Failure::invalid(format!("chat.api_key_file {}: {error}", path.display()))
            })?;
            Some(Secret::new(key.trim()))
        }
        None => None,
    };
    let price = |text: &str| {
        text.parse().map_err(|error| {
            Failure::invalid(format!("chat.input_price, chat.output_price: {error}"))
        })
    };
    let mut names = vec![name];
    names.extend(chat.large_model.clone());
    let models = match (&chat.input_price, &chat.output_price) {
        (None, None) => Vec::new(),
        (Some(input), Some(output)) => {
            let (input, output) = (price(input)?, price(output)?);
            let model = |name: &String| Model {
                context_tokens: chat.context_tokens,
                ..Model::chat(name, "compatible", input, output)
            };
            names.iter().map(model).collect()
        }
        _ => {
            return Err(Failure::invalid(
                "set both chat.input_price and chat.output_price, or neither",
            ));
        }
    };
    Ok(Some(LocalPool {
        pool: Pool {
            id: "local".to_owned(),
            region: "local".to_owned(),
            provider: "compatible".to_owned(),
            base_url: Some(base_url),
            key,
            models: names,
            quota: Quota::default(),
            state: PoolState::Active,
            reserved_for: None,
        },
        models,
    }))
}

//! Which models can take a call, and have a price for it.

use std::sync::Arc;

use quire_types::{NanoUsd, Timestamp};

use super::{Wish, Work};
use crate::registry::{Capability, Feature, Model, Price, Provider, Registry, Unit, Wire};
use crate::sound;

/// A model of the chain that can take the call, and what it costs; or why it can't.
pub(super) fn fit(
    registry: &Registry,
    name: &str,
    wish: &Wish,
    at: Timestamp,
) -> Result<(Arc<Model>, Price), String> {
    let model = registry.model(name).map_err(|error| error.to_string())?;
    let price = model.price(at).map_err(|error| error.to_string())?;
    let does = |capability| model.does.contains(&capability);
    match wish.work {
        Work::Chat | Work::Look if !does(Capability::Chat) => {
            return Err(format!("'{name}' is no chat model"));
        }
        Work::Chat | Work::Look if !model.fits(wish.input_tokens, wish.output_tokens) => {
            return Err(format!("it is too long for '{name}'"));
        }
        Work::Chat => {}
        Work::Look => can_see(model)?,
        Work::Read => {
            can_read(model, &price, registry.provider(&model.provider))?;
            if does(Capability::Chat) && !model.fits(wish.input_tokens, wish.output_tokens) {
                return Err(format!("it is too long for '{name}'"));
            }
        }
        Work::Transcribe { seconds } => {
            let provider = registry.provider(&model.provider);
            can_hear(model, &price, provider, seconds)?;
        }
        Work::Embed { .. } if !does(Capability::Embed) => {
            return Err(format!("'{name}' makes no vectors"));
        }
        Work::Embed { .. } => {}
        Work::Rerank { .. } if !does(Capability::Rerank) && !does(Capability::Score) => {
            return Err(format!("'{name}' orders no passages"));
        }
        // What has no price can't be bought.
        Work::Rerank { .. } => {
            let provider = registry.provider(&model.provider);
            let by_search = provider.is_some_and(|provider| provider.wire == Wire::Cohere);
            if by_search && price.cost_of(Unit::Searches, 1).is_none() {
                return Err(format!("'{name}' has no price for searches"));
            }
        }
    }
    if model.has_ended(at) {
        return Err(format!("'{name}' has ended"));
    }
    match wish
        .features
        .iter()
        .find(|feature| !model.features.contains(feature))
    {
        Some(missing) => Err(format!("'{name}' lacks {missing:?}")),
        None => Ok((model.clone(), price)),
    }
}

/// Whether a model writes down so many seconds of what is said, or why it can't be asked.
fn can_hear(
    model: &Model,
    price: &Price,
    provider: Option<&Provider>,
    seconds: u64,
) -> Result<(), String> {
    let name = &model.name;
    if !model.does.contains(&Capability::Transcribe) {
        return Err(format!("'{name}' writes down no speech"));
    }
    let most = provider.and_then(|provider| sound::seconds_at_once(provider.wire));
    let Some(most) = most else {
        return Err(format!("the provider of '{name}' has no transcriptions"));
    };
    if seconds > most {
        return Err(format!("'{name}' listens to {most} seconds at once"));
    }
    // Paid by the second or by the token. What has no price can't be bought.
    let is_by_token = price.input > NanoUsd::ZERO;
    if price.cost_of(Unit::AudioSeconds, 1).is_none() && !is_by_token {
        return Err(format!("'{name}' has no price for seconds of sound"));
    }
    Ok(())
}

/// Whether a model reads what stands on pictures: one that does nothing else, or a chat model that sees.
fn can_read(model: &Model, price: &Price, provider: Option<&Provider>) -> Result<(), String> {
    let name = &model.name;
    if !model.does.contains(&Capability::Read) {
        return match model.does.contains(&Capability::Chat) {
            true => can_see(model),
            false => Err(format!("'{name}' reads no pictures")),
        };
    }
    if !provider.is_some_and(|provider| provider.wire == Wire::DocumentAi) {
        return Err(format!("the provider of '{name}' reads no pictures"));
    }
    if price.cost_of(Unit::Pages, 1).is_none() {
        return Err(format!("'{name}' has no price for pages"));
    }
    Ok(())
}

/// Whether a chat model looks at pictures.
fn can_see(model: &Model) -> Result<(), String> {
    match model.features.contains(&Feature::Vision) {
        true => Ok(()),
        false => Err(format!("'{}' looks at no pictures", model.name)),
    }
}

//! Which models can hear and see, and have a price for it.

use quire_types::NanoUsd;

use crate::registry::{Capability, Feature, Model, Price, Provider, Unit, Wire};

/// Whether a model writes down what is said, or why it can't be asked.
pub(super) fn can_hear(
    model: &Model,
    price: &Price,
    provider: Option<&Provider>,
) -> Result<(), String> {
    let name = &model.name;
    if !model.does.contains(&Capability::Transcribe) {
        return Err(format!("'{name}' writes down no speech"));
    }
    if !provider.is_some_and(|provider| matches!(provider.wire, Wire::OpenAi | Wire::Responses)) {
        return Err(format!("the provider of '{name}' has no transcriptions"));
    }
    // Paid by the second or by the token. What has no price can't be bought.
    let is_by_token = price.input > NanoUsd::ZERO;
    if price.cost_of(Unit::AudioSeconds, 1).is_none() && !is_by_token {
        return Err(format!("'{name}' has no price for seconds of sound"));
    }
    Ok(())
}

/// Whether a chat model looks at pictures.
pub(super) fn can_see(model: &Model) -> Result<(), String> {
    match model.features.contains(&Feature::Vision) {
        true => Ok(()),
        false => Err(format!("'{}' looks at no pictures", model.name)),
    }
}

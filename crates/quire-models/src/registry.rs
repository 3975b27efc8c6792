//! The registry: providers and models as data. What each can do, how much it takes at once, what it costs and
//! when it ends.
//!
//! Shipped as `models.toml`; an installation adds to it and replaces entries by name. A model that the registry
//! lacks, and one without a price for the day, is an error, never free. Knows no key, no pool and no tenant.

mod price;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use quire_types::{ErrorKind, Kind, NanoUsd, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

pub use price::{Price, Tokens, Unit};

/// How long before its end a model is warned about.
const WARNED_DAYS: i64 = 90;

/// A registry that can't be read, or a question that it has no answer to.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegistryError {
    /// The document makes no sense.
    #[error("{0}")]
    Document(String),
    /// Nobody said what this model is.
    #[error("there is no model '{0}': see `quire model list`, or add it with `quire model apply`")]
    UnknownModel(String),
    /// Nobody said what this model costs.
    #[error("model '{model}' has no price on {day}: add one with `quire model apply`")]
    NoPrice {
        /// The model.
        model: String,
        /// The day, in UTC.
        day: chrono::NaiveDate,
    },
}

impl Kind for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Document(_) => ErrorKind::Invalid,
            // The operator's business, not the caller's.
            Self::UnknownModel(_) | Self::NoPrice { .. } => ErrorKind::Unavailable,
        }
    }
}

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// Not at all: the work is done in this process.
    None,
    /// OpenAI's chat completions, embeddings, transcriptions and speech, and every server that speaks them.
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI's responses; everything else as [`Wire::OpenAi`].
    #[serde(rename = "openai-responses")]
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's generateContent and batchEmbedContents.
    Gemini,
    /// Cohere's rerank.
    Cohere,
    /// Google's recogniser of speech, version 2. Its address names the project and the location.
    GoogleSpeech,
    /// Google's Document AI. Its address names the processor.
    DocumentAi,
}

/// Somebody who runs models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// How it is spoken to.
    pub wire: Wire,
    /// Where it is, unless each pool says so itself.
    pub base_url: Option<String>,
    /// Whether it takes work in batches that are done within a day, as OpenAI's and Gemini's batch APIs do.
    #[serde(default)]
    pub batches: bool,
}

/// What a model can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Answers.
    Chat,
    /// Vectors.
    Embed,
    /// An order of passages.
    Rerank,
    /// How well each passage answers a question, from which an order is made: the score API of vLLM.
    Score,
    /// Speech written down.
    Transcribe,
    /// Text spoken.
    Speak,
    /// Text on pictures and scanned pages, read.
    Read,
}

/// What a model can do beside the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Answers in JSON of a schema, held by the provider.
    JsonSchema,
    /// Thinks before it answers; the thoughts cost like output.
    Reasoning,
    /// Tells who says what in a recording.
    Speakers,
    /// Looks at pictures.
    Vision,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name at its provider, and here.
    pub name: String,
    /// Who runs it.
    pub provider: String,
    /// What it can be asked for.
    pub does: Vec<Capability>,
    /// What it can do beside that.
    #[serde(default)]
    pub features: Vec<Feature>,
    /// Tokens that go in and come out together, at most.
    pub context_tokens: Option<u64>,
    /// Tokens that come out, at most.
    pub output_tokens: Option<u64>,
    /// Numbers in its vectors.
    pub dimensions: Option<u32>,
    /// The model whose vectors it makes, where that is the same one at another provider.
    pub same_vectors_as: Option<String>,
    /// The day from which it is gone.
    #[serde(default, deserialize_with = "optional_midnight")]
    pub ends: Option<Timestamp>,
    /// What it costs, by the day from which that counts.
    #[serde(deserialize_with = "price::by_day")]
    pub prices: BTreeMap<Timestamp, Price>,
}

impl Model {
    /// A chat model that nobody described further, at this price at all times, for a million tokens.
    pub fn chat(name: &str, provider: &str, input: NanoUsd, output: NanoUsd) -> Self {
        Self {
            name: name.to_owned(),
            provider: provider.to_owned(),
            does: vec![Capability::Chat],
            features: Vec::new(),
            context_tokens: None,
            output_tokens: None,
            dimensions: None,
            same_vectors_as: None,
            ends: None,
            prices: BTreeMap::from([(Timestamp::UNIX_EPOCH, Price::tokens(input, output))]),
        }
    }

    /// What it costs at a moment.
    pub fn price(&self, at: Timestamp) -> Result<Price, RegistryError> {
        let known = self.prices.range(..=at).next_back();
        known
            .map(|(_, price)| *price)
            .ok_or_else(|| RegistryError::NoPrice {
                model: self.name.clone(),
                day: at.date_naive(),
            })
    }

    /// Whether it is gone.
    pub fn has_ended(&self, at: Timestamp) -> bool {
        self.ends.is_some_and(|ends| ends <= at)
    }

    /// The days until it is gone, if they are few enough to warn; 0 when it is.
    pub fn days_left(&self, at: Timestamp) -> Option<i64> {
        let days = (self.ends? - at).num_days();
        (days <= WARNED_DAYS).then_some(days.max(0))
    }

    /// Whether this much fits: text that goes in, and the longest answer.
    pub fn fits(&self, input_tokens: u64, output_tokens: u64) -> bool {
        let most = self.context_tokens.unwrap_or(u64::MAX);
        let most_output = self.output_tokens.unwrap_or(u64::MAX);
        input_tokens.saturating_add(output_tokens) <= most && output_tokens <= most_output
    }
}

/// All providers and models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    providers: BTreeMap<String, Provider>,
    models: BTreeMap<String, Arc<Model>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    providers: BTreeMap<String, Provider>,
    #[serde(default)]
    models: Vec<Model>,
}

impl Registry {
    /// What quire ships, as TOML.
    pub const SHIPPED: &str = include_str!("../models.toml");

    /// What quire ships.
    pub fn shipped() -> Result<Self, RegistryError> {
        Self::default().with(Self::SHIPPED)
    }

    /// This registry with what a TOML document adds to it; entries of the same name are replaced as a whole.
    pub fn with(&self, document: &str) -> Result<Self, RegistryError> {
        let refuse = |what: String| Err(RegistryError::Document(what));
        let read: Document = match toml::from_str(document) {
            Ok(read) => read,
            Err(error) => return refuse(error.to_string()),
        };
        let mut all = self.clone();
        all.providers.extend(read.providers);
        let mut named = std::collections::HashSet::new();
        for model in read.models {
            if !named.insert(model.name.clone()) {
                return refuse(format!("model {}: is there twice", model.name));
            }
            all.add(model)?;
        }
        Ok(all)
    }

    /// Adds one model, in place of the one of its name.
    pub fn add(&mut self, model: Model) -> Result<(), RegistryError> {
        let refuse = |why: &str| {
            Err(RegistryError::Document(format!(
                "model {}: {why}",
                model.name
            )))
        };
        if model.name.trim().is_empty() {
            return refuse("name: must not be empty");
        }
        if model.does.is_empty() {
            return refuse("does: name at least one");
        }
        if model.prices.is_empty() {
            return refuse("prices: needs one; free is \"$0\"");
        }
        if model.same_vectors_as.is_some() && !model.does.contains(&Capability::Embed) {
            return refuse("same_vectors_as: is for models that make vectors");
        }
        if !self.providers.contains_key(&model.provider) {
            return refuse(&format!("there is no provider '{}'", model.provider));
        }
        self.models.insert(model.name.clone(), Arc::new(model));
        Ok(())
    }

    /// A model by its name.
    pub fn model(&self, name: &str) -> Result<&Arc<Model>, RegistryError> {
        self.models
            .get(name)
            .ok_or_else(|| RegistryError::UnknownModel(name.to_owned()))
    }

    /// The names under which a model makes the same vectors, its own first.
    pub fn same_vectors(&self, name: &str) -> Vec<String> {
        let others = self
            .models
            .values()
            .filter(|model| model.name != name && model.same_vectors_as.as_deref() == Some(name));
        let others = others.map(|model| model.name.clone());
        std::iter::once(name.to_owned()).chain(others).collect()
    }

    /// Every model, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// A provider by its name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.get(name)
    }

    /// Every provider with its name.
    pub fn providers(&self) -> impl Iterator<Item = (&str, &Provider)> {
        self.providers
            .iter()
            .map(|(name, provider)| (name.as_str(), provider))
    }
}

/// The first moment of a day, in UTC.
fn midnight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let day = String::deserialize(deserializer)?;
    format!("{day}T00:00:00Z").parse().map_err(|_| {
        serde::de::Error::custom(format!("'{day}' is not a day; write it like 2026-01-31"))
    })
}

fn optional_midnight<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    midnight(deserializer).map(Some)
}

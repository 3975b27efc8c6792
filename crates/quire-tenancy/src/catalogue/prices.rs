//! What work costs: models by the token, everything else by the piece.
//!
//! Prices have a first day, so usage that is priced late is priced as it was. A model that nobody priced is
//! charged as if it were dear, and the price says so: free has to be spelled out.

use std::collections::BTreeMap;

use quire_types::{NanoUsd, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, dollars};

/// The prices of all models and of other work.
#[derive(Clone, Debug)]
pub struct Prices {
    models: BTreeMap<String, BTreeMap<Timestamp, Price>>,
    unknown: Price,
    measures: BTreeMap<Measure, NanoUsd>,
}

/// What a model costs, per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens sent.
    #[serde(with = "dollars")]
    pub input: NanoUsd,
    /// Tokens sent that the provider had already seen.
    #[serde(with = "dollars")]
    pub cached_input: NanoUsd,
    /// Tokens received, reasoning among them.
    #[serde(with = "dollars")]
    pub output: NanoUsd,
    /// Whether this is the model's price; otherwise nobody priced it, and this one is conservative.
    #[serde(skip)]
    pub is_known: bool,
}

/// The tokens of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Sent, those in the cache included.
    pub input: u64,
    /// Of those, how many the provider had already seen.
    pub cached: u64,
    /// Received, without reasoning.
    pub output: u64,
    /// Spent on reasoning, beside the output.
    pub reasoning: u64,
}

/// Work that is not counted in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Pages read.
    Pages,
    /// Images looked at.
    Images,
    /// Seconds of sound written down.
    AudioSeconds,
    /// Characters spoken.
    SpeechCharacters,
    /// Bytes kept for a month.
    StoredBytes,
}

impl Measure {
    /// Every measure.
    pub const ALL: &'static [Measure] = &[
        Self::Pages,
        Self::Images,
        Self::AudioSeconds,
        Self::SpeechCharacters,
        Self::StoredBytes,
    ];

    /// The stable name, as stored and as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Images => "images",
            Self::AudioSeconds => "audio_seconds",
            Self::SpeechCharacters => "speech_characters",
            Self::StoredBytes => "stored_bytes",
        }
    }
}

/// A price of a model in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceRow {
    model: String,
    #[serde(deserialize_with = "midnight")]
    from: Timestamp,
    #[serde(with = "dollars")]
    input: NanoUsd,
    #[serde(with = "dollars")]
    cached_input: NanoUsd,
    #[serde(with = "dollars")]
    output: NanoUsd,
}

/// A price of other work in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitRow {
    what: Measure,
    #[serde(with = "dollars")]
    price: NanoUsd,
}

/// The first moment of a day, in UTC.
fn midnight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let day = String::deserialize(deserializer)?;
    let moment = format!("{day}T00:00:00Z").parse();
    moment.map_err(|_| D::Error::custom(format!("'{day}' is not a day; write it like 2026-01-31")))
}

impl Prices {
    /// What a model costs at a moment.
    pub fn of(&self, model: &str, at: Timestamp) -> Price {
        let row = self
            .models
            .get(model)
            .and_then(|rows| rows.range(..=at).next_back());
        row.map_or(self.unknown, |(_, price)| *price)
    }

    /// What so much of other work costs, rounded up.
    pub fn cost_of(&self, measure: Measure, count: u64) -> NanoUsd {
        // Reading refuses a table that lacks a measure.
        let price = self.measures.get(&measure).copied().unwrap_or_default();
        price.rate_per_million(count)
    }

    pub(super) fn read(
        rows: Vec<PriceRow>,
        unknown: Price,
        units: Vec<UnitRow>,
    ) -> Result<Self, Error> {
        let mut models = BTreeMap::<String, BTreeMap<Timestamp, Price>>::new();
        for row in rows {
            let price = Price {
                input: row.input,
                cached_input: row.cached_input,
                output: row.output,
                is_known: true,
            };
            let day = row.from.date_naive();
            let twice = format!("prices: {} has two prices from {day}", row.model);
            let of_model = models.entry(row.model).or_default();
            if of_model.insert(row.from, price).is_some() {
                return Err(Error::Prices(twice));
            }
        }

        let mut measures = BTreeMap::new();
        for UnitRow { what, price } in units {
            if measures.insert(what, price).is_some() {
                let twice = format!("units: {} has two prices", what.as_str());
                return Err(Error::Prices(twice));
            }
        }
        if let Some(what) = Measure::ALL
            .iter()
            .find(|what| !measures.contains_key(what))
        {
            let none = format!("units: {} has no price; free is \"$0\"", what.as_str());
            return Err(Error::Prices(none));
        }
        Ok(Self {
            models,
            unknown,
            measures,
        })
    }
}

impl Price {
    /// What a call costs, rounded up.
    pub fn cost(&self, tokens: Tokens) -> NanoUsd {
        let fresh = tokens.input.saturating_sub(tokens.cached);
        let received = tokens.output.saturating_add(tokens.reasoning);
        [
            self.input.rate_per_million(fresh),
            self.cached_input.rate_per_million(tokens.cached),
            self.output.rate_per_million(received),
        ]
        .into_iter()
        .sum()
    }
}

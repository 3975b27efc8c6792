//! What a model costs: by the token, and by what else it is paid for.

use std::collections::BTreeMap;

use quire_types::{NanoUsd, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::midnight;

/// What is paid for that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Pages read.
    Pages,
    /// Images looked at.
    Images,
    /// Seconds of sound written down.
    AudioSeconds,
    /// Characters spoken.
    Characters,
    /// Lists of passages put in order.
    Searches,
}

impl Unit {
    const COUNT: usize = 5;
}

/// What a model costs, per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Tokens sent.
    pub input: NanoUsd,
    /// Tokens sent that the provider had already seen.
    pub cached_input: NanoUsd,
    /// Tokens sent that the provider was asked to remember.
    pub cache_write: NanoUsd,
    /// Tokens received.
    pub output: NanoUsd,
    /// Tokens spent on thinking.
    pub reasoning: NanoUsd,
    /// Tokens sent in a batch that is done within a day; none where it is not sold like that.
    pub batch_input: Option<NanoUsd>,
    units: [Option<NanoUsd>; Unit::COUNT],
}

/// The tokens of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Sent: all of them, those of the cache included.
    pub input: u64,
    /// Of those, how many the provider had already seen.
    pub cached: u64,
    /// Of those, how many it was made to remember.
    pub cache_written: u64,
    /// Received, without those spent on thinking.
    pub output: u64,
    /// Spent on thinking, beside the output.
    pub reasoning: u64,
}

impl Tokens {
    /// The larger of both, one by one: what is said in several pieces grows.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached: self.cached.max(other.cached),
            cache_written: self.cache_written.max(other.cache_written),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
        }
    }

    /// What came out, thoughts included.
    pub fn received(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }
}

impl Price {
    /// A price of tokens and nothing else.
    pub const fn tokens(input: NanoUsd, output: NanoUsd) -> Self {
        Self {
            input,
            cached_input: input,
            cache_write: input,
            output,
            reasoning: output,
            batch_input: None,
            units: [None; Unit::COUNT],
        }
    }

    /// What a call costs, rounded up.
    pub fn cost(&self, tokens: Tokens) -> NanoUsd {
        let known = tokens.cached.saturating_add(tokens.cache_written);
        [
            self.input
                .rate_per_million(tokens.input.saturating_sub(known)),
            self.cached_input.rate_per_million(tokens.cached),
            self.cache_write.rate_per_million(tokens.cache_written),
            self.output.rate_per_million(tokens.output),
            self.reasoning.rate_per_million(tokens.reasoning),
        ]
        .into_iter()
        .sum()
    }

    /// What so much of something else costs, rounded up; none when it has no price.
    pub fn cost_of(&self, unit: Unit, count: u64) -> Option<NanoUsd> {
        self.units[unit as usize].map(|price| price.rate_per_million(count))
    }
}

/// A price as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(deserialize_with = "midnight")]
    from: Timestamp,
    input: Dollars,
    cached_input: Option<Dollars>,
    cache_write: Option<Dollars>,
    output: Dollars,
    reasoning: Option<Dollars>,
    batch_input: Option<Dollars>,
    pages: Option<Dollars>,
    images: Option<Dollars>,
    audio_seconds: Option<Dollars>,
    characters: Option<Dollars>,
    searches: Option<Dollars>,
}

/// Money as people write it, "$20": a bare number could mean dollars or nano-dollars.
#[derive(Clone, Copy)]
struct Dollars(NanoUsd);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl From<Row> for Price {
    fn from(row: Row) -> Self {
        let or = |price: Option<Dollars>, other: Dollars| price.unwrap_or(other).0;
        let units = [
            row.pages,
            row.images,
            row.audio_seconds,
            row.characters,
            row.searches,
        ];
        Self {
            input: row.input.0,
            cached_input: or(row.cached_input, row.input),
            cache_write: or(row.cache_write, row.input),
            output: row.output.0,
            reasoning: or(row.reasoning, row.output),
            batch_input: row.batch_input.map(|price| price.0),
            units: units.map(|price| price.map(|price| price.0)),
        }
    }
}

pub(super) fn by_day<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Timestamp, Price>, D::Error> {
    let mut prices = BTreeMap::new();
    for row in Vec::<Row>::deserialize(deserializer)? {
        let from = row.from;
        if prices.insert(from, row.into()).is_some() {
            let day = from.date_naive();
            return Err(D::Error::custom(format!("two prices from {day}")));
        }
    }
    Ok(prices)
}

//! The catalogue: what plans there are. What models cost is in the registry (quire-models).
//!
//! Names and limits of plans are data, shipped as `plans.toml` and replaced by an installation. Every
//! plan is checked where it is read, from the file, from the database or from a request, so that no part of
//! quire ever holds one that makes no sense. Knows no tenant: see [`crate::terms`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use quire_types::{ErrorKind, Kind, NanoUsd};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limit::{self, Limit, LimitName};

/// A catalogue that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not the TOML that is expected.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A plan makes no sense.
    #[error("plan {id}: {why}")]
    Plan {
        /// The plan.
        id: String,
        /// What is wrong with which field.
        why: String,
    },
    /// The default is a plan that the catalogue lacks.
    #[error("default: there is no plan '{0}'")]
    NoDefault(PlanId),
    /// The document has prices, which are in the registry of models.
    #[error(
        "prices, unknown_price and units: models and their prices are in the registry, see `quire model apply`"
    )]
    Prices,
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// All plans.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The plan of a tenant that was made without one; always among the plans.
    pub default: PlanId,
    /// Every plan by its id.
    pub plans: BTreeMap<PlanId, Plan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: PlanId,
    plans: BTreeMap<String, toml::Table>,
    /// Prices stood here before the registry had them. A document of then can be read, but not applied.
    prices: Option<IgnoredAny>,
    unknown_price: Option<IgnoredAny>,
    units: Option<IgnoredAny>,
}

impl Catalogue {
    /// The catalogue that quire ships, as TOML.
    pub const SHIPPED: &str = include_str!("../plans.toml");

    /// The catalogue that quire ships.
    pub fn shipped() -> Result<Self, Error> {
        Self::parse(Self::SHIPPED)
    }

    /// Reads a catalogue that is to be applied.
    pub fn parse_new(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text)?;
        let old = [file.prices, file.unknown_price, file.units];
        if old.iter().any(Option::is_some) {
            return Err(Error::Prices);
        }
        Self::parse(text)
    }

    /// Reads a catalogue from TOML.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text)?;
        let plans = file.plans.into_iter().map(|(id, table)| {
            let plan = read_plan(&id, table).map_err(|why| Error::Plan { id, why })?;
            Ok((plan.id.clone(), plan))
        });
        let plans: BTreeMap<PlanId, Plan> = plans.collect::<Result<_, Error>>()?;
        if !plans.contains_key(&file.default) {
            return Err(Error::NoDefault(file.default));
        }
        Ok(Self {
            default: file.default,
            plans,
        })
    }
}

/// In the file a plan's id is the name of its table.
fn read_plan(id: &str, mut table: toml::Table) -> Result<Plan, String> {
    if table.insert("id".to_owned(), id.into()).is_some() {
        return Err("id: the name of the table is the id".to_owned());
    }
    let plan: Result<Plan, toml::de::Error> = table.try_into();
    plan.map_err(|error| error.to_string().trim().replace('\n', ", "))
}

/// The stable name of a plan: 1 to 32 of a-z, 0-9 and '-'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanId(String);

impl PlanId {
    /// The name as stored and as shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that can't name a plan.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' can't name a plan; use 1 to 32 of a-z, 0-9 and '-'")]
pub struct BadPlanId(String);

impl TryFrom<String> for PlanId {
    type Error = BadPlanId;

    fn try_from(text: String) -> Result<Self, BadPlanId> {
        text.parse()
    }
}

impl FromStr for PlanId {
    type Err = BadPlanId;

    fn from_str(text: &str) -> Result<Self, BadPlanId> {
        let is_known = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        match text.len() {
            1..=32 if text.bytes().all(is_known) => Ok(Self(text.to_owned())),
            _ => Err(BadPlanId(text.chars().take(64).collect())),
        }
    }
}

impl From<PlanId> for String {
    fn from(id: PlanId) -> Self {
        id.0
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a tenant gets for its money. Reads from and writes to TOML and JSON; a plan that breaks a rule is
/// refused wherever it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Plan {
    /// The stable name.
    pub id: PlanId,
    /// The name for people.
    pub name: String,
    /// The price of a month.
    #[serde(with = "dollars")]
    pub price: NanoUsd,
    /// The share against other tenants, 1 to 1000.
    pub weight: u16,
    /// What the tenant shares with others.
    pub isolation: Isolation,
    /// Workers that serve nobody else; only with dedicated isolation.
    #[serde(default)]
    pub dedicated_seats: u32,
    /// How often insights are made anew.
    pub refresh: Refresh,
    /// What may be asked.
    pub question_types: Vec<QuestionType>,
    /// What passages are turned into vectors with.
    pub embedding: Embedding,
    /// What a new tenant begins with.
    #[serde(default)]
    pub templates: Vec<String>,
    /// What it may use; a limit that is absent counts as its default.
    #[serde(default, with = "limit::named")]
    pub limits: BTreeMap<LimitName, Limit>,
}

impl Plan {
    fn check(&self) -> Result<(), &'static str> {
        if self.name.trim().is_empty() {
            return Err("name: must not be empty");
        }
        if !(1..=1000).contains(&self.weight) {
            return Err("weight: must be between 1 and 1000");
        }
        if self.dedicated_seats > 0 && self.isolation == Isolation::Shared {
            return Err("dedicated_seats: need isolation = \"dedicated\"");
        }
        if self.question_types.is_empty() {
            return Err("question_types: name at least one");
        }
        if self.embedding.model.trim().is_empty() {
            return Err("embedding.model: must not be empty");
        }
        if self.embedding.dimensions == 0 {
            return Err("embedding.dimensions: must be at least 1");
        }
        Ok(())
    }
}

// `remote = "Self"` derives functions of the plan's own instead of the traits, which leaves room for the check.
impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plan = Self::deserialize(deserializer)?;
        plan.check().map_err(D::Error::custom)?;
        Ok(plan)
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// What a tenant shares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Workers and databases.
    Shared,
    /// Nothing.
    Dedicated,
}

/// How often insights are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Every hour.
    Hourly,
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
}

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionType {
    /// One question, answered from a few passages.
    Simple,
    /// A question that is answered in steps.
    Complex,
    /// A question about several notebooks.
    CrossReference,
    /// Many questions at once.
    Batch,
    /// Questions with instructions of the tenant's own.
    Custom,
}

/// What passages are turned into vectors with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// The name of the model.
    pub model: String,
    /// Numbers in a vector, at least 1.
    pub dimensions: u32,
}

/// Money as people write it, "$20": a bare number could mean dollars or nano-dollars.
mod dollars {
    use super::{Deserialize, Deserializer, NanoUsd, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(
        money: &NanoUsd,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(money)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NanoUsd, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

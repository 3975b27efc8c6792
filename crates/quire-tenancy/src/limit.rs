//! Limits: how much of something a tenant may use, and the names of everything that is limited.
//!
//! A limit has four states. Absent, from a plan or an override, means that something else decides; 0 is off;
//! a number is that many; and no limit at all has to be spelled out. Nothing that was forgotten, misspelt or
//! lost becomes unlimited.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use quire_types::{ErrorKind, Kind, NanoUsd};

const UNLIMITED: &str = "unlimited";

/// The most that can be allowed without being unlimited: PostgreSQL, TOML and money count in signed 64 bits.
const MOST: u64 = i64::MAX as u64;

/// How much of something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Up to this many, in the unit of the limit's name; 0 turns the thing off.
    At(u64),
    /// As much as there is.
    Unlimited,
}

impl Limit {
    /// Whether nothing is allowed at all.
    pub const fn is_off(self) -> bool {
        matches!(self, Self::At(0))
    }

    /// The number; none when there is no limit.
    pub const fn most(self) -> Option<u64> {
        match self {
            Self::At(most) => Some(most),
            Self::Unlimited => None,
        }
    }

    /// The number of a limit of cost as money; none when there is no limit.
    pub fn money(self) -> Option<NanoUsd> {
        let nanos = |most| i64::try_from(most).map_or(NanoUsd::MAX, NanoUsd::from_nanos);
        self.most().map(nanos)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(most) => most.fmt(f),
            Self::Unlimited => f.write_str(UNLIMITED),
        }
    }
}

impl FromStr for Limit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        read(text, count)
    }
}

/// A text that is not a limit, or not the name of one.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadLimit(String);

impl BadLimit {
    fn new(text: &str, why: impl fmt::Display) -> Self {
        let text: String = text.chars().take(64).collect();
        Self(format!("'{text}' {why}"))
    }
}

impl Kind for BadLimit {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Requests per minute.
    RequestsPerMinute,
    /// Tokens of a model per minute.
    TokensPerMinute,
    /// Things.
    Count,
    /// Bytes; written like "100 GB", in powers of ten.
    Bytes,
    /// Minutes of sound.
    Minutes,
    /// Days.
    Days,
    /// Nano-dollars; written like "$20".
    NanoUsd,
}

impl Unit {
    /// The unit as shown beside a number.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::TokensPerMinute => "tokens per minute",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Minutes => "minutes",
            Self::Days => "days",
            Self::NanoUsd => "nano-dollars",
        }
    }
}

macro_rules! limits {
    ($($variant:ident = $name:literal, $unit:ident, $default:literal, $what:literal;)+) => {
        /// Everything that is limited.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LimitName {
            $(#[doc = $what] $variant,)+
        }

        impl LimitName {
            /// Every name, in order.
            pub const ALL: &'static [LimitName] = &[$(Self::$variant),+];

            /// The stable name, as stored and as shown.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What is counted.
            pub const fn unit(self) -> Unit {
                match self {
                    $(Self::$variant => Unit::$unit,)+
                }
            }

            /// What counts where neither an override nor a plan says anything; never unlimited.
            pub const fn default_limit(self) -> Limit {
                match self {
                    $(Self::$variant => Limit::At($default),)+
                }
            }

            /// What is limited, in a line.
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$variant => $what,)+
                }
            }
        }
    };
}

// The defaults are the limits of the smallest plan that is shipped; a test holds the two together.
limits! {
    RequestsPerMinute = "requests_per_minute", RequestsPerMinute, 10, "Requests of the whole tenant in a minute.";
    UserRequestsPerMinute = "user_requests_per_minute", RequestsPerMinute, 5, "Requests of one user in a minute.";
    KeyRequestsPerMinute = "key_requests_per_minute", RequestsPerMinute, 10, "Requests with one API key in a minute.";
    TokensPerMinute = "tokens_per_minute", TokensPerMinute, 20_000, "Tokens sent to and received from models in a minute.";
    UploadsPerMinute = "uploads_per_minute", RequestsPerMinute, 60, "Uploads of the whole tenant in a minute.";
    QuestionsPerMonth = "questions_per_month", Count, 50, "Questions in a calendar month.";
    AudioMinutesPerMonth = "audio_minutes_per_month", Minutes, 0, "Minutes of generated sound in a calendar month.";
    TranscribedMinutesPerMonth = "transcribed_minutes_per_month", Minutes, 600, "Minutes of recordings that are listened to in a calendar month.";
    Notebooks = "notebooks", Count, 1, "Notebooks at a time.";
    StorageBytes = "storage_bytes", Bytes, 100_000_000_000, "Stored bytes of sources.";
    Recordings = "recordings", Count, 1_000, "Stored recordings.";
    RecordingMinutes = "recording_minutes", Minutes, 60, "Minutes of one recording.";
    FileBytes = "file_bytes", Bytes, 100_000_000, "Bytes of one file.";
    FilePages = "file_pages", Count, 2_000, "Pages of one document, slides of one presentation.";
    FileScannedPages = "file_scanned_pages", Count, 100, "Pages of one document that are read from their pictures.";
    FilePixels = "file_pixels", Count, 50_000_000, "Pixels of one picture.";
    FileEntries = "file_entries", Count, 1_000, "Files in one container, attachments of one e-mail.";
    FileRatio = "file_ratio", Count, 100, "Bytes that come out of a container for each byte in it.";
    Passages = "passages", Count, 10_000, "Passages that can be found.";
    ArchiveAfterDays = "archive_after_days", Days, 365, "Days without a question or a change after which a notebook is archived, unless what it is about is under way.";
    RunningRequests = "running_requests", Count, 2, "Requests worked on at once.";
    WaitingRequests = "waiting_requests", Count, 10, "Requests that wait for their turn.";
    RunningTasks = "running_tasks", Count, 2, "Background tasks worked on at once.";
    CostPerDay = "cost_per_day", NanoUsd, 4_000_000_000, "What models may cost the tenant in a day.";
    CostPerMonth = "cost_per_month", NanoUsd, 20_000_000_000, "What models may cost the tenant in a calendar month.";
    UserCostPerDay = "user_cost_per_day", NanoUsd, 2_000_000_000, "What models may cost for one user in a day.";
    UserCostPerMonth = "user_cost_per_month", NanoUsd, 10_000_000_000, "What models may cost for one user in a calendar month.";
    NotebookCostPerDay = "notebook_cost_per_day", NanoUsd, 4_000_000_000, "What models may cost for one notebook in a day.";
    NotebookCostPerMonth = "notebook_cost_per_month", NanoUsd, 20_000_000_000, "What models may cost for one notebook in a calendar month.";
}

impl LimitName {
    /// Reads a limit in this name's unit: "20", "$20", "100 GB" or "unlimited".
    pub fn parse_value(&self, text: &str) -> Result<Limit, BadLimit> {
        let number = match self.unit() {
            Unit::Bytes => bytes,
            Unit::NanoUsd => nanos,
            _ => count,
        };
        read(text, number).map_err(|BadLimit(why)| BadLimit(format!("{self}: {why}")))
    }

    /// Shows a limit in this name's unit, such that [`LimitName::parse_value`] reads it back.
    pub fn show(&self, limit: Limit) -> String {
        match (self.unit(), limit) {
            (Unit::NanoUsd, limit) => limit
                .money()
                .map_or_else(|| UNLIMITED.to_owned(), |money| money.to_string()),
            (Unit::Bytes, Limit::At(bytes)) => show_bytes(bytes),
            (_, limit) => limit.to_string(),
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LimitName {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let known = Self::ALL.iter().find(|name| name.as_str() == text);
        known.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|name| name.as_str()).collect();
            let why = format!(
                "is not the name of a limit; use one of {}",
                names.join(", ")
            );
            BadLimit::new(text, why)
        })
    }
}

const SIZES: [(&str, u64); 5] = [
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

fn read(text: &str, number: fn(&str) -> Result<u64, BadLimit>) -> Result<Limit, BadLimit> {
    let text = text.trim();
    if text == UNLIMITED {
        return Ok(Limit::Unlimited);
    }
    if text.starts_with('-') || text.starts_with("$-") {
        let why = "is negative; 0 turns a thing off and \"unlimited\" lifts the limit";
        return Err(BadLimit::new(text, why));
    }
    match number(text)? {
        most if most <= MOST => Ok(Limit::At(most)),
        _ => Err(too_large(text)),
    }
}

fn count(text: &str) -> Result<u64, BadLimit> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let why = "is not a limit; write a whole number or \"unlimited\"";
        return Err(BadLimit::new(text, why));
    }
    text.parse().map_err(|_| too_large(text))
}

fn bytes(text: &str) -> Result<u64, BadLimit> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let sizes = || SIZES.into_iter().chain([("B", 1), ("", 1)]);
    let size = sizes().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    match size {
        Some((_, size)) if !number.is_empty() => count(number)?
            .checked_mul(size)
            .ok_or_else(|| too_large(text)),
        _ => {
            let why = "is not a size; write bytes, or a whole number of kB, MB, GB, TB or PB";
            Err(BadLimit::new(text, why))
        }
    }
}

fn nanos(text: &str) -> Result<u64, BadLimit> {
    let money = text.parse::<NanoUsd>();
    let money = money.map_err(|error| BadLimit(error.to_string()))?;
    u64::try_from(money.nanos()).map_err(|_| too_large(text))
}

fn too_large(text: &str) -> BadLimit {
    BadLimit::new(text, "is too large; write \"unlimited\" for no limit")
}

fn show_bytes(bytes: u64) -> String {
    let exact = |(_, size): &(&str, u64)| bytes > 0 && bytes.is_multiple_of(*size);
    match SIZES.into_iter().find(exact) {
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => bytes.to_string(),
    }
}

/// Maps of limits in TOML and JSON, for `#[serde(with = "limit::named")]`.
///
/// Each value is written in the unit of its name: a number, or text as [`LimitName::parse_value`] reads it.
/// Money is always text, because nobody can tell whether 20 means dollars or nano-dollars.
pub mod named {
    use serde::de::Error as _;
    use serde::ser::SerializeMap;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{BTreeMap, BadLimit, Limit, LimitName, Unit};

    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a limit is a whole number or text, like \"unlimited\""
    )]
    enum Written {
        Number(i64),
        Text(String),
    }

    impl Written {
        fn read(self, name: LimitName) -> Result<Limit, BadLimit> {
            match self {
                Self::Number(number) if name.unit() == Unit::NanoUsd => Err(BadLimit(format!(
                    "{name}: write money as text, like \"${number}\""
                ))),
                Self::Number(number) => name.parse_value(&number.to_string()),
                Self::Text(text) => name.parse_value(&text),
            }
        }
    }

    /// Writes numbers as numbers; money and "unlimited" as text.
    pub fn serialize<S: Serializer>(
        limits: &BTreeMap<LimitName, Limit>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(limits.len()))?;
        for (name, limit) in limits {
            match (name.unit(), limit) {
                (Unit::NanoUsd, _) | (_, Limit::Unlimited) => {
                    map.serialize_entry(name.as_str(), &name.show(*limit))?;
                }
                (_, Limit::At(most)) => map.serialize_entry(name.as_str(), most)?,
            }
        }
        map.end()
    }

    /// Reads what [`serialize`] writes and what people write.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<LimitName, Limit>, D::Error> {
        let written = BTreeMap::<String, Written>::deserialize(deserializer)?;
        let limits = written.into_iter().map(|(name, written)| {
            let name: LimitName = name.parse()?;
            Ok((name, written.read(name)?))
        });
        limits
            .collect::<Result<_, BadLimit>>()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_told_apart() {
        for name in LimitName::ALL {
            assert_eq!(name.as_str().parse(), Ok(*name));
            assert!(name.describe().ends_with('.'));
        }
        let error = "reqests_per_minute".parse::<LimitName>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("use one of requests_per_minute,")
        );
    }

    #[test]
    fn values_are_read_in_the_unit_of_their_name() {
        let check = |name: LimitName, text: &str, expect| {
            assert_eq!(name.parse_value(text), Ok(expect), "{name} {text}");
        };
        check(LimitName::Notebooks, "5", Limit::At(5));
        check(LimitName::Notebooks, " 0 ", Limit::At(0));
        check(LimitName::Notebooks, "unlimited", Limit::Unlimited);
        check(LimitName::CostPerDay, "$20", Limit::At(20_000_000_000));
        check(LimitName::CostPerDay, "0.5", Limit::At(500_000_000));
        check(LimitName::CostPerDay, "unlimited", Limit::Unlimited);
        check(
            LimitName::StorageBytes,
            "100 GB",
            Limit::At(100_000_000_000),
        );
        check(
            LimitName::StorageBytes,
            "10tb",
            Limit::At(10_000_000_000_000),
        );
        check(LimitName::StorageBytes, "123", Limit::At(123));
        check(LimitName::StorageBytes, "0", Limit::At(0));
    }

    #[test]
    fn values_that_are_no_limit_are_refused_with_a_reason() {
        let check = |name: LimitName, text: &str, why: &str| {
            let error = name.parse_value(text).unwrap_err().to_string();
            assert!(error.starts_with(name.as_str()), "{error}");
            assert!(error.contains(why), "{error}");
        };
        check(LimitName::Notebooks, "-1", "negative");
        check(LimitName::StorageBytes, "-1 GB", "negative");
        check(LimitName::CostPerDay, "-$1", "negative");
        check(LimitName::CostPerDay, "$-1", "negative");
        for text in ["", "1.5", "1,000", "1_000", "∞", "none", "Unlimited!"] {
            check(LimitName::Notebooks, text, "whole number");
        }
        for text in ["", "GB", "1 GiB", "1.5 GB", "1 2 GB", "lots"] {
            check(LimitName::StorageBytes, text, "not a size");
        }
        check(LimitName::Notebooks, "9223372036854775808", "too large");
        check(LimitName::Notebooks, "99999999999999999999", "too large");
        check(LimitName::StorageBytes, "18447 PB", "too large");
        check(LimitName::CostPerDay, "9223372037", "largest");
        check(LimitName::CostPerDay, "20 dollars", "separators");
    }

    #[test]
    fn what_is_shown_reads_back() {
        let check = |name: LimitName, limit, expect: &str| assert_eq!(name.show(limit), expect);
        check(LimitName::CostPerDay, Limit::At(1_500_000_000), "$1.50");
        check(
            LimitName::StorageBytes,
            Limit::At(10_000_000_000_000),
            "10 TB",
        );
        check(LimitName::StorageBytes, Limit::At(1_001), "1001");
        check(LimitName::Passages, Limit::Unlimited, "unlimited");
        for name in LimitName::ALL {
            let powers = (0..19).flat_map(|power| [10_u64.pow(power), 10_u64.pow(power) + 1]);
            let limits = powers.chain([0, MOST]).map(Limit::At);
            for limit in limits.chain([Limit::Unlimited]) {
                assert_eq!(name.parse_value(&name.show(limit)), Ok(limit), "{name}");
            }
        }
    }

    #[test]
    fn zero_is_off_and_unlimited_is_more_than_any_number() {
        assert!(Limit::At(0).is_off());
        assert!(!Limit::At(1).is_off() && !Limit::Unlimited.is_off());
        assert!(Limit::Unlimited > Limit::At(u64::MAX));
        assert_eq!(Limit::At(5).money(), Some(NanoUsd::from_nanos(5)));
        assert_eq!(Limit::Unlimited.money(), None);
        assert_eq!("7".parse(), Ok(Limit::At(7)));
        assert_eq!(Limit::Unlimited.to_string().parse(), Ok(Limit::Unlimited));
    }
}

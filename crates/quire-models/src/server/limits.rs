//! What a server says about its limits, in the headers of its answers. Refuses to believe more than that it
//! has so much left: how much that is of what, the pool knows.

use std::time::Duration;

use quire_types::Timestamp;
use reqwest::header::HeaderMap;

/// How much a server has left, by what it said last. What it did not say is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Requests.
    pub requests: Option<Remaining>,
    /// Tokens that go in; of both directions where a server counts them together.
    pub input_tokens: Option<Remaining>,
    /// Tokens that come out.
    pub output_tokens: Option<Remaining>,
}

/// So much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// How much.
    pub left: u64,
    /// After this the whole allowance is there again.
    pub resets_after: Duration,
}

/// How long something is believed that does not say until when.
const BELIEVED: Duration = Duration::from_secs(60);

impl Told {
    /// Reads the headers of OpenAI (`x-ratelimit-remaining-requests`) and Anthropic
    /// (`anthropic-ratelimit-requests-remaining`), and of those who copy them.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let one = |openai: &str, anthropic: &str| {
            let left = text(&format!("x-ratelimit-remaining-{openai}"))
                .or_else(|| text(&format!("anthropic-ratelimit-{anthropic}-remaining")))?;
            let resets = text(&format!("x-ratelimit-reset-{openai}"))
                .or_else(|| text(&format!("anthropic-ratelimit-{anthropic}-reset")));
            Some(Remaining {
                left: left.trim().parse().ok()?,
                resets_after: resets.and_then(duration).unwrap_or(BELIEVED).min(BELIEVED),
            })
        };
        Self {
            requests: one("requests", "requests"),
            input_tokens: one("tokens", "input-tokens").or_else(|| one("tokens", "tokens")),
            output_tokens: one("output-tokens", "output-tokens"),
        }
    }
}

/// `6m0s`, `1.5s`, `20ms`, plain seconds, or a moment of RFC 3339.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some((at - chrono::Utc::now()).to_std().unwrap_or_default());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, seconds) = [
            ("ms", 0.001),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
            ("d", 86400.0),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        sum += number * seconds;
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_written_in_many_ways() {
        let check = |text, ms: Option<u64>| {
            assert_eq!(duration(text), ms.map(Duration::from_millis), "{text}")
        };
        check("6m0s", Some(360_000));
        check("1.5s", Some(1_500));
        check("20ms", Some(20));
        check("1h2m3s", Some(3_723_000));
        check("7", Some(7_000));
        check("2020-01-01T00:00:00Z", Some(0));
        for nonsense in ["soon", "5x", "", "s", "-3"] {
            assert_ne!(
                duration(nonsense),
                Some(Duration::from_secs(1)),
                "{nonsense}"
            );
        }
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("-3"), None);
    }
}

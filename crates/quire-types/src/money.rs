//! Money in billionths of a dollar.
//!
//! Models are priced in cents per million tokens, so a single token costs a fraction of a cent. Integers
//! keep sums exact and the same in Rust and in PostgreSQL, where an amount is a `bigint`. Whatever does not
//! divide is rounded up, and sums stop at the largest amount: an error must never be in favour of spending.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const PER_DOLLAR: u64 = 1_000_000_000;
const PER_CENT: i64 = 10_000_000;
const MILLION: i128 = 1_000_000;

/// An amount of money in nano-dollars: 1 USD is 10^9.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NanoUsd(i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The largest amount; sums stop here.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount counted in nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The amount in nano-dollars.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The amount in whole cents, rounded up.
    pub const fn cents(self) -> i64 {
        self.0.div_euclid(PER_CENT) + (self.0.rem_euclid(PER_CENT) != 0) as i64
    }

    /// Both together, at most [`NanoUsd::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This without the other; negative when the other is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// What `count` units cost when this is the price of a million, rounded up to a nano-dollar.
    #[must_use]
    pub fn rate_per_million(self, count: u64) -> Self {
        // The product of an i64 and a u64 always fits; dividing the negative downwards rounds up.
        let rounded_up = -(-i128::from(self.0) * i128::from(count)).div_euclid(MILLION);
        let limit = if rounded_up < 0 { i64::MIN } else { i64::MAX };
        Self(i64::try_from(rounded_up).unwrap_or(limit))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Dollars with at least two decimals, and as many more as the amount needs: "$1.50", "$0.00000015".
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let decimals = format!("{:09}", nanos % PER_DOLLAR);
        let (cents, rest) = decimals.split_at(2);
        let rest = rest.trim_end_matches('0');
        write!(f, "{sign}${}.{cents}{rest}", nanos / PER_DOLLAR)
    }
}

/// A text that is not an amount of money.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not an amount: {why}")]
pub struct BadMoney {
    text: String,
    why: &'static str,
}

/// Reads what people write: "$20", "20", "0.15".
impl FromStr for NanoUsd {
    type Err = BadMoney;

    fn from_str(text: &str) -> Result<Self, BadMoney> {
        nanos(text).map(Self).map_err(|why| BadMoney {
            text: text.chars().take(64).collect(),
            why,
        })
    }
}

fn nanos(text: &str) -> Result<i64, &'static str> {
    const TOO_LARGE: &str = "the largest is $9223372036.85";
    const SHAPE: &str = "write dollars, like $20 or 0.15";

    let text = text.trim();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let number = unsigned.strip_prefix('$').unwrap_or(unsigned);
    if unsigned != text || number.starts_with('-') {
        return Err("it must not be negative");
    }
    if number.contains([',', '_', '\'', ' ']) {
        return Err("write thousands without separators and decimals after a point");
    }
    let (whole, decimals) = match number.split_once('.') {
        Some((_, "")) => return Err(SHAPE),
        Some(parts) => parts,
        None => (number, ""),
    };
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(decimals) {
        return Err(SHAPE);
    }
    if decimals.len() > 9 {
        return Err("it has more than 9 decimals");
    }
    let billionths: i64 = format!("{decimals:0<9}").parse().map_err(|_| SHAPE)?;
    whole
        .parse::<i64>()
        .ok()
        .and_then(|dollars| dollars.checked_mul(100)?.checked_mul(PER_CENT))
        .and_then(|nanos| nanos.checked_add(billionths))
        .ok_or(TOO_LARGE)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Amounts of every size, the edges among them; the same in every run.
    fn amounts() -> impl Iterator<Item = i64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mixed = (0..5_000_u32).map(move |index| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            i64::from_ne_bytes((state >> (index % 64)).to_ne_bytes())
        });
        [0, 1, -1, 150, PER_CENT, i64::MAX, i64::MIN]
            .into_iter()
            .chain(mixed)
    }

    #[test]
    fn amounts_are_shown_exactly_and_shortly() {
        let check = |nanos, expect: &str| {
            assert_eq!(NanoUsd::from_nanos(nanos).to_string(), expect);
        };
        check(0, "$0.00");
        check(1_500_000_000, "$1.50");
        check(75_000_000, "$0.075");
        check(150, "$0.00000015");
        check(1, "$0.000000001");
        check(-20_000_000_000, "-$20.00");
        check(i64::MIN, "-$9223372036.854775808");
    }

    #[test]
    fn what_people_write_is_read() {
        let check = |text: &str, nanos| {
            assert_eq!(text.parse(), Ok(NanoUsd::from_nanos(nanos)), "{text}");
        };
        check("$20", 20_000_000_000);
        check(" 20 ", 20_000_000_000);
        check("0.15", 150_000_000);
        check("$1000.50", 1_000_500_000_000);
        check("$0.000000001", 1);
        check("9223372036.854775807", i64::MAX);
    }

    #[test]
    fn what_is_unclear_is_refused_with_a_reason() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<NanoUsd>().map_err(|error| error.to_string());
            assert!(
                error.as_ref().is_err_and(|error| error.contains(why)),
                "{error:?}"
            );
        };
        check("-5", "negative");
        check("-$5", "negative");
        check("$-5", "negative");
        check("$1,000.50", "separators");
        check("0,15", "separators");
        check("0.0000000001", "more than 9 decimals");
        check("9223372036.854775808", "largest");
        check("99999999999999999999", "largest");
        for shape in ["", "$", ".5", "5.", "1.2.3", "+5", "1e3", "€5", "5 $", "٣"] {
            assert!(shape.parse::<NanoUsd>().is_err(), "{shape}");
        }
    }

    #[test]
    fn an_amount_reads_back_from_what_it_shows_and_from_json() {
        for nanos in amounts() {
            let amount = NanoUsd::from_nanos(nanos);
            let read = amount.to_string().parse();
            assert_eq!(read.is_ok(), nanos >= 0, "{amount}");
            assert_eq!(read.unwrap_or(amount), amount);
            let json = serde_json::to_string(&amount).unwrap();
            assert_eq!(json, nanos.to_string());
            assert_eq!(serde_json::from_str::<NanoUsd>(&json).unwrap(), amount);
        }
    }

    #[test]
    fn a_rate_is_rounded_up_by_less_than_one_and_saturates() {
        let price: NanoUsd = "0.15".parse().unwrap();
        assert_eq!(price.rate_per_million(1), NanoUsd::from_nanos(150));
        assert_eq!(price.rate_per_million(1_000_000), price);
        assert_eq!(
            NanoUsd::from_nanos(1).rate_per_million(1),
            NanoUsd::from_nanos(1)
        );
        assert_eq!(price.rate_per_million(0), NanoUsd::ZERO);
        assert_eq!(NanoUsd::MAX.rate_per_million(u64::MAX), NanoUsd::MAX);
        for (price, count) in amounts().zip(amounts().skip(17)) {
            let count = count.unsigned_abs();
            let cost = NanoUsd::from_nanos(price).rate_per_million(count).nanos();
            let exact = i128::from(price) * i128::from(count);
            let over = i128::from(cost) * MILLION - exact;
            let is_saturated = cost == i64::MAX || cost == i64::MIN;
            assert!(
                is_saturated || (0..MILLION).contains(&over),
                "{price} × {count} = {cost}"
            );
        }
    }

    #[test]
    fn cents_are_rounded_up() {
        let check = |nanos, cents| assert_eq!(NanoUsd::from_nanos(nanos).cents(), cents);
        check(0, 0);
        check(1, 1);
        check(PER_CENT, 1);
        check(PER_CENT + 1, 2);
        check(-1, 0);
        check(-PER_CENT, -1);
        for nanos in amounts() {
            let over =
                i128::from(NanoUsd(nanos).cents()) * i128::from(PER_CENT) - i128::from(nanos);
            assert!((0..i128::from(PER_CENT)).contains(&over), "{nanos}");
        }
    }

    #[test]
    fn sums_stop_at_the_largest_amount() {
        let one = NanoUsd::from_nanos(1);
        assert_eq!([one, one, one].into_iter().sum::<NanoUsd>().nanos(), 3);
        assert_eq!(
            [NanoUsd::MAX, one].into_iter().sum::<NanoUsd>(),
            NanoUsd::MAX
        );
        assert_eq!(NanoUsd::MAX.saturating_add(one), NanoUsd::MAX);
        assert_eq!(NanoUsd::ZERO.saturating_sub(one).nanos(), -1);
        for (left, right) in amounts().zip(amounts().skip(3)) {
            let (left, right) = (NanoUsd(left), NanoUsd(right));
            assert_eq!(left.saturating_add(right), right.saturating_add(left));
        }
    }
}

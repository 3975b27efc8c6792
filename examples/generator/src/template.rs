//! Fills the `{facts}` into a text.
//!
//! `{key}` is a word from the facts. `{d 2025-05-12}` is a date, `{w 2025-05-12}` a date with its
//! weekday. `{bill key}` and `{pay key}` are whole tables, `{total key}` the total of a bill, and
//! `{due key}`, `{held key}`, `{done key}` lines of a pay application.

use crate::Error;
use crate::facts;
use crate::money::{Bill, PayApplication};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
];

/// Replaces every placeholder, or says which one has no fact.
pub fn fill(text: &str) -> Result<String, Error> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let unknown = || Error::UnknownFact {
            fact: after.chars().take(40).collect(),
        };
        let (placeholder, tail) = after.split_once('}').ok_or_else(unknown)?;
        filled.push_str(before);
        filled.push_str(&resolve(placeholder).ok_or_else(|| Error::UnknownFact {
            fact: placeholder.to_owned(),
        })?);
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn resolve(placeholder: &str) -> Option<String> {
    let Some((kind, argument)) = placeholder.split_once(' ') else {
        return facts::word(placeholder);
    };
    match kind {
        "d" => date(argument).map(|date| date.text),
        "w" => date(argument).map(|date| format!("{}, {}", date.weekday, date.text)),
        "bill" => bill(argument).map(Bill::table),
        "total" => bill(argument).map(|bill| bill.total().to_string()),
        "pay" => pay(argument).map(PayApplication::table),
        "due" => pay(argument).map(|pay| pay.due().to_string()),
        "held" => pay(argument).map(|pay| pay.retainage().to_string()),
        "done" => pay(argument).map(|pay| pay.completed.to_string()),
        _ => None,
    }
}

fn bill(key: &str) -> Option<&'static Bill> {
    facts::BILLS.iter().find(|bill| bill.key == key)
}

fn pay(key: &str) -> Option<&'static PayApplication> {
    facts::PAY_APPLICATIONS
        .iter()
        .copied()
        .find(|pay| pay.key == key)
}

struct Date {
    text: String,
    weekday: &'static str,
}

fn date(iso: &str) -> Option<Date> {
    let parts: Vec<i64> = iso
        .split('-')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day] = parts.as_slice() else {
        return None;
    };
    let name = MONTHS.get(usize::try_from(month - 1).ok()?)?;
    // Zeller's rule counts January and February as months 13 and 14 of the year before.
    let (shifted_year, shifted_month) = if *month < 3 {
        (year - 1, month + 12)
    } else {
        (*year, *month)
    };
    let number = day + 13 * (shifted_month + 1) / 5 + shifted_year + shifted_year / 4
        - shifted_year / 100
        + shifted_year / 400;
    let weekday = WEEKDAYS.get(usize::try_from(number.rem_euclid(7)).ok()?)?;
    Some(Date {
        text: format!("{name} {day}, {year}"),
        weekday,
    })
}

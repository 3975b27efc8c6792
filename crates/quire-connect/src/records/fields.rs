//! Fields of a record: as lines of text, and as typed values.

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde_json::Value;

use quire_store::records::TypedValue;
use quire_types::Timestamp;

/// The most typed values of one record.
const MOST_VALUES: usize = 500;

/// `due_date` as people read it.
pub(super) fn label(name: &str) -> String {
    let spaced = name.replace(['_', '-'], " ");
    let mut chars = spaced.trim().chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// `1234.5` as `1,234.50`; anything else as it is.
pub(super) fn money(text: &str) -> String {
    let trimmed = text.trim().trim_start_matches('$').replace(',', "");
    let is_number = trimmed
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
    let Some(value) = trimmed
        .parse::<f64>()
        .ok()
        .filter(|value| is_number && value.is_finite())
    else {
        return text.to_owned();
    };
    let fixed = format!("{:.2}", value.abs());
    let (whole, cents) = fixed.split_once('.').unwrap_or((&fixed, "00"));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{grouped}.{cents}")
}

/// Each field as `Label: value`, by name, without those that `is_left_out` names.
pub(super) fn lines(record: &Value, is_left_out: impl Fn(&str) -> bool) -> String {
    let mut lines = Vec::new();
    if let Value::Object(fields) = record {
        let mut sorted: Vec<_> = fields
            .iter()
            .filter(|(name, _)| !is_left_out(name))
            .collect();
        sorted.sort_by_key(|(name, _)| *name);
        for (name, value) in sorted {
            line(&label(name), value, &mut lines);
        }
    }
    lines.join("\n")
}

fn line(label_text: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            for (name, value) in sorted {
                let nested = format!("{label_text}, {}", label(name).to_lowercase());
                line(&nested, value, lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            lines.push(format!("{label_text}:"));
            for item in items {
                let mut own = Vec::new();
                match item {
                    Value::Object(fields) => {
                        let mut sorted: Vec<_> = fields.iter().collect();
                        sorted.sort_by_key(|(name, _)| *name);
                        for (name, value) in sorted {
                            line(&label(name), value, &mut own);
                        }
                    }
                    other => own.extend(scalar(other)),
                }
                lines.push(format!("- {}", own.join("; ")));
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(scalar).collect();
            if !items.is_empty() {
                lines.push(format!("{label_text}: {}", items.join(", ")));
            }
        }
        value => {
            if let Some(text) = scalar(value) {
                lines.push(format!("{label_text}: {text}"));
            }
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

/// The values of a record by type: numbers, instants and dates, yes and no, and texts.
pub(super) fn typed(record: &Value) -> Vec<TypedValue> {
    let mut values = Vec::new();
    collect("", record, &mut values);
    values
}

fn collect(name: &str, value: &Value, values: &mut Vec<TypedValue>) {
    if values.len() >= MOST_VALUES {
        return;
    }
    let join = |part: &str| match name {
        "" => part.to_owned(),
        name => format!("{name}.{part}"),
    };
    let mut found = TypedValue {
        name: name.chars().take(200).collect(),
        text: None,
        number: None,
        time: None,
        bool: None,
    };
    match value {
        Value::Null => return,
        Value::Object(fields) => {
            for (part, value) in fields {
                collect(&join(part), value, values);
            }
            return;
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                collect(&join(&at.to_string()), value, values);
            }
            return;
        }
        Value::Bool(bool) => found.bool = Some(*bool),
        Value::Number(number) => found.number = Some(number.to_string()),
        Value::String(text) => {
            found.time = time(text);
            // Long texts are for search, not for rules.
            found.text = Some(text.chars().take(500).collect());
        }
    }
    values.push(found);
}

/// An instant, or the start of a day in UTC.
fn time(text: &str) -> Option<Timestamp> {
    let date = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Some(time.to_utc()),
        Err(_) => Some(date(text)?.and_time(NaiveTime::MIN).and_utc()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_get_their_types() {
        let mut values = typed(&json!({
            "amount": 12.5, "due": "2025-07-01", "at": "2025-07-01T10:00:00+02:00", "open": false,
            "who": { "name": "Ann" }, "tags": ["a", 7], "gone": null,
        }));
        values.sort_by(|one, two| one.name.cmp(&two.name));
        let shown: Vec<String> = values
            .iter()
            .map(|value| {
                let time = value.time.map(|time| time.to_rfc3339());
                format!(
                    "{}={:?},{:?},{time:?},{:?}",
                    value.name, value.text, value.number, value.bool
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"amount=None,Some("12.5"),None,None"#,
                r#"at=Some("2025-07-01T10:00:00+02:00"),None,Some("2025-07-01T08:00:00+00:00"),None"#,
                r#"due=Some("2025-07-01"),None,Some("2025-07-01T00:00:00+00:00"),None"#,
                "open=None,None,None,Some(false)",
                r#"tags.0=Some("a"),None,None,None"#,
                r#"tags.1=None,Some("7"),None,None"#,
                r#"who.name=Some("Ann"),None,None,None"#,
            ]
        );
    }

    #[test]
    fn money_is_grouped() {
        for (given, shown) in [
            ("1234567.5", "1,234,567.50"),
            ("-48250", "-48,250.00"),
            ("999", "999.00"),
            ("$1,200.50", "1,200.50"),
            ("a lot", "a lot"),
            ("", ""),
            ("inf", "inf"),
        ] {
            assert_eq!(money(given), shown);
        }
    }
}

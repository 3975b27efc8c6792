//! Usage as other systems want it, and a provider's invoice beside quire's own count.
//!
//! CSV is RFC 4180 with a header; events follow CloudEvents 1.0 in its JSON format, one a line, with the
//! event's id so that a receiver can drop what it has seen.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use quire_types::NanoUsd;

use crate::Error;
use crate::usage::{Event, ModelDay};

/// One event as CloudEvents 1.0.
pub fn cloud_event(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        "id": event.id,
        "source": "quire",
        "type": format!("quire.usage.{}", event.kind),
        "subject": event.tenant,
        "time": event.at,
        "datacontenttype": "application/json",
        "data": {
            "request": event.request,
            "attempt": event.attempt,
            "user": event.user,
            "notebook": event.notebook,
            "provider": event.provider,
            "model": event.model,
            "is_estimated": event.is_estimated,
            "quantities": event.quantities,
            "cost_nanousd": event.cost,
        },
    })
}

/// The columns of [`csv_line`].
pub const CSV_HEADER: &str = "at,id,kind,request,attempt,user,notebook,provider,model,is_estimated,input_tokens,\
    cached_tokens,output_tokens,reasoning_tokens,pages,images,audio_ms,characters,stored_bytes,cost_nanousd\n";

/// One event as a line of CSV.
pub fn csv_line(event: &Event) -> String {
    let of = &event.quantities;
    let optional = |text: &Option<String>| quoted(text.as_deref().unwrap_or_default());
    let notebook = event.notebook.map(|id| id.to_string()).unwrap_or_default();
    format!(
        "{},{},{},{},{},{},{notebook},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
        event
            .at
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        event.id,
        event.kind,
        event.request,
        event.attempt,
        optional(&event.user),
        optional(&event.provider),
        optional(&event.model),
        event.is_estimated,
        of.input_tokens,
        of.cached_tokens,
        of.output_tokens,
        of.reasoning_tokens,
        of.pages,
        of.images,
        of.audio_ms,
        of.characters,
        of.stored_bytes,
        event.cost.nanos(),
    )
}

/// A field, in quotes where it needs them; what a spreadsheet would run as a formula is made text.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = if is_formula {
        format!("'{field}")
    } else {
        field.to_owned()
    };
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

/// A line of a provider's invoice, as CSV with these columns; further ones are ignored.
#[derive(Clone, Debug, Deserialize)]
struct InvoiceLine {
    day: NaiveDate,
    model: String,
    /// In dollars, such as 0.0123.
    cost_usd: String,
}

/// Where an invoice and quire's own count differ.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Drift {
    /// The day.
    pub day: NaiveDate,
    /// The model.
    pub model: String,
    /// What the provider wants.
    pub invoiced: NanoUsd,
    /// What quire counted.
    pub counted: NanoUsd,
}

impl Drift {
    /// What the provider wants beyond quire's count; negative when it wants less.
    pub fn difference(&self) -> i64 {
        self.invoiced.nanos().saturating_sub(self.counted.nanos())
    }
}

/// An invoice by day and model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invoice(BTreeMap<(NaiveDate, String), NanoUsd>);

impl Invoice {
    /// Reads an invoice; lines of the same day and model are added up.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines: BTreeMap<(NaiveDate, String), NanoUsd> = BTreeMap::new();
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        for (number, line) in (2..).zip(reader.deserialize::<InvoiceLine>()) {
            let wrong = |why: &dyn std::fmt::Display| {
                Error::Invalid(format!(
                    "line {number} of the invoice: {why}; the columns day, model and cost_usd are needed"
                ))
            };
            let line = line.map_err(|error| wrong(&error))?;
            let cost: NanoUsd = line.cost_usd.parse().map_err(|error| wrong(&error))?;
            let sum = lines.entry((line.day, line.model)).or_default();
            *sum = sum.saturating_add(cost);
        }
        if lines.is_empty() {
            return Err(Error::Invalid("the invoice has no lines".to_owned()));
        }
        Ok(Self(lines))
    }

    /// The days it covers: the first, and the one after the last.
    pub fn days(&self) -> Option<(NaiveDate, NaiveDate)> {
        let days = || self.0.keys().map(|(day, _)| *day);
        Some((days().min()?, days().max()?.succ_opt()?))
    }

    /// Where it differs from what was counted by more than `tolerance` percent, or where one side knows
    /// nothing of the other's.
    pub fn compare(&self, counted: &[ModelDay], tolerance: u32) -> Vec<Drift> {
        let mut both: BTreeMap<(NaiveDate, String), (NanoUsd, NanoUsd)> = BTreeMap::new();
        for (key, cost) in &self.0 {
            both.entry(key.clone()).or_default().0 = *cost;
        }
        for row in counted {
            let entry = both.entry((row.day, row.model.clone())).or_default();
            entry.1 = entry.1.saturating_add(NanoUsd::from_nanos(row.cost));
        }
        both.into_iter()
            .map(|((day, model), (invoiced, counted))| Drift {
                day,
                model,
                invoiced,
                counted,
            })
            .filter(|drift| {
                let larger = i128::from(drift.invoiced.max(drift.counted).nanos());
                i128::from(drift.difference().unsigned_abs()) * 100 > larger * i128::from(tolerance)
            })
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn counted(day_text: &str, model: &str, cost: i64) -> ModelDay {
        ModelDay {
            day: day(day_text),
            model: model.to_owned(),
            calls: 1,
            input_tokens: 0,
            output_tokens: 0,
            cost,
        }
    }

    #[test]
    fn an_invoice_is_compared_by_day_and_model() {
        let invoice = Invoice::parse(
            "day,model,cost_usd,note\n2026-11-01,gpt-4o-mini,0.10,a\n2026-11-01,gpt-4o-mini,0.02,b\n\
             2026-11-02,gpt-4o,1.00,\n",
        )
        .unwrap();
        assert_eq!(invoice.days(), Some((day("2026-11-01"), day("2026-11-03"))));
        let exact = [
            counted("2026-11-01", "gpt-4o-mini", 120_000_000),
            counted("2026-11-02", "gpt-4o", 995_000_000),
        ];
        assert_eq!(invoice.compare(&exact, 1), []);
        let lost = invoice.compare(&exact[..1], 1);
        assert_eq!(lost.len(), 1);
        assert_eq!(
            (lost[0].model.as_str(), lost[0].difference()),
            ("gpt-4o", 1_000_000_000)
        );
        let more = [&exact[..], &[counted("2026-11-02", "unbilled", 5)]].concat();
        assert_eq!(invoice.compare(&more, 1)[0].difference(), -5);
    }

    #[test]
    fn a_useless_invoice_says_what_is_wrong_with_it() {
        for (text, part) in [
            ("", "no lines"),
            ("day,model\n2026-11-01,x\n", "cost_usd"),
            ("day,model,cost_usd\nyesterday,x,1\n", "line 2"),
            ("day,model,cost_usd\n2026-11-01,x,-1\n", "line 2"),
            (
                "day,model,cost_usd\n2026-11-01,x,1\n2026-11-01,x,lots\n",
                "line 3",
            ),
        ] {
            let error = Invoice::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_field_can_be_neither_a_column_nor_a_formula() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "'=HYPERLINK(1)");
    }
}

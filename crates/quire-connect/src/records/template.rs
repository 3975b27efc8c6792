//! From a record to the text that search finds: by the tenant's own template, one that ships, or a list of
//! its fields.
//!
//! Templates are Jinja with the fields of the record as variables, and `id`. The first line is the title. A
//! line that ends in a colon because its value is missing is left out. What a template that ships does not
//! mention is listed below its text, so that no field is lost to search. Templates of tenants are code of
//! strangers: they run with bounded fuel and bounded output, and reach nothing but the record.

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value};

use super::event::{kind, one_line};
use super::fields;
use crate::Error;

/// Steps that one rendering may take.
const FUEL: u64 = 50_000;

/// The most that one rendering may write.
const MOST_BYTES: usize = 300_000;

/// Types that ship: name, what lists of it are called, template.
const SHIPPED: [(&str, &str, &str); 14] = [
    ("job", "jobs", include_str!("../../templates/job.txt")),
    (
        "invoice",
        "invoices",
        include_str!("../../templates/invoice.txt"),
    ),
    (
        "purchase_order",
        "purchase_orders",
        include_str!("../../templates/purchase_order.txt"),
    ),
    (
        "change_order",
        "change_orders",
        include_str!("../../templates/change_order.txt"),
    ),
    (
        "daily_log",
        "daily_logs",
        include_str!("../../templates/daily_log.txt"),
    ),
    ("photo", "photos", include_str!("../../templates/photo.txt")),
    ("rfi", "rfis", include_str!("../../templates/rfi.txt")),
    (
        "submittal",
        "submittals",
        include_str!("../../templates/submittal.txt"),
    ),
    ("task", "tasks", include_str!("../../templates/task.txt")),
    (
        "communication",
        "communications",
        include_str!("../../templates/communication.txt"),
    ),
    ("lead", "leads", include_str!("../../templates/lead.txt")),
    (
        "time_entry",
        "time",
        include_str!("../../templates/time_entry.txt"),
    ),
    (
        "warranty",
        "warranties",
        include_str!("../../templates/warranty.txt"),
    ),
    (
        "punch_item",
        "punch_items",
        include_str!("../../templates/punch_item.txt"),
    ),
];

/// The types that ship with their templates.
pub fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
    SHIPPED.iter().map(|(name, _, template)| (*name, *template))
}

/// The type behind a name: what ships is known by its plural as well.
pub(super) fn type_of(name: &str) -> &str {
    SHIPPED
        .iter()
        .find(|(_, plural, _)| *plural == name)
        .map_or(name, |(singular, ..)| singular)
}

/// The name of a type in the form that is stored.
///
/// # Errors
/// When no type can have that name.
pub fn name(text: &str) -> Result<String, Error> {
    let name = kind(text).map_err(Error::Invalid)?;
    Ok(type_of(&name).to_owned())
}

/// A record as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its first line.
    pub title: String,
    /// The text, with its first line.
    pub text: String,
    /// Why the template could not be used and the list of fields stands in.
    pub problem: Option<String>,
}

/// Renders a record. `own` is the tenant's own template for its type.
pub fn render(kind: &str, id: &str, record: &Value, own: Option<&str>) -> Rendered {
    let shipped = SHIPPED.iter().find(|(name, ..)| *name == kind);
    let result = match (own, shipped) {
        (Some(own), _) => fill(own, id, record).map(|(text, _)| text),
        (None, Some((.., template))) => fill(template, id, record).map(|(text, used)| {
            let rest = fields::lines(record, |name| used.iter().any(|used| used == name));
            format!("{text}\n\n{rest}")
        }),
        (None, None) => Ok(plain(kind, id, record)),
    };
    let (text, problem) = match result.map(|text| tidy(&text)) {
        Ok(text) if !text.is_empty() => (text, None),
        Ok(_) => (
            tidy(&plain(kind, id, record)),
            Some("the template of its type wrote nothing".to_owned()),
        ),
        Err(error) => {
            let problem =
                format!("the template of its type failed, its fields are listed instead: {error}");
            (tidy(&plain(kind, id, record)), Some(problem))
        }
    };
    let title = one_line(text.lines().next().unwrap_or_default(), 150);
    Rendered {
        title,
        text,
        problem,
    }
}

/// Tries a template on a sample; says what is wrong with it.
///
/// # Errors
/// When it can't be read, fails on the sample, or writes nothing.
pub fn try_out(kind: &str, template: &str, sample: &Value) -> Result<Rendered, Error> {
    let rendered = render(kind, "sample", sample, Some(template));
    match rendered.problem {
        None => Ok(rendered),
        Some(problem) => Err(Error::Template(problem)),
    }
}

/// The text and the names of the fields that the template knows.
fn fill(template: &str, id: &str, record: &Value) -> Result<(String, Vec<String>), String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.add_filter("money", |value: Jinja| fields::money(&value.to_string()));
    environment.add_filter("list_text", list_text);
    let template = environment
        .template_from_str(template)
        .map_err(|error| explain(&error))?;
    let used = template.undeclared_variables(false).into_iter().collect();
    let mut variables = record.as_object().cloned().unwrap_or_default();
    variables.entry("id").or_insert_with(|| Value::from(id));
    let mut out = Bounded(Vec::new());
    template
        .render_captured_to(Jinja::from(Serde(present(variables))), &mut out)
        .map_err(|error| explain(&error))?;
    Ok((String::from_utf8_lossy(&out.0).into_owned(), used))
}

/// An absent value and one that is null are the same to a template.
fn present(fields: Map<String, Value>) -> Map<String, Value> {
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect()
}

fn list_text(value: Jinja) -> String {
    match value.try_iter() {
        Ok(items) if value.as_str().is_none() => {
            let items: Vec<String> = items.map(|item| item.to_string()).collect();
            items.join(", ")
        }
        _ => value.to_string(),
    }
}

fn explain(error: &minijinja::Error) -> String {
    match error.line() {
        Some(line) => format!("line {line}: {error}"),
        None => error.to_string(),
    }
}

/// A writer that takes only so much.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::Error::other("it writes too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The list of fields, for types without a template.
fn plain(kind: &str, id: &str, record: &Value) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::trim);
    let title = ["title", "name", "subject", "number"]
        .into_iter()
        .find_map(|name| text(name).filter(|text| !text.is_empty()));
    let head = match title {
        Some(title) => format!("{} {id}: {title}", fields::label(kind)),
        None => format!("{} {id}", fields::label(kind)),
    };
    format!("{head}\n{}", fields::lines(record, |_| false))
}

/// Leaves out labels without a value and blank lines beyond one, and joins spaces.
fn tidy(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let mut kept: Vec<&str> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_list = lines.get(at + 1).is_some_and(|next| next.starts_with("- "));
        let is_bare_label = at > 0 && line.ends_with(':') && line.len() <= 60 && !is_list;
        let is_second_blank = line.is_empty() && kept.last().is_none_or(|last| last.is_empty());
        if !is_bare_label && !is_second_blank {
            kept.push(line.trim_end_matches(if at == 0 { ':' } else { ' ' }));
        }
    }
    kept.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_ships_renders_every_field_and_leaves_out_what_is_missing() {
        let record = json!({
            "number": "INV-7", "vendor": "Lakeland Lumber", "amount": 48250, "status": "approved",
            "due_date": "2025-07-01", "paid_date": null, "retainage": 2412.5,
            "line_items": [{ "description": "Studs", "quantity": 400, "amount": "1200.5" }],
        });
        let rendered = render("invoice", "7", &record, None);
        assert_eq!(rendered.problem, None);
        assert_eq!(rendered.title, "Invoice INV-7 from Lakeland Lumber");
        for part in [
            "Amount: 48,250.00",
            "Due: 2025-07-01",
            "- Studs: 400 1,200.50",
            "Retainage: 2412.5",
        ] {
            assert!(rendered.text.contains(part), "{part} in\n{}", rendered.text);
        }
        for part in ["Paid on", "none", "null", "undefined"] {
            assert!(
                !rendered.text.contains(part),
                "{part} in\n{}",
                rendered.text
            );
        }
    }

    #[test]
    fn every_template_that_ships_works_on_nothing_and_on_odd_types() {
        for (kind, _) in shipped() {
            for record in [
                json!({}),
                json!({ "title": 7, "name": [], "amount": "a lot", "line_items": "none", "tags": "x", "to": {} }),
                json!({ "description": ["a", { "b": "c" }], "number": true, "work": 3, "status": null }),
            ] {
                let rendered = render(kind, "1", &record, None);
                assert_eq!(rendered.problem, None, "{kind} {record}");
                assert!(!rendered.title.is_empty(), "{kind}");
            }
        }
    }

    #[test]
    fn a_template_that_fails_loses_nothing_and_one_that_never_ends_is_stopped() {
        let record = json!({ "amount": 7 });
        for bad in [
            "{{ amount.foo.bar() }}",
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
            "{{ 'x' * 90000000 }}",
            "{% if %}",
            "{{ amount | nonsense }}",
            " ",
        ] {
            let rendered = render("thing", "1", &record, Some(bad));
            assert!(rendered.problem.is_some(), "{bad}");
            assert!(rendered.text.contains("Amount: 7"), "{bad}");
            assert!(try_out("thing", bad, &record).is_err(), "{bad}");
        }
        let good = try_out(
            "thing",
            "Thing {{ id }}\nCost {{ amount | money }}",
            &record,
        );
        assert_eq!(
            good.map(|good| good.text).unwrap_or_default(),
            "Thing sample\nCost 7.00"
        );
    }

    #[test]
    fn a_type_without_a_template_lists_its_fields() {
        let record = json!({ "name": "North gate", "keys": ["a", "b"], "owner": { "first_name": "Ann" }, "open": true });
        let rendered = render("access_point", "9", &record, None);
        assert_eq!(
            rendered.text,
            "Access point 9: North gate\nKeys: a, b\nName: North gate\nOpen: yes\nOwner, first name: Ann"
        );
    }
}

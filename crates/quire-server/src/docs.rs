//! The documentation page and the OpenAPI document: made from the routes, without a script and without
//! anything from elsewhere.

use std::fmt::Write;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use quire_types::ErrorKind;

use crate::problem::{advice, status, title};
use crate::state::App;

const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1,h2,h3{line-height:1.25}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}\
code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f6f8fa;padding:.8rem;overflow:auto;border-radius:6px}\
.op{margin:1.5rem 0}.method{display:inline-block;min-width:4.2rem;font-weight:700}\
table{border-collapse:collapse}td,th{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left;vertical-align:top}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{background:#161b22}h2,td,th{border-color:#30363d}a{color:#58a6ff}}";

pub(crate) fn router(document: &OpenApi) -> Router<App> {
    let json = serde_json::to_value(document).unwrap_or_default();
    let page = page(&json);
    let problems = problems();
    let text = serde_json::to_string_pretty(&json).unwrap_or_default();
    Router::new()
        .route(
            "/openapi.json",
            get(|| async move { ([(header::CONTENT_TYPE, "application/json")], text) }),
        )
        .route("/docs", get(|| async move { html(page) }))
        .route("/docs/problems", get(|| async move { html(problems) }))
}

fn html(page: String) -> impl IntoResponse {
    (
        [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
        ],
        Html(page),
    )
}

/// Text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn head(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1>"
    )
}

fn page(document: &Value) -> String {
    let mut page = head("quire API");
    let description = document["info"]["description"].as_str().unwrap_or_default();
    // Writing to a String can't fail.
    let _ = write!(
        page,
        "<p>{}</p><p>Machine-readable: <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI 3.1). \
         <a href=\"/docs/problems\">What the errors mean</a>.</p>",
        escape(description)
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let _ = write!(
            page,
            "<h2>{}</h2><p>{}</p>",
            escape(name),
            escape(tag["description"].as_str().unwrap_or_default())
        );
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"]
                    .as_array()
                    .is_some_and(|tags| tags.iter().any(|tag| tag == name))
                {
                    describe(&mut page, document, path, method, operation);
                }
            }
        }
    }
    page
}

fn describe(page: &mut String, document: &Value, path: &str, method: &str, operation: &Value) {
    let text = |field: &str| escape(operation[field].as_str().unwrap_or_default());
    let _ = write!(
        page,
        "<div class=\"op\"><h3><span class=\"method\">{}</span><code>{}</code></h3><p>{} {}</p><pre>{}</pre>",
        method.to_uppercase(),
        escape(path),
        text("summary"),
        text("description"),
        escape(&curl(document, path, method, operation)),
    );
    let statuses: Vec<&str> = operation["responses"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(status, _)| status.as_str())
        .collect();
    let _ = write!(
        page,
        "<p>Answers: {}</p></div>",
        escape(&statuses.join(", "))
    );
}

/// The operation as a command that can be pasted, with example values from the schema.
fn curl(document: &Value, path: &str, method: &str, operation: &Value) -> String {
    let mut command = format!(
        "curl -X {} http://127.0.0.1:7700{path}",
        method.to_uppercase()
    );
    if operation.get("security").is_some() {
        command.push_str(" \\\n  -H \"Authorization: Bearer $QUIRE_KEY\"");
    }
    let content = &operation["requestBody"]["content"];
    if let Some(schema) = content.get("application/json").map(|json| &json["schema"]) {
        let example = example(document, schema, 0);
        let _ = write!(command, " \\\n  --json '{example}'");
    }
    if content.get("multipart/form-data").is_some() {
        let _ = write!(
            command,
            "\n\ncurl -X POST http://127.0.0.1:7700{path} \\\n  -H \"Authorization: Bearer $QUIRE_KEY\" \\\n  -F file=@contract.pdf"
        );
    }
    command
}

/// Required fields with their examples.
fn example(document: &Value, schema: &Value, depth: u8) -> Value {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
    {
        return if depth < 4 {
            example(
                document,
                &document["components"]["schemas"][name],
                depth + 1,
            )
        } else {
            Value::Null
        };
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let fields = parts
            .iter()
            .filter_map(|part| example(document, part, depth + 1).as_object().cloned());
        return Value::Object(fields.flatten().collect());
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let shown = fields
        .filter(|(name, _)| required.contains(&name.as_str()))
        .map(|(name, field)| {
            let value = field
                .get("example")
                .cloned()
                .unwrap_or_else(|| Value::from("…"));
            (name.clone(), value)
        });
    Value::Object(shown.collect())
}

fn problems() -> String {
    let mut page = head("Problems");
    page.push_str("<p>Every error is a problem document (RFC 9457). Its <code>code</code> is one of these.</p><table><tr><th>Code</th><th>Status</th><th>Meaning</th><th>What to do</th></tr>");
    for kind in ErrorKind::ALL {
        let _ = write!(
            page,
            "<tr id=\"{0}\"><td><code>{0}</code></td><td>{1}</td><td>{2}</td><td>{3}</td></tr>",
            kind.as_str(),
            status(kind).as_u16(),
            escape(title(kind)),
            escape(advice(kind)),
        );
    }
    page.push_str("</table>");
    page
}

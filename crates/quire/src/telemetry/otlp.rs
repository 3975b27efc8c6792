//! The shape of OTLP/HTTP in JSON: what a collector takes at `/v1/traces`. Source: the protocol's own definition,
//! opentelemetry/proto/trace/v1/trace.proto, and "JSON Protobuf Encoding" of the OTLP specification: ids in
//! hexadecimal, numbers of 64 bits as text.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::spans::{Span, Value};

/// Fields that are lists. A field of a span in this process can't be one, so they are written as JSON.
const LISTS: [&str; 1] = ["gen_ai.response.finish_reasons"];
/// The field that says that something failed.
const ERROR: &str = "error.type";

/// A request that hands these spans over.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Json {
    let resource: Vec<Json> = resource
        .iter()
        .map(|(name, value)| json!({"key": name, "value": {"stringValue": value}}))
        .collect();
    let spans: Vec<Json> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "quire", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> = span
        .fields
        .iter()
        .map(|(name, value)| json!({"key": name, "value": any(name, value)}))
        .collect();
    let mut told = json!({
        "traceId": format!("{:032x}", span.place.trace),
        "spanId": format!("{:016x}", span.place.span),
        "name": span.name,
        "kind": match span.kind.as_str() {
            "server" => 2,
            "client" => 3,
            _ => 1,
        },
        "startTimeUnixNano": nanoseconds(span.began),
        // A clock may be set back.
        "endTimeUnixNano": nanoseconds(span.ended.max(span.began)),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        told["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    if span.fields.iter().any(|(name, _)| *name == ERROR) {
        // Without a message: it could hold what was said.
        told["status"] = json!({"code": 2});
    }
    told
}

fn any(name: &str, value: &Value) -> Json {
    match value {
        Value::Text(text) if LISTS.contains(&name) => {
            let values: Vec<String> = serde_json::from_str(text).unwrap_or_default();
            let values: Vec<Json> = values
                .iter()
                .map(|value| json!({"stringValue": value}))
                .collect();
            json!({"arrayValue": {"values": values}})
        }
        Value::Text(text) => json!({"stringValue": text}),
        Value::Whole(number) => json!({"intValue": number.to_string()}),
        Value::Number(number) => json!({"doubleValue": number}),
        Value::Truth(truth) => json!({"boolValue": truth}),
    }
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

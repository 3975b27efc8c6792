//! A form with a file (RFC 7578), as JSON: texts as they are, a file by its name, its length and how it begins.

use serde_json::{Map, Value, json};

/// The fields of a form; null when it is none.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Value {
    let Some(boundary) = content_type.split_once("boundary=") else {
        return Value::Null;
    };
    let mark = format!("--{}", boundary.1);
    let mut fields = Map::new();
    let mut rest = body;
    while let Some(at) = find(rest, mark.as_bytes()) {
        rest = &rest[at + mark.len()..];
        let end = find(rest, mark.as_bytes()).unwrap_or(rest.len());
        let Some(head) = find(&rest[..end], b"\r\n\r\n") else {
            continue;
        };
        let content = rest[head + 4..end].strip_suffix(b"\r\n");
        let content = content.unwrap_or(&rest[head + 4..end]);
        let head = String::from_utf8_lossy(&rest[..head]).into_owned();
        let Some(name) = quoted(&head, "name=\"") else {
            continue;
        };
        let value = match quoted(&head, "filename=\"") {
            Some(file) => json!({"name": file, "bytes": content.len(),
                "begins": String::from_utf8_lossy(&content[..content.len().min(4)])}),
            None => json!(String::from_utf8_lossy(content)),
        };
        fields.insert(name, value);
    }
    Value::Object(fields)
}

fn quoted(head: &str, before: &str) -> Option<String> {
    // `filename="` ends with `name="`, so what stands before it counts.
    let at = head.find(&format!("; {before}"))? + 2 + before.len();
    let rest = &head[at..];
    Some(rest[..rest.find('"')?].to_owned())
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    // Files of sound are large, and a mark begins with a rare byte.
    let first = *mark.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(mark) {
            return Some(at);
        }
        from = at + 1;
    }
}

//! OpenAI's files and batches.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::{error, tools};
use super::BatchFate;

/// The files and batches of a provider.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<String, String>,
    batches: Vec<Batch>,
    /// Names that were given so far.
    named: usize,
}

#[derive(Debug)]
struct Batch {
    id: String,
    input: String,
    metadata: Value,
    status: &'static str,
    output: Option<String>,
    errors: Option<String>,
}

impl Batch {
    fn told(&self) -> Value {
        let problems = json!({"object": "list", "data": [
            {"code": "invalid_json_line", "message": "line 1 is no JSON", "param": null, "line": 1}]});
        json!({"id": self.id, "object": "batch", "endpoint": "/v1/embeddings", "completion_window": "24h",
            "input_file_id": self.input, "status": self.status, "output_file_id": self.output,
            "error_file_id": self.errors, "created_at": 1_763_800_000, "metadata": self.metadata,
            "errors": if self.status == "failed" { problems } else { Value::Null }})
    }
}

impl Files {
    /// How many files are kept, and how many batches were made.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.files.len(), self.batches.len())
    }

    /// The answer to a request about files or batches; none when it is about something else.
    pub(super) fn answer(
        &mut self,
        fate: &BatchFate,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Response> {
        let path = path.strip_prefix("/v1/")?;
        let parts: Vec<&str> = path.split('/').collect();
        let json = |value: Value| Some(axum::Json(value).into_response());
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["files"]) => {
                let Some(content) = content(headers, body) else {
                    return Some(error(StatusCode::BAD_REQUEST, "a batch file is a form"));
                };
                let bytes = content.len();
                let id = self.keep(content);
                json(
                    json!({"id": id, "object": "file", "bytes": bytes, "purpose": "batch",
                    "created_at": 1_763_800_000, "filename": "batch.jsonl", "status": "processed"}),
                )
            }
            ("GET", ["files", id, "content"]) => match self.files.get(*id) {
                Some(content) => Some(
                    (
                        [(header::CONTENT_TYPE, "application/octet-stream")],
                        content.clone(),
                    )
                        .into_response(),
                ),
                None => Some(error(StatusCode::NOT_FOUND, "no such file")),
            },
            ("DELETE", ["files", id]) => {
                let deleted = self.files.remove(*id).is_some();
                json(json!({"id": id, "object": "file", "deleted": deleted}))
            }
            ("POST", ["batches"]) => {
                let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
                let input = wanted["input_file_id"].as_str().unwrap_or_default();
                let is_right = self.files.contains_key(input)
                    && wanted["endpoint"] == "/v1/embeddings"
                    && wanted["completion_window"] == "24h";
                if !is_right {
                    return Some(error(
                        StatusCode::BAD_REQUEST,
                        "no batch can be made of this",
                    ));
                }
                self.named += 1;
                let batch = Batch {
                    id: format!("batch_{}", self.named),
                    input: input.to_owned(),
                    metadata: wanted["metadata"].clone(),
                    status: "validating",
                    output: None,
                    errors: None,
                };
                let told = batch.told();
                self.batches.push(batch);
                json(told)
            }
            ("GET", ["batches"]) => {
                let newest: Vec<Value> = self.batches.iter().rev().map(Batch::told).collect();
                json(json!({"object": "list", "data": newest, "has_more": false}))
            }
            ("GET", ["batches", id]) => {
                self.work(fate, id);
                match self.batches.iter().find(|batch| batch.id == *id) {
                    Some(batch) => json(batch.told()),
                    None => Some(error(StatusCode::NOT_FOUND, "no such batch")),
                }
            }
            ("POST", ["batches", id, "cancel"]) => {
                let batch = self.batches.iter_mut().find(|batch| batch.id == *id)?;
                batch.status = "cancelled";
                json(batch.told())
            }
            _ => None,
        }
    }

    fn keep(&mut self, content: String) -> String {
        self.named += 1;
        let id = format!("file-{}", self.named);
        self.files.insert(id.clone(), content);
        id
    }

    /// Does what is left of a batch.
    fn work(&mut self, fate: &BatchFate, id: &str) {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else {
            return;
        };
        if !matches!(self.batches[at].status, "validating" | "in_progress") {
            return;
        }
        let status = match fate {
            BatchFate::Runs => "in_progress",
            BatchFate::Fails => "failed",
            BatchFate::ExpiresAfter(_) => "expired",
            BatchFate::Completes | BatchFate::FailsLinesWith(_) => "completed",
        };
        self.batches[at].status = status;
        if matches!(status, "in_progress" | "failed") {
            return;
        }
        let input = self.files.get(&self.batches[at].input).cloned();
        let (mut answered, mut failed) = (Vec::new(), Vec::new());
        for (number, line) in input.unwrap_or_default().lines().enumerate() {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let id = &line["custom_id"];
            let is_late = matches!(fate, BatchFate::ExpiresAfter(most) if number >= *most);
            let is_bad = matches!(fate, BatchFate::FailsLinesWith(word)
                if line["body"]["input"].to_string().contains(word));
            if is_late {
                failed.push(json!({"id": "r", "custom_id": id, "response": null,
                    "error": {"code": "batch_expired", "message": "This request could not be executed in time."}}));
            } else if is_bad {
                failed.push(
                    json!({"id": "r", "custom_id": id, "error": null, "response":
                    {"status_code": 400, "request_id": "q", "body": {"error": {"message": "no"}}}}),
                );
            } else {
                let body = tools::embeddings(&line["body"]);
                answered.push(
                    json!({"id": "r", "custom_id": id, "error": null, "response":
                    {"status_code": 200, "request_id": "q", "body": body}}),
                );
            }
        }
        // In any order, as the documentation warns.
        answered.reverse();
        for (lines, is_output) in [(answered, true), (failed, false)] {
            if lines.is_empty() {
                continue;
            }
            let text: Vec<String> = lines.iter().map(Value::to_string).collect();
            let file = self.keep(text.join("\n") + "\n");
            match is_output {
                true => self.batches[at].output = Some(file),
                false => self.batches[at].errors = Some(file),
            }
        }
    }
}

/// The file in a form whose purpose is a batch.
fn content(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.strip_prefix("multipart/form-data; boundary=")?;
    let text = String::from_utf8(body.to_vec()).ok()?;
    let delimiter = format!("--{boundary}");
    let part = |name: &str| {
        let marker = format!("name=\"{name}\"");
        let found = text.split(&delimiter).find(|part| part.contains(&marker))?;
        let (_, content) = found.split_once("\r\n\r\n")?;
        content.strip_suffix("\r\n").map(str::to_owned)
    };
    (part("purpose")? == "batch").then(|| part("file"))?
}

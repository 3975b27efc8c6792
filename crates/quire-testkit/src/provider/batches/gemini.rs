//! Gemini's batches of embeddings: operations that hold their requests, and their answers in the end.

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::{error, tools};
use super::BatchFate;

/// The batches of a provider.
#[derive(Debug, Default)]
pub(super) struct Operations {
    kept: Vec<Operation>,
    /// Batches that were made so far.
    made: usize,
}

#[derive(Debug)]
struct Operation {
    id: String,
    model: String,
    display_name: Value,
    requests: Vec<Value>,
    state: &'static str,
    answers: Vec<Value>,
}

impl Operation {
    fn is_over(&self) -> bool {
        !matches!(self.state, "PENDING" | "RUNNING")
    }

    fn told(&self) -> Value {
        let name = format!("batches/{}", self.id);
        let about = json!({
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.EmbedContentBatch",
            "model": self.model,
            "displayName": self.display_name,
            "state": format!("BATCH_STATE_{}", self.state),
            "createTime": "2025-11-22T13:00:00.123456789Z",
            "batchStats": {"requestCount": self.requests.len().to_string()},
            "name": name,
        });
        let mut told = json!({"name": name, "metadata": about});
        if self.is_over() {
            told["done"] = json!(true);
        }
        match self.state {
            "SUCCEEDED" => {
                told["response"] = json!({
                    "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.EmbedContentBatchOutput",
                    "inlinedEmbedContentResponses": {"inlinedResponses": self.answers},
                });
            }
            // What was done by then.
            "EXPIRED" => {
                told["metadata"]["output"] =
                    json!({"inlinedResponses": {"inlinedResponses": self.answers}});
            }
            "FAILED" => {
                told["error"] = json!({"code": 3, "message": "line 1 is no JSON"});
            }
            "CANCELLED" => told["error"] = json!({"code": 1, "message": "cancelled"}),
            _ => {}
        }
        told
    }

    /// Does what is left of it.
    fn work(&mut self, fate: &BatchFate) {
        if self.is_over() {
            return;
        }
        self.state = match fate {
            BatchFate::Runs => "RUNNING",
            BatchFate::Fails => "FAILED",
            BatchFate::ExpiresAfter(_) => "EXPIRED",
            BatchFate::Completes | BatchFate::FailsLinesWith(_) => "SUCCEEDED",
        };
        if !matches!(self.state, "SUCCEEDED" | "EXPIRED") {
            return;
        }
        for (number, line) in self.requests.iter().enumerate() {
            let request = &line["request"];
            let text = request.pointer("/content/parts/0/text");
            let text = text.and_then(Value::as_str).unwrap_or_default();
            let dimensions = request["outputDimensionality"].as_u64().unwrap_or(8);
            let mut answer = json!({"metadata": line["metadata"]});
            match fate {
                BatchFate::ExpiresAfter(most) if number >= *most => break,
                BatchFate::FailsLinesWith(word) if text.contains(word) => {
                    answer["error"] = json!({"code": 3, "message": "no"});
                }
                // A number of 64 bits is text.
                _ => {
                    answer["response"] = json!({"tokenCount": "5",
                        "embedding": {"values": tools::vector(text, dimensions)}});
                }
            }
            self.answers.push(answer);
        }
        // In any order, whatever the documentation promises.
        self.answers.reverse();
    }
}

impl Operations {
    /// How many batches are kept, and how many were made.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.kept.len(), self.made)
    }

    /// The answer to a request about batches; none when it is about something else.
    pub(super) fn answer(
        &mut self,
        fate: &BatchFate,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Option<Response> {
        let path = path.strip_prefix("/v1beta/")?;
        let json = |value: Value| Some(axum::Json(value).into_response());
        if let Some(model) = path.strip_suffix(":asyncBatchEmbedContent") {
            return Some(self.make(model, body));
        }
        let rest = path.strip_prefix("batches")?;
        let Some(id) = rest.strip_prefix('/') else {
            let newest: Vec<Value> = self.kept.iter().rev().map(Operation::told).collect();
            return json(json!({"operations": newest}));
        };
        let (id, is_cancel) = match id.strip_suffix(":cancel") {
            Some(id) => (id, true),
            None => (id, false),
        };
        let Some(at) = self.kept.iter().position(|one| one.id == id) else {
            return Some(error(StatusCode::NOT_FOUND, "no such batch"));
        };
        match (method.as_str(), is_cancel) {
            ("POST", true) => {
                self.kept[at].state = "CANCELLED";
                json(json!({}))
            }
            ("DELETE", false) => {
                self.kept.remove(at);
                json(json!({}))
            }
            ("GET", false) => {
                self.kept[at].work(fate);
                json(self.kept[at].told())
            }
            _ => None,
        }
    }

    fn make(&mut self, model: &str, body: &[u8]) -> Response {
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let requests = wanted.pointer("/batch/inputConfig/requests/requests");
        let requests = requests.and_then(Value::as_array).cloned();
        let display_name = &wanted["batch"]["displayName"];
        // As the service does: a name is required, and every request is of the model of the batch.
        let is_right = |one: &Value| one["request"]["model"] == model;
        let requests = requests.filter(|all| !all.is_empty() && all.iter().all(is_right));
        let (Some(requests), true) = (requests, display_name.is_string()) else {
            return error(StatusCode::BAD_REQUEST, "no batch can be made of this");
        };
        self.made += 1;
        let operation = Operation {
            id: format!("b{}", self.made),
            model: model.to_owned(),
            display_name: display_name.clone(),
            requests,
            state: "PENDING",
            answers: Vec::new(),
        };
        let told = operation.told();
        self.kept.push(operation);
        axum::Json(told).into_response()
    }
}

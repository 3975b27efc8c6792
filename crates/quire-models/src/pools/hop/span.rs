//! The span of one call, by OpenTelemetry's conventions for generative AI: the only place that knows their names.
//! Source: docs/gen-ai/client-inference.md and client-embeddings.md of open-telemetry/semantic-conventions-genai.
//!
//! Refuses to know what was asked and what was answered: no text of either becomes an attribute.

use std::time::Duration;

use quire_types::Kind;
use tracing::field::Empty;
use tracing::{Span, info_span};

use super::super::Work;
use super::Hop;
use crate::Error;
use crate::chat::{Answerer, FinishReason};
use crate::registry::{Tokens, Wire};

impl Hop {
    /// The span of a call that leaves now. `wants_json` is whether the answer is to be data.
    pub(super) fn span(&self, operation: &'static str, wants_json: bool) -> Span {
        let is_chat = operation == "chat";
        let dimensions = match self.wish.work {
            Work::Embed { dimensions, .. } => Some(dimensions),
            _ => None,
        };
        // What is marked with a kind is exported where that is configured.
        info_span!(
            "model_call",
            otel.name = %format_args!("{operation} {}", self.model.name),
            otel.kind = "client",
            gen_ai.operation.name = operation,
            gen_ai.provider.name = provider_name(self.server.wire(), &self.model.provider),
            gen_ai.request.model = %self.model.name,
            gen_ai.request.max_tokens = is_chat.then_some(self.wish.output_tokens),
            gen_ai.request.stream = is_chat.then_some(true),
            "gen_ai.output.type" = wants_json.then_some("json"),
            gen_ai.embeddings.dimension.count = dimensions,
            gen_ai.response.id = Empty,
            gen_ai.response.model = Empty,
            gen_ai.response.finish_reasons = Empty,
            gen_ai.response.time_to_first_chunk = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.usage.cache_write.input_tokens = Empty,
            gen_ai.usage.reasoning.output_tokens = Empty,
            server.address = self.server.host(),
            server.port = self.server.port(),
            "error.type" = Empty,
            pool = %self.pool,
            tenant = %self.wish.tenant,
        )
    }
}

pub(super) fn answered_by(span: &Span, answerer: &Answerer) {
    span.record("gen_ai.response.id", answerer.id.as_deref());
    span.record("gen_ai.response.model", answerer.model.as_deref());
}

pub(super) fn first_token(span: &Span, took: Duration) {
    span.record("gen_ai.response.time_to_first_chunk", took.as_secs_f64());
}

pub(super) fn finished(span: &Span, reason: &FinishReason) {
    // A list, as whoever reads logs and whoever exports spans know it.
    let reasons = serde_json::json!([reason.as_str()]).to_string();
    span.record("gen_ai.response.finish_reasons", reasons);
}

pub(super) fn failed(span: &Span, error: &Error) {
    match error {
        Error::Refused {
            status: Some(status),
            ..
        } => span.record("error.type", status.to_string()),
        _ => span.record("error.type", error.kind().as_str()),
    };
}

pub(super) fn used(span: &Span, used: Tokens) {
    span.record("gen_ai.usage.input_tokens", used.input);
    for (name, tokens) in [
        ("gen_ai.usage.output_tokens", used.received()),
        ("gen_ai.usage.cache_read.input_tokens", used.cached),
        ("gen_ai.usage.cache_write.input_tokens", used.cache_written),
        ("gen_ai.usage.reasoning.output_tokens", used.reasoning),
    ] {
        if tokens > 0 {
            span.record(name, tokens);
        }
    }
}

/// What the conventions call a provider; one that they don't know has the name that the operator gave it.
fn provider_name(wire: Wire, name: &str) -> &str {
    match wire {
        Wire::Gemini => "gcp.gemini",
        _ => name,
    }
}

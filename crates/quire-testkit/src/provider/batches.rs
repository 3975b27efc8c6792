//! Batches for vectors, as OpenAI and Gemini have them: what goes up is worked on when somebody looks, as the test says.

mod gemini;
mod openai;

use axum::http::{HeaderMap, Method};
use axum::response::Response;

/// What becomes of batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BatchFate {
    /// Every line is answered by the time somebody looks.
    #[default]
    Completes,
    /// It goes on until another fate is set, or it is cancelled.
    Runs,
    /// Lines that hold this word fail, the others are answered.
    FailsLinesWith(String),
    /// The day is over after so many lines.
    ExpiresAfter(usize),
    /// The file is refused as a whole.
    Fails,
}

/// The batches of a provider, in both protocols.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pub(super) fate: BatchFate,
    openai: openai::Files,
    gemini: gemini::Operations,
}

impl Batches {
    /// How many files are kept, of which a batch of Gemini's is one, and how many batches were made.
    pub(super) fn counts(&self) -> (usize, usize) {
        let (files, made) = self.openai.counts();
        let (kept, more) = self.gemini.counts();
        (files + kept, made + more)
    }

    /// The answer to a request about files or batches; none when it is about something else.
    pub(super) fn answer(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Response> {
        let fate = &self.fate;
        let answer = self.openai.answer(fate, method, path, headers, body);
        answer.or_else(|| self.gemini.answer(fate, method, path, body))
    }
}

/// Whether a request makes a batch.
pub(super) fn is_making(method: &Method, path: &str) -> bool {
    method == Method::POST && (path == "/v1/batches" || path.ends_with(":asyncBatchEmbedContent"))
}

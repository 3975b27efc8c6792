//! Gemini's batches of embeddings: the requests are in the one that makes the batch, which is an operation to look at,
//! and their answers are in the operation when it is over.
//!
//! Shapes: ai.google.dev/api/embeddings (asyncBatchEmbedContent) and ai.google.dev/api/batch-api; the official client
//! googleapis/js-genai reads the answers under another name (`inlinedEmbedContentResponses`) than the reference has, so
//! both are read. Answers are matched by the key that each request bears and never by their order, which the
//! reference promises and the service does not keep (googleapis/js-genai, issue 1207).

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Batch, BatchState, Collected, TRANSFER, segment};
use crate::Error;
use crate::server::Server;
use crate::vectors::gemini_request;

/// Bytes of the vectors and of the texts of one batch. A request is 20 MB at the most, with what is around the texts;
/// a number of an answer is about twelve characters.
pub(super) const MOST_BYTES: (usize, usize) = (16 << 20, 12 << 20);
/// Batches that are looked through for a mark, in so many pages: each may come with all its answers.
const PAGE: usize = 10;
const MOST_PAGES: usize = 20;
/// The name of the id among what a request is given to bear.
const KEY: &str = "key";

/// A batch, without what came of it.
#[derive(Deserialize)]
struct Operation {
    name: String,
    #[serde(default)]
    done: bool,
    error: Option<Status>,
    metadata: Option<About>,
}

#[derive(Deserialize)]
struct Status {
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    state: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    operations: Vec<Operation>,
    next_page_token: Option<String>,
}

/// What came of a batch, wherever it stands.
#[derive(Deserialize)]
struct Over {
    response: Option<Output>,
    metadata: Option<Output>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    output: Option<Box<Output>>,
    inlined_responses: Option<Answers>,
    inlined_embed_content_responses: Option<Answers>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answers {
    #[serde(default)]
    inlined_responses: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    metadata: Option<Map<String, Value>>,
    response: Option<Embedded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Embedded {
    embedding: Option<Values>,
    token_count: Option<Value>,
    usage_metadata: Option<Usage>,
}

#[derive(Deserialize)]
struct Values {
    #[serde(default)]
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: Option<Value>,
}

impl Operation {
    fn batch(self) -> Result<Batch, Error> {
        let told = self.metadata.and_then(|about| about.state);
        // Some answers say JOB_STATE_, others BATCH_STATE_.
        let told = told.unwrap_or_default();
        let told = told.rsplit_once("STATE_").map_or("", |(_, state)| state);
        let why = self.error.map(|error| {
            let why = error.message.filter(|why| !why.is_empty());
            why.unwrap_or_else(|| "no reason was given".to_owned())
        });
        let state = match (told, why) {
            ("CANCELLED" | "EXPIRED", _) => BatchState::Ended,
            ("FAILED", why) => {
                BatchState::Failed(why.unwrap_or_else(|| "no reason was given".to_owned()))
            }
            (_, Some(why)) => BatchState::Failed(why),
            ("SUCCEEDED", None) => BatchState::Completed,
            (_, None) if self.done => BatchState::Completed,
            // Also what this version does not know: whoever waits does not wait for ever.
            _ => BatchState::Running,
        };
        let id = self.name.strip_prefix("batches/").unwrap_or(&self.name);
        Ok(Batch {
            id: segment(id)?.to_owned(),
            state,
            output: None,
            files: Vec::new(),
        })
    }
}

pub(super) async fn begin(
    server: &Server,
    model: &str,
    dimensions: u32,
    texts: &[(String, String)],
    mark: &str,
) -> Result<Batch, Error> {
    let requests: Vec<Value> = texts
        .iter()
        .map(|(id, text)| {
            json!({"request": gemini_request(model, text, dimensions, false), "metadata": {KEY: id}})
        })
        .collect();
    let wanted = json!({"batch": {"displayName": mark, "inputConfig": {"requests": {"requests": requests}}}});
    let request = server.post(&format!("models/{model}:asyncBatchEmbedContent"));
    let deadline = Instant::now() + TRANSFER;
    let (body, _) = server.fetch_until(request.json(&wanted), deadline).await?;
    server.parse::<Operation>(&body)?.batch()
}

pub(super) async fn look(server: &Server, id: &str) -> Result<Batch, Error> {
    server
        .parse::<Operation>(&operation(server, id).await?)?
        .batch()
}

/// A batch with all that came of it.
async fn operation(server: &Server, id: &str) -> Result<Vec<u8>, Error> {
    let request = server.request(Method::GET, &format!("batches/{}", segment(id)?));
    let (body, _) = server
        .fetch_until(request, Instant::now() + TRANSFER)
        .await?;
    Ok(body)
}

pub(super) async fn marked(server: &Server, mark: &str) -> Result<Option<Batch>, Error> {
    let mut after = String::new();
    for _ in 0..MOST_PAGES {
        let request = server.request(Method::GET, &format!("batches?pageSize={PAGE}{after}"));
        let (body, _) = server
            .fetch_until(request, Instant::now() + TRANSFER)
            .await?;
        let list: List = server.parse(&body)?;
        let bears = |told: &Operation| {
            let about = told.metadata.as_ref();
            about.and_then(|about| about.display_name.as_deref()) == Some(mark)
        };
        if let Some(found) = list.operations.into_iter().find(bears) {
            return found.batch().map(Some);
        }
        match list.next_page_token.filter(|token| !token.is_empty()) {
            None => break,
            Some(token) => after = format!("&pageToken={}", escaped(&token)),
        }
    }
    Ok(None)
}

pub(super) async fn collect(
    server: &Server,
    batch: &Batch,
    dimensions: u32,
) -> Result<Collected, Error> {
    let over: Over = server.parse(&operation(server, &batch.id).await?)?;
    let mut collected = Collected::nothing();
    let here = over.response.and_then(answers);
    let here = here.or_else(|| over.metadata.and_then(answers));
    for answer in here.into_iter().flatten() {
        let Some(embedded) = answer.response else {
            continue;
        };
        let usage = embedded.usage_metadata;
        let told = usage.and_then(|usage| usage.prompt_token_count);
        let tokens = told.or(embedded.token_count).as_ref().and_then(number);
        let vector = embedded.embedding.map(|embedding| embedding.values);
        let key = answer
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.get(KEY));
        match key.and_then(Value::as_str) {
            Some(id) => collected.take(id.to_owned(), vector, tokens, dimensions),
            // Paid for, and of nobody knows what.
            None => collected.take(String::new(), None, tokens, dimensions),
        }
    }
    Ok(collected)
}

pub(super) async fn forget(server: &Server, batch: &Batch) -> Result<(), Error> {
    let path = format!("batches/{}", segment(&batch.id)?);
    let request = server.request(Method::DELETE, &path);
    server.fetch(request).await.map(drop)
}

fn answers(output: Output) -> Option<Vec<Answer>> {
    let inner = output.output.and_then(|inner| answers(*inner));
    let here = output
        .inlined_embed_content_responses
        .or(output.inlined_responses);
    inner.or(here.map(|answers| answers.inlined_responses))
}

/// A number of 64 bits, which JSON of protocol buffers has as text.
fn number(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

/// Text as a value in a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

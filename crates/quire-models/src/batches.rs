//! Vectors by OpenAI's batch API, for half the price: a file with a request on each line goes up, a batch is made of
//! it, and within a day a file with an answer on each line comes back.
//!
//! Shapes: developers.openai.com/api/docs/guides/batch. A line is one text under an id of the caller's. A batch bears
//! a mark, by which it is found again when nobody noted what the provider called it. Knows no price and no second try.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::server::Server;
use crate::vectors::{EmbedCall, OpenAi, is_sound, openai};

/// Texts in one batch for vectors, at the most.
pub const MOST_BATCH_TEXTS: usize = 50_000;
/// Vectors of one batch are in memory together when they come.
const MOST_VECTOR_BYTES: usize = 64 << 20;
/// Longest wait for a file to go up or to come down.
const TRANSFER: Duration = Duration::from_mins(10);
/// Longest line of an answer: 3,072 numbers are about 80 KB.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Batches that are looked through for a mark, newest first, in so many pages.
const PAGE: usize = 100;
const MOST_PAGES: usize = 5;
/// The name of the mark among what a batch is given to bear.
const MARK: &str = "mark";
/// Seconds after which the provider forgets a file that nobody deleted.
const FILE_LIFE_S: u32 = 3 * 86_400;

/// Texts that one batch may have, given the length of their vectors.
pub fn most_in_batch(dimensions: u32) -> usize {
    let bytes = (dimensions as usize)
        .saturating_mul(size_of::<f32>())
        .max(1);
    (MOST_VECTOR_BYTES / bytes).clamp(1, MOST_BATCH_TEXTS)
}

/// A batch at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the provider calls it.
    pub id: String,
    /// How far it is.
    pub state: BatchState,
    /// Its files: of requests, of answers, of lines that failed.
    input: String,
    output: Option<String>,
    errors: Option<String>,
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// It waits or is worked on.
    Running,
    /// Every line is answered or failed.
    Completed,
    /// The day is over, or somebody cancelled it; what was done until then can be had.
    Ended,
    /// Nothing of it was done, and why.
    Failed(String),
}

/// What came of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    /// Vectors by the ids of their texts. Lines that failed are not among them.
    pub vectors: HashMap<String, Vec<f32>>,
    /// Tokens read, where the provider said so for every line that it answered.
    pub input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct File {
    id: String,
}

#[derive(Deserialize)]
struct Told {
    id: String,
    status: String,
    input_file_id: String,
    output_file_id: Option<String>,
    error_file_id: Option<String>,
    errors: Option<Problems>,
    metadata: Option<HashMap<String, Value>>,
}

#[derive(Deserialize)]
struct Problems {
    data: Option<Vec<Problem>>,
}

#[derive(Deserialize)]
struct Problem {
    message: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Told>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Line {
    custom_id: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    body: Value,
}

impl From<Told> for Batch {
    fn from(told: Told) -> Self {
        let problems = told.errors.and_then(|errors| errors.data);
        let why = problems.and_then(|all| all.into_iter().find_map(|problem| problem.message));
        let state = match told.status.as_str() {
            "completed" => BatchState::Completed,
            "expired" | "cancelled" => BatchState::Ended,
            "failed" => BatchState::Failed(why.unwrap_or_else(|| "no reason was given".to_owned())),
            // Also what this version does not know: whoever waits does not wait for ever.
            _ => BatchState::Running,
        };
        Self {
            id: told.id,
            state,
            input: told.input_file_id,
            output: told.output_file_id,
            errors: told.error_file_id,
        }
    }
}

impl Server {
    /// Has texts made into vectors within a day: one line each, under its id.
    pub async fn begin_batch(
        &self,
        model: &str,
        dimensions: u32,
        texts: &[(String, String)],
        mark: &str,
    ) -> Result<Batch, Error> {
        let mut lines = Vec::new();
        for (id, text) in texts {
            let body = openai(&EmbedCall {
                model,
                texts: std::slice::from_ref(text),
                dimensions,
                are_questions: false,
            });
            let line =
                json!({"custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": body});
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        let file = self.upload(&lines).await?;
        let wanted = json!({"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h",
            "metadata": {MARK: mark}});
        let (told, _): (Told, _) = self.call("batches", &wanted).await?;
        Ok(told.into())
    }

    async fn upload(&self, lines: &[u8]) -> Result<String, Error> {
        // Longer than anything that text holds by chance.
        let boundary = format!("quire-{:032x}", rand::random::<u128>());
        let mut body = Vec::with_capacity(lines.len() + 1_024);
        let life = FILE_LIFE_S.to_string();
        for (name, value) in [
            ("purpose", "batch"),
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", life.as_str()),
        ] {
            let field = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(field.as_bytes());
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"batch.jsonl\"\r\n\
             Content-Type: application/jsonl\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(lines);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let request = self
            .post("files")
            .header(
                CONTENT_TYPE,
                format!("multipart/form-data; boundary={boundary}"),
            )
            .body(body);
        let (body, _) = self.fetch_until(request, Instant::now() + TRANSFER).await?;
        Ok(self.parse::<File>(&body)?.id)
    }

    /// How far a batch is.
    pub async fn batch(&self, id: &str) -> Result<Batch, Error> {
        let request = self.request(Method::GET, &format!("batches/{}", segment(id)?));
        let (body, _) = self.fetch(request).await?;
        Ok(self.parse::<Told>(&body)?.into())
    }

    /// The batch that bears a mark, if it is among the newest.
    pub async fn marked_batch(&self, mark: &str) -> Result<Option<Batch>, Error> {
        let mut after = String::new();
        for _ in 0..MOST_PAGES {
            let request = self.request(Method::GET, &format!("batches?limit={PAGE}{after}"));
            let (body, _) = self.fetch(request).await?;
            let list: List = self.parse(&body)?;
            let Some(last) = list.data.last().map(|told| told.id.clone()) else {
                break;
            };
            let bears = |told: &Told| {
                let all = told.metadata.as_ref();
                all.and_then(|all| all.get(MARK)).and_then(Value::as_str) == Some(mark)
            };
            if let Some(found) = list.data.into_iter().find(bears) {
                return Ok(Some(found.into()));
            }
            if !list.has_more {
                break;
            }
            after = format!("&after={}", segment(&last)?);
        }
        Ok(None)
    }

    /// Asks the provider to stop. What is done already is paid for.
    pub async fn cancel_batch(&self, id: &str) -> Result<(), Error> {
        let request = self.post(&format!("batches/{}/cancel", segment(id)?));
        self.fetch(request).await.map(drop)
    }

    /// Reads what came of a batch, line by line.
    pub async fn collect_batch(&self, batch: &Batch, dimensions: u32) -> Result<Collected, Error> {
        let mut collected = Collected {
            input_tokens: Some(0),
            ..Collected::default()
        };
        let Some(output) = &batch.output else {
            return Ok(collected);
        };
        let deadline = Instant::now() + TRANSFER;
        let path = format!("files/{}/content", segment(output)?);
        let mut response = self
            .send(self.request(Method::GET, &path), deadline)
            .await?;
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let chunk =
                timeout_at(deadline, response.chunk())
                    .await
                    .map_err(|_| Error::Timeout {
                        waited_for: "end of a batch's answers",
                        after: TRANSFER,
                    })?;
            let chunk = chunk.map_err(|source| Error::Cut {
                source: Some(source),
            })?;
            let Some(chunk) = chunk else { break };
            rest.extend_from_slice(&chunk);
            let mut begin = 0;
            while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                collected.read(&rest[begin..begin + length], dimensions);
                begin += length + 1;
            }
            rest.drain(..begin);
            if rest.len() > MOST_LINE_BYTES || collected.vectors.len() > MOST_BATCH_TEXTS {
                return Err(Error::TooLarge {
                    limit_bytes: MOST_LINE_BYTES,
                });
            }
        }
        collected.read(&rest, dimensions);
        Ok(collected)
    }

    /// Deletes the files of a batch that is over.
    pub async fn forget_batch(&self, batch: &Batch) -> Result<(), Error> {
        let files = [
            Some(&batch.input),
            batch.output.as_ref(),
            batch.errors.as_ref(),
        ];
        for file in files.into_iter().flatten() {
            let path = format!("files/{}", segment(file)?);
            self.fetch(self.request(Method::DELETE, &path)).await?;
        }
        Ok(())
    }
}

impl Collected {
    /// Takes a line over. One that failed, or makes no sense, is as if it were not there.
    fn read(&mut self, line: &[u8], dimensions: u32) {
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return;
        };
        let Some(response) = line.response.filter(|answer| answer.status_code == 200) else {
            return;
        };
        let Ok(answer) = serde_json::from_value::<OpenAi>(response.body) else {
            return;
        };
        let told = answer.usage.and_then(|usage| usage.prompt_tokens);
        self.input_tokens = self
            .input_tokens
            .zip(told)
            .map(|(sum, told)| sum.saturating_add(told));
        let vector = answer.data.into_iter().next().map(|one| one.embedding);
        if let Some(vector) = vector.filter(|vector| is_sound(vector, dimensions)) {
            self.vectors.insert(line.custom_id, vector);
        }
    }
}

/// An id of the provider's as a part of a path: it must not lead anywhere else.
fn segment(id: &str) -> Result<&str, Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.is_empty() || !id.bytes().all(is_plain) {
        return Err(Error::Malformed {
            what: "the name of a batch or file that is none".to_owned(),
        });
    }
    Ok(id)
}

//! OpenAI's batches: a file with a request on each line goes up, a batch is made of it, and a file with an answer on each
//! line comes back. Shapes: developers.openai.com/api/docs/guides/batch.

use std::collections::HashMap;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Batch, BatchState, Collected, MOST_BATCH_TEXTS, TRANSFER, segment};
use crate::Error;
use crate::server::Server;
use crate::vectors::{EmbedCall, OpenAi, openai};

/// Bytes of the vectors and of the texts of one batch: they are in memory together.
pub(super) const MOST_BYTES: (usize, usize) = (64 << 20, 48 << 20);
/// Longest line of an answer: 3,072 numbers are about 80 KB.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Batches that are looked through for a mark, newest first, in so many pages.
const PAGE: usize = 100;
const MOST_PAGES: usize = 5;
/// The name of the mark among what a batch is given to bear.
const MARK: &str = "mark";
/// Seconds after which the provider forgets a file that nobody deleted.
const FILE_LIFE_S: u32 = 3 * 86_400;

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
            output: told.output_file_id.clone(),
            files: [
                Some(told.input_file_id),
                told.output_file_id,
                told.error_file_id,
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }
}

pub(super) async fn begin(
    server: &Server,
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
    let file = upload(server, &lines).await?;
    let wanted = json!({"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h",
        "metadata": {MARK: mark}});
    let (told, _): (Told, _) = server.call("batches", &wanted).await?;
    Ok(told.into())
}

async fn upload(server: &Server, lines: &[u8]) -> Result<String, Error> {
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
    let request = server
        .post("files")
        .header(
            CONTENT_TYPE,
            format!("multipart/form-data; boundary={boundary}"),
        )
        .body(body);
    let (body, _) = server
        .fetch_until(request, Instant::now() + TRANSFER)
        .await?;
    Ok(server.parse::<File>(&body)?.id)
}

pub(super) async fn look(server: &Server, id: &str) -> Result<Batch, Error> {
    let request = server.request(Method::GET, &format!("batches/{}", segment(id)?));
    let (body, _) = server.fetch(request).await?;
    Ok(server.parse::<Told>(&body)?.into())
}

pub(super) async fn marked(server: &Server, mark: &str) -> Result<Option<Batch>, Error> {
    let mut after = String::new();
    for _ in 0..MOST_PAGES {
        let request = server.request(Method::GET, &format!("batches?limit={PAGE}{after}"));
        let (body, _) = server.fetch(request).await?;
        let list: List = server.parse(&body)?;
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

pub(super) async fn collect(
    server: &Server,
    batch: &Batch,
    dimensions: u32,
) -> Result<Collected, Error> {
    let mut collected = Collected::nothing();
    let Some(output) = &batch.output else {
        return Ok(collected);
    };
    let deadline = Instant::now() + TRANSFER;
    let path = format!("files/{}/content", segment(output)?);
    let mut response = server
        .send(server.request(Method::GET, &path), deadline)
        .await?;
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let chunk = timeout_at(deadline, response.chunk())
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
            read(&mut collected, &rest[begin..begin + length], dimensions);
            begin += length + 1;
        }
        rest.drain(..begin);
        if rest.len() > MOST_LINE_BYTES || collected.vectors.len() > MOST_BATCH_TEXTS {
            return Err(Error::TooLarge {
                limit_bytes: MOST_LINE_BYTES,
            });
        }
    }
    read(&mut collected, &rest, dimensions);
    Ok(collected)
}

pub(super) async fn forget(server: &Server, batch: &Batch) -> Result<(), Error> {
    for file in &batch.files {
        let path = format!("files/{}", segment(file)?);
        server.fetch(server.request(Method::DELETE, &path)).await?;
    }
    Ok(())
}

/// Takes a line over. One that failed, or makes no sense, is as if it were not there.
fn read(collected: &mut Collected, line: &[u8], dimensions: u32) {
    let Ok(line) = serde_json::from_slice::<Line>(line) else {
        return;
    };
    let Some(response) = line.response.filter(|answer| answer.status_code == 200) else {
        return;
    };
    let Ok(answer) = serde_json::from_value::<OpenAi>(response.body) else {
        return;
    };
    let tokens = answer.usage.and_then(|usage| usage.prompt_tokens);
    let vector = answer.data.into_iter().next().map(|one| one.embedding);
    collected.take(line.custom_id, vector, tokens, dimensions);
}

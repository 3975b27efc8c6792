//! A provider for measurements: an HTTP server on this machine that speaks OpenAI's chat completions, answers every
//! question with the same words, reports four bytes as one token, and counts what it was asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::failure::Failure;

/// What every answer says: a statement with a citation.
const ANSWER: &str = "The documents say so in the first passage that was found [1].";

pub(crate) struct Provider {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    /// How long an answer takes, in milliseconds.
    delay_ms: AtomicU64,
    /// The model and the bytes of the prompt of the last call.
    last: Mutex<(String, u64)>,
}

impl Provider {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(Failure::doing("listening as a provider"))?;
        let address = listener.local_addr();
        let address = address.map_err(Failure::doing("listening as a provider"))?;
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = shared.clone();
                tokio::spawn(async move { serve(stream, &seen).await });
            }
        });
        Ok(Self { address, seen })
    }

    /// What quire is configured with.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn answer_after(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.seen.delay_ms.store(millis, Ordering::SeqCst);
    }

    /// The model and the bytes of the prompt of the last call.
    pub(crate) fn last(&self) -> (String, u64) {
        let last = self.seen.last.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one request and closes; what can't be understood is closed without an answer.
async fn serve(stream: TcpStream, seen: &Seen) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let request: Value = serde_json::from_slice(&body).ok()?;
    let messages = request.get("messages")?.as_array()?;
    let text = messages
        .iter()
        .filter_map(|message| message.get("content")?.as_str());
    let bytes: usize = text.map(str::len).sum();
    let model = request.get("model")?.as_str()?.to_owned();
    seen.calls.fetch_add(1, Ordering::SeqCst);
    *seen.last.lock().unwrap_or_else(PoisonError::into_inner) = (model, bytes as u64);
    let delay = Duration::from_millis(seen.delay_ms.load(Ordering::SeqCst));
    tokio::time::sleep(delay).await;

    let chunk = |choices: Value, usage: Value| {
        let data = json!({"id": "c", "object": "chat.completion.chunk", "choices": choices, "usage": usage});
        format!("data: {data}\n\n")
    };
    let usage = json!({
        "prompt_tokens": bytes / 4,
        "completion_tokens": ANSWER.len() / 4,
        "total_tokens": (bytes + ANSWER.len()) / 4,
    });
    let content = json!([{"index": 0, "delta": {"content": ANSWER}, "finish_reason": null}]);
    let stop = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    let body = [
        chunk(content, Value::Null),
        chunk(stop, Value::Null),
        chunk(json!([]), usage),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

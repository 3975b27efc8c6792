//! From spans that ended to a collector: in batches, from a queue of fixed size. A collector that is down costs spans,
//! which are counted, and nothing else.
//!
//! Its sizes and times are the defaults of OpenTelemetry's own batching processor.

use std::net::IpAddr;
use std::time::Duration;

use quire_server::SpanTotals;
use quire_types::Secret;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::otlp;
use super::spans::{Span, SpanLayer};
use crate::failure::Failure;

/// Spans that wait, at the most.
const MOST_WAITING: usize = 2_048;
/// Spans in one request, at the most.
const MOST_AT_ONCE: usize = 512;
/// How long spans are gathered.
const GATHERED: Duration = Duration::from_secs(5);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits before a batch is tried again that a collector could not take just now. After these it is dropped.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long the end of the process waits for what is left to leave.
const LEAVING: Duration = Duration::from_secs(5);

/// Where spans go, and how they name who tells them.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The address that takes them, such as `http://127.0.0.1:4318/v1/traces`.
    pub(crate) url: String,
    /// Headers of every request, such as a key.
    pub(crate) headers: Vec<(String, Secret)>,
    /// Attributes of this process.
    pub(crate) resource: Vec<(String, String)>,
}

/// Spans on their way, before there is anybody to send them.
pub(crate) struct Exporter {
    spans: mpsc::Receiver<Span>,
    sender: Sender,
}

/// Spans being sent.
pub(crate) struct Exporting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Sender {
    client: Client,
    url: Url,
    resource: Vec<(String, String)>,
    totals: SpanTotals,
    /// Whether the last batch arrived, as far as that was said in the log.
    is_well: bool,
}

/// What hears spans end, and what sends them.
pub(super) fn exporter(destination: Destination) -> Result<(SpanLayer, Exporter), Failure> {
    let totals = SpanTotals::default();
    let (sink, spans) = mpsc::channel(MOST_WAITING);
    let sender = Sender::new(destination, totals.clone())?;
    Ok((SpanLayer::new(sink, totals), Exporter { spans, sender }))
}

impl Exporter {
    /// Where it is counted what becomes of spans.
    pub(crate) fn totals(&self) -> SpanTotals {
        self.sender.totals.clone()
    }

    /// Sends until it is closed.
    pub(crate) fn start(self) -> Exporting {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.run(stop.clone()));
        Exporting { stop, task }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(MOST_AT_ONCE);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                // Nothing is woken while nothing happens.
                count = self.spans.recv_many(&mut batch, MOST_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.gather(&mut batch) => {}
            }
            let is_sent = tokio::select! {
                biased;
                () = stop.cancelled() => false,
                () = self.sender.send(&batch, &AGAIN) => true,
            };
            if is_sent {
                batch.clear();
            }
        }
        self.spans.close();
        let leave = async {
            loop {
                if !batch.is_empty() {
                    self.sender.send(&batch, &[]).await;
                    batch.clear();
                }
                if self.spans.recv_many(&mut batch, MOST_AT_ONCE).await == 0 {
                    return;
                }
            }
        };
        let left = timeout(LEAVING, leave).await;
        if left.is_err() {
            let lost = batch.len() + self.spans.len();
            self.sender.totals.dropped(lost);
        }
    }

    /// Waits until a batch is full, or old enough.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        let fill = async {
            while batch.len() < MOST_AT_ONCE {
                let room = MOST_AT_ONCE - batch.len();
                if self.spans.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        // A batch that is old enough goes as it is.
        let _ = timeout(GATHERED, fill).await;
    }
}

impl Exporting {
    /// Sends what is left, for a while at the most.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            warn!("the exporter of spans panicked");
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// How a batch fared.
enum Sent {
    Arrived,
    /// The collector can't take it just now.
    Later(String),
    /// It will never take it.
    Refused(String),
}

impl Sender {
    fn new(destination: Destination, totals: SpanTotals) -> Result<Self, Failure> {
        let invalid = |why: &str| Failure::invalid(format!("telemetry.otlp_endpoint: {why}"));
        let url = Url::parse(&destination.url)
            .map_err(|_| invalid("is not an address; it looks like http://127.0.0.1:4318"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(invalid("must start with http:// or https:// and a host"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &destination.headers {
            let header = name.parse::<HeaderName>().ok();
            let header = header.zip(HeaderValue::from_str(value.expose()).ok());
            let Some((name, mut value)) = header else {
                return Err(Failure::invalid(
                    "telemetry.otlp_headers: one is no header; they look like name=value,other=value",
                ));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut client = Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers);
        if url.scheme() == "http" {
            // Without TLS there is nothing to verify, and a container without certificates is fine.
            client = client.tls_certs_only([]);
        }
        if is_loopback(&url) {
            // A proxy of the environment leads away from this machine.
            client = client.no_proxy();
        }
        // Fails when another part was first with the same provider, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client.build().map_err(|error| {
            Failure::internal(format!("can't build the client of a collector: {error}"))
        })?;
        Ok(Self {
            client,
            url,
            resource: destination.resource,
            totals,
            is_well: true,
        })
    }

    /// Hands a batch over, or drops it; tries again after these waits.
    async fn send(&mut self, batch: &[Span], waits: &[Duration]) {
        let body = otlp::request(&self.resource, batch);
        let mut waits = waits.iter();
        let why = loop {
            match self.post(&body).await {
                Sent::Arrived => {
                    self.totals.exported(batch.len());
                    if !std::mem::replace(&mut self.is_well, true) {
                        info!("spans reach their collector again");
                    }
                    return;
                }
                Sent::Refused(why) => break why,
                Sent::Later(why) => match waits.next() {
                    Some(wait) => sleep(*wait).await,
                    None => break why,
                },
            }
        };
        self.totals.dropped(batch.len());
        if std::mem::replace(&mut self.is_well, false) {
            let host = self.url.host_str().unwrap_or_default();
            warn!(
                collector = host,
                why, "spans don't reach their collector; they are dropped until they do"
            );
        }
    }

    async fn post(&self, body: &serde_json::Value) -> Sent {
        let response = match self.client.post(self.url.clone()).json(body).send().await {
            Ok(response) => response,
            // Without the address, which may hold more than a host.
            Err(error) => return Sent::Later(error.without_url().to_string()),
        };
        let status = response.status();
        match status {
            _ if status.is_success() => Sent::Arrived,
            // Those that the protocol calls worth another try.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Sent::Later(status.to_string()),
            _ => Sent::Refused(status.to_string()),
        }
    }
}

//! Suite `cache`: answers that are given again. How many in a second, how many calls a stampede causes, and whether anybody
//! gets what was made for somebody else.
//!
//! The real program over the sample company, with a provider on this machine; the client is on the same processors.

mod peers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::join_all;
use quire_postgres::Binaries;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::failure::Failure;
use crate::first_run::{Client, Quire, version};
use crate::gateways::Gateways;
use crate::lab::open_folder;
use crate::provider::Provider;
use crate::report::{Report, Target, note};
use crate::{Program, until_interrupted};

// Not one that the demonstration asks: those are known when the measuring begins.
const QUESTION: &str =
    "Which part of the progress payments does the clinic hold back until the end?";

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    program: Program,
    /// Connections that ask for what is known, one question after the other.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds of that.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests of the stampede.
    #[arg(long, default_value_t = 1_000)]
    stampede: usize,
    /// The folder of the drivers of other gateways, which `PEERS=0` in the environment leaves out.
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    peers: PathBuf,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let program = options.program.path()?;
    let mut report = Report::begin(
        &version(&program).await?,
        &Binaries::find(None)?.version.to_string(),
    );
    let folder = open_folder()?;
    let provider = Provider::start().await?;
    let environment = [
        ("QUIRE__CHAT__BASE_URL", provider.base_url()),
        ("QUIRE__CHAT__MODEL", "gpt-4o-mini".to_owned()),
        ("QUIRE_LOG", "warn".to_owned()),
    ];
    let mut quire = Quire::start_with(&program, folder.path().join("data"), &environment)?;
    let measuring = measure(options, &provider, &mut quire, &mut report);
    let measured = until_interrupted(Box::pin(measuring)).await;
    let stopped = Box::pin(quire.stop()).await;
    measured?;
    stopped?;
    if let Some(gateways) = Gateways::install(&options.peers).await {
        peers::run(&gateways).await?;
    }
    report.end();
    Ok(())
}

async fn measure(
    options: &Options,
    provider: &Provider,
    quire: &mut Quire,
    report: &mut Report,
) -> Result<(), Failure> {
    quire.serving().await?;
    let key = quire.key("northgate").await?;
    let client = Client::new(quire.address(), &key)?;
    let others = Client::new(quire.address(), &quire.key("harbor").await?)?;

    note(format!("cache: {} ask the same at once", options.stampede));
    provider.answer_after(Duration::from_millis(500));
    let before = provider.calls();
    let question = json!({ "question": QUESTION });
    let asks = (0..options.stampede).map(|_| client.ask_with(&question));
    let answers = join_all(asks).await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    provider.answer_after(Duration::ZERO);
    let calls = provider.calls() - before;
    report.metric(
        "stampede_calls",
        calls as f64,
        "",
        Some(Target::AtMost(1.0)),
    );
    report.metric(
        "stampede_failed",
        failed as f64,
        "",
        Some(Target::AtMost(0.0)),
    );

    let leaks = leaks(&client, &others).await?;
    report.metric(
        "cache_leaks",
        f64::from(leaks),
        "",
        Some(Target::AtMost(0.0)),
    );

    // Whatever was added since has made the answer an old one.
    client.ask_with(&question).await?;
    note("cache: asking for what is known");
    let count = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(options.seconds);
    let body = question.to_string();
    let request = format!(
        "POST /v1/ask HTTP/1.1\r\nhost: quire\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = provider.calls();
    let started = Instant::now();
    let connections = (0..options.connections).map(|_| {
        let (address, request, count) = (quire.address(), request.clone(), count.clone());
        tokio::spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut stream = BufReader::new(stream);
            while Instant::now() < deadline {
                stream.write_all(request.as_bytes()).await?;
                reply(&mut stream).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), std::io::Error>(())
        })
    });
    for ended in join_all(connections).await {
        ended
            .map_err(Failure::doing("asking"))?
            .map_err(Failure::doing("asking"))?;
    }
    let seconds = started.elapsed().as_secs_f64();
    if provider.calls() != before {
        return Err(Failure::failed(
            "what should be known was asked of the provider",
        ));
    }
    report.metric(
        "cached_per_s",
        count.load(Ordering::Relaxed) as f64 / seconds,
        "/s",
        Some(Target::AtLeast(10_000.0)),
    );
    Ok(())
}

/// Reads one answer, which must be one that was known.
async fn reply(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let wrong = |what: &str| std::io::Error::other(what.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(wrong(&line));
    }
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| wrong("no length"))?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let is_cached = body.windows(13).any(|window| window == b"\"cached\":true");
    match is_cached {
        true => Ok(()),
        false => Err(wrong("an answer was not known")),
    }
}

/// Answers that were known although something tells them apart from all before: tenant, notebook, version of the corpus.
async fn leaks(client: &Client, others: &Client) -> Result<u32, Failure> {
    let mut leaks = 0;
    let mut must_be_new = |answer: &Value| leaks += u32::from(answer["cached"] != false);
    let ask = |filter: Value| json!({ "question": QUESTION, "filter": filter });
    // The stampede has asked this for the other tenant.
    must_be_new(&others.ask_with(&ask(json!({}))).await?);
    for notebook in client.notebooks().await?.into_keys() {
        must_be_new(
            &client
                .ask_with(&ask(json!({ "notebooks": [notebook] })))
                .await?,
        );
    }
    must_be_new(
        &client
            .ask_with(&ask(json!({ "media_types": ["pdf"] })))
            .await?,
    );
    for number in 0..5 {
        let notebook = client.create_notebook(&format!("leaks {number}")).await?;
        client
            .add(&notebook, "new.txt", &format!("New text {number}."))
            .await?;
        client.passages_when_searchable(&notebook).await?;
        must_be_new(&client.ask_with(&ask(json!({}))).await?);
    }
    Ok(leaks)
}

//! Suite `first-run`: the real program in an empty folder, from the first start to a few hundred
//! answers over HTTP.

mod client;
mod memory;
mod program;
pub(crate) mod questions;
mod texts;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quire_postgres::Binaries;

use crate::failure::Failure;
use crate::lab::open_folder;
use crate::report::{Report, line, note};
use crate::{Program, until_interrupted};
use memory::Memory;

pub(crate) use client::Client;
pub(crate) use program::{Quire, version};
use questions::Question;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    program: Program,
    /// The questions with what answers them.
    #[arg(long, default_value = "examples/questions.jsonl", value_name = "FILE")]
    questions: PathBuf,
    /// Questions that are timed, at least; all questions are asked equally often.
    #[arg(long, default_value_t = 300)]
    asks: usize,
    /// Questions before the timed ones.
    #[arg(long, default_value_t = 20)]
    warm_ups: usize,
    /// Files that are generated and added.
    #[arg(long, default_value_t = 40)]
    files: u32,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let program = options.program.path()?;
    let questions = questions::read(&options.questions)?;
    let version = version(&program).await?;
    let mut report = Report::begin(&version, &Binaries::find(None)?.version.to_string());

    let folder = open_folder()?;
    let mut quire = Quire::start(&program, folder.path().join("data"))?;
    let measuring = measure(options, &questions, &mut quire, &mut report);
    let measured = until_interrupted(Box::pin(measuring)).await;
    let stopped = Box::pin(quire.stop()).await;
    measured?;
    line(format!("stopped in {:.2} s", stopped?.as_secs_f64()));
    report.end();
    Ok(())
}

async fn measure(
    options: &Options,
    questions: &[Question],
    quire: &mut Quire,
    report: &mut Report,
) -> Result<(), Failure> {
    note("first-run: waiting for the first answer");
    let first_answer = quire.first_citation().await?;
    report.metric("first_answer_s", first_answer.as_secs_f64(), "s", None);
    let serving = quire.serving().await?;
    line(format!("serving after {:.2} s", serving.as_secs_f64()));
    let memory = Memory::of(quire)?;
    memory.print("when serving");
    report.metric("tree_rss_mb", memory.pss_mib(), "MiB", None);

    let key = quire.key("northgate").await?;
    let client = Client::new(quire.address(), &key)?;
    asks(options, questions, &client, report).await?;
    let right = questions::right(questions, &client).await?;
    let unit = format!("of {}", questions.len());
    report.metric("sample_right", right, &unit, None);
    adding(options.files, &client, report).await?;
    let memory = Memory::of(quire)?;
    memory.print("at the end");
    report.metric("tree_rss_end_mb", memory.pss_mib(), "MiB", None);
    Ok(())
}

/// One question after the other, as one person would.
async fn asks(
    options: &Options,
    questions: &[Question],
    client: &Client,
    report: &mut Report,
) -> Result<(), Failure> {
    let notebooks = client.notebooks().await?;
    let rounds = options.asks.div_ceil(questions.len().max(1));
    note(format!(
        "first-run: asking {} questions {rounds} times",
        questions.len()
    ));
    for question in questions.iter().cycle().take(options.warm_ups) {
        client.ask(question, &notebooks).await?;
    }
    let mut times: Vec<Duration> = Vec::new();
    for question in std::iter::repeat_n(questions, rounds).flatten() {
        let start = Instant::now();
        client.ask(question, &notebooks).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| {
        let rank = (times.len() as f64 * share).ceil() as usize;
        let time = times.get(rank.saturating_sub(1)).copied();
        time.unwrap_or_default().as_secs_f64() * 1_000.0
    };
    line(format!(
        "{} questions over HTTP, one after the other: fastest {:.1} ms, slowest {:.1} ms",
        times.len(),
        at(0.0),
        at(1.0)
    ));
    report.metric("ask_p50_ms", at(0.5), "ms", None);
    report.metric("ask_p99_ms", at(0.99), "ms", None);
    Ok(())
}

/// From the first upload to the moment when the last passage can be found.
async fn adding(files: u32, client: &Client, report: &mut Report) -> Result<(), Failure> {
    let notebook = client.create_notebook("bench").await?;
    let texts: Vec<String> = (0..files).map(texts::text).collect();
    note(format!("first-run: adding {files} files"));
    let start = Instant::now();
    for (number, text) in (1..).zip(&texts) {
        client
            .add(&notebook, &format!("report-{number:03}.txt"), text)
            .await?;
    }
    let uploaded = start.elapsed();
    let passages = client.passages_when_searchable(&notebook).await?;
    let seconds = start.elapsed().as_secs_f64();
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    line(format!(
        "{files} files, {characters} characters, {passages} passages: stored after {:.2} s, searchable after {seconds:.2} s",
        uploaded.as_secs_f64()
    ));
    report.metric(
        "ingest_passages_per_s",
        f64::from(passages) / seconds,
        "passages/s",
        None,
    );
    Ok(())
}

//! Files: how many are read in a minute, alone and until they are found; pages of a long PDF; what reading many does
//! to the memory of the process; how many characters OCR gets wrong on pages that are drawn here, and words the local
//! recogniser on sentences that are spoken here; and whether what stands in tables is answered from the right row.
//!
//! The files are those of the sample company. Recordings are left out of the speeds: they take as long as they last.

mod pages;
mod speech;

use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use quire_ingest::extract::Wanted;
use quire_ingest::passages::PassageOptions;
use quire_ingest::sandbox::Extractor;
use quire_postgres::Binaries;

use crate::failure::Failure;
use crate::first_run::{Client, Quire, questions};
use crate::lab::open_folder;
use crate::report::{Report, Target, line, note};
use crate::retrieval::engine::Engine;
use crate::{Program, until_interrupted};

/// Files that are read at once: one for each processor of the machine that the numbers are for.
const AT_ONCE: usize = 2;
/// Files after which memory counts as warm.
const WARM: usize = 200;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    program: Program,
    /// The folder with the sample company.
    #[arg(long, default_value = "examples", value_name = "DIR")]
    examples: PathBuf,
    /// Questions about tables of the sample company.
    #[arg(
        long,
        default_value = "bench/questions/tables.jsonl",
        value_name = "FILE"
    )]
    tables: PathBuf,
    /// Shorter and smaller: to see that it works.
    #[arg(long)]
    quick: bool,
}

struct File {
    name: String,
    bytes: Bytes,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let program = options.program.path()?;
    let files = files(&options.examples)?;
    let postgres = Binaries::find(None)?.version.to_string();
    let mut report = Report::begin(env!("CARGO_PKG_VERSION"), &postgres);
    line(format!("{} files of the sample company", files.len()));
    let size = |full: usize, quick: usize| if options.quick { quick } else { full };
    let measured = async {
        let extractor = Extractor::new(&program);
        extraction(&extractor, &files, size(5_000, 20), &mut report).await?;
        long_pdf(&extractor, size(2_000, 20), &mut report).await?;
        ocr(&extractor, size(20, 1), &mut report).await?;
        speech(&extractor, size(speech::SENTENCES.len(), 1), &mut report).await?;
        tables(&program, options, &mut report).await?;
        until_found(program, &files, size(10, 1), &mut report).await
    };
    Box::pin(until_interrupted(measured)).await?;
    report.end();
    Ok(())
}

/// Every file below the folder but recordings, in order of their names.
fn files(examples: &Path) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    for company in ["harbor", "northgate"] {
        let mut folders = vec![examples.join(company)];
        while let Some(folder) = folders.pop() {
            let missing = |error| {
                Failure::Missing(format!(
                    "{}: {error}; name the folder with --examples",
                    folder.display()
                ))
            };
            for entry in std::fs::read_dir(&folder).map_err(missing)? {
                let path = entry.map_err(missing)?.path();
                let name = path.to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if ![".mp3", ".mp4"].iter().any(|end| name.ends_with(end)) {
                    let bytes = std::fs::read(&path).map_err(missing)?.into();
                    files.push(File { name, bytes });
                }
            }
        }
    }
    files.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(files)
}

/// Reads `count` files, round after round, and looks at the memory of this process.
async fn extraction(
    extractor: &Extractor,
    files: &[File],
    count: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    note(format!("ingest: reading {count} files"));
    let warm = WARM.min(count / 2);
    let mut at_start = 0.0;
    let began = Instant::now();
    let mut read = stream::iter(files.iter().cycle().take(count))
        .map(|file| extractor.extract(&file.name, file.bytes.clone(), &|_| ()))
        .buffer_unordered(AT_ONCE);
    let mut done = 0;
    while read.try_next().await?.is_some() {
        done += 1;
        if done == warm {
            at_start = resident_mib()?;
        }
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let growth = resident_mib()? - at_start;
    let target = Some(Target::AtLeast(600.0));
    report.metric(
        "files_per_min_extract",
        count as f64 / minutes,
        "/min",
        target,
    );
    let target = Some(Target::AtMost(100.0));
    report.metric(&format!("rss_growth_mb_{count}"), growth, "MiB", target);
    Ok(())
}

async fn long_pdf(extractor: &Extractor, count: usize, report: &mut Report) -> Result<(), Failure> {
    note(format!("ingest: reading a PDF of {count} pages"));
    let texts: Vec<Vec<String>> = (0..count).map(pages::lines).collect();
    let pdf = quire_testkit::pdf::pdf(&texts, "");
    let began = Instant::now();
    let read = extractor.extract("long.pdf", pdf.into(), &|_| ()).await?;
    let seconds = began.elapsed().as_secs_f64();
    if read.document.pages.map(|pages| pages as usize) != Some(count) {
        return Err(Failure::failed("the long PDF lost pages"));
    }
    let target = Some(Target::AtLeast(100.0));
    report.metric("pdf_pages_per_s", count as f64 / seconds, "/s", target);
    Ok(())
}

/// Draws pages whose text is known, as quire shows them, and reads the pictures.
async fn ocr(extractor: &Extractor, count: usize, report: &mut Report) -> Result<(), Failure> {
    note(format!("ingest: OCR of {count} pages"));
    let (mut wrong, mut all) = (0, 0);
    for number in 0..count {
        let lines = pages::lines(number);
        let pdf = Bytes::from(quire_testkit::pdf::pdf(std::slice::from_ref(&lines), ""));
        let drawn = extractor.draw("page.pdf", pdf, Wanted::default()).await?;
        let read = extractor
            .extract("page.png", drawn, &|_| ())
            .await?
            .document;
        // Its first block describes the picture.
        let mut blocks = read.blocks.iter().skip(1);
        let start = blocks.next().map_or(0, |block| block.char_start as usize);
        let found: String = read.text.chars().skip(start).collect();
        let expected = lines.join(" ");
        wrong += pages::distance(&pages::normal(&expected), &pages::normal(&found));
        all += pages::normal(&expected).len();
    }
    let rate = wrong as f64 / all.max(1) as f64;
    report.metric("cer", rate, "", Some(Target::AtMost(0.02)));
    Ok(())
}

/// Has sentences spoken and listens to them.
async fn speech(extractor: &Extractor, count: usize, report: &mut Report) -> Result<(), Failure> {
    note(format!("ingest: listening to {count} sentences"));
    let (mut wrong, mut all) = (0, 0);
    for sentence in &speech::SENTENCES[..count] {
        let Some(sound) = speech::spoken(sentence).await? else {
            note("ingest: espeak-ng is not installed, so there is no word error rate");
            return Ok(());
        };
        let read = extractor
            .extract("said.wav", sound.into(), &|_| ())
            .await?
            .document;
        // Its first block describes the recording.
        let mut blocks = read.blocks.iter().skip(1);
        let start = blocks
            .next()
            .map_or(usize::MAX, |block| block.char_start as usize);
        let found: String = read.text.chars().skip(start).collect();
        let (expected, found) = (speech::words(sentence), speech::words(&found));
        wrong += pages::distance(&expected, &found);
        all += expected.len();
    }
    report.metric("wer", wrong as f64 / all.max(1) as f64, "", None);
    Ok(())
}

/// Asks what stands in tables, as a tenant of the demonstration.
async fn tables(program: &Path, options: &Options, report: &mut Report) -> Result<(), Failure> {
    note("ingest: asking about tables");
    let questions = questions::read(&options.tables)?;
    let folder = open_folder()?;
    let mut quire = Quire::start(program, folder.path().join("data"))?;
    let asked = async {
        quire.serving().await?;
        // The demonstration leaves out the notebook with recordings, and this workbook with it.
        let workbook = options
            .examples
            .join("northgate/site-media/cost-tracker.xlsx");
        quire.add("northgate", "site-media", &workbook).await?;
        let client = Client::new(quire.address(), &quire.key("northgate").await?)?;
        questions::right(&questions, &client).await
    };
    let right = Box::pin(asked).await;
    Box::pin(quire.stop()).await?;
    let hit = right? / questions.len().max(1) as f64;
    report.metric("table_hit", hit, "", Some(Target::AtLeast(0.9)));
    Ok(())
}

/// Adds all files to a new notebook, round after round, and waits until they can be found.
async fn until_found(
    program: PathBuf,
    files: &[File],
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let engine = Box::pin(Engine::open(program, PassageOptions::default())).await?;
    let measured = async {
        let placement = engine.tenant("files").await?;
        let began = Instant::now();
        let mut failed = 0;
        for round in 0..rounds {
            let notebook = engine
                .notebook(placement, &format!("round {round}"))
                .await?;
            let mut ids = Vec::new();
            for file in files {
                let added = engine.add(placement, notebook, &file.name, file.bytes.clone());
                ids.push(added.await?);
            }
            let ended = engine.finished(placement, &ids).await?;
            failed += ended.iter().filter(|source| source.passages == 0).count();
        }
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        let count = (files.len() * rounds) as f64;
        let target = Some(Target::AtLeast(100.0));
        report.metric("files_per_min", count / minutes, "/min", target);
        report.metric("files_failed", failed as f64, "", Some(Target::AtMost(0.0)));
        Ok(())
    };
    let measured = measured.await;
    let closed = engine.close().await;
    measured.and(closed)
}

/// Memory of this process; the children that read are gone by then.
fn resident_mib() -> Result<f64, Failure> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(Failure::doing("reading memory"))?;
    let mut lines = status.lines();
    let resident = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1_024.0)
        .ok_or_else(|| Failure::failed("/proc/self/status has no VmRSS"))
}

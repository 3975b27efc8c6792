//! `quire tenant import`: many customers from a table. What a line leads to is the same however often it is
//! imported, so an import that was broken off is repeated.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use quire_ingest::Onboarded;
use quire_tenancy::lifecycle::Newcomer;

use crate::commands::read_file;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;
use crate::progress::Progress;

/// Customers that are made at once; more don't make it faster.
const AT_ONCE: usize = 12;
const COLUMNS: [&str; 4] = ["slug", "name", "country", "plan"];

#[derive(Deserialize)]
struct Line {
    slug: String,
    name: Option<String>,
    country: Option<String>,
    plan: Option<String>,
}

/// The number of a line and the customer in it.
type Numbered = (u64, Newcomer);

/// A line that led to nothing.
struct Failed {
    line: u64,
    slug: String,
    why: String,
}

pub(super) async fn run(
    node: &Node,
    output: &Output,
    file: &Path,
    keys: Option<&Path>,
) -> Result<(), Failure> {
    let (newcomers, mut failed) = read(&read_file(file)?)?;
    let mut keys = keys.map(KeyFile::open).transpose()?;
    let services = node.services().await?;
    let progress = Progress::new(output, "customers", newcomers.len() as u64);
    let (lines, newcomers): (Vec<u64>, Vec<Newcomer>) = newcomers.into_iter().unzip();
    let results = services
        .ingest
        .onboard_all(&newcomers, AT_ONCE, |done, _, result| {
            // Now, since nobody can show a key again if this process dies.
            if let (Ok(onboarded), Some(keys)) = (result, &mut keys) {
                keys.add(onboarded);
            }
            progress.at(done as u64, "");
        })
        .await;
    progress.finish();
    let (mut created, mut existing) = (0_u64, 0_u64);
    for ((line, newcomer), result) in lines.into_iter().zip(newcomers).zip(results) {
        match result {
            Ok(onboarded) if onboarded.is_new => created += 1,
            Ok(_) => existing += 1,
            Err(error) => failed.push(Failed {
                line,
                slug: newcomer.slug,
                why: error.to_string(),
            }),
        }
    }
    failed.sort_by_key(|failed| failed.line);
    report(output, created, existing, &failed)?;
    if let Some(error) = keys.and_then(|keys| keys.error) {
        return Err(Failure::internal(format!(
            "not every key could be written: {error}; make new ones with `quire key create`"
        )));
    }
    match failed.len() {
        0 => Ok(()),
        lines => Err(Failure::invalid(format!(
            "{lines} lines failed: mend them and import the file again"
        ))),
    }
}

/// The customers with the numbers of their lines, and the lines that can't be read.
fn read(text: &str) -> Result<(Vec<Numbered>, Vec<Failed>), Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| Failure::invalid(error.to_string()))?
        .clone();
    // A misspelt column would be ignored on every line.
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name)) {
        return Err(Failure::invalid(format!(
            "there is no column '{unknown}': the first line names some of {}",
            COLUMNS.join(", ")
        )));
    }
    if !header.iter().any(|name| name == "slug") {
        return Err(Failure::invalid("the first line must name a column slug"));
    }
    let (mut newcomers, mut failed) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let line = record
            .as_ref()
            .map_or_else(csv::Error::position, csv::StringRecord::position)
            .map_or(0, csv::Position::line);
        match record.and_then(|record| record.deserialize::<Line>(Some(&header))) {
            Ok(row) => {
                let newcomer = Newcomer {
                    slug: row.slug,
                    name: row.name,
                    country: row.country,
                    plan: row.plan,
                };
                newcomers.push((line, newcomer));
            }
            Err(error) => failed.push(Failed {
                line,
                slug: String::new(),
                why: error.to_string(),
            }),
        }
    }
    Ok((newcomers, failed))
}

fn report(output: &Output, created: u64, existing: u64, failed: &[Failed]) -> Result<(), Failure> {
    if output.is_json() {
        let failed: Vec<_> = failed
            .iter()
            .map(|failed| json!({ "line": failed.line, "slug": failed.slug, "error": failed.why }))
            .collect();
        return output.json(&json!({ "created": created, "existing": existing, "failed": failed }));
    }
    for Failed { line, slug, why } in failed {
        output.note(format!("line {line} {slug}: {why}"));
    }
    output.line(format!(
        "{created} created, {existing} were there, {} failed",
        failed.len()
    ));
    Ok(())
}

/// Where first keys are written, `slug,key` a line.
struct KeyFile {
    file: File,
    error: Option<io::Error>,
}

impl KeyFile {
    fn open(path: &Path) -> Result<Self, Failure> {
        let open = || {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)?;
            // It may have been there before.
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(file)
        };
        let file =
            open().map_err(|error| Failure::invalid(format!("{}: {error}", path.display())))?;
        Ok(Self { file, error: None })
    }

    fn add(&mut self, onboarded: &Onboarded) {
        if let Some((_, key)) = &onboarded.key {
            let line = format!("{},{}\n", onboarded.tenant.slug, key.expose());
            if let Err(error) = self.file.write_all(line.as_bytes()) {
                self.error = Some(error);
            }
        }
    }
}

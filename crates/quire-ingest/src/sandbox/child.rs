//! The child's side: the whole life of the hidden command `parse`.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::asked::Asked;
use super::confine::{self, Confinement};
use super::reply::{Drawn, Outcome, Read as ReadFile, Reply};
use crate::detect::detect;
use crate::extract::{ExtractError, Limits, Meter, Wanted, draw, extract, measure};

/// Reads one file from standard input and writes what it is to standard output, after lines like `%37` while
/// it reads. `limits` is the JSON form
/// of [`Limits`]; without it the defaults hold. `cpu_seconds` is the processor time of this process and of each
/// that it starts. `asked` is the JSON form of what is wanted of the file, its text by default. Exits with 0 whenever there is an answer.
pub fn parse_child(
    name: &str,
    limits: Option<&str>,
    cpu_seconds: u64,
    asked: Option<&str>,
) -> ExitCode {
    // Before the first byte of the file.
    let confinement = confine::confine(cpu_seconds);
    let limits = match limits.map(serde_json::from_str::<Limits>).transpose() {
        Ok(limits) => limits.unwrap_or_default(),
        Err(_) => return ExitCode::from(64),
    };
    match asked.map_or(Ok(Asked::Read), serde_json::from_str) {
        Ok(Asked::Read) => answer(confinement, read(name, &limits)),
        Ok(Asked::Draw(wanted)) => answer(confinement, drawn(name, wanted, &limits)),
        Ok(Asked::Measure) => answer(
            confinement,
            arrived(&limits).and_then(|bytes| measure(&bytes, &limits)),
        ),
        Err(_) => ExitCode::from(64),
    }
}

fn answer<T: Serialize>(confinement: Confinement, result: Result<T, ExtractError>) -> ExitCode {
    let result = match result {
        Ok(done) => Outcome::Ok(done),
        Err(error) => Outcome::Error(error),
    };
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer(
        &mut stdout,
        &Reply {
            confinement,
            result,
        },
    );
    if written.is_ok() && stdout.flush().is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(74)
    }
}

fn read(name: &str, limits: &Limits) -> Result<ReadFile, ExtractError> {
    let bytes = arrived(limits)?;
    let media = detect(name, &bytes)?;
    let told = Cell::new(0);
    let tell = |percent| {
        if percent > told.get() {
            told.set(percent);
            // Whoever does not listen any more will not hear the answer either.
            drop(writeln!(io::stdout(), "%{percent}"));
        }
    };
    let document = extract(media, &bytes, limits, Meter::new(&tell))?;
    Ok(ReadFile { media, document })
}

fn drawn(name: &str, wanted: Wanted, limits: &Limits) -> Result<Drawn, ExtractError> {
    let bytes = arrived(limits)?;
    let png = draw(detect(name, &bytes)?, &bytes, wanted, limits)?;
    Ok(Drawn {
        png: BASE64.encode(png),
    })
}

fn arrived(limits: &Limits) -> Result<Vec<u8>, ExtractError> {
    let mut bytes = Vec::new();
    let most = limits.max_input_bytes.saturating_add(1);
    io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| ExtractError::unavailable("the file did not arrive", error))?;
    Ok(bytes)
}

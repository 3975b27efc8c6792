//! The child's side: the whole life of the hidden command `parse`.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::confine;
use super::reply::{Outcome, Read as ReadFile, Reply};
use crate::detect::detect;
use crate::extract::{ExtractError, Limits, extract};

/// Reads one file from standard input and writes what it is to standard output. `limits` is the JSON form
/// of [`Limits`]; without it the defaults hold. Exits with 0 whenever there is an answer.
pub fn parse_child(name: &str, limits: Option<&str>) -> ExitCode {
    // Before the first byte of the file.
    let confinement = confine::confine();
    let limits = match limits.map(serde_json::from_str::<Limits>).transpose() {
        Ok(limits) => limits.unwrap_or_default(),
        Err(_) => return ExitCode::from(64),
    };
    let result = match read(name, &limits) {
        Ok(read) => Outcome::Ok(read),
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
    let mut bytes = Vec::new();
    let most = limits.max_input_bytes.saturating_add(1);
    io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| ExtractError::unavailable("the file did not arrive", error))?;
    let media = detect(name, &bytes)?;
    let document = extract(media, &bytes, limits)?;
    Ok(ReadFile { media, document })
}

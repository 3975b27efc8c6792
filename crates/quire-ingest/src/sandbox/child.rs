//! The child's side: the whole life of the hidden command `parse`.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::asked::{Asked, KNOWN_FILE};
use super::confine::{self, Confinement};
use super::orphan;
use super::reply::{Drawn, Outcome, Read as ReadFile, Reply, Shown as Jpeg, Sound, Unpacked};
use crate::detect::detect;
use crate::extract::{
    ExtractError, Known, Limits, Meter, Part, Shown, ToSense, Wanted, cut_sound, draw,
    extract_known, measure, scenes, show, to_sense, unpack,
};

/// Reads one file from standard input and writes what it is to standard output, after lines like `%37` while it
/// reads. `limits` is the JSON form of [`Limits`]; without it the defaults hold. `cpu_seconds` is the processor time
/// of this process and of each that it starts. `asked` is the JSON form of what is wanted of the file, its text by
/// default. Exits with 0 whenever there is an answer.
pub fn parse_child(
    name: &str,
    limits: Option<&str>,
    cpu_seconds: u64,
    asked: Option<&str>,
) -> ExitCode {
    // Before the first byte of the file.
    let confinement = confine::confine(cpu_seconds);
    orphan::end_with_parent();
    let limits = match limits.map(serde_json::from_str::<Limits>).transpose() {
        Ok(limits) => limits.unwrap_or_default(),
        Err(_) => return ExitCode::from(64),
    };
    match asked.map_or(Ok(Asked::Read), serde_json::from_str) {
        Ok(Asked::Read) => answer(confinement, read(name, &Known::default(), &limits)),
        Ok(Asked::ReadKnown) => answer(
            confinement,
            known().and_then(|known| read(name, &known, &limits)),
        ),
        Ok(Asked::ToSense) => answer(confinement, things(name, &limits)),
        Ok(Asked::Unpack(number)) => answer(confinement, unpacked(name, number, &limits)),
        Ok(Asked::Sound(part)) => answer(confinement, sound(part, &limits)),
        Ok(Asked::Show(wanted)) => answer(confinement, shown(name, wanted, &limits)),
        Ok(Asked::Scenes) => answer(
            confinement,
            arrived(&limits).and_then(|bytes| scenes(&bytes, &limits)),
        ),
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

/// What the parent wrote down beside the file.
fn known() -> Result<Known, ExtractError> {
    let missing = |error: io::Error| ExtractError::unavailable("what others made of it", error);
    let json = std::fs::read(KNOWN_FILE).map_err(missing)?;
    serde_json::from_slice(&json).map_err(|error| missing(error.into()))
}

fn things(name: &str, limits: &Limits) -> Result<ToSense, ExtractError> {
    let bytes = arrived(limits)?;
    to_sense(detect(name, &bytes)?, &bytes, limits)
}

fn unpacked(name: &str, number: usize, limits: &Limits) -> Result<Unpacked, ExtractError> {
    let bytes = arrived(limits)?;
    let inside = unpack(detect(name, &bytes)?, &bytes, number)?;
    Ok(Unpacked {
        bytes: BASE64.encode(inside),
    })
}

fn sound(part: Part, limits: &Limits) -> Result<Sound, ExtractError> {
    let (flac, length_ms) = cut_sound(&arrived(limits)?, part, limits)?;
    Ok(Sound {
        flac: BASE64.encode(flac),
        length_ms,
    })
}

fn shown(name: &str, wanted: Shown, limits: &Limits) -> Result<Jpeg, ExtractError> {
    let bytes = arrived(limits)?;
    let jpeg = show(detect(name, &bytes)?, &bytes, wanted, limits)?;
    Ok(Jpeg {
        jpeg: BASE64.encode(jpeg),
    })
}

fn read(name: &str, known: &Known, limits: &Limits) -> Result<ReadFile, ExtractError> {
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
    let document = extract_known(media, &bytes, known, limits, Meter::new(&tell))?;
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

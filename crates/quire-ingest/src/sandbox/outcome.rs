//! The parent's side of one reading: feeds the child, and turns every way it can end into a value.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;

use super::reply::{Drawn, Outcome, Read, Reply, Shown, Sound, Unpacked};
use super::{ANSWER_BYTES, Extraction, STDERR_BYTES, Tell, read_capped, write_all};
use crate::extract::{ExtractError, Limits, MOST_PICTURES, Measured, Part, ToSense};

/// A line with percent is shorter.
const PERCENT_BYTES: u64 = 8;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

pub(super) async fn talk<T: DeserializeOwned + Send + 'static>(
    mut child: Child,
    bytes: Bytes,
    cpu_seconds: u64,
    tell: &Tell,
) -> Result<Reply<T>, ExtractError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ((), (answer, is_cut), (complaint, _)) = tokio::join!(
        write_all(stdin, &bytes),
        listen(stdout, tell),
        read_capped(stderr, STDERR_BYTES)
    );
    let status = child
        .wait()
        .await
        .map_err(|error| ExtractError::unavailable("reader", error))?;
    if !status.success() {
        return Err(death(
            status,
            cpu_seconds,
            &String::from_utf8_lossy(&complaint),
        ));
    }
    if is_cut {
        return Err(ExtractError::too_large(
            "bytes of text and structure",
            ANSWER_BYTES,
        ));
    }
    // A large answer takes long enough to parse to hold up everything else on this thread.
    let parsed =
        tokio::task::spawn_blocking(move || serde_json::from_slice(&answer).map_err(|_| garbled()))
            .await;
    parsed.map_err(|error| ExtractError::unavailable("reader", error))?
}

/// What the child says before its answer, a line for each percent, and the answer up to its limit.
async fn listen(pipe: Option<impl AsyncRead + Unpin>, tell: &Tell) -> (Vec<u8>, bool) {
    let Some(pipe) = pipe else {
        return (Vec::new(), false);
    };
    let mut pipe = BufReader::new(pipe);
    while pipe
        .fill_buf()
        .await
        .is_ok_and(|said| said.starts_with(b"%"))
    {
        let mut line = Vec::new();
        let mut part = (&mut pipe).take(PERCENT_BYTES);
        if part.read_until(b'\n', &mut line).await.is_err() {
            break;
        }
        if let Some(percent) = percent(&line) {
            tell(percent);
        }
    }
    read_capped(Some(pipe), ANSWER_BYTES).await
}

/// Of a line like `%37`.
fn percent(line: &[u8]) -> Option<u8> {
    let number: u8 = std::str::from_utf8(line)
        .ok()?
        .trim_start_matches('%')
        .trim_end()
        .parse()
        .ok()?;
    (number <= 100).then_some(number)
}

/// The child has seen hostile bytes, so its answer is checked like a stranger's.
pub(super) async fn understand(reply: Reply<Read>) -> Result<Extraction, ExtractError> {
    let read = match reply.result {
        Outcome::Error(error) => return Err(error),
        Outcome::Ok(read) => read,
    };
    // As long as its text is.
    let checked = tokio::task::spawn_blocking(move || {
        let is_consistent = read.document.is_consistent();
        is_consistent.then_some(read).ok_or_else(garbled)
    });
    let read = checked
        .await
        .map_err(|error| ExtractError::unavailable("reader", error))??;
    Ok(Extraction {
        media: read.media,
        document: read.document,
        confinement: reply.confinement,
    })
}

/// The same for a picture, which has to be a PNG.
pub(super) fn understand_picture(reply: Reply<Drawn>) -> Result<Bytes, ExtractError> {
    let png = match reply.result {
        Outcome::Error(error) => return Err(error),
        Outcome::Ok(drawn) => BASE64.decode(drawn.png).map_err(|_| garbled())?,
    };
    if png.starts_with(b"\x89PNG\r\n\x1A\n") {
        Ok(png.into())
    } else {
        Err(garbled())
    }
}

/// The same for a picture that is shown to a model, which stays in base64.
pub(super) fn understand_shown(reply: Reply<Shown>) -> Result<String, ExtractError> {
    let jpeg = match reply.result {
        Outcome::Error(error) => return Err(error),
        Outcome::Ok(shown) => shown.jpeg,
    };
    let bytes = BASE64.decode(&jpeg).map_err(|_| garbled())?;
    if bytes.starts_with(b"\xFF\xD8\xFF") {
        Ok(jpeg)
    } else {
        Err(garbled())
    }
}

/// The same for moments of a film, in order.
pub(super) fn understand_scenes(reply: Reply<Vec<u64>>) -> Result<Vec<u64>, ExtractError> {
    match reply.result {
        Outcome::Error(error) => Err(error),
        Outcome::Ok(scenes) if scenes.is_sorted() => Ok(scenes),
        Outcome::Ok(_) => Err(garbled()),
    }
}

/// The same for a part of a recording: FLAC with its length, or nothing.
pub(super) fn understand_sound(
    reply: Reply<Sound>,
    part: Part,
) -> Result<(Bytes, u64), ExtractError> {
    let (flac, length_ms) = match reply.result {
        Outcome::Error(error) => return Err(error),
        Outcome::Ok(sound) => (
            BASE64.decode(sound.flac).map_err(|_| garbled())?,
            sound.length_ms,
        ),
    };
    let most = part.end_ms.saturating_sub(part.start_ms);
    // Half of it and more, so that whoever cuts on comes to an end.
    if flac.is_empty() {
        Ok((Bytes::new(), 0))
    } else if flac.starts_with(b"fLaC") && (most / 2..=most).contains(&length_ms) {
        Ok((flac.into(), length_ms))
    } else {
        Err(garbled())
    }
}

/// The same for what others can be asked about: no more of it than is ever read.
pub(super) fn understand_to_sense(
    reply: Reply<ToSense>,
    limits: &Limits,
) -> Result<ToSense, ExtractError> {
    let found = match reply.result {
        Outcome::Error(error) => return Err(error),
        Outcome::Ok(found) => found,
    };
    let (pages, files) = (found.pages.len() as u64, found.files.len() as u64);
    let scans = limits.max_scanned_pages;
    let can_be = pages <= u64::from(scans).max(1)
        && files <= limits.max_parts
        && found.pictures.len() <= MOST_PICTURES + scans as usize;
    match can_be {
        true => Ok(found),
        false => Err(garbled()),
    }
}

/// The same for an attachment.
pub(super) fn understand_unpacked(reply: Reply<Unpacked>) -> Result<Bytes, ExtractError> {
    match reply.result {
        Outcome::Error(error) => Err(error),
        Outcome::Ok(unpacked) => match BASE64.decode(unpacked.bytes) {
            Ok(bytes) => Ok(bytes.into()),
            Err(_) => Err(garbled()),
        },
    }
}

/// The same for the length of a recording, which its limits bound.
pub(super) fn understand_measured(reply: Reply<Measured>) -> Result<Measured, ExtractError> {
    match reply.result {
        Outcome::Error(error) => Err(error),
        Outcome::Ok(measured) => Ok(measured),
    }
}

fn garbled() -> ExtractError {
    ExtractError::Crashed {
        how: "its answer is garbled".into(),
    }
}

/// Why a child died. What it wrote on the way names the two deaths that look alike.
fn death(status: ExitStatus, cpu_seconds: u64, complaint: &str) -> ExtractError {
    if complaint.contains("memory allocation of") || complaint.contains("capacity overflow") {
        return ExtractError::OutOfMemory;
    }
    let crashed = |how: String| ExtractError::Crashed { how };
    match status.signal() {
        Some(SIGXCPU) => ExtractError::TimedOut {
            seconds: cpu_seconds,
        },
        Some(SIGXFSZ) => ExtractError::refused("its reader filled the disk"),
        // Not by us: the machine ran out of memory, or somebody stops the service.
        Some(signal @ (SIGKILL | SIGTERM)) => ExtractError::Unavailable {
            detail: format!("it was stopped by signal {signal}"),
        },
        Some(signal) if complaint.contains("overflowed its stack") => {
            crashed(format!("signal {signal}, nested too deeply"))
        }
        Some(signal) => crashed(format!("signal {signal}")),
        None => crashed(format!("exit code {}", status.code().unwrap_or(-1))),
    }
}

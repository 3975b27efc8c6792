//! The parent's side of one reading: feeds the child, and turns every way it can end into a value.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use bytes::Bytes;
use tokio::process::Child;

use super::reply::{Outcome, Reply};
use super::{ANSWER_BYTES, Extraction, STDERR_BYTES, read_capped, write_all};
use crate::extract::ExtractError;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

pub(super) async fn talk(mut child: Child, bytes: Bytes) -> Result<Extraction, ExtractError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ((), (answer, is_cut), (complaint, _)) = tokio::join!(
        write_all(stdin, &bytes),
        read_capped(stdout, ANSWER_BYTES),
        read_capped(stderr, STDERR_BYTES)
    );
    let status = child
        .wait()
        .await
        .map_err(|error| ExtractError::unavailable("reader", error))?;
    if !status.success() {
        return Err(death(status, &String::from_utf8_lossy(&complaint)));
    }
    if is_cut {
        return Err(ExtractError::too_large(
            "bytes of text and structure",
            ANSWER_BYTES,
        ));
    }
    // A large answer takes long enough to parse to hold up everything else on this thread.
    let parsed = tokio::task::spawn_blocking(move || understand(&answer)).await;
    parsed.map_err(|error| ExtractError::unavailable("reader", error))?
}

/// The child has seen hostile bytes, so its answer is checked like a stranger's.
fn understand(answer: &[u8]) -> Result<Extraction, ExtractError> {
    let garbled = || ExtractError::Crashed {
        how: "its answer is garbled".into(),
    };
    let reply: Reply = serde_json::from_slice(answer).map_err(|_| garbled())?;
    match reply.result {
        Outcome::Error(error) => Err(error),
        Outcome::Ok(read) if read.document.is_consistent() => Ok(Extraction {
            media: read.media,
            document: read.document,
            confinement: reply.confinement,
        }),
        Outcome::Ok(_) => Err(garbled()),
    }
}

/// Why a child died. What it wrote on the way names the two deaths that look alike.
fn death(status: ExitStatus, complaint: &str) -> ExtractError {
    if complaint.contains("memory allocation of") || complaint.contains("capacity overflow") {
        return ExtractError::OutOfMemory;
    }
    let crashed = |how: String| ExtractError::Crashed { how };
    match status.signal() {
        Some(SIGXCPU) => ExtractError::TimedOut {
            seconds: super::confine::CPU_SECONDS,
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

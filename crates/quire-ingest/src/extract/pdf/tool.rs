//! Runs one of poppler's programs and collects what it says, up to a limit.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::error::ExtractError;

const STDERR_BYTES: u64 = 64 << 10;

pub(super) struct Output {
    pub(super) success: bool,
    pub(super) signal: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// Whether the program had more to say than was asked for.
    pub(super) is_cut: bool,
}

/// Runs `name options… file -`.
pub(super) fn run(
    name: &str,
    options: &[&str],
    file: &Path,
    stdout_bytes: u64,
) -> Result<Output, ExtractError> {
    let mut command = Command::new(name);
    command.args(options).arg(file);
    if name == "pdftotext" {
        command.arg("-");
    }
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ExtractError::ToolMissing {
            tool: name.into(),
            package: "poppler-utils".into(),
        },
        _ => ExtractError::unavailable(name, error),
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = std::thread::scope(|scope| {
        let complaints = scope.spawn(move || stderr.map(|pipe| drain(pipe, STDERR_BYTES)));
        let text = stdout
            .map(|pipe| take(pipe, stdout_bytes))
            .unwrap_or_default();
        if text.1 {
            // It would write on into a pipe that nobody reads.
            let _ = child.kill();
        }
        (text, complaints.join().ok().flatten().unwrap_or_default())
    });
    let status = child
        .wait()
        .map_err(|error| ExtractError::unavailable(name, error))?;
    let is_cut = stdout.1;
    Ok(Output {
        success: status.success() || is_cut,
        signal: status.signal(),
        stdout: stdout.0,
        stderr,
        is_cut,
    })
}

fn take(pipe: impl Read, limit: u64) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let _ = pipe.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    let is_cut = bytes.len() as u64 > limit;
    (bytes, is_cut)
}

/// Reads everything and keeps the beginning and, if it is long, nothing else.
fn drain(mut pipe: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(limit).read_to_end(&mut bytes);
    let _ = io::copy(&mut pipe, &mut io::sink());
    bytes
}

//! Runs an installed program on hostile bytes and collects what it says, up to a limit.
//!
//! The program inherits the limits and the confinement of the child process that starts it.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::{NamedTempFile, TempDir};

use super::error::ExtractError;

const STDERR_BYTES: u64 = 64 << 10;

/// A program and the system package that brings it.
pub(super) struct Tool {
    name: &'static str,
    package: &'static str,
    command: Command,
}

pub(super) struct Output {
    pub(super) success: bool,
    pub(super) signal: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// Whether the program had more to say than was asked for.
    pub(super) is_cut: bool,
}

impl Tool {
    pub(super) fn new(name: &'static str, package: &'static str) -> Self {
        Self {
            name,
            package,
            command: Command::new(name),
        }
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// Runs to the end, or until it has said so much.
    pub(super) fn run(mut self, stdout_bytes: u64) -> Result<Output, ExtractError> {
        let spawned = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ExtractError::ToolMissing {
                tool: self.name.into(),
                package: self.package.into(),
            },
            _ => ExtractError::unavailable(self.name, error),
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
            .map_err(|error| ExtractError::unavailable(self.name, error))?;
        let is_cut = stdout.1;
        // Whatever it says then: some programs cut short what they write and call it a success.
        if disk_is_full() {
            return Err(ExtractError::unavailable(
                "the machine",
                "no space left for temporary files",
            ));
        }
        Ok(Output {
            success: status.success() || is_cut,
            signal: status.signal(),
            stdout: stdout.0,
            stderr,
            is_cut,
        })
    }

    /// The same for a program that either succeeds or leaves a file of this format unread.
    pub(super) fn need(self, stdout_bytes: u64, format: &str) -> Result<Vec<u8>, ExtractError> {
        let output = self.run(stdout_bytes)?;
        if output.success {
            Ok(output.stdout)
        } else {
            Err(output.failure(format))
        }
    }
}

impl Output {
    /// Why the program gave up, in its own last words.
    pub(super) fn failure(&self, format: &str) -> ExtractError {
        const SIGXCPU: i32 = 24;
        const SIGXFSZ: i32 = 25;
        let complaint = String::from_utf8_lossy(&self.stderr);
        let is_short = [
            "bad_alloc",
            "Out of memory",
            "Cannot allocate memory",
            "malloc",
        ];
        // What the machine lacks, whatever the file is like.
        let lacks = ["No space left on device", "Disk quota exceeded"];
        if let Some(lack) = lacks.into_iter().find(|words| complaint.contains(words)) {
            return ExtractError::unavailable("the machine", lack);
        }
        match self.signal {
            Some(SIGXCPU) => return ExtractError::refused("its reader ran out of processor time"),
            Some(SIGXFSZ) => return ExtractError::refused("its reader filled the disk"),
            _ if is_short.iter().any(|words| complaint.contains(words)) => {
                return ExtractError::OutOfMemory;
            }
            Some(signal) => {
                return ExtractError::Crashed {
                    how: format!("signal {signal}"),
                };
            }
            None => {}
        }
        let mut lines = complaint.lines().rev();
        let last = lines.find(|line| !line.trim().is_empty());
        ExtractError::damaged(format, last.unwrap_or("it cannot be opened"))
    }
}

/// Whether nothing more can be written to the working folder.
fn disk_is_full() -> bool {
    // Some file systems count no blocks at all.
    rustix::fs::statvfs(std::env::temp_dir())
        .is_ok_and(|disk| disk.f_blocks > 0 && disk.f_bavail == 0)
}

/// The bytes as a file, for programs that take no other form.
pub(super) fn on_disk(bytes: &[u8], suffix: &str) -> Result<NamedTempFile, ExtractError> {
    let mut file = tempfile::Builder::new()
        .suffix(suffix)
        .tempfile()
        .map_err(|error| ExtractError::unavailable("no temporary file", error))?;
    file.write_all(bytes)
        .map_err(|error| ExtractError::unavailable("no space for a temporary file", error))?;
    Ok(file)
}

/// A folder for what programs write.
pub(super) fn scratch() -> Result<TempDir, ExtractError> {
    tempfile::tempdir().map_err(|error| ExtractError::unavailable("no temporary folder", error))
}

/// Lets ffmpeg read this one file and nothing it refers to.
pub(super) fn ffmpeg(demuxer: &str, file: &Path) -> Tool {
    ffmpeg_with(&[], demuxer, file)
}

/// The same with options about how the file is read.
pub(super) fn ffmpeg_with(reading: &[&str], demuxer: &str, file: &Path) -> Tool {
    Tool::new("ffmpeg", "ffmpeg")
        .args([
            "-hide_banner",
            "-v",
            "error",
            "-nostdin",
            "-y",
            "-threads",
            "1",
        ])
        .args(reading)
        .args(["-protocol_whitelist", "file,pipe", "-f", demuxer, "-i"])
        .arg(file)
}

/// A time as ffmpeg takes it.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_fault_of_the_file() {
        let said = |stderr: &str| {
            let output = Output {
                success: false,
                signal: None,
                stdout: Vec::new(),
                stderr: stderr.into(),
                is_cut: false,
            };
            output.failure("recording")
        };
        let full = "av_interleaved_write_frame(): No space left on device\nConversion failed!\n";
        assert_eq!(said(full).code(), "unavailable");
        assert_eq!(said("Invalid data found\n").code(), "damaged");
    }
}

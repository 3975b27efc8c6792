//! Looking at and signalling a process that need not be our child. Refuses to know the pid file.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const POLL: Duration = Duration::from_millis(25);

/// Whether any process has this id, a dead one that nobody has collected included.
pub(crate) fn exists(pid: Pid) -> bool {
    match test_kill_process(pid) {
        Ok(()) => true,
        Err(errno) => errno == rustix::io::Errno::PERM,
    }
}

/// Whether the process lives and is the server of the data directory `data`.
pub(crate) fn is_server_of(pid: Pid, data: &Path) -> bool {
    match Look::at(pid) {
        Some(look) => !look.zombie && look.is_server_of(data),
        None => false,
    }
}

/// Whether the server of `data` with this process id has ended. A process that is on its way out shows
/// no arguments any more and counts as there; a zombie does not.
pub(crate) fn has_ended(pid: Pid, data: &Path) -> bool {
    match Look::at(pid) {
        Some(look) => look.zombie || !(look.arguments.is_empty() || look.is_server_of(data)),
        None => true,
    }
}

/// Sends a signal; a process that is gone already is no error.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    if let Err(errno) = kill_process(pid, signal) {
        tracing::debug!(postgres.pid = pid.as_raw_nonzero().get(), %errno, "cannot signal");
    }
}

/// Waits until `gone` says yes; false when that takes longer than `patience`.
pub(crate) async fn wait_until(patience: Duration, mut gone: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !gone() {
        if started.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

/// What stands between the arguments of a process where the system shows them.
const SEPARATOR: u8 = if cfg!(target_os = "linux") { 0 } else { b' ' };

/// What the system shows of a process.
struct Look {
    zombie: bool,
    /// The program and its arguments, each followed by a separator.
    arguments: Vec<u8>,
    /// The working directory, a server's data directory; containers often hide it even from root.
    directory: Option<PathBuf>,
}

impl Look {
    #[cfg(target_os = "linux")]
    fn at(pid: Pid) -> Option<Look> {
        let root = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let stat = std::fs::read_to_string(root.join("stat")).ok()?;
        // The name in parentheses may hold anything, so the state is what follows the last one.
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        Some(Look {
            zombie: matches!(state, 'Z' | 'X' | 'x'),
            arguments: std::fs::read(root.join("cmdline")).ok()?,
            directory: std::fs::read_link(root.join("cwd")).ok(),
        })
    }

    /// Systems without `/proc` have `ps`.
    #[cfg(not(target_os = "linux"))]
    fn at(pid: Pid) -> Option<Look> {
        let output = std::process::Command::new("/bin/ps")
            .args(["-ww", "-o", "stat=", "-o", "args=", "-p"])
            .arg(pid.as_raw_nonzero().to_string())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (state, arguments) = text.trim().split_once(' ')?;
        Some(Look {
            zombie: state.starts_with('Z'),
            arguments: format!("{} ", arguments.trim()).into_bytes(),
            directory: None,
        })
    }

    fn is_server_of(&self, data: &Path) -> bool {
        let program = self.arguments.split(|byte| *byte == SEPARATOR).next();
        let name = program.and_then(|path| path.rsplit(|byte| *byte == b'/').next());
        let is_postgres = matches!(name, Some(b"postgres" | b"postmaster"));

        let mut option = vec![SEPARATOR, b'-', b'D', SEPARATOR];
        option.extend_from_slice(data.as_os_str().as_bytes());
        option.push(SEPARATOR);
        let names_data = self
            .arguments
            .windows(option.len())
            .any(|window| window == option);
        let works_in_data = self.directory.as_deref() == Some(data);
        is_postgres && (names_data || works_in_data)
    }
}

#[cfg(test)]
mod tests;

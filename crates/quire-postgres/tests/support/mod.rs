//! A place for a server, and the few things the tests ask about processes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quire_postgres::{Options, Server};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// What a test returns.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A directory that the server's user can reach, removed at the end together with a server that a failed
/// test left behind.
pub(crate) struct Place {
    root: TempDir,
    dir: PathBuf,
}

impl Place {
    /// A place with a short path.
    pub(crate) fn new() -> std::io::Result<Place> {
        Self::below("")
    }

    /// A place some directories further down.
    pub(crate) fn below(path: &str) -> std::io::Result<Place> {
        let root = tempfile::Builder::new()
            .prefix("quire-pg-")
            .tempdir_in("/tmp")?;
        fs::set_permissions(root.path(), Permissions::from_mode(0o755))?;
        let dir = root.path().join(path).join("postgres");
        Ok(Place { root, dir })
    }

    /// The directory the server gets.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The options of an ordinary open.
    pub(crate) fn options(&self) -> Options {
        Options::new(&self.dir)
    }

    /// Whether the tests run as root, so that the server runs as somebody else.
    pub(crate) fn are_root(&self) -> bool {
        geteuid().is_root()
    }

    /// A command of the user who owns the data.
    pub(crate) fn as_server_user(&self, program: &str) -> std::io::Result<Command> {
        let mut command = Command::new(program);
        if self.are_root() {
            let owner = fs::metadata(self.data())?;
            command.uid(owner.uid()).gid(owner.gid());
        }
        Ok(command)
    }

    /// A directory with these scripts, which the server's user can run.
    pub(crate) fn programs(&self, scripts: &[(&str, &str)]) -> std::io::Result<PathBuf> {
        let bin = self.root.path().join("bin");
        fs::create_dir(&bin)?;
        for (name, text) in scripts {
            // Another process writes it: a child that another thread starts meanwhile would inherit an open file of
            // this one, and nobody may run what somebody could still write.
            let written = Command::new("sh")
                .args(["-c", r#"printf %s "$1" > "$0" && chmod 755 "$0""#])
                .args([bin.join(name).as_os_str(), text.as_ref()])
                .status()?;
            assert!(written.success(), "{name}");
        }
        Ok(bin)
    }

    /// How many living processes work in the data directory.
    pub(crate) fn server_processes(&self) -> std::io::Result<usize> {
        let data = self.data();
        let working = fs::read_dir("/proc")?
            .flatten()
            .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data));
        Ok(working.count())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let note = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = note.lines().next().and_then(|pid| pid.parse().ok())
            && fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains(&*self.root.path().to_string_lossy()))
        {
            kill(pid, Signal::QUIT);
        }
    }
}

/// Runs SQL through `psql` and returns its plain output.
pub(crate) fn query(server: &Server, sql: &str) -> Result<String, Box<dyn std::error::Error>> {
    query_with(&server.binaries_dir().join("psql"), server, sql)
}

/// The same with a `psql` from somewhere else.
pub(crate) fn query_with(
    psql: &Path,
    server: &Server,
    sql: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new(psql)
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "postgres",
        ])
        .arg("-h")
        .arg(server.socket_dir())
        .args(["-p", &server.port().to_string(), "-U", server.admin_user()])
        .args(["-c", sql])
        .current_dir("/")
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Whether the process runs; a zombie does not.
pub(crate) fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Sends a signal to a process that may be gone.
pub(crate) fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        kill_process(pid, signal).ok();
    }
}

/// Waits for a condition; false when it does not come true in time.
pub(crate) async fn until(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

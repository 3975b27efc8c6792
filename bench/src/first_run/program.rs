//! `quire up --demo` as a child process: what it prints and when, and its end.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::failure::Failure;

const PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE_TO_STOP: Duration = Duration::from_secs(60);

/// A running `quire up --demo` with its own data directory.
pub(crate) struct Quire {
    program: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    child: Child,
    pid: u32,
    output: mpsc::UnboundedReceiver<(Duration, String)>,
    messages: mpsc::UnboundedReceiver<(Duration, String)>,
}

impl Quire {
    pub(crate) fn start(program: &Path, data: PathBuf) -> Result<Self, Failure> {
        Self::start_with(program, data, &[])
    }

    /// The same with settings in the environment.
    pub(crate) fn start_with(
        program: &Path,
        data: PathBuf,
        environment: &[(&str, String)],
    ) -> Result<Self, Failure> {
        let address = free_address().map_err(Failure::doing("looking for a free port"))?;
        let start = Instant::now();
        let mut child = Command::new(program)
            .args(["up", "--demo", "--listen", &address.to_string(), "--data"])
            .arg(&data)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C must reach it once, from here: the second signal ends quire at once.
            .process_group(0)
            .spawn()
            .map_err(Failure::doing(program.display()))?;
        Ok(Self {
            program: program.to_owned(),
            data,
            address,
            pid: child.id().unwrap_or_default(),
            output: lines(start, child.stdout.take()),
            messages: lines(start, child.stderr.take()),
            child,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of the private PostgreSQL.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        let note = self.data.join("postgres/data/postmaster.pid");
        let text = std::fs::read_to_string(note).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// The time from the start to the first line of output that cites a source.
    pub(crate) async fn first_citation(&mut self) -> Result<Duration, Failure> {
        let is_citation = |line: &str| line.trim_start().starts_with("[1] ");
        match until(&mut self.output, is_citation).await {
            Some(time) => Ok(time),
            None => Err(self.broken("no citation came")),
        }
    }

    /// The time from the start to the line that says where quire serves.
    pub(crate) async fn serving(&mut self) -> Result<Duration, Failure> {
        let is_serving = |line: &str| line.starts_with("serving http://");
        match until(&mut self.messages, is_serving).await {
            Some(time) => Ok(time),
            None => Err(self.broken("it does not serve")),
        }
    }

    /// A new key of a tenant, made by a second process on the same data directory.
    pub(crate) async fn key(&self, tenant: &str) -> Result<String, Failure> {
        let key = [
            "key", "create", "--json", "--name", "bench", "--tenant", tenant,
        ];
        let output = self.command(&key).await?;
        let key: serde_json::Value = serde_json::from_slice(&output)
            .map_err(Failure::doing("the output of quire key create"))?;
        let secret = key.get("secret").and_then(serde_json::Value::as_str);
        secret
            .map(str::to_owned)
            .ok_or_else(|| Failure::failed("quire key create printed no secret"))
    }

    /// Adds a file to a notebook, which is made if it is not there, and waits until it can be found.
    pub(crate) async fn add(
        &self,
        tenant: &str,
        notebook: &str,
        file: &Path,
    ) -> Result<(), Failure> {
        let file = file.to_string_lossy();
        let add = ["add", "--tenant", tenant, "--notebook", notebook, &file];
        self.command(&add).await?;
        Ok(())
    }

    /// What a command of a second process on the same data directory prints.
    async fn command(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(Failure::doing("starting quire"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let command = arguments.first().unwrap_or(&"");
            return Err(Failure::failed(format!("quire {command}: {text}")));
        }
        Ok(output.stdout)
    }

    /// Stops quire as Ctrl-C does and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
            && self.child.id().is_some()
        {
            kill_process(pid, Signal::TERM).map_err(Failure::doing("stopping quire"))?;
        }
        let ended = tokio::time::timeout(PATIENCE_TO_STOP, self.child.wait()).await;
        let status = ended
            .map_err(Failure::doing("quire does not stop"))?
            .map_err(Failure::doing("waiting for quire"))?;
        if status.success() {
            Ok(start.elapsed())
        } else {
            Err(Failure::failed(format!("quire ended with {status}")))
        }
    }

    fn broken(&mut self, what: &str) -> Failure {
        let mut last = Vec::new();
        while let Ok((_, line)) = self.messages.try_recv() {
            last.push(line);
        }
        let from = last.len().saturating_sub(8);
        Failure::failed(format!("{what}: {}", last[from..].join(" | ")))
    }
}

/// What `quire --version` says.
pub(crate) async fn version(program: &Path) -> Result<String, Failure> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .await
        .map_err(Failure::doing(program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().trim_start_matches("quire ").to_owned())
}

/// Lines as they come, with the time since the start.
fn lines(
    start: Instant,
    pipe: Option<impl AsyncRead + Unpin + Send + 'static>,
) -> mpsc::UnboundedReceiver<(Duration, String)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Some(pipe) = pipe {
        tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // Read on when nobody listens: a full pipe would stop quire.
                let _ = sender.send((start.elapsed(), line));
            }
        });
    }
    receiver
}

/// The time of the first line that fits.
async fn until(
    lines: &mut mpsc::UnboundedReceiver<(Duration, String)>,
    fits: impl Fn(&str) -> bool,
) -> Option<Duration> {
    let search = async {
        while let Some((time, line)) = lines.recv().await {
            if fits(&line) {
                return Some(time);
            }
        }
        None
    };
    tokio::time::timeout(PATIENCE, search).await.ok().flatten()
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

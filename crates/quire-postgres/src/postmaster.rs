//! One running server: adopting it, starting it, fencing it off, stopping it. Everything here needs the
//! gate. Refuses to know who else uses the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::Child;

use crate::binaries::Binaries;
use crate::layout::Layout;
use crate::options::arguments;
use crate::pidfile::PidFile;
use crate::process::{self, exists, has_ended, is_server_of};
use crate::socket::{answers, refuse_hidden, socket_in};
use crate::{Error, Options};

/// How long a fast shutdown may take; it writes one checkpoint.
pub(crate) const FAST_SHUTDOWN: Duration = Duration::from_secs(20);
/// How long the server may take to end at once; it kills its children itself after 5 s.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(10);
const KILL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(25);

/// What starting a server takes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) binaries: Binaries,
}

/// A server that accepts connections, ours or adopted.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pub(crate) pid: Pid,
    pub(crate) socket_dir: PathBuf,
    /// Our child; absent when another process started the server.
    pub(crate) child: Option<Child>,
}

/// How waiting for a server ended.
enum Wait {
    Ready(PidFile),
    Exited(Option<ExitStatus>),
    TimedOut,
}

/// Adopts the server that runs, or starts one.
pub(crate) async fn ensure(plan: &Plan) -> Result<Postmaster, Error> {
    if let Some(pid) = running(&plan.layout)?
        && let Some(adopted) = adopt(plan, pid).await?
    {
        return Ok(adopted);
    }
    let deadline = Instant::now() + plan.options.start_timeout;
    refuse_hidden(&plan.layout.run, deadline).await?;
    clear_stale(&plan.layout).await?;
    start(plan, deadline).await
}

/// The process id of the living server of this data directory.
pub(crate) fn running(layout: &Layout) -> Result<Option<Pid>, Error> {
    let pid = PidFile::read(&layout.data)?.and_then(|note| Pid::from_raw(note.pid));
    Ok(pid.filter(|pid| is_server_of(*pid, &layout.data)))
}

async fn adopt(plan: &Plan, pid: Pid) -> Result<Option<Postmaster>, Error> {
    let raw_pid = pid.as_raw_nonzero().get();
    match wait(plan, pid, None).await? {
        Wait::Ready(note) => {
            tracing::info!(
                postgres.pid = raw_pid,
                "adopted the running PostgreSQL server"
            );
            Ok(Some(Postmaster {
                pid,
                socket_dir: note.socket_dir,
                child: None,
            }))
        }
        Wait::Exited(_) => Ok(None),
        Wait::TimedOut => {
            tracing::warn!(
                postgres.pid = raw_pid,
                "a PostgreSQL server runs and accepts nobody: ending it"
            );
            fence(&plan.layout, pid).await?;
            Ok(None)
        }
    }
}

async fn start(plan: &Plan, deadline: Instant) -> Result<Postmaster, Error> {
    let Plan {
        layout, options, ..
    } = plan;
    loop {
        let (mut child, log_start) = spawn(plan)?;
        let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
            continue;
        };
        let raw_pid = pid.as_raw_nonzero().get();
        match wait(plan, pid, Some(&mut child)).await? {
            Wait::Ready(note) => {
                tracing::info!(
                    postgres.pid = raw_pid,
                    postgres.version = %plan.binaries.version,
                    postgres.user = layout.account.name(),
                    "started PostgreSQL"
                );
                return Ok(Postmaster {
                    pid,
                    socket_dir: note.socket_dir,
                    child: Some(child),
                });
            }
            Wait::Exited(status) => {
                let tail = layout.log_tail(log_start);
                // Children of a killed server still hold its shared memory; they notice and go.
                if tail.contains("still in use") && Instant::now() < deadline {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                return Err(Error::Exited {
                    status: status.unwrap_or_default(),
                    log: layout.log.clone(),
                    tail,
                });
            }
            Wait::TimedOut => {
                fence(layout, pid).await?;
                return Err(Error::NotReady {
                    waited_s: options.start_timeout.as_secs(),
                    log: layout.log.clone(),
                });
            }
        }
    }
}

/// Starts the process, in a process group of its own so that Ctrl-C in the terminal does not reach it.
/// Also says how long the log was before.
fn spawn(plan: &Plan) -> Result<(Child, u64), Error> {
    let layout = &plan.layout;
    let log = layout.open_log()?;
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    let also = log.try_clone().map_err(Error::io("share", &layout.log))?;
    let program = plan.binaries.program("postgres");
    let child = layout
        .account
        .command(&program, &layout.dir)
        .arg("-D")
        .arg(&layout.data)
        .args(arguments(&layout.run, &plan.options.settings))
        .stdout(log)
        .stderr(also)
        .process_group(0)
        .spawn()
        .map_err(Error::io("run", &program))?;
    Ok((child, log_start))
}

/// Waits until the server says it is ready and its socket answers.
async fn wait(plan: &Plan, pid: Pid, mut child: Option<&mut Child>) -> Result<Wait, Error> {
    let layout = &plan.layout;
    let deadline = Instant::now() + plan.options.start_timeout;
    loop {
        if let Some(child) = child.as_deref_mut() {
            let ended = child.try_wait();
            if let Some(status) = ended.map_err(Error::io("wait for", &layout.data))? {
                return Ok(Wait::Exited(Some(status)));
            }
        } else if has_ended(pid, &layout.data) {
            return Ok(Wait::Exited(None));
        }
        if let Some(note) = PidFile::read(&layout.data)?
            && note.pid == pid.as_raw_nonzero().get()
            && note.ready
            && answers(&note.socket()).await
        {
            return Ok(Wait::Ready(note));
        }
        if Instant::now() >= deadline {
            return Ok(Wait::TimedOut);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Removes what keeps a new server from starting although the old one is gone. A note that names a
/// dead process stays: the server itself judges it and checks the shared memory it names. A note whose
/// process id went to somebody else would make the server refuse, so that one has to go.
async fn clear_stale(layout: &Layout) -> Result<(), Error> {
    let note = PidFile::read(&layout.data)?.and_then(|note| Pid::from_raw(note.pid));
    if let Some(pid) = note
        && process::wait_until(KILL, || has_ended(pid, &layout.data)).await
        && exists(pid)
    {
        tracing::warn!(
            postgres.pid = pid.as_raw_nonzero().get(),
            "postmaster.pid names a process that is no PostgreSQL server: removing it"
        );
        remove(&PidFile::path(&layout.data))?;
    }
    remove(&socket_in(&layout.run).with_added_extension("lock"))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Stops the server in good order, and by force when that takes too long.
pub(crate) async fn stop(layout: &Layout, pid: Pid) -> Result<(), Error> {
    process::signal(pid, Signal::INT);
    let ended = || has_ended(pid, &layout.data);
    if !process::wait_until(FAST_SHUTDOWN, ended).await {
        tracing::warn!(
            postgres.pid = pid.as_raw_nonzero().get(),
            "PostgreSQL does not stop in good order: ending it at once, it recovers at the next start"
        );
        fence(layout, pid).await?;
    }
    Ok(())
}

/// Makes sure that the server is gone.
async fn fence(layout: &Layout, pid: Pid) -> Result<(), Error> {
    let ended = || has_ended(pid, &layout.data);
    for (signal, patience) in [(Signal::QUIT, IMMEDIATE_SHUTDOWN), (Signal::KILL, KILL)] {
        process::signal(pid, signal);
        // A process that is halted hears nothing before this.
        process::signal(pid, Signal::CONT);
        if process::wait_until(patience, ended).await {
            return Ok(());
        }
    }
    Err(Error::NotStopping(
        pid.as_raw_nonzero().get().cast_unsigned(),
    ))
}

//! The handle that a quire process holds while it uses the server. Refuses to know what it is used for.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::binaries::Version;
use crate::layout::Layout;
use crate::lock::{Gate, Share};
use crate::options::check_settings;
use crate::postmaster::{self, FAST_SHUTDOWN, Plan, Postmaster};
use crate::{Error, Options, cluster};

/// The superuser of the cluster.
pub const ADMIN_USER: &str = "quire_admin";
/// Only a part of the socket's file name; no port is opened.
pub const PORT: u16 = 5432;

/// A share in the private server. [`Server::close`] it; a handle that is merely dropped leaves the server
/// running for the next process to adopt.
#[derive(Debug)]
pub struct Server {
    pub(crate) plan: Plan,
    share: Share,
    state: Mutex<Postmaster>,
}

impl Server {
    /// Opens the server of `options.dir`: makes it, adopts it or starts it, whatever is needed.
    pub async fn open(options: Options) -> Result<Server, Error> {
        check_settings(&options.settings)?;
        let layout = Layout::open(&options.dir)?;
        let gate = Gate::take(&layout, patience(&options)).await?;
        let binaries = cluster::prepare(&layout, &options).await?;
        let plan = Plan {
            layout,
            options,
            binaries,
        };
        let postmaster = Box::pin(postmaster::ensure(&plan)).await?;
        let share = Share::take(&plan.layout, &gate)?;
        Ok(Server {
            plan,
            share,
            state: Mutex::new(postmaster),
        })
    }

    /// The directory of the unix socket: the `host` of a connection.
    pub fn socket_dir(&self) -> PathBuf {
        self.state().socket_dir.clone()
    }

    /// The port that is part of the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// The superuser, who needs no password on this socket.
    pub fn admin_user(&self) -> &'static str {
        ADMIN_USER
    }

    /// The server's process id; another one after a restart.
    pub fn pid(&self) -> u32 {
        self.state().pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Whether another process started the server.
    pub fn adopted(&self) -> bool {
        self.state().child.is_none()
    }

    /// The version of the server's binaries.
    pub fn version(&self) -> Version {
        self.plan.binaries.version
    }

    /// The directory with `psql`, `pg_dump` and the other programs of this version.
    pub fn binaries_dir(&self) -> PathBuf {
        self.plan.binaries.dir.clone()
    }

    /// The server's log file.
    pub fn log_file(&self) -> PathBuf {
        self.plan.layout.log.clone()
    }

    /// Gives the share back and stops the server when nobody else has one.
    pub async fn close(self) -> Result<(), Error> {
        let Server { plan, share, state } = self;
        let layout = &plan.layout;
        let gate = Gate::take(layout, patience(&plan.options)).await?;
        if !share.give_back(layout, &gate)? {
            tracing::debug!("others use PostgreSQL: leaving it running");
            return Ok(());
        }
        // Another process may have restarted it, so the note counts and not what we remember.
        if let Some(pid) = postmaster::running(layout)? {
            postmaster::stop(layout, pid).await?;
            tracing::info!("stopped PostgreSQL");
        }
        let mut postmaster = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = &mut postmaster.child {
            // It has ended; collecting it leaves no zombie.
            let collected = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            tracing::trace!(?collected);
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Postmaster> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long another process may hold the gate: it may start a server, and then stop it.
pub(crate) fn patience(options: &Options) -> Duration {
    options.start_timeout + FAST_SHUTDOWN + Duration::from_secs(10)
}

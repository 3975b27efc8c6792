//! Bringing the server back when it dies under us. Refuses to know why it died.

use std::time::{Duration, Instant};

use crate::lock::Gate;
use crate::process::is_server_of;
use crate::server::patience;
use crate::{Error, Server, postmaster};

const LOOK: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server that lives this long is well again.
const WELL: Duration = Duration::from_secs(60);

impl Server {
    /// Looks once a second whether the server lives and restarts it when it does not, until `shutdown`.
    /// Every process that uses the server may do this; the gate lets one of them restart it and the
    /// others adopt the result.
    pub async fn supervise(&self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.keep_alive() => {}
        }
    }

    async fn keep_alive(&self) {
        let mut pause = LOOK;
        let mut last_restart: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            if self.lives() {
                continue;
            }
            if last_restart.is_some_and(|at| at.elapsed() < WELL) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = LOOK;
            }
            tracing::warn!(postgres.pid = self.pid(), "PostgreSQL died: restarting it");
            last_restart = Some(Instant::now());
            if let Err(error) = Box::pin(self.restart()).await {
                tracing::error!(%error, retry_s = pause.as_secs(), "cannot restart PostgreSQL");
            }
        }
    }

    /// Whether the server lives. Collects it when it was our child and is dead.
    fn lives(&self) -> bool {
        let mut state = self.state();
        if let Some(child) = &mut state.child
            && matches!(child.try_wait(), Ok(Some(_)))
        {
            return false;
        }
        is_server_of(state.pid, &self.plan.layout.data)
    }

    async fn restart(&self) -> Result<(), Error> {
        let layout = &self.plan.layout;
        let _gate = Gate::take(layout, patience(&self.plan.options)).await?;
        let fresh = Box::pin(postmaster::ensure(&self.plan)).await?;
        *self.state() = fresh;
        Ok(())
    }
}

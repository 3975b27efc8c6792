//! The way to one address that was checked.
//!
//! The client of PostgreSQL would look names up itself, so it gets a socket that only this process's user can reach, and
//! what comes there is carried to the address. What comes back is counted, since whoever answers there may be anybody.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ForeignError;

/// How long the way there may take.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// The port in the name of the socket; the address has the real one.
pub(super) const PORT: u16 = 5432;
/// How long an answer is waited for, should the server not keep to its own limit.
const ANSWER: Duration = Duration::from_secs(90);
/// What one answer may take.
const MOST_BYTES: usize = 256 << 20;

/// The way to one address; it ends when it is dropped.
pub(super) struct Way {
    dir: TempDir,
    carrier: JoinHandle<()>,
    /// What may still come as an answer.
    allowance: Arc<AtomicUsize>,
}

impl Way {
    pub(super) async fn to(address: SocketAddr) -> Result<Self, ForeignError> {
        let unreachable = |error: io::Error| ForeignError::Down(error.to_string());
        let far = timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| ForeignError::Timeout)?
            .map_err(unreachable)?;
        let dir = tempfile::Builder::new()
            .prefix("quire-way-")
            .tempdir()
            .map_err(unreachable)?;
        let socket = dir.path().join(format!(".s.PGSQL.{PORT}"));
        let listener = UnixListener::bind(socket).map_err(unreachable)?;
        let allowance = Arc::new(AtomicUsize::new(MOST_BYTES));
        let counted = allowance.clone();
        let carrier = tokio::spawn(async move {
            if let Ok((near, _)) = listener.accept().await {
                // Whichever side ends it, the other one is told by the end of its connection.
                drop(carry(near, far, &counted).await);
            }
        });
        Ok(Self {
            dir,
            carrier,
            allowance,
        })
    }

    pub(super) fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for an answer, but neither for ever nor for any amount of it.
    pub(super) async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, ForeignError> {
        self.allowance.store(MOST_BYTES, Ordering::Relaxed);
        let answered = timeout(ANSWER, asked).await;
        match answered.map_err(|_| ForeignError::Timeout)? {
            Err(_) if self.allowance.load(Ordering::Relaxed) == 0 => {
                Err(ForeignError::Invalid(format!(
                    "the database sent more than {MOST_BYTES} bytes at once: name the columns that are read"
                )))
            }
            answered => Ok(answered?),
        }
    }

    /// Waits until the other side has gone.
    pub(super) async fn end(&mut self) {
        drop((&mut self.carrier).await);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn carry(near: UnixStream, far: TcpStream, allowance: &AtomicUsize) -> io::Result<()> {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let there = async {
        tokio::io::copy(&mut near_in, &mut far_out).await?;
        far_out.shutdown().await
    };
    let back = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = far_in.read(&mut buffer).await?;
            let left = allowance.load(Ordering::Relaxed).saturating_sub(count);
            allowance.store(left, Ordering::Relaxed);
            if count == 0 || left == 0 {
                return near_out.shutdown().await;
            }
            near_out.write_all(&buffer[..count]).await?;
        }
    };
    // The end of the answers is the end; the end of the questions is not.
    tokio::pin!(there, back);
    tokio::select! {
        ended = &mut back => ended,
        ended = &mut there => {
            ended?;
            back.await
        }
    }
}

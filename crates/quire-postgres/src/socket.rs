//! The unix socket: its name, and whether somebody answers there. Refuses to know processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Error;
use crate::server::PORT;

/// The socket file in a socket directory.
pub(crate) fn socket_in(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// The question "do you speak TLS?", the shortest one that makes the server itself answer: the kernel
/// accepts connections on behalf of a server that hangs.
const TLS_QUESTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Whether a server that is alive listens on the socket.
pub(crate) async fn answers(socket: &Path) -> bool {
    let question = async {
        let mut connection = UnixStream::connect(socket).await?;
        connection.write_all(&TLS_QUESTION).await?;
        connection.read_u8().await
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), question).await;
    matches!(answer, Ok(Ok(_)))
}

/// Fails when a server answers although none is visible. One in another container may use the same
/// directory: its pid means nothing here, and a second server on the same data would destroy it.
pub(crate) async fn refuse_hidden(run: &Path, deadline: Instant) -> Result<(), Error> {
    let socket = socket_in(run);
    while answers(&socket).await {
        if Instant::now() >= deadline {
            return Err(Error::HiddenServer(socket));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

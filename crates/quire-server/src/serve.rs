//! Listening, and stopping without cutting anybody off.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long requests may go on once the process is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until told to stop, then lets running requests finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let graceful = stop.clone();
    // An answer comes in many small pieces. With Nagle's algorithm each but the first waits until the client's
    // kernel acknowledges the one before it, which takes up to 40 ms.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move { graceful.cancelled().await });
    let server = std::pin::pin!(server.into_future());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = overdue => {
            warn!(grace_s = GRACE.as_secs(), "some requests did not end in time and were cut off");
            Ok(())
        }
    }
}

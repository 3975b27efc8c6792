//! Telling producers to slow down while the queue is full. Asked at every upload, looked up once a second.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use quire_queue::{Level, SLOW_DOWN_AT};
use quire_store::Store;
use quire_types::ErrorKind;

use crate::problem::ApiError;

const FRESH: Duration = Duration::from_secs(1);

/// What was seen last, and when.
#[derive(Default)]
pub struct Pressure(Mutex<Option<(Instant, Level)>>);

impl Pressure {
    /// Refuses when the queue is full. When nobody can say, the upload itself will tell.
    pub(crate) async fn check(&self, store: &Store) -> Result<(), ApiError> {
        let mut seen = self.0.lock().await;
        let level = match *seen {
            Some((at, level)) if at.elapsed() < FRESH => level,
            _ => {
                let level = look(store).await.unwrap_or(Level::Normal);
                *seen = Some((Instant::now(), level));
                level
            }
        };
        match level {
            Level::Full => Err(ApiError::new(
                ErrorKind::RateLimited,
                format!("{SLOW_DOWN_AT} tasks are waiting already; try again in a while"),
            )),
            Level::Normal | Level::Alert => Ok(()),
        }
    }
}

async fn look(store: &Store) -> Result<Level, quire_queue::Error> {
    let mut tx = store.system().await?;
    let level = quire_queue::level(&mut tx).await?;
    tx.commit().await?;
    Ok(level)
}

//! Reading a recording, or an e-mail with one in it: the same work as [`ReadSource`], for as long as it lasts.
//!
//! A kind of task of its own, so that the queue holds back what is too much at once: a recording that waited inside a
//! task would keep a seat of the worker from everybody's letters.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::{Placement, sources};
use quire_types::{MediaType, SourceState};

use super::ReadSource;
use super::read_source::Lane;
use crate::detect::{glance, is_recording};
use crate::progress::queue_reading;
use crate::sandbox::Extractor;
use crate::{Error, Ingest};

/// An e-mail that is smaller has room for a minute of speech at most.
const LEAST_EMAIL_BYTES: usize = 64 << 10;

/// [`ReadSource`] of what takes long.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReadRecording(ReadSource);

impl ReadRecording {
    /// Ends a task in favour of one of this kind.
    pub(super) async fn instead_of(
        task: &ReadSource,
        ingest: &Ingest,
        placement: Placement,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        let (state, reason) = (SourceState::Queued, "waits for its turn among recordings");
        if !sources::set_state(&mut tx, task.source, task.version, state, Some(reason)).await? {
            return Ok(());
        }
        attempt.complete(&mut tx).await?;
        let wishes = Wishes {
            priority: task.again.then_some(Priority::Low),
            ..Wishes::default()
        };
        queue_reading(&mut tx, task.source, &Self(task.clone()), wishes).await?;
        tx.commit().await?;
        ingest.config.bell.notify_one();
        Ok(())
    }
}

/// Whether a file may take so long that others should not wait behind it. What can't be told is left to its reader,
/// which says why.
pub(super) async fn takes_long(
    ingest: &Ingest,
    extractor: &Extractor,
    name: &str,
    bytes: &Bytes,
) -> Result<bool, Error> {
    let may_hold_one =
        glance(name, bytes) == Some(MediaType::Email) && bytes.len() >= LEAST_EMAIL_BYTES;
    if !may_hold_one {
        return Ok(is_recording(name, bytes));
    }
    let _place = ingest.config.extracting.enter().await?;
    let found = extractor.to_sense(name, bytes.clone()).await;
    Ok(found.is_ok_and(|found| found.has_recordings))
}

#[async_trait]
impl Task for ReadRecording {
    const KIND: &'static str = "read-recording";
    const TIMEOUT: Duration = ReadSource::TIMEOUT;
    /// As many as the stage for it ever takes; a worker beside others runs one.
    const MOST_RUNNING: u32 = 2;
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        self.0.run_in(Lane::Recordings, ingest, attempt).await
    }

    async fn gave_up(
        &self,
        ingest: &Ingest,
        attempt: &Attempt,
        failed: &Failure,
    ) -> Result<(), Failure> {
        self.0.gave_up(ingest, attempt, failed).await
    }
}

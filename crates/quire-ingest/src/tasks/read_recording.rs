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

/// An e-mail that is smaller has room for a minute of speech at most, and waits for nobody.
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

/// Whether a file may take so long that others should not wait behind it.
pub(super) fn takes_long(name: &str, bytes: &[u8], attached: Attached) -> bool {
    is_recording(name, bytes) || (attached.recordings > 0 && bytes.len() >= LEAST_EMAIL_BYTES)
}

/// Recordings that are attached to an e-mail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attached {
    pub(crate) recordings: u64,
    pub(crate) sound_ms: u64,
}

impl Attached {
    /// Those of a file. What can't be told is left to its reader, which says why.
    pub(super) async fn to(
        ingest: &Ingest,
        extractor: &Extractor,
        name: &str,
        bytes: &Bytes,
    ) -> Result<Self, Error> {
        if glance(name, bytes) != Some(MediaType::Email) || !has_parts(bytes) {
            return Ok(Self::default());
        }
        let _place = ingest.config.extracting.enter().await?;
        let found = extractor.to_sense(name, bytes.clone()).await;
        Ok(found.map_or_else(
            |_| Self::default(),
            |found| Self {
                recordings: found.recordings,
                sound_ms: found.sound_ms,
            },
        ))
    }
}

/// Most letters are one text, which needs no look of its own.
fn has_parts(bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"multipart/";
    let mut windows = bytes.windows(MARK.len());
    windows.any(|window| window.eq_ignore_ascii_case(MARK))
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

//! Reading one version of a source: text, passages, vectors, and the step that makes them findable.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use quire_queue::{Attempt, Failure, Task, announce};
use quire_store::corpus;
use quire_store::passages::{self, NewPassage, Published};
use quire_store::sources::{self, Content, Reading, Source, Totals};
use quire_store::{Placement, TenantTx, progress, readers};
use quire_tenancy::usage::{self, Event};
use quire_tenancy::{Admitted, Permit, Stage};
use quire_types::{ErrorKind, Kind, MediaType, SourceId, SourceState};

use super::read_recording::{Attached, takes_long};
use super::used::usage_event;
use super::{FoldTail, ReadRecording, failure, placement};
use crate::allowance::{by_plan, limits, room_for_recordings};
use crate::detect::is_recording;
use crate::extract::{Document, ExtractError, Heard, Known, processor};
use crate::hearing::ToListen;
use crate::passages::passages as cut;
use crate::sandbox::Extractor;
use crate::sensing::ToAsk;
use crate::service::told;
use crate::{Error, Ingest};

/// Percent are written down once in so long at most.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Which tasks a reading is one of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Any file.
    Files,
    /// What takes long.
    Recordings,
}

/// Makes one version of a source searchable.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadSource {
    /// The source.
    pub source: SourceId,
    /// The version; the task is void once there is a newer one.
    pub version: i32,
    /// Whether its content was read before: nobody is told what that used, and if it can't be read now, search keeps
    /// what it has.
    #[serde(default)]
    pub again: bool,
}

impl ReadSource {
    /// The task for the latest version of a source.
    pub fn of(source: &Source) -> Self {
        Self {
            source: source.id,
            version: source.latest_version,
            again: false,
        }
    }

    /// One attempt.
    pub(super) async fn run_in(
        &self,
        lane: Lane,
        ingest: &Ingest,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let Some(placement) = placement(&ingest.config.store, attempt)
            .await
            .map_err(failure)?
        else {
            return Ok(());
        };
        let Err(error) = self.read(ingest, placement, attempt, lane).await else {
            return Ok(());
        };
        if error.kind().is_transient() && attempt.number < attempt.of {
            let reason = format!(
                "try {} of {} failed and will be repeated: {error}",
                attempt.number, attempt.of
            );
            // Only a courtesy to whoever watches; the failure itself is what counts.
            drop(
                self.move_to(ingest, placement, SourceState::Queued, Some(&reason))
                    .await,
            );
        }
        let failure = Failure::of(&error);
        Err(match error.retry_after() {
            Some(wait) => failure.retry_after(wait),
            None => failure,
        })
    }

    async fn read(
        &self,
        ingest: &Ingest,
        placement: Placement,
        attempt: &Attempt,
        lane: Lane,
    ) -> Result<(), Error> {
        let config = &ingest.config;
        let Some((source, content)) = self.start(ingest, placement).await? else {
            return Ok(());
        };
        let bytes = ingest.read(content).await?;
        let account = config.control.account(placement.tenant).await?;
        let ceiling = config.extractor.limits();
        let extractor = config
            .extractor
            .clone()
            .with_limits(limits(&account.terms, ceiling));
        let by_plan = |error| by_plan(error, &account.terms, ceiling);
        let attached = Attached::to(ingest, &extractor, &source.name, &bytes).await?;
        let stage = match lane {
            Lane::Recordings => &config.recognising,
            Lane::Files if takes_long(&source.name, &bytes, attached) => {
                return ReadRecording::instead_of(self, ingest, placement, attempt).await;
            }
            Lane::Files => &config.extracting,
        };
        let mut sound = None;
        let mut known = Known::default();
        if is_recording(&source.name, &bytes) {
            (sound, known.heard) = self
                .listen(ingest, placement, attempt, (&source, &bytes), &extractor)
                .await?;
        }
        if attached.recordings > 0 && !self.again {
            let held = ingest.hold_attached(placement, &account, attempt, &source, attached);
            match held.await {
                Ok(held) => sound = Some(held),
                // The letter is read all the same.
                Err(Error::Refused(refusal)) if !refusal.kind().is_transient() => {
                    known.unheard = Some(refusal.text);
                }
                Err(error) => return Err(error),
            }
        }
        let known = self
            .ask(ingest, placement, (&source, &bytes), known, &extractor)
            .await?;
        let (percent, seen) = watch::channel(0);
        let is_known = !known.is_empty();
        let tell = move |now: u8| {
            let now = if is_known { 50 + now / 2 } else { now };
            percent.send_replace(now);
        };
        let extraction = {
            let Some(_place) = self.enter(ingest, placement, stage).await? else {
                return Ok(());
            };
            let content = bytes.clone();
            let extraction = extractor.extract_known(&source.name, content, &known, &tell);
            let state = SourceState::Extracting;
            self.noting(ingest, placement, state, seen, extraction)
                .await
                .map_err(by_plan)?
        };
        let (name, options) = (source.name.clone(), config.passages.clone());
        let cutting = tokio::task::spawn_blocking(move || {
            let drafts = cut(&extraction.document, &name, &options);
            (extraction, drafts)
        });
        let (extraction, drafts) = cutting
            .await
            .map_err(|error| ExtractError::unavailable("passages", error))?;
        if !self
            .start_embedding(ingest, placement, &source, drafts.len())
            .await?
        {
            return Ok(());
        }
        let (percent, seen) = watch::channel(0);
        let tell = move |now| {
            percent.send_replace(now);
        };
        let by = ingest.embedding(placement).await?;
        let embedding = ingest.embed(placement.tenant, &by, drafts, &tell);
        let state = SourceState::Embedding;
        let new = self
            .noting(ingest, placement, state, seen, embedding)
            .await?;
        let event = usage_event(attempt, &source, &extraction.document, &new, sound.as_ref());
        let is_published = self
            .publish(
                ingest,
                placement,
                &extraction.document,
                extraction.media,
                (&new, by.model.as_deref()),
                &event,
            )
            .await?;
        if let Some(sound) = sound.filter(|_| is_published) {
            sound.charge(&event);
        }
        Ok(())
    }

    /// Before a recording is read: holds its seconds, the first time, and has models of providers write down what is
    /// said where there are any.
    async fn listen(
        &self,
        ingest: &Ingest,
        placement: Placement,
        attempt: &Attempt,
        (source, bytes): (&Source, &Bytes),
        extractor: &Extractor,
    ) -> Result<(Option<Admitted>, Heard), Error> {
        if self.again && !ingest.has_ears() {
            return Ok((None, Heard::default()));
        }
        let config = &ingest.config;
        let account = config.control.account(placement.tenant).await?;
        if !self.again {
            let mut tx = config.store.tenant(placement).await?;
            room_for_recordings(&mut tx, &account, source, 1).await?;
            tx.commit().await?;
        }
        let measured = extractor.measure(&source.name, bytes.clone()).await;
        let measured =
            measured.map_err(|error| by_plan(error, &account.terms, config.extractor.limits()))?;
        if !measured.has_sound {
            return Ok((None, Heard::default()));
        }
        let length_ms = measured.length_ms;
        let seconds = length_ms.div_ceil(1_000).max(1);
        let sound = match self.again {
            true => None,
            false => Some(
                ingest
                    .hold_sound(&account, attempt, source, seconds)
                    .await?,
            ),
        };
        let (percent, seen) = watch::channel(0);
        // What is seen in a film comes after.
        let tell = move |now: u8| {
            percent.send_replace(now / 2);
        };
        let recording = ToListen {
            source,
            name: &source.name,
            bytes,
            length_ms,
            again: self.again,
        };
        let listening = ingest.listen(&account, extractor, recording, &tell);
        let state = SourceState::Extracting;
        let heard = self
            .noting(ingest, placement, state, seen, listening)
            .await?;
        Ok((sound, heard))
    }

    /// Before a file is read: has models of providers read and look at what they can, where there are any.
    async fn ask(
        &self,
        ingest: &Ingest,
        placement: Placement,
        (source, bytes): (&Source, &Bytes),
        known: Known,
        extractor: &Extractor,
    ) -> Result<Known, Error> {
        let account = ingest.config.control.account(placement.tenant).await?;
        let (percent, seen) = watch::channel(0);
        let starts_at = if known.is_empty() { 0 } else { 50 };
        let tell = move |now: u8| {
            percent.send_replace(starts_at.max(now / 2));
        };
        let file = ToAsk {
            source,
            name: &source.name,
            bytes,
            again: self.again,
        };
        let asking = ingest.sense(&account, extractor, file, known, &tell);
        let state = SourceState::Extracting;
        self.noting(ingest, placement, state, seen, asking).await
    }

    /// The source and the bytes to read; none when the work is void.
    async fn start(
        &self,
        ingest: &Ingest,
        placement: Placement,
    ) -> Result<Option<(Source, Content)>, Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        let source = match sources::get(&mut tx, self.source).await {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !sources::set_state(
            &mut tx,
            self.source,
            self.version,
            SourceState::Extracting,
            None,
        )
        .await?
        {
            return Ok(None);
        }
        let content = sources::content(&mut tx, self.source, self.version).await?;
        tx.commit().await?;
        Ok(Some((source, content)))
    }

    /// A place among the files that are read here; meanwhile the source is queued again and says so. None when
    /// the work has become void.
    async fn enter(
        &self,
        ingest: &Ingest,
        placement: Placement,
        stage: &Stage,
    ) -> Result<Option<Permit>, Error> {
        let (most, running, _) = stage.counts();
        if running < most {
            return Ok(Some(stage.enter().await?));
        }
        let reason = format!("waits for one of {running} files that are being read here");
        self.move_to(ingest, placement, SourceState::Queued, Some(&reason))
            .await?;
        let place = stage.enter().await?;
        let moved = self
            .move_to(ingest, placement, SourceState::Extracting, None)
            .await?;
        Ok(moved.then_some(place))
    }

    /// Works while the percent that are told are written down, once a second at most.
    async fn noting<T>(
        &self,
        ingest: &Ingest,
        placement: Placement,
        state: SourceState,
        mut percent: watch::Receiver<u8>,
        work: impl Future<Output = T>,
    ) -> T {
        let note = async {
            while percent.changed().await.is_ok() {
                let now = *percent.borrow_and_update();
                // Only a courtesy to whoever watches.
                drop(self.note(ingest, placement, state, now).await);
                tokio::time::sleep(NOTED_EVERY).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            done = work => done,
            never = note => never,
        }
    }

    async fn note(
        &self,
        ingest: &Ingest,
        placement: Placement,
        state: SourceState,
        percent: u8,
    ) -> Result<(), Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        progress::note_percent(&mut tx, self.source, self.version, state, percent).await?;
        Ok(tx.commit().await?)
    }

    /// Before the costly part: whether the tenant may keep the passages, and whether the work is not void.
    async fn start_embedding(
        &self,
        ingest: &Ingest,
        placement: Placement,
        source: &Source,
        passages: usize,
    ) -> Result<bool, Error> {
        let account = ingest.config.control.account(placement.tenant).await?;
        let mut tx = ingest.config.store.tenant(placement).await?;
        // They take the place of those that search sees now.
        let passages = i64::try_from(passages).unwrap_or(i64::MAX) - i64::from(source.passages);
        let more = Totals {
            stored_bytes: 0,
            passages: passages.max(0),
        };
        ingest.stock.room(&mut tx, &account, more).await??;
        let state = SourceState::Embedding;
        let moved = sources::set_state(&mut tx, self.source, self.version, state, None).await?;
        tx.commit().await?;
        Ok(moved)
    }

    async fn move_to(
        &self,
        ingest: &Ingest,
        placement: Placement,
        state: SourceState,
        reason: Option<&str>,
    ) -> Result<bool, Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        let moved = sources::set_state(&mut tx, self.source, self.version, state, reason).await?;
        tx.commit().await?;
        Ok(moved)
    }

    async fn fail(&self, ingest: &Ingest, placement: Placement, reason: &str) -> Result<(), Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        if self.again && self.keep_live(&mut tx, reason).await? {
            return Ok(tx.commit().await?);
        }
        let state = SourceState::Failed;
        if sources::set_state(&mut tx, self.source, self.version, state, Some(reason)).await? {
            let source = sources::get(&mut tx, self.source).await?;
            announce(&mut tx, &[told("source.failed", &source)]).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Leaves search what the reader before found.
    async fn keep_live(&self, tx: &mut TenantTx, reason: &str) -> Result<bool, Error> {
        let source = sources::get(tx, self.source).await?;
        let Some(media) = source.media_type else {
            return Ok(false);
        };
        let reason = format!("could not be read again, and stays as it was read before: {reason}");
        let (version, processor) = (self.version, processor(media));
        Ok(readers::keep_live(tx, self.source, version, processor, &reason).await?)
    }

    async fn publish(
        &self,
        ingest: &Ingest,
        placement: Placement,
        document: &Document,
        media: MediaType,
        (new, model): (&[NewPassage], Option<&str>),
        event: &Event,
    ) -> Result<bool, Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        let pages = document.pages.and_then(|pages| i32::try_from(pages).ok());
        let published =
            passages::publish(&mut tx, self.source, self.version, media, pages, new).await;
        let published = corpus::of_model(&mut tx, model, published).await?;
        if let Published::Searchable { .. } = published {
            let reading = Reading {
                processor: processor(media),
                duration_ms: document.duration_ms,
                picture_hash: document.picture_hash,
                recordings: i32::try_from(document.sensed.recordings).unwrap_or(i32::MAX),
            };
            sources::note_reading(&mut tx, self.source, reading).await?;
            let objects = sources::forget_older(&mut tx, self.source, self.version).await?;
            ingest.purge(&mut tx, &objects).await?;
            let source = sources::get(&mut tx, self.source).await?;
            let recordings = document.sensed.recordings;
            if recordings > 0 && !self.again {
                let account = ingest.config.control.account(placement.tenant).await?;
                room_for_recordings(&mut tx, &account, &source, recordings).await?;
            }
            announce(&mut tx, &[told("source.published", &source)]).await?;
            if !self.again {
                usage::record_in(&mut tx, std::slice::from_ref(event)).await?;
            }
            FoldTail::plan(&mut tx, ingest).await?;
        }
        tx.commit().await?;
        Ok(published != Published::Obsolete)
    }
}

#[async_trait]
impl Task for ReadSource {
    const KIND: &'static str = "read-source";
    /// The largest text that is accepted takes over an hour to embed on two busy cores.
    const TIMEOUT: Duration = Duration::from_secs(4 * 3_600);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        self.run_in(Lane::Files, ingest, attempt).await
    }

    async fn gave_up(
        &self,
        ingest: &Ingest,
        attempt: &Attempt,
        failed: &Failure,
    ) -> Result<(), Failure> {
        let Some(placement) = placement(&ingest.config.store, attempt)
            .await
            .map_err(failure)?
        else {
            return Ok(());
        };
        self.fail(ingest, placement, &failed.message)
            .await
            .map_err(failure)
    }
}

//! Publishing texts that quire made itself: many in one step, embedded in batches across them.
//!
//! They are known to be text, so no child process reads them. What was said in a meeting is such a text too, once
//! a child process has read the transcripts and recordings that somebody sent ([`Ingest::transcribe`]).

use bytes::Bytes;

use quire_queue::Attempt;
use quire_store::sources::Totals;
use quire_store::texts::{self, NewText};
use quire_store::{Placement, TenantTx};
use quire_tenancy::usage::{self, Event, Quantities};
use quire_types::{Groups, MediaType, NotebookId, SourceId, Timestamp};

use crate::detect::is_recording;
use crate::extract::{ExtractError, Limits, Meter, Script, extract};
use crate::passages::passages as cut;
use crate::quotas::active;
use crate::tasks::FoldTail;
use crate::{Error, Ingest};

/// A text on its way into search.
#[derive(Clone, Debug)]
pub struct Text {
    /// The source it was before, if any.
    pub source: Option<SourceId>,
    /// The notebook it is in.
    pub notebook: NotebookId,
    /// The name of the source.
    pub name: String,
    /// Found by search with every passage, never quoted.
    pub title: String,
    /// The text; paragraphs are kept apart by blank lines.
    pub body: String,
    /// Text, or a transcript that [`Ingest::transcribe`] wrote.
    pub media: MediaType,
    /// Who sees it; everybody where there are none.
    pub groups: Option<Groups>,
}

/// A transcript of a meeting or a recording of it, or of a part of it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// When in the meeting it begins.
    pub start_ms: u64,
    /// The file.
    pub bytes: Bytes,
}

impl Ingest {
    /// What was said in a meeting, as one WebVTT that begins with what is known `about` it. Files from outside are
    /// read in child processes, one after another; a recording takes as long as the recogniser needs.
    pub async fn transcribe(
        &self,
        name: &str,
        about: &str,
        parts: Vec<Recording>,
    ) -> Result<String, Error> {
        let config = &self.config;
        let mut script = Script::begin(about);
        for part in parts {
            let stage = match is_recording(name, &part.bytes) {
                true => &config.recognising,
                false => &config.extracting,
            };
            let _place = stage.enter().await?;
            let read = config.extractor.extract(name, part.bytes, &|_| ()).await?;
            match read.media {
                MediaType::Transcript | MediaType::Audio | MediaType::Video => {
                    script.add(part.start_ms, &read.document);
                }
                other => {
                    let what = format!("it is of type {other}");
                    return Err(ExtractError::damaged("recording", what).into());
                }
            }
        }
        Ok(script.finish())
    }

    /// Cuts texts of a tenant and embeds their passages in common batches.
    pub async fn read_texts(
        &self,
        placement: Placement,
        texts: Vec<Text>,
    ) -> Result<Vec<NewText>, Error> {
        let limits = Limits::default();
        let mut drafts = Vec::new();
        let mut counts = Vec::with_capacity(texts.len());
        for text in &texts {
            let mut document = extract(text.media, text.body.as_bytes(), &limits, Meter::silent())?;
            document.title = Some(text.title.clone());
            let own = cut(&document, &text.name, &self.config.passages);
            counts.push(own.len());
            drafts.extend(own);
        }
        let by = self.embedding(placement).await?;
        let passages = self.embed(placement.tenant, &by, drafts, &|_| ()).await?;
        let mut passages = passages.into_iter();
        Ok(texts
            .into_iter()
            .zip(counts)
            .map(|(text, count)| NewText {
                source: text.source,
                notebook: text.notebook,
                name: text.name,
                body: text.body,
                media: text.media,
                groups: text.groups,
                passages: passages.by_ref().take(count).collect(),
                model: by.model.clone(),
            })
            .collect())
    }

    /// Makes texts searchable and takes sources out of search, in the caller's transaction. Returns the
    /// sources in the order of the texts. Refused when the tenant is not active or may not keep so much.
    pub async fn publish_texts(
        &self,
        tx: &mut TenantTx,
        attempt: &Attempt,
        texts: &[NewText],
        removed: &[SourceId],
    ) -> Result<Vec<SourceId>, Error> {
        let account = active(&self.config.control, attempt.tenant).await?;
        let before: Vec<SourceId> = texts.iter().filter_map(|text| text.source).collect();
        let passages: usize = texts.iter().map(|text| text.passages.len()).sum();
        let bytes: usize = texts.iter().map(|text| text.body.len()).sum();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let more = Totals {
            stored_bytes: count(bytes),
            passages: (count(passages) - texts::passages_of(tx, &before).await?).max(0),
        };
        self.stock.room(tx, &account, more).await??;
        let sources = texts::publish(tx, texts, removed).await?;
        let characters = texts
            .iter()
            .flat_map(|text| &text.passages)
            .map(|passage| count(passage.context.chars().count() + passage.body.chars().count()))
            .sum();
        let quantities = Quantities {
            characters,
            stored_bytes: count(bytes),
            ..Quantities::default()
        };
        let at = made_at(attempt);
        let event = Event {
            quantities,
            ..Event::new(
                attempt.tenant,
                usage::Kind::Source,
                attempt.task.uuid(),
                1,
                at,
            )
        };
        usage::record_in(tx, &[event]).await?;
        FoldTail::plan(tx, self).await?;
        Ok(sources)
    }
}

impl Ingest {
    /// Takes sources that were made of texts out of search, in the caller's transaction.
    pub async fn remove_texts(&self, tx: &mut TenantTx, sources: &[SourceId]) -> Result<(), Error> {
        texts::publish(tx, &[], sources).await?;
        FoldTail::plan(tx, self).await
    }
}

/// When the task was made: the same in every attempt, so that its usage stays on one day.
pub(crate) fn made_at(attempt: &Attempt) -> Timestamp {
    attempt
        .task
        .uuid()
        .get_timestamp()
        .and_then(|time| {
            let (seconds, nanos) = time.to_unix();
            Timestamp::from_timestamp(i64::try_from(seconds).ok()?, nanos)
        })
        .unwrap_or_default()
}

//! Adding and removing sources: the fast, transactional half of ingest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::json;
use tokio::sync::{Notify, OnceCell};

use quire_index::Search;
use quire_queue::{Wishes, announce};
use quire_store::notebooks::Notebook;
use quire_store::outbox::NewEvent;
use quire_store::sources::{self, Added, Content, NewContent, Source, Totals};
use quire_store::{ObjectKey, Placement, Store, TenantTx, Upload, UploadError, notebooks};
use quire_tenancy::{Account, Control, Embeddings, LimitName, Permit, Providers, Reason, Stage};
use quire_types::{ErrorKind, Groups, Kind, NotebookId, SourceId};

use crate::allowance::limits;
use crate::extract::Wanted;
use crate::onboarding::Template;
use crate::passages::PassageOptions;
use crate::progress::queue_reading;
use crate::quotas::{self, Stock, active};
use crate::sandbox::Extractor;
use crate::tasks::{FoldTail, FoldTotals, Folds, PurgeObjects, ReadSource};
use crate::{Error, StreamError};

/// A person waits so long for a picture to be drawn.
const PATIENCE: Duration = Duration::from_secs(5);
/// And this long until it is.
const DRAWN_WITHIN: Duration = Duration::from_mins(1);

/// What ingest is built from.
pub struct IngestConfig {
    /// Rows and bytes.
    pub store: Store,
    /// Keeps passages findable.
    pub search: Search,
    /// Turns passages into vectors.
    pub embeddings: Embeddings,
    /// Reads files in a child process.
    pub extractor: Extractor,
    /// How many files are read at once.
    pub extracting: Stage,
    /// How many recordings are listened to at once, beside the files: they take minutes.
    pub recognising: Stage,
    /// What tenants may keep.
    pub control: Control,
    /// The models that may hear and see; none where nothing goes out.
    pub providers: Option<Providers>,
    /// How text is cut.
    pub passages: PassageOptions,
    /// Rung after something was enqueued.
    pub bell: Arc<Notify>,
    /// The largest file.
    pub file_bytes: u64,
    /// From how many passages on a move to a model of a provider goes through its batches; 0 for never.
    pub batch_passages: usize,
    /// How long bytes outlive the rows that named them, so that a restored database still finds them.
    pub object_grace: Duration,
}

/// Adds, removes and reads sources.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) config: Arc<IngestConfig>,
    /// What tenants keep.
    pub(crate) stock: Arc<Stock>,
    /// What new tenants begin with, read and embedded when the first one comes.
    pub(crate) templates: Arc<OnceCell<Vec<Template>>>,
    /// What the tasks of this process folded.
    pub(crate) folds: Arc<Folds>,
}

impl Ingest {
    /// Ingest with these parts.
    pub fn new(config: IngestConfig) -> Self {
        Self {
            config: Arc::new(config),
            stock: Arc::default(),
            templates: Arc::default(),
            folds: Arc::default(),
        }
    }

    /// Adds content under a name. Returns when it is durable and queued, not when it can be found. Refused
    /// when the tenant is not active or may not keep more.
    pub async fn add<E: Into<StreamError>>(
        &self,
        placement: Placement,
        notebook: NotebookId,
        name: &str,
        bytes: BoxStream<'_, Result<Bytes, E>>,
    ) -> Result<Added, Error> {
        self.add_for(placement, notebook, name, None, bytes).await
    }

    /// The same for people in these groups, if any are named. A known name for others is a conflict.
    pub async fn add_for<E: Into<StreamError>>(
        &self,
        placement: Placement,
        notebook: NotebookId,
        name: &str,
        groups: Option<&Groups>,
        bytes: BoxStream<'_, Result<Bytes, E>>,
    ) -> Result<Added, Error> {
        let name = clean_name(name)?;
        let account = active(&self.config.control, placement.tenant).await?;
        let most = limits(&account.terms, self.config.extractor.limits()).max_input_bytes;
        let upload = self.upload(placement, bytes, most).await;
        let upload =
            upload.map_err(|error| larger_than_plan(error, &account, self.config.file_bytes))?;
        let added = self
            .add_row(placement, &account, notebook, &name, groups, &upload)
            .await;
        // Bytes that no row names are of no use. An error of the database is no proof that nothing was
        // committed, so then they stay: an orphan does no harm, a row without its bytes does.
        let is_unused = match &added {
            Ok(added) => matches!(added, Added::Duplicate(_)),
            Err(error) => !error.kind().is_transient(),
        };
        if is_unused {
            drop(self.config.store.objects().delete(&upload.key).await);
        }
        let added = added?;
        self.config.bell.notify_one();
        Ok(added)
    }

    pub(crate) async fn upload<E: Into<StreamError>>(
        &self,
        placement: Placement,
        bytes: BoxStream<'_, Result<Bytes, E>>,
        most: u64,
    ) -> Result<Upload, Error> {
        let objects = self.config.store.objects();
        objects
            .upload(placement, bytes, most.min(self.config.file_bytes))
            .await
            .map_err(|error| match error {
                UploadError::Source(error) => Error::Stream(error.into()),
                UploadError::Store(error) => Error::Store(error),
            })
    }

    async fn add_row(
        &self,
        placement: Placement,
        account: &Account,
        notebook: NotebookId,
        name: &str,
        groups: Option<&Groups>,
        upload: &Upload,
    ) -> Result<Added, Error> {
        if upload.size_bytes == 0 {
            return Err(Error::Empty);
        }
        let mut tx = self.config.store.tenant(placement).await?;
        let content = content(name, upload);
        // How many passages it has is known when it was read; without room for one that is in vain.
        let more = Totals {
            stored_bytes: content.size_bytes,
            passages: 1,
        };
        let room = self.stock.room(&mut tx, account, more).await?;
        let added = sources::add_for(&mut tx, notebook, &content, groups).await?;
        if let Added::Created(source) | Added::Updated(source) = &added {
            room?;
            queue_reading(
                &mut tx,
                source.id,
                &ReadSource::of(source),
                Wishes::default(),
            )
            .await?;
        }
        tx.commit().await?;
        Ok(added)
    }

    /// Queues a failed source again.
    pub async fn retry(&self, placement: Placement, id: SourceId) -> Result<Source, Error> {
        active(&self.config.control, placement.tenant).await?;
        let mut tx = self.config.store.tenant(placement).await?;
        let source = sources::retry(&mut tx, id).await?;
        queue_reading(&mut tx, id, &ReadSource::of(&source), Wishes::default()).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(source)
    }

    /// The bytes of a version.
    pub(crate) async fn read(&self, content: Content) -> Result<Bytes, Error> {
        match content {
            Content::Object(object) => Ok(self.config.store.objects().read(&object).await?),
            Content::Text(text) => Ok(text.into()),
        }
    }

    /// A picture of what search sees of a source, as PNG: a page, the picture itself, a moment of a film.
    pub async fn draw(
        &self,
        placement: Placement,
        source: &Source,
        wanted: Wanted,
    ) -> Result<Bytes, Error> {
        let config = &self.config;
        // First a place, then the bytes: who waits here holds nothing.
        let _place = enter_soon(&config.extracting, PATIENCE).await?;
        let version = source.live_version.unwrap_or(source.latest_version);
        let mut tx = config.store.tenant(placement).await?;
        let content = sources::content(&mut tx, source.id, version).await?;
        tx.commit().await?;
        let bytes = self.read(content).await?;
        let extractor = config.extractor.clone().with_wall_clock(DRAWN_WITHIN);
        Ok(extractor.draw(&source.name, bytes, wanted).await?)
    }

    /// The same as [`crate::create_notebook`].
    pub async fn create_notebook(
        &self,
        placement: Placement,
        name: &str,
    ) -> Result<Notebook, Error> {
        let config = &self.config;
        quotas::create_notebook(&config.store, &config.control, placement, name).await
    }

    /// What the tasks of this process folded so far.
    pub fn fold_totals(&self) -> FoldTotals {
        self.folds.totals()
    }

    /// Removes a source; it can't be found from the moment this returns.
    pub async fn delete_source(&self, placement: Placement, id: SourceId) -> Result<(), Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let source = sources::get(&mut tx, id).await?;
        let objects = sources::delete(&mut tx, id).await?;
        announce(&mut tx, &[told("source.deleted", &source)]).await?;
        self.purge(&mut tx, &objects).await?;
        FoldTail::plan(&mut tx, self).await?;
        Ok(tx.commit().await?)
    }

    /// Removes a notebook with all its sources; nothing of it can be found from the moment this returns.
    pub async fn delete_notebook(&self, placement: Placement, id: NotebookId) -> Result<(), Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let objects = notebooks::delete(&mut tx, id).await?;
        let event = NewEvent {
            kind: "notebook.deleted",
            data: json!({ "notebook": id }),
            origin: None,
        };
        announce(&mut tx, &[event]).await?;
        self.purge(&mut tx, &objects).await?;
        FoldTail::plan(&mut tx, self).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn purge(
        &self,
        tx: &mut TenantTx,
        objects: &[ObjectKey],
    ) -> Result<(), Error> {
        // One task of bounded size each, so that a large notebook does not make one long task.
        for part in objects.chunks(500) {
            let task = PurgeObjects {
                objects: part.to_vec(),
            };
            let wishes = Wishes {
                delay: self.config.object_grace,
                ..Wishes::default()
            };
            quire_queue::enqueue_with(tx, &task, wishes).await?;
        }
        Ok(())
    }
}

/// A place in a stage for somebody who does not wait long, whatever the patience of the stage is.
async fn enter_soon(stage: &Stage, patience: Duration) -> Result<Permit, Error> {
    match tokio::time::timeout(patience, stage.enter()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(Error::Busy),
    }
}

/// A file that is larger than the plan gives, in words that say so.
fn larger_than_plan(error: Error, account: &Account, ceiling: u64) -> Error {
    let limit = account.terms.limit(LimitName::FileBytes);
    match limit.most() {
        Some(most) if error.kind() == ErrorKind::TooLarge && most < ceiling => {
            let most = LimitName::FileBytes.show(limit);
            let text = format!(
                "the file is larger than {most}, the most that the plan gives (file_bytes): split it, or change \
                 the plan"
            );
            quotas::refusal(Reason::Size, text).into()
        }
        _ => error,
    }
}

/// What happened to a source, for whoever wants to hear of it.
pub(crate) fn told(kind: &'static str, source: &Source) -> NewEvent {
    NewEvent {
        kind,
        data: json!({
            "source": source.id, "notebook": source.notebook, "name": source.name,
            "version": source.latest_version, "passages": source.passages, "reason": source.reason,
        }),
        origin: None,
    }
}

/// What was uploaded, as the content of a source of this name.
pub(crate) fn content<'a>(name: &'a str, upload: &'a Upload) -> NewContent<'a> {
    NewContent {
        name,
        content_hash: &upload.content_hash,
        size_bytes: i64::try_from(upload.size_bytes).unwrap_or(i64::MAX),
        object: &upload.key,
    }
}

/// A name as it is stored: one line, forward slashes, no leading `./` or `/`.
fn clean_name(name: &str) -> Result<String, Error> {
    let name = name.replace('\\', "/");
    let name = name.trim_start_matches("./").trim_matches('/').trim();
    if name.is_empty() || name.chars().count() > 500 {
        return Err(Error::Name(
            "a source's name has 1 to 500 characters".to_owned(),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Name(
            "a source's name can't hold control characters".to_owned(),
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_useless_ones_refused() {
        for (given, expected) in [
            ("plan.pdf", Some("plan.pdf")),
            ("./logs/may 3.md", Some("logs/may 3.md")),
            ("logs\\may.md", Some("logs/may.md")),
            ("/etc/passwd", Some("etc/passwd")),
            ("Zürich – Maß.txt", Some("Zürich – Maß.txt")),
            ("", None),
            ("  ", None),
            ("///", None),
            ("a\nb", None),
        ] {
            assert_eq!(clean_name(given).ok().as_deref(), expected, "{given:?}");
        }
        assert!(clean_name(&"x".repeat(501)).is_err());
    }

    #[tokio::test]
    async fn who_waits_for_a_picture_is_soon_told_that_the_machine_is_busy() {
        let stage = Stage::new("read", (1, 1, 1), Duration::from_secs(3_600));
        let place = stage.enter().await.unwrap();
        let refused = enter_soon(&stage, Duration::from_millis(1)).await;
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
        drop(place);
        assert!(enter_soon(&stage, Duration::from_secs(60)).await.is_ok());
    }
}

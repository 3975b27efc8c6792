//! An object store that is slow, fails, lies or hangs as a test wants it, and counts what it is asked.
//!
//! Every call of [`ObjectStore`] that would be one request to S3 is one operation; several ranges become
//! as many as S3 would get. What a fault damages is only what passes by: the store below stays whole.

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};
use quire_store::Objects;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens but an error, as when the store can't be reached.
    Error,
    /// It happens, and the answer is lost.
    Lost,
    /// A write finds no room on the disk, and nothing happens; everything else goes on.
    Full,
    /// No answer ever comes, and nothing happens.
    Hang,
    /// A read gives this many bytes at most, with no sign that some are missing.
    Truncate(usize),
    /// A read gives all bytes, with one bit of this one turned over (counted from the start of the read).
    FlipBit(usize),
}

/// The operations that a fault or a delay is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes or the size of an object.
    Read,
    /// A put, the beginning, a part or the end of an upload in parts, a copy.
    Write,
    /// The names of objects: one operation, however many pages.
    List,
    /// The end of objects, or of an upload in parts.
    Delete,
}

/// What was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations by kind.
    pub reads: u64,
    /// See [`Operation::Write`].
    pub writes: u64,
    /// See [`Operation::List`].
    pub lists: u64,
    /// Objects, or uploads, that were to go.
    pub deletes: u64,
    /// Bytes that reads promised.
    pub read_bytes: u64,
    /// Bytes of puts and parts.
    pub written_bytes: u64,
}

impl Counts {
    fn of(&mut self, operation: Operation) -> &mut u64 {
        match operation {
            Operation::Read => &mut self.reads,
            Operation::Write => &mut self.writes,
            Operation::List => &mut self.lists,
            Operation::Delete => &mut self.deletes,
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    counts: Counts,
    read_delay: Duration,
    write_delay: Duration,
    /// Each with the operations until its turn: 0 is the next one.
    faults: Vec<(Operation, u64, Fault)>,
    /// For every operation, until taken back.
    lasting: Option<Fault>,
}

/// A store around another one. A clone is the same store.
#[derive(Clone, Debug)]
pub struct Unreliable {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<Plan>>,
}

impl Unreliable {
    /// Wraps a store; as long as no fault is set it works as before.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Puts one around the store of `objects`; what it is told counts for all its clones.
    pub fn around(objects: Objects) -> (Objects, Self) {
        let mut around = None;
        let objects = objects.wrapped(|store| {
            let unreliable = Self::new(store);
            around = Some(unreliable.clone());
            Arc::new(unreliable)
        });
        (objects, around.expect("the store was wrapped"))
    }

    /// Delays every read (and listing) and every write (and deletion).
    pub fn delay(&self, read: Duration, write: Duration) {
        let mut plan = self.plan();
        (plan.read_delay, plan.write_delay) = (read, write);
    }

    /// Lets one operation go wrong: the `n`-th of its kind from now, the next one being 1.
    pub fn fail(&self, operation: Operation, n: u64, fault: Fault) {
        self.plan()
            .faults
            .push((operation, n.saturating_sub(1), fault));
    }

    /// Lets every operation go wrong from now on; `None` ends it, and what was set by `fail` too.
    pub fn fail_all(&self, fault: Option<Fault>) {
        let mut plan = self.plan();
        plan.lasting = fault;
        plan.faults.clear();
    }

    /// What was asked since the last reset.
    pub fn counts(&self) -> Counts {
        self.plan().counts
    }

    /// Counts from zero again.
    pub fn reset_counts(&self) {
        self.plan().counts = Counts::default();
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, waits as long as it takes, and tells what goes wrong after it is done.
    async fn operation(&self, operation: Operation, written: usize) -> Result<Option<Fault>> {
        let (delay, fault) = {
            let mut plan = self.plan();
            *plan.counts.of(operation) += 1;
            plan.counts.written_bytes += written as u64;
            let delay = match operation {
                Operation::Read | Operation::List => plan.read_delay,
                Operation::Write | Operation::Delete => plan.write_delay,
            };
            let mut fault = plan.lasting;
            plan.faults.retain_mut(|(kind, left, planned)| {
                if *kind != operation {
                    return true;
                }
                if *left == 0 {
                    fault = Some(*planned);
                    return false;
                }
                *left -= 1;
                true
            });
            (delay, fault)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match fault {
            Some(Fault::Error) => Err(down()),
            Some(Fault::Full) if operation == Operation::Write => Err(full()),
            Some(Fault::Hang) => pending().await,
            other => Ok(other),
        }
    }
}

fn down() -> Error {
    Error::Generic {
        store: "unreliable",
        source: "the store can't be reached".into(),
    }
}

fn full() -> Error {
    Error::Generic {
        store: "unreliable",
        source: std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
    }
}

/// The answer of something that was done.
fn answer<T>(fault: Option<Fault>, done: Result<T>) -> Result<T> {
    match fault {
        Some(Fault::Lost) => done.and(Err(down())),
        _ => done,
    }
}

fn damage(fault: Option<Fault>, bytes: Bytes) -> Bytes {
    match fault {
        Some(Fault::Truncate(most)) => bytes.slice(..bytes.len().min(most)),
        Some(Fault::FlipBit(at)) if at < bytes.len() => {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            damaged.into()
        }
        _ => bytes,
    }
}

#[async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let written = payload.content_length();
        let fault = self.operation(Operation::Write, written).await?;
        answer(fault, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.operation(Operation::Write, 0).await?;
        let upload = self.inner.put_multipart_opts(location, options).await;
        Ok(Box::new(UnreliableUpload {
            store: self.clone(),
            inner: answer(fault, upload)?,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.operation(Operation::Read, 0).await?;
        let is_head = options.head;
        let found = answer(fault, self.inner.get_opts(location, options).await)?;
        if is_head {
            return Ok(found);
        }
        self.plan().counts.read_bytes += found.range.end - found.range.start;
        if !matches!(fault, Some(Fault::Truncate(_) | Fault::FlipBit(_))) {
            return Ok(found);
        }
        let (meta, range) = (found.meta.clone(), found.range.clone());
        let damaged = damage(fault, found.bytes().await?);
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter([Ok(damaged)]).boxed()),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Default::default(),
        })
    }

    // `get_ranges` is the trait's own: one `get_opts` for each range left after small gaps were closed.

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let allowed = locations.and_then(move |location| {
            let store = store.clone();
            async move {
                store.operation(Operation::Delete, 0).await?;
                Ok(location)
            }
        });
        self.inner.delete_stream(allowed.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        async move {
            store.operation(Operation::List, 0).await?;
            Ok::<_, Error>(store.inner.list(prefix.as_ref()))
        }
        .into_stream()
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = self.operation(Operation::List, 0).await?;
        answer(fault, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.operation(Operation::Write, 0).await?;
        answer(fault, self.inner.copy_opts(from, to, options).await)
    }
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreliable {}", self.inner)
    }
}

#[derive(Debug)]
struct UnreliableUpload {
    store: Unreliable,
    inner: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for UnreliableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let store = self.store.clone();
        let written = data.content_length();
        // The order of the calls is the order of the parts.
        let part = self.inner.put_part(data);
        Box::pin(async move {
            let fault = store.operation(Operation::Write, written).await?;
            answer(fault, part.await)
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = self.store.operation(Operation::Write, 0).await?;
        answer(fault, self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        let fault = self.store.operation(Operation::Delete, 0).await?;
        answer(fault, self.inner.abort().await)
    }
}

//! Writing an object in parts. Whatever ends it early (an error, a caller that goes away) takes back
//! the parts that were sent: stores keep them, and charge for them, until told.

use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Bytes of a part; S3 wants at least 5 MiB, and some servers want all but the last alike.
pub(super) const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once. With the one that fills, this bounds the memory of an upload.
const PARTS_AT_ONCE: usize = 3;

/// An upload that ends by `finish` or leaves nothing.
pub(super) struct Multipart {
    /// Empty once nothing is left to take back.
    upload: Option<Box<dyn MultipartUpload>>,
    sent: JoinSet<Result<(), object_store::Error>>,
    part: Vec<Bytes>,
    part_bytes: usize,
}

impl Multipart {
    pub(super) fn new(upload: Box<dyn MultipartUpload>) -> Self {
        Self {
            upload: Some(upload),
            sent: JoinSet::new(),
            part: Vec::new(),
            part_bytes: 0,
        }
    }

    /// Adds bytes, and waits while too many parts are on their way.
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), object_store::Error> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PART_BYTES - self.part_bytes));
            self.part_bytes += piece.len();
            self.part.push(piece);
            if self.part_bytes == PART_BYTES {
                self.send();
                while self.sent.len() >= PARTS_AT_ONCE {
                    self.wait_for_one().await?;
                }
            }
        }
        Ok(())
    }

    /// Makes the object visible, whole.
    pub(super) async fn finish(&mut self) -> Result<(), object_store::Error> {
        if self.part_bytes > 0 {
            self.send();
        }
        while !self.sent.is_empty() {
            self.wait_for_one().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }

    /// Takes back what was sent, and waits for it.
    pub(super) async fn abort(mut self) {
        if let Some(upload) = self.upload.take() {
            take_back(upload, std::mem::take(&mut self.sent)).await;
        }
    }

    fn send(&mut self) {
        let part: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        self.part_bytes = 0;
        if let Some(upload) = &mut self.upload {
            self.sent.spawn(upload.put_part(part));
        }
    }

    async fn wait_for_one(&mut self) -> Result<(), object_store::Error> {
        match self.sent.join_next().await {
            Some(sent) => sent?,
            None => Ok(()),
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn(take_back(upload, std::mem::take(&mut self.sent)));
        }
    }
}

/// What can't be taken back now is an orphan without a name; a lifecycle rule of the bucket ends it.
async fn take_back(
    mut upload: Box<dyn MultipartUpload>,
    mut sent: JoinSet<Result<(), object_store::Error>>,
) {
    // A part that arrives after the end would stay.
    sent.shutdown().await;
    if let Err(error) = upload.abort().await {
        tracing::debug!(%error, "the parts of an upload were not taken back");
    }
}

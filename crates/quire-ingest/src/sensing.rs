//! What models of providers make of a file before it is read: what is said in it (`hearing`), what stands on its
//! pages and pictures (`reading`), and what these show (`seeing`). Of an e-mail, the same for what is attached to it.
//!
//! Asks only where there is a chain for it. What can't be taken out of a file is left to its reader, which says why.

use std::sync::Arc;

use bytes::Bytes;
use quire_models::Picture;
use quire_store::sources::Source;
use quire_tenancy::{Account, Providers};
use quire_types::MediaType;
use tracing::debug;

use crate::detect::glance;
use crate::extract::{
    ExtractError, Heard, Known, MOST_PICTURES, PictureRead, PictureSeen, Shown, ToSense,
};
use crate::hearing::ToListen;
use crate::sandbox::{Extractor, Tell};
use crate::{Error, Ingest};

/// Attachments of attachments are followed as far as their reader follows them.
const MOST_DEPTH: u8 = 4;
/// After so many pages in a row that nobody read, the rest of the file is left to this machine.
const GIVES_UP_AFTER: usize = 3;

/// A file of which models may be asked something.
#[derive(Clone, Copy)]
pub(crate) struct ToAsk<'a> {
    pub(crate) source: &'a Source,
    /// What it is called: the source, or an attachment.
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a Bytes,
    /// Whether it was read before: then nothing may get lost that was known.
    pub(crate) again: bool,
}

/// Who asks, and with what.
pub(crate) struct Asking<'a> {
    pub(crate) ingest: &'a Ingest,
    pub(crate) providers: &'a Providers,
    pub(crate) account: &'a Arc<Account>,
    pub(crate) extractor: &'a Extractor,
}

impl Ingest {
    /// What models make of a file, with what they heard in it before. Tells percent.
    pub(crate) async fn sense(
        &self,
        account: &Arc<Account>,
        extractor: &Extractor,
        file: ToAsk<'_>,
        known: Known,
        tell: &Tell,
    ) -> Result<Known, Error> {
        let Some(providers) = &self.config.providers else {
            return Ok(known);
        };
        let asking = Asking {
            ingest: self,
            providers,
            account,
            extractor,
        };
        asking.all(file, known, 0, tell).await
    }
}

impl Asking<'_> {
    async fn all(
        &self,
        file: ToAsk<'_>,
        mut known: Known,
        depth: u8,
        tell: &Tell,
    ) -> Result<Known, Error> {
        let (can_see, can_read) = (self.providers.can_see(), self.providers.can_read());
        let can_look = can_see || can_read;
        match glance(file.name, file.bytes) {
            Some(MediaType::Audio | MediaType::Video) if depth > 0 && known.unheard.is_some() => {}
            Some(media @ (MediaType::Audio | MediaType::Video)) => {
                if depth > 0 && self.providers.can_hear() {
                    known.heard = self.listen_inside(file).await?;
                }
                if media == MediaType::Video && can_see {
                    known.seen = left_out(self.scenes(file).await)?.unwrap_or_default();
                }
            }
            Some(MediaType::Pdf | MediaType::Image) if can_look => {
                if let Some(things) = self.things(file).await? {
                    self.look_at(file, things, &mut known, tell).await?;
                }
            }
            Some(MediaType::Email)
                if depth < MOST_DEPTH && (can_look || self.providers.can_hear()) =>
            {
                let files = self.things(file).await?.unwrap_or_default().files;
                for (done, (number, name)) in files.iter().enumerate() {
                    tell(percent(done, files.len()));
                    let inside = known.of(*number);
                    let inner = self.unpacked(file, *number, name, inside, depth).await?;
                    if !inner.is_empty() {
                        known.inside.insert(*number, inner);
                    }
                }
            }
            _ => {}
        }
        Ok(known)
    }

    /// What models make of an attachment.
    async fn unpacked(
        &self,
        file: ToAsk<'_>,
        number: usize,
        name: &str,
        known: Known,
        depth: u8,
    ) -> Result<Known, Error> {
        let bytes = {
            let _place = self.ingest.config.extracting.enter().await?;
            let bytes = file.bytes.clone();
            let unpacked = self.extractor.unpack(file.name, bytes, number).await;
            left_out(unpacked.map_err(Error::from))?
        };
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(Known::default());
        };
        let inner = ToAsk {
            name,
            bytes: &bytes,
            ..file
        };
        Box::pin(self.all(inner, known, depth + 1, &|_| ())).await
    }

    async fn things(&self, file: ToAsk<'_>) -> Result<Option<ToSense>, Error> {
        let _place = self.ingest.config.extracting.enter().await?;
        let things = self.extractor.to_sense(file.name, file.bytes.clone());
        left_out(things.await.map_err(Error::from))
    }

    /// Reads pages and pictures, and describes pictures.
    async fn look_at(
        &self,
        file: ToAsk<'_>,
        things: ToSense,
        known: &mut Known,
        tell: &Tell,
    ) -> Result<(), Error> {
        let is_picture = glance(file.name, file.bytes) == Some(MediaType::Image);
        let all = things.pages.len() + things.pictures.len();
        let mut in_vain = 0;
        for (done, page) in things.pages.iter().enumerate() {
            tell(percent(done, all));
            let shown = Shown {
                page: *page,
                ..Shown::default()
            };
            if self.providers.can_read() && in_vain < GIVES_UP_AFTER {
                match self.read(file, shown).await? {
                    Some(read) => {
                        in_vain = 0;
                        known.pages.insert(*page, read);
                    }
                    None => in_vain += 1,
                }
            }
        }
        for (done, at) in things.pictures.into_iter().enumerate() {
            tell(percent(things.pages.len() + done, all));
            let shown = Shown {
                picture: Some(at),
                ..Shown::default()
            };
            if self.providers.can_read() && in_vain < GIVES_UP_AFTER {
                match self.read(file, shown).await? {
                    Some(read) => {
                        in_vain = 0;
                        known.pictures.push(PictureRead { at, read });
                    }
                    None => in_vain += 1,
                }
            }
            // There may be more where scans have a layer of text.
            if self.providers.can_see() && done < MOST_PICTURES {
                let seen = self.describe(file, shown, false).await?;
                known.seen.extend(seen.map(|seen| PictureSeen {
                    page: Some(at.page),
                    ..seen
                }));
            }
        }
        // A fax of many pages is shown by its first one.
        if is_picture && self.providers.can_see() {
            let seen = self.describe(file, Shown::default(), true).await?;
            known.seen.extend(seen);
        }
        Ok(())
    }

    /// What is said in a recording that is attached to an e-mail.
    async fn listen_inside(&self, file: ToAsk<'_>) -> Result<Heard, Error> {
        let measured = {
            let _place = self.ingest.config.extracting.enter().await?;
            let measured = self.extractor.measure(file.name, file.bytes.clone());
            left_out(measured.await.map_err(Error::from))?
        };
        let Some(measured) = measured.filter(|measured| measured.has_sound) else {
            return Ok(Heard::default());
        };
        let recording = ToListen {
            source: file.source,
            name: file.name,
            bytes: file.bytes,
            length_ms: measured.length_ms,
            again: file.again,
        };
        let heard = self
            .ingest
            .listen(self.account, self.extractor, recording, &|_| ());
        Ok(left_out(heard.await)?.unwrap_or_default())
    }

    /// A picture of the file for whoever looks at it, in base64; none where nothing can be shown.
    pub(crate) async fn show(
        &self,
        file: ToAsk<'_>,
        shown: Shown,
    ) -> Result<Option<String>, Error> {
        let _place = self.ingest.config.extracting.enter().await?;
        let jpeg = self.extractor.show(file.name, file.bytes.clone(), shown);
        left_out(jpeg.await.map_err(Error::from))
    }
}

/// A picture in base64 for a model.
pub(crate) fn picture(jpeg: &str) -> Picture<'_> {
    Picture {
        media_type: "image/jpeg",
        base64: jpeg,
    }
}

/// What can't be taken out of a file is left to its reader, which says why; what is the machine's fault is tried again.
fn left_out<T>(taken: Result<T, Error>) -> Result<Option<T>, Error> {
    match taken {
        Ok(taken) => Ok(Some(taken)),
        Err(Error::Extract(error)) if is_of_the_file(&error) => {
            debug!(%error, "a piece of a file can't be shown to models");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_of_the_file(error: &ExtractError) -> bool {
    !matches!(
        error,
        ExtractError::Unavailable { .. } | ExtractError::ToolMissing { .. }
    )
}

/// Below 100.
fn percent(done: usize, all: usize) -> u8 {
    u8::try_from(done * 100 / all.max(1)).unwrap_or(99).min(99)
}

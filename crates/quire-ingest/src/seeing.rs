//! What pictures show, by models of providers where there is a chain for it: added to what was read in the file, and
//! said to be by a model.

use std::sync::Arc;

use bytes::Bytes;
use quire_models::Picture;
use quire_store::sources::Source;
use quire_tenancy::{Account, Providers, Seen, Sensed, ToSee};
use quire_types::{MediaType, Spot, TimeSpan};
use tracing::warn;

use crate::extract::{Document, ExtractError, Note, Shown};
use crate::sandbox::{Extraction, Extractor};
use crate::{Error, Ingest};

/// Scenes of a film that are described; of more, every n-th.
const MOST_SCENES: usize = 12;
/// With fewer letters from tesseract, a picture is read by the model.
const FEW_LETTERS: usize = 20;

/// A file with pictures.
pub(crate) struct ToLookAt<'a> {
    pub(crate) source: &'a Source,
    pub(crate) bytes: &'a Bytes,
    /// Whether it was read before: then nothing may get lost that was seen.
    pub(crate) again: bool,
}

impl Ingest {
    /// The document with what models see in the pictures of the file.
    pub(crate) async fn look(
        &self,
        account: &Arc<Account>,
        extractor: &Extractor,
        file: ToLookAt<'_>,
        extraction: Extraction,
    ) -> Result<Extraction, Error> {
        let providers = self.config.providers.as_ref();
        let Some(providers) = providers.filter(|providers| providers.can_see()) else {
            return Ok(extraction);
        };
        let moments = match extraction.media {
            MediaType::Image => vec![None],
            MediaType::Video => self.scenes(extractor, &file, &extraction.document).await?,
            _ => return Ok(extraction),
        };
        let document = &extraction.document;
        let is_read = document.letters_read() >= FEW_LETTERS;
        let mut notes = Vec::new();
        for time in moments {
            let place = Note {
                // Of a fax of many pages the first one is shown.
                page: document
                    .blocks
                    .iter()
                    .any(|block| block.page.is_some())
                    .then_some(1),
                spot: Spot {
                    time,
                    ..Spot::default()
                },
                text: String::new(),
            };
            let Some((model, seen)) = self
                .describe(providers, account, extractor, &file, time)
                .await?
            else {
                continue;
            };
            // What stands on the screen of a film is read in every scene of it.
            let text = (time.is_none() && !is_read).then_some(seen.text.as_str());
            notes.extend(said(&model, &seen, text).map(|text| Note {
                text,
                ..place.clone()
            }));
        }
        let document = extraction.document.with_notes(&notes, extractor.limits())?;
        Ok(Extraction {
            document,
            ..extraction
        })
    }

    /// Stretches of a film that look alike, from one change of the picture to the next.
    async fn scenes(
        &self,
        extractor: &Extractor,
        file: &ToLookAt<'_>,
        document: &Document,
    ) -> Result<Vec<Option<TimeSpan>>, Error> {
        let changes = {
            let _place = self.config.extracting.enter().await?;
            let bytes = file.bytes.clone();
            extractor.scenes(&file.source.name, bytes).await?
        };
        let every = changes.len().div_ceil(MOST_SCENES).max(1);
        let changes: Vec<u64> = changes.into_iter().step_by(every).collect();
        let end = document.duration_ms.unwrap_or_default();
        let ends = changes.iter().copied().skip(1).chain([end]);
        let scenes = changes.iter().zip(ends).map(|(start_ms, end_ms)| {
            Some(TimeSpan {
                start_ms: *start_ms,
                end_ms: end_ms.max(*start_ms),
            })
        });
        Ok(scenes.collect())
    }

    /// What a model sees in one picture, and which model; none where nobody looks.
    async fn describe(
        &self,
        providers: &Providers,
        account: &Arc<Account>,
        extractor: &Extractor,
        file: &ToLookAt<'_>,
        time: Option<TimeSpan>,
    ) -> Result<Option<(String, Seen)>, Error> {
        let source = file.source;
        let shown = Shown {
            at_ms: time.map_or(0, |time| time.start_ms),
            side: Picture::MOST_PIXELS,
        };
        let jpeg = {
            let _place = self.config.extracting.enter().await?;
            extractor
                .show(&source.name, file.bytes.clone(), shown)
                .await
        };
        let jpeg = match jpeg {
            // Behind the last picture of a film there is none, whatever its length says.
            Err(ExtractError::NoPicture) => return Ok(None),
            jpeg => jpeg?,
        };
        let to_see = ToSee {
            picture: Picture {
                media_type: "image/jpeg",
                base64: &jpeg,
            },
            notebook: source.notebook,
        };
        match providers.describe(account, to_see).await? {
            Sensed::By { model, value } => Ok(Some((model, value))),
            Sensed::Nobody { why } if file.again => {
                let detail = format!("nobody looks at it now: {why}");
                Err(ExtractError::Unavailable { detail }.into())
            }
            Sensed::Nobody { why } => {
                warn!(source = %source.id, why, "no model described a picture; it is found by its text alone");
                Ok(None)
            }
        }
    }
}

/// Paragraphs that say what was seen and by whom.
fn said(model: &str, seen: &Seen, text: Option<&str>) -> impl Iterator<Item = String> {
    let filled = |what: &str, text: &str| {
        let has_words = text.contains(char::is_alphanumeric);
        has_words.then(|| format!("{what} ({model}): {text}"))
    };
    [
        filled("Description by a model", &seen.description),
        filled("Objects seen by a model", &seen.objects.join(", ")),
        filled("Text read by a model", text.unwrap_or_default()),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_says_by_whom_and_what_was_not_says_nothing() {
        let seen = Seen {
            description: "A crane stands beside a wall.".to_owned(),
            objects: vec!["crane".to_owned(), "wall".to_owned()],
            text: "CR-4410".to_owned(),
        };
        let all: Vec<String> = said("gpt-4o", &seen, Some(&seen.text)).collect();
        assert_eq!(
            all,
            [
                "Description by a model (gpt-4o): A crane stands beside a wall.",
                "Objects seen by a model (gpt-4o): crane, wall",
                "Text read by a model (gpt-4o): CR-4410",
            ]
        );
        assert_eq!(said("gpt-4o", &seen, None).count(), 2);
        let nothing = Seen {
            description: " … ".to_owned(),
            ..Seen::default()
        };
        assert_eq!(said("gpt-4o", &nothing, Some("")).count(), 0);
    }
}

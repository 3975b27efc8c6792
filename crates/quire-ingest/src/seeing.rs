//! What pictures show, by models of providers where there is a chain for it: added to what was read in the file, and
//! said to be by a model.

use quire_models::Picture;
use quire_tenancy::{Sensed, ToSee};
use quire_types::{Spot, TimeSpan};
use tracing::warn;

use crate::Error;
use crate::extract::{ExtractError, PictureSeen, Shown, evenly};
use crate::sensing::{Asking, ToAsk, picture};

/// Scenes of a film that are described; of more, so many that lie evenly among them.
const MOST_SCENES: usize = 12;

impl Asking<'_> {
    /// What is seen in the scenes of a film: stretches that look alike, from one change of the picture to the next.
    pub(crate) async fn scenes(&self, file: ToAsk<'_>) -> Result<Vec<PictureSeen>, Error> {
        let (changes, end) = {
            let _place = self.ingest.config.extracting.enter().await?;
            let changes = self.extractor.scenes(file.name, file.bytes.clone()).await?;
            let measured = self.extractor.measure(file.name, file.bytes.clone());
            (changes, measured.await?.length_ms)
        };
        let changes = evenly(&changes, MOST_SCENES);
        let ends = changes.iter().copied().skip(1).chain([end]);
        let mut all = Vec::new();
        for (start_ms, end_ms) in changes.iter().copied().zip(ends) {
            let shown = Shown {
                at_ms: start_ms,
                ..Shown::default()
            };
            // What stands on the screen of a film is read in every scene of it.
            let seen = self.describe(file, shown, false).await?;
            all.extend(seen.map(|seen| PictureSeen {
                spot: Spot {
                    time: Some(TimeSpan {
                        start_ms,
                        end_ms: end_ms.max(start_ms),
                    }),
                    ..Spot::default()
                },
                ..seen
            }));
        }
        Ok(all)
    }

    /// What a model sees in one picture; none where nobody looks.
    pub(crate) async fn describe(
        &self,
        file: ToAsk<'_>,
        shown: Shown,
        with_text: bool,
    ) -> Result<Option<PictureSeen>, Error> {
        let shown = Shown {
            side: Picture::MOST_PIXELS,
            ..shown
        };
        // Behind the last picture of a film there is none, whatever its length says.
        let Some(jpeg) = self.show(file, shown).await? else {
            return Ok(None);
        };
        let to_see = ToSee {
            picture: picture(&jpeg),
            notebook: file.source.notebook,
        };
        match self.providers.describe(self.account, to_see).await? {
            Sensed::By { model, value } => Ok(Some(PictureSeen {
                by: model,
                description: value.description,
                objects: value.objects,
                text: if with_text { value.text } else { String::new() },
                ..PictureSeen::default()
            })),
            Sensed::Nobody { why } if file.again => {
                let detail = format!("nobody looks at it now: {why}");
                Err(ExtractError::Unavailable { detail }.into())
            }
            Sensed::Nobody { why } => {
                warn!(
                    source = %file.source.id, why,
                    "no model described a picture; it is found by its text alone"
                );
                Ok(None)
            }
        }
    }
}

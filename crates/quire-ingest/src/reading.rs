//! What stands on pages and pictures, by models of providers: it takes the place of what tesseract would read, and
//! what nobody read is left to tesseract, page by page.

use quire_models::Picture;
use quire_tenancy::{Sensed, ToRead};
use tracing::warn;

use crate::Error;
use crate::extract::{ExtractError, PageRead, Shown};
use crate::sensing::{Asking, ToAsk, picture};

/// The longer side of what is sent to a reader, in pixels: 300 dots per inch on a letter.
const LARGE_SIDE: u32 = 3_300;

impl Asking<'_> {
    /// What a model reads on one page or picture; none where nobody does.
    pub(crate) async fn read(
        &self,
        file: ToAsk<'_>,
        shown: Shown,
    ) -> Result<Option<PageRead>, Error> {
        let sized = |side| self.show(file, Shown { side, ..shown });
        let Some(large) = sized(LARGE_SIDE).await? else {
            return Ok(None);
        };
        let Some(small) = sized(Picture::MOST_PIXELS).await? else {
            return Ok(None);
        };
        let to_read = ToRead {
            large: picture(&large),
            small: picture(&small),
            notebook: file.source.notebook,
        };
        match self.providers.read(self.account, to_read).await? {
            Sensed::By { model, value } => Ok(Some(PageRead {
                by: model,
                may_be_made_up: value.may_be_made_up,
                paragraphs: value.paragraphs,
            })),
            Sensed::Nobody { why } if file.again => {
                let detail = format!("nobody reads it now: {why}");
                Err(ExtractError::Unavailable { detail }.into())
            }
            Sensed::Nobody { why } => {
                warn!(
                    source = %file.source.id, page = shown.page, why,
                    "no provider read a page; the program on this machine does"
                );
                Ok(None)
            }
        }
    }
}

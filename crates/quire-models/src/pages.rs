//! Text on pictures and scanned pages, by Google's Document AI.
//!
//! Sends one picture and hands back its paragraphs, as far as the reader is sure of them. Refuses to know where a
//! picture is from.

use serde::Deserialize;
use serde_json::json;

use crate::Error;
use crate::chat::Picture;
use crate::server::{Server, Told};

/// What the reader is less sure of is probably no text: leaves, gravel, a brick wall.
const LEAST_CONFIDENCE: f64 = 0.5;

/// The text on a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageText {
    /// Paragraphs from top to bottom, lines within them kept.
    pub paragraphs: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    document: Document,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    text: String,
    pages: Vec<Page>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Page {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Paragraph {
    layout: Layout,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Layout {
    text_anchor: TextAnchor,
    confidence: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TextAnchor {
    text_segments: Vec<Segment>,
}

/// Characters of the text; 64-bit numbers are texts in Google's JSON, and zero is left out.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Segment {
    start_index: Option<String>,
    end_index: Option<String>,
}

impl Server {
    /// Reads what stands on a picture, one page.
    pub async fn read_page(&self, picture: Picture<'_>) -> Result<(PageText, Told), Error> {
        let body = json!({
            "rawDocument": {"content": picture.base64, "mimeType": picture.media_type},
            "fieldMask": "text,pages.pageNumber,pages.paragraphs",
        });
        let request = self.post_to_itself(":process").json(&body);
        let (body, told) = self.fetch_within(request, self.patience().sound).await?;
        let answer: Answer = self.parse(&body)?;
        Ok((answer.document.read(), told))
    }
}

impl Document {
    fn read(&self) -> PageText {
        // Where each character begins, and the end.
        let begins: Vec<usize> = self.text.char_indices().map(|(at, _)| at).collect();
        let at = |index: usize| begins.get(index).copied().unwrap_or(self.text.len());
        let number = |text: &Option<String>| -> Option<usize> { text.as_ref()?.parse().ok() };
        let text = |layout: &Layout| {
            let segments = layout.text_anchor.text_segments.iter();
            let texts = segments.filter_map(|segment| {
                let start = number(&segment.start_index).unwrap_or(0);
                let end = number(&segment.end_index)?.max(start);
                Some(&self.text[at(start)..at(end)])
            });
            texts.collect::<String>().trim().to_owned()
        };
        let layouts = self.pages.iter().flat_map(|page| &page.paragraphs);
        let sure = layouts.map(|paragraph| &paragraph.layout).filter(|layout| {
            layout
                .confidence
                .is_none_or(|confidence| confidence >= LEAST_CONFIDENCE)
        });
        let paragraphs = sure.map(text);
        PageText {
            paragraphs: paragraphs
                .filter(|text| text.contains(char::is_alphanumeric))
                .collect(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn places_are_characters_and_what_is_unsure_is_left_out() {
        let paragraph = |segments: serde_json::Value, confidence: f64| json!({"layout": {"textAnchor": {"textSegments": segments}, "confidence": confidence}});
        let document = json!({
            "text": "Überweisung\nfällig\n§§\nBlatt\nGesamt 9 €",
            "pages": [{"pageNumber": 1, "paragraphs": [
                paragraph(json!([{"endIndex": "12"}, {"startIndex": "12", "endIndex": "19"}]), 0.98),
                paragraph(json!([{"startIndex": "19", "endIndex": "22"}]), 0.99),
                paragraph(json!([{"startIndex": "22", "endIndex": "28"}]), 0.31),
                // Beyond the end, and the wrong way round.
                paragraph(json!([{"startIndex": "28", "endIndex": "900"}]), 0.9),
                paragraph(json!([{"startIndex": "7", "endIndex": "2"}, {"startIndex": "x"}]), 0.9),
                json!({}),
            ]}],
        });
        let document: Document = serde_json::from_value(document).unwrap();
        assert_eq!(
            document.read().paragraphs,
            ["Überweisung\nfällig", "Gesamt 9 €"]
        );
        assert_eq!(Document::default().read(), PageText::default());
    }
}

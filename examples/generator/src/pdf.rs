//! PDF 1.4 files with the two built-in Helvetica fonts: objects, cross-reference table, trailer.
//! What goes where on a page is `layout`'s affair, how wide a letter is `font`'s.

mod font;
mod layout;

use std::io::Write as _;

use crate::markup::Document;
use crate::{Error, cp1252};

/// Catalog, page tree, two fonts and the document information come before the pages.
const FIRST_PAGE_OBJECT: usize = 6;

/// Writes a document as a PDF file; `footer` stands at the foot of every page.
pub fn render(document: &Document, footer: &str) -> Result<Vec<u8>, Error> {
    let pages = layout::pages(document, footer);
    let mut objects: Vec<Vec<u8>> = Vec::new();
    let kids: Vec<String> = (0..pages.len())
        .map(|index| format!("{} 0 R", FIRST_PAGE_OBJECT + 2 * index))
        .collect();
    objects.push(b"<< /Type /Catalog /Pages 2 0 R >>".to_vec());
    objects.push(
        format!(
            "<< /Type /Pages /Kids [{}] /Count {} >>",
            kids.join(" "),
            pages.len()
        )
        .into_bytes(),
    );
    for name in ["Helvetica", "Helvetica-Bold"] {
        objects.push(
            format!(
                "<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>"
            )
            .into_bytes(),
        );
    }
    let title = literal(&document.title)?;
    let producer = literal("Northgate sample generator")?;
    objects.push(format!("<< /Title {title} /Producer {producer} >>").into_bytes());
    for (index, page) in pages.iter().enumerate() {
        let content_object = FIRST_PAGE_OBJECT + 2 * index + 1;
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content_object} 0 R \
                 /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
            )
            .into_bytes(),
        );
        let content = page.content()?;
        objects.push(
            format!(
                "<< /Length {} >>\nstream\n{content}\nendstream",
                content.len()
            )
            .into_bytes(),
        );
    }
    assemble(&objects)
}

/// The text of each page, one line per paragraph or table row that starts or continues on it.
pub fn page_texts(document: &Document, footer: &str) -> Vec<String> {
    layout::pages(document, footer)
        .iter()
        .map(layout::Page::text)
        .collect()
}

fn assemble(objects: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    // The comment with high bytes tells transfer programs that the file is binary.
    let mut pdf = b"%PDF-1.4\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        writeln!(pdf, "{} 0 obj", index + 1)?;
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let xref = pdf.len();
    write!(pdf, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1)?;
    for offset in offsets {
        writeln!(pdf, "{offset:010} 00000 n ")?;
    }
    let size = objects.len() + 1;
    write!(
        pdf,
        "trailer\n<< /Size {size} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{xref}\n%%EOF\n"
    )?;
    Ok(pdf)
}

/// A string in the PDF's own notation, with everything outside ASCII as octal escapes.
fn literal(text: &str) -> Result<String, Error> {
    let mut escaped = "(".to_owned();
    for byte in cp1252::encode(text)? {
        match byte {
            b'(' | b')' | b'\\' => {
                escaped.push('\\');
                escaped.push(char::from(byte));
            }
            b' '..=b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\{byte:03o}")),
        }
    }
    escaped.push(')');
    Ok(escaped)
}

//! Small files of every format, built by hand.

use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub(crate) const DOCX_MAIN: &str = "word/document.xml";

/// A PDF with the given lines on each page; an empty line is a gap between paragraphs, and a tab leads to
/// the next of three columns.
pub(crate) fn pdf(pages: &[&[&str]]) -> Vec<u8> {
    build_pdf(pages, "")
}

/// A PDF that no password opens, and certainly not the empty one.
pub(crate) fn encrypted_pdf() -> Vec<u8> {
    let hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let key = format!(
        "/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{hash}> /U <{hash}> >> /ID [<{hash}> <{hash}>]"
    );
    build_pdf(&[&["a secret"]], &key)
}

fn build_pdf(pages: &[&[&str]], trailer: &str) -> Vec<u8> {
    let kids: String = (0..pages.len())
        .map(|page| format!("{} 0 R ", 4 + page * 2))
        .collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", pages.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    for (page, lines) in pages.iter().enumerate() {
        let content_at = 5 + page * 2;
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content_at} 0 R \
             /Resources << /Font << /F1 3 0 R >> >> >>"
        ));
        let mut content = "BT /F1 11 Tf 72 740 Td\n".to_owned();
        for line in *lines {
            let escaped = line
                .replace('\\', "\\\\")
                .replace('(', "\\(")
                .replace(')', "\\)");
            for (column, cell) in escaped.split('\t').enumerate() {
                let step = if column == 0 { 0 } else { 160 };
                content += &format!("{step} 0 Td ({cell}) Tj ");
            }
            let back = escaped.matches('\t').count() * 160;
            content += &format!("-{back} -14 Td\n");
        }
        content += "ET";
        objects.push(format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        write!(file, "{} 0 obj\n{object}\nendobj\n", number + 1).unwrap();
    }
    let xref = file.len();
    write!(file, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).unwrap();
    for offset in offsets {
        writeln!(file, "{offset:010} 00000 n ").unwrap();
    }
    write!(
        file,
        "trailer\n<< /Size {} /Root 1 0 R {trailer} >>\nstartxref\n{xref}\n%%EOF\n",
        objects.len() + 1
    )
    .unwrap();
    file
}

/// A Word document with the given body and a styles part.
pub(crate) fn docx(body: &str) -> Vec<u8> {
    let styles = r#"<w:styles xmlns:w="w">
        <w:style w:styleId="Titel"><w:name w:val="Title"/></w:style>
        <w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
        <w:style w:styleId="Clause"><w:name w:val="Clause"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
        <w:style w:styleId="Clause2"><w:name w:val="Clause 2"/><w:basedOn w:val="Clause"/></w:style>
        </w:styles>"#;
    let main = format!(
        r#"<?xml version="1.0"?><w:document xmlns:w="w"><w:body>{body}</w:body></w:document>"#
    );
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        (DOCX_MAIN, main.as_bytes()),
        ("word/styles.xml", styles.as_bytes()),
    ])
}

/// One paragraph of a Word document.
pub(crate) fn paragraph(style: &str, text: &str) -> String {
    format!(r#"<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"#)
}

pub(crate) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn utf16(text: &str, little: bool) -> Vec<u8> {
    text.encode_utf16()
        .flat_map(|unit| {
            if little {
                unit.to_le_bytes()
            } else {
                unit.to_be_bytes()
            }
        })
        .collect()
}

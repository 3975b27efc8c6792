//! Small files of every format, built by hand.

use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub(crate) const DOCX_MAIN: &str = "word/document.xml";

/// A PDF with the given lines on each page; an empty line is a gap between paragraphs, and a tab leads to
/// the next of three columns.
pub(crate) fn pdf(pages: &[&[&str]]) -> Vec<u8> {
    quire_testkit::pdf::pdf(pages, "")
}

/// A PDF that no password opens, and certainly not the empty one.
pub(crate) fn encrypted_pdf() -> Vec<u8> {
    let hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let key = format!(
        "/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{hash}> /U <{hash}> >> /ID [<{hash}> <{hash}>]"
    );
    quire_testkit::pdf::pdf(&[["a secret"]], &key)
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

/// The relations of an Office part: ids, kinds and targets.
fn relations(all: &[(String, &str, String)]) -> String {
    let each = all.iter().map(|(id, kind, target)| {
        format!(
            r#"<Relationship Id="{id}" Type="http://x/relationships/{kind}" Target="{target}"/>"#
        )
    });
    format!(
        "<Relationships>{}</Relationships>",
        each.collect::<String>()
    )
}

/// A presentation with the given slides and, for each, its notes if they are not empty.
pub(crate) fn pptx(slides: &[(&str, &str)]) -> Vec<u8> {
    let mut parts: Vec<(String, String)> = Vec::new();
    let (mut ids, mut targets) = (String::new(), Vec::new());
    // Stored in another order than shown.
    for (at, (slide, notes)) in slides.iter().enumerate().rev() {
        let name = format!("slides/slide{at}.xml");
        ids = format!(r#"<p:sldId id="{}" r:id="rId{at}"/>{ids}"#, 256 + at);
        targets.push((format!("rId{at}"), "slide", name.clone()));
        parts.push((
            format!("ppt/{name}"),
            format!("<p:sld><p:cSld><p:spTree>{slide}</p:spTree></p:cSld></p:sld>"),
        ));
        if !notes.is_empty() {
            let target = format!("../notesSlides/notes{at}.xml");
            parts.push((
                format!("ppt/slides/_rels/slide{at}.xml.rels"),
                relations(&[("rId1".into(), "notesSlide", target)]),
            ));
            parts.push((format!("ppt/notesSlides/notes{at}.xml"), format!(
                r#"<p:notes><p:sp><p:ph type="body"/><a:p><a:r><a:t>{notes}</a:t></a:r></a:p></p:sp></p:notes>"#)));
        }
    }
    parts.push((
        "ppt/presentation.xml".into(),
        format!("<p:presentation><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>"),
    ));
    parts.push((
        "ppt/_rels/presentation.xml.rels".into(),
        relations(&targets),
    ));
    zip_texts(&parts)
}

/// A box of a slide; `kind` is that of its placeholder.
pub(crate) fn shape(kind: &str, paragraphs: &[&str]) -> String {
    let paragraphs: String = paragraphs
        .iter()
        .map(|text| format!("<a:p><a:r><a:t>{text}</a:t></a:r></a:p>"))
        .collect();
    format!(
        r#"<p:sp><p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr><p:txBody>{paragraphs}</p:txBody></p:sp>"#
    )
}

/// A workbook with the given sheets: names and what stands in `<worksheet>`. Style 1 is dollars, style 2 a
/// date, style 3 a percentage; text 0 of the shared ones is `shared`.
pub(crate) fn xlsx(sheets: &[(&str, &str)]) -> Vec<u8> {
    let (mut entries, mut targets, mut parts) = (String::new(), Vec::new(), Vec::new());
    for (at, (name, content)) in sheets.iter().enumerate() {
        entries += &format!(
            r#"<sheet name="{name}" sheetId="{}" r:id="rId{at}"/>"#,
            at + 1
        );
        targets.push((
            format!("rId{at}"),
            "worksheet",
            format!("worksheets/sheet{at}.xml"),
        ));
        parts.push((
            format!("xl/worksheets/sheet{at}.xml"),
            format!("<worksheet>{content}</worksheet>"),
        ));
    }
    targets.push(("rIdS".into(), "styles", "styles.xml".into()));
    targets.push((
        "rIdT".into(),
        "sharedStrings",
        "/xl/sharedStrings.xml".into(),
    ));
    parts.push((
        "xl/workbook.xml".into(),
        format!("<workbook><sheets>{entries}</sheets></workbook>"),
    ));
    parts.push(("xl/_rels/workbook.xml.rels".into(), relations(&targets)));
    parts.push((
        "xl/sharedStrings.xml".into(),
        "<sst><si><r><t>sha</t></r><r><t>red</t></r><rPh><t>x</t></rPh></si></sst>".into(),
    ));
    parts.push(("xl/styles.xml".into(), r#"<styleSheet><numFmts><numFmt numFmtId="164" formatCode="&quot;$&quot;#,##0.00"/></numFmts>
        <cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="14"/><xf numFmtId="10"/></cellXfs></styleSheet>"#.into()));
    zip_texts(&parts)
}

/// A row of a sheet: each cell as text, or as `style:number`.
pub(crate) fn row(number: u32, cells: &[&str]) -> String {
    let cells: String = (0..)
        .zip(cells)
        .map(|(at, cell)| {
            let place = format!("{}{number}", char::from(b'A' + at));
            match cell.split_once(':') {
                Some((style, value)) if style.parse::<u8>().is_ok() => {
                    format!(r#"<c r="{place}" s="{style}"><v>{value}</v></c>"#)
                }
                _ => format!(r#"<c r="{place}" t="inlineStr"><is><t>{cell}</t></is></c>"#),
            }
        })
        .collect();
    format!(r#"<row r="{number}">{cells}</row>"#)
}

fn zip_texts(parts: &[(String, String)]) -> Vec<u8> {
    let parts: Vec<(&str, &[u8])> = parts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_bytes()))
        .collect();
    zip(&parts)
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

/// A picture of grey steps, stored without compression.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..height {
        rows.push(0);
        rows.extend((0..width).map(|x| ((x * 7 + y * 13) % 256) as u8));
    }
    let mut file = b"\x89PNG\r\n\x1A\n".to_vec();
    let mut chunk = |name: &[u8; 4], content: &[u8]| {
        file.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        let checked = [name.as_slice(), content].concat();
        file.extend(&checked);
        file.extend(crc32(&checked).to_be_bytes());
    };
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides, [8, 0, 0, 0, 0].as_slice()].concat());
    let length = u16::try_from(rows.len()).unwrap();
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in &rows {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    let stored = [
        b"\x78\x01\x01".as_slice(),
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &rows,
        &(high << 16 | low).to_be_bytes(),
    ];
    chunk(b"IDAT", &stored.concat());
    chunk(b"IEND", b"");
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A tone of so many samples.
pub(crate) fn wav(rate: u32, samples: u32) -> Vec<u8> {
    let data = samples * 2;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(data.to_le_bytes());
    for at in 0..samples {
        let wave = (f64::from(at) * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin();
        file.extend(((wave * 8_000.0) as i16).to_le_bytes());
    }
    file
}

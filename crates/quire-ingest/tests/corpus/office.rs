//! Office files and PDFs that are made to hurt.

use std::fmt::Write as _;

use crate::files::Corpus;
use crate::support::{
    DOCX_MAIN, docx, encrypted_pdf, paragraph, pptx, row, shape, utf16, xlsx, zip,
};

pub(crate) fn add(corpus: &mut Corpus) {
    office(corpus);
    pdfs(corpus);
}

fn office(corpus: &mut Corpus) {
    let laughs =
        "<!DOCTYPE w [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;\">]>";
    let outside = "<!DOCTYPE w [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>";
    let fill = " ".repeat(30 << 20);
    for main in [DOCX_MAIN, "xl/workbook.xml", "ppt/presentation.xml"] {
        let short = main.split('/').next().unwrap();
        corpus.add(
            format!("laughs-{short}"),
            zip(&[(main, format!("{laughs}<w>&c;</w>").as_bytes())]),
        );
        corpus.add(
            format!("outside-{short}"),
            zip(&[(main, format!("{outside}<w>&x;</w>").as_bytes())]),
        );
        corpus.add(
            format!("bomb-{short}"),
            zip(&[(main, format!("<w>{fill}</w>").as_bytes())]),
        );
        corpus.add(
            format!("deep-{short}"),
            zip(&[(main, "<sheet><p>".repeat(200_000).as_bytes())]),
        );
        corpus.add(
            format!("no-xml-{short}"),
            zip(&[(main, b"\0\x01\x02 & < >")]),
        );
        corpus.add(
            format!("slip-{short}"),
            zip(&[("../../../../etc/cron.d/x", b"x"), (main, b"<w/>")]),
        );
    }
    let inner = zip(&[("xl/workbook.xml", b"<x/>")]);
    corpus.add(
        "zip-in-zip.zip",
        zip(&[("a.zip", &inner), ("b.zip", &inner)]),
    );
    let names: Vec<String> = (0..100_000)
        .map(|number| format!("word/document{number}"))
        .collect();
    let many: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), b"".as_slice()))
        .collect();
    corpus.add("100000-entries.docx", zip(&many));
    let mut locked = docx(&paragraph("", "secret"));
    for at in 0..locked.len() - 8 {
        if locked[at..].starts_with(b"PK\x03\x04") {
            locked[at + 6] |= 1;
        } else if locked[at..].starts_with(b"PK\x01\x02") {
            locked[at + 8] |= 1;
        }
    }
    corpus.add("encrypted-entries.docx", locked);
    let ole2 = |stream: &str| {
        [
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".as_slice(),
            &utf16(stream, true),
        ]
        .concat()
    };
    for stream in [
        "WordDocument",
        "Workbook",
        "PowerPoint Document",
        "EncryptedPackage",
        "__nameid_version1.0",
        "",
    ] {
        corpus.add(format!("ole2-{stream}"), ole2(stream));
    }
    let wide: String = (1..2_000)
        .map(|row| {
            format!(
                "<row r=\"{row}\"><c r=\"XFD{row}\"><v>1</v></c><c r=\"A{row}\"><v>2</v></c></row>"
            )
        })
        .collect();
    let long: String = (1..100_000)
        .map(|number| row(number, &["a", "b", "0:1"]))
        .collect();
    let merged: String = (1..20_000)
        .map(|row| format!("<mergeCell ref=\"A{row}:XFD1048576\"/>"))
        .collect();
    for (name, sheet) in [
        ("wide", format!("<sheetData>{wide}</sheetData>")),
        ("100000-rows", format!("<sheetData>{long}</sheetData>")),
        ("merged", format!("<sheetData>{}</sheetData><mergeCells>{merged}</mergeCells>", row(1, &["x", "y"]))),
        ("far", "<sheetData><row r=\"4294967295\"><c r=\"ZZZZZZ4294967295\"><v>1e999</v></c></row><row r=\"0\"/></sheetData>".into()),
        ("strings", "<sheetData><row><c t=\"s\"><v>99999999999</v></c><c t=\"s\"><v>-1</v></c></row></sheetData>".into()),
    ] {
        corpus.add(format!("{name}.xlsx"), xlsx(&[("S", &sheet)]));
    }
    let slide = shape("body", &["x"]);
    corpus.add("many-slides.pptx", pptx(&vec![(slide.as_str(), ""); 600]));
    let circle = zip(&[
        (
            "ppt/presentation.xml",
            b"<p xmlns:r='r'><sldId r:id='a'/><sldId r:id='a'/></p>",
        ),
        (
            "ppt/_rels/presentation.xml.rels",
            b"<r><Relationship Id='a' Type='/slide' Target='presentation.xml'/></r>",
        ),
        ("ppt/slides/_rels/s.rels", b"<r"),
    ]);
    corpus.add("circle.pptx", circle);
    let tables = "<w:tbl><w:tr><w:tc>".repeat(5_000);
    corpus.add("nested-tables.docx", docx(&tables));
    corpus.add("end-only.zip", b"PK\x05\x06".to_vec());
    corpus.add(
        "huge-directory.zip",
        [
            b"PK\x05\x06\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F\0\0\0\0\0\0".as_slice(),
            b"word/document",
        ]
        .concat(),
    );
}

/// A PDF with these objects and nothing to check them by.
fn raw_pdf(objects: &[String], trailer: &str) -> Vec<u8> {
    let mut file = "%PDF-1.7\n".to_owned();
    for (number, object) in (1..).zip(objects) {
        let _ = writeln!(file, "{number} 0 obj\n{object}\nendobj");
    }
    let _ = write!(
        file,
        "trailer << /Root 1 0 R /Size {} {trailer} >>\nstartxref\n0\n%%EOF",
        objects.len() + 1
    );
    file.into_bytes()
}

fn pdfs(corpus: &mut Corpus) {
    let catalog = "<< /Type /Catalog /Pages 2 0 R >>".to_owned();
    let page =
        |more: &str| format!("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {more} >>");
    let pages =
        |kids: &str, count: u64| format!("<< /Type /Pages /Kids [{kids}] /Count {count} >>");
    corpus.add("encrypted.pdf", encrypted_pdf());
    corpus.add(
        "circle.pdf",
        raw_pdf(&[catalog.clone(), pages("2 0 R", 1)], ""),
    );
    corpus.add(
        "count.pdf",
        raw_pdf(&[catalog.clone(), pages("3 0 R", 1 << 40), page("")], ""),
    );
    // A page that is named twice is no page to poppler, so each has an object of its own.
    let kids: String = (3..10_004).map(|number| format!("{number} 0 R ")).collect();
    corpus.add(
        "10001-pages.pdf",
        raw_pdf(
            &[
                vec![catalog.clone(), pages(&kids, 10_001)],
                vec![page(""); 10_001],
            ]
            .concat(),
            "",
        ),
    );
    corpus.add(
        "nested.pdf",
        raw_pdf(
            &[
                catalog.clone(),
                pages("3 0 R", 1),
                page(&format!("/X {}{}", "[".repeat(50_000), "]".repeat(50_000))),
            ],
            "",
        ),
    );
    corpus.add("script.pdf", raw_pdf(&["<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (while(1);) >> >>".into(), pages("3 0 R", 1), page("")], ""));
    corpus.add(
        "huge-page.pdf",
        raw_pdf(
            &[
                catalog.clone(),
                pages("3 0 R", 1),
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9999999 9999999] >>".into(),
            ],
            "",
        ),
    );
    corpus.add(
        "negative-page.pdf",
        raw_pdf(
            &[
                catalog.clone(),
                pages("3 0 R", 1),
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 -1 0] >>".into(),
            ],
            "",
        ),
    );
    corpus.add(
        "previous.pdf",
        raw_pdf(&[catalog.clone(), pages("3 0 R", 1), page("")], "/Prev 0"),
    );
    corpus.add(
        "launch.pdf",
        raw_pdf(
            &[
                catalog.clone(),
                pages("3 0 R", 1),
                page("/AA << /O << /S /Launch /F (/bin/sh) >> >>"),
            ],
            "",
        ),
    );
    let picture = "<< /Type /XObject /Subtype /Image /Width 20000 /Height 20000 /ColorSpace /DeviceRGB /BitsPerComponent 8 /Length 3 >>\nstream\nabc\nendstream";
    let draw = "<< /Length 30 >>\nstream\n612 0 0 792 0 0 cm /P Do      \nendstream";
    corpus.add(
        "picture-bomb.pdf",
        raw_pdf(
            &[
                catalog.clone(),
                pages("3 0 R", 1),
                page("/Contents 4 0 R /Resources << /XObject << /P 5 0 R >> >>"),
                draw.into(),
                picture.into(),
            ],
            "",
        ),
    );
    let form = "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /P 5 0 R >> >> /Length 24 >>\nstream\n/P Do /P Do /P Do /P Do \nendstream";
    corpus.add(
        "forms-bomb.pdf",
        raw_pdf(
            &[
                catalog,
                pages("3 0 R", 1),
                page("/Contents 4 0 R /Resources << /XObject << /P 5 0 R >> >>"),
                draw.into(),
                form.into(),
            ],
            "",
        ),
    );
    corpus.add("empty.pdf", raw_pdf(&[], ""));
    corpus.add("mark-only.pdf", b"%PDF-".to_vec());
}

//! Files that are broken, mislabelled or made to hurt: each ends in its own typed error.

use std::fmt::Write;

use quire_ingest::detect::detect;
use quire_ingest::extract::{Document, ExtractError, Limits, Meter, extract};
use quire_types::{ErrorKind, Kind, MediaType};

use crate::support::{DOCX_MAIN, docx, encrypted_pdf, paragraph, pdf, utf16, zip};

fn read(name: &str, bytes: &[u8]) -> Result<Document, ExtractError> {
    extract(
        detect(name, bytes)?,
        bytes,
        &Limits::default(),
        Meter::silent(),
    )
}

#[test]
fn each_bad_file_has_its_own_refusal() {
    let ole2 = |stream: &str| {
        [
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".as_slice(),
            &utf16(stream, true),
        ]
        .concat()
    };
    let bomb = format!("<w:document>{}</w:document>", " ".repeat(50 << 20));
    let many: Vec<String> = (0..3_000)
        .map(|number| format!("word/document{number}.xml"))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|name| (name.as_str(), b"".as_slice()))
        .collect();
    let entities = "<!DOCTYPE w [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><w:document><w:p><w:r><w:t>&b;</w:t></w:r></w:p></w:document>";
    let deep = format!("<w:document>{}", "<w:tbl><w:tr><w:tc>".repeat(100_000));
    let mut wide = format!("| {} |\n|{}\n", "h |".repeat(900), "-|".repeat(900));
    for _ in 0..3_000 {
        writeln!(wide, "|{}", "v|".repeat(900)).unwrap();
    }
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("empty", Vec::new(), "empty", "the file is empty"),
        ("blank", b" \n\t\r\n ".to_vec(), "no-text", "no text in it"),
        (
            "zeros.txt",
            vec![0; 10_000],
            "unsupported",
            "a file of zero bytes",
        ),
        (
            "photo.txt",
            b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR".to_vec(),
            "damaged",
            "picture",
        ),
        (
            "song.md",
            b"ID3\x04\0\0\0\0".to_vec(),
            "damaged",
            "recording",
        ),
        (
            "film.pdf",
            b"\0\0\0\x20ftypisom\0\0".to_vec(),
            "damaged",
            "recording",
        ),
        (
            "setup.txt",
            b"MZ\x90\0\x03\0".to_vec(),
            "unsupported",
            "a program",
        ),
        (
            "x.txt",
            b"\x1F\x8B\x08\0".to_vec(),
            "unsupported",
            "a gzip archive",
        ),
        (
            "x.doc",
            b"{\\rtf1 hello}".to_vec(),
            "unsupported",
            "rich text",
        ),
        (
            "noise",
            (0..5_000_u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect(),
            "unsupported",
            "a binary file",
        ),
        (
            "x.docx",
            zip(&[("xl/workbook.xml", b"<x/>")]),
            "no-text",
            "",
        ),
        (
            "x.docx",
            zip(&[("ppt/presentation.xml", b"<x/>")]),
            "no-text",
            "",
        ),
        (
            "x.docx",
            zip(&[("a.txt", b"x")]),
            "unsupported",
            "a zip archive",
        ),
        (
            "old.docx",
            ole2("WordDocument"),
            "old-office",
            "save it as .docx",
        ),
        (
            "secret.docx",
            ole2("EncryptedPackage"),
            "old-office",
            "password-protected",
        ),
        (
            "secret.pdf",
            encrypted_pdf(),
            "password-protected",
            "upload a copy without a password",
        ),
        ("scan.pdf", pdf(&[&[], &[]]), "scanned", "no text"),
        (
            "broken.pdf",
            b"%PDF-1.4 nothing else\n%%EOF".to_vec(),
            "damaged",
            "PDF",
        ),
        ("empty.docx", docx(""), "no-text", "no text in it"),
        (
            "bomb.docx",
            zip(&[(DOCX_MAIN, bomb.as_bytes())]),
            "unsafe",
            "zip bomb",
        ),
        (
            "many.docx",
            zip(&many),
            "too-large",
            "2000 files in the container",
        ),
        (
            "entities.docx",
            zip(&[(DOCX_MAIN, entities.as_bytes())]),
            "unsafe",
            "document type definition",
        ),
        (
            "deep.docx",
            zip(&[(DOCX_MAIN, deep.as_bytes())]),
            "unsafe",
            "",
        ),
        (
            "half.docx",
            zip(&[(DOCX_MAIN, b"<w:document><w:p><w:r><w:t>cut")]),
            "damaged",
            "Office",
        ),
        ("wide.md", wide.into_bytes(), "", ""),
        (
            "long.txt",
            vec![b'a'; 20_000_001],
            "too-large",
            "20000000 characters",
        ),
    ];
    for (name, bytes, code, message) in cases {
        let started = std::time::Instant::now();
        let result = read(name, &bytes);
        assert!(
            started.elapsed().as_secs() < 20,
            "{name} took {:?}",
            started.elapsed()
        );
        match result {
            Ok(_) => assert_eq!(code, "", "{name} was read"),
            Err(error) => {
                assert_eq!(error.code(), code, "{name}: {error}");
                assert!(error.to_string().contains(message), "{name}: {error}");
                assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
                let sent = serde_json::to_value(&error).unwrap();
                assert_eq!(sent["code"], code, "{name}");
                assert_eq!(
                    serde_json::from_value::<ExtractError>(sent).unwrap(),
                    error,
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn a_cut_file_is_never_taken_for_a_whole_one() {
    let line = "A line of text that is long enough to matter for the reader of the file.";
    let long: Vec<&str> = vec![line; 40];
    let body: String = (0..200)
        .map(|number| paragraph("", &format!("{number} {line} {}", number * 7919)))
        .collect();
    for (name, whole) in [
        ("a.pdf", pdf(&[&long, &long, &long])),
        ("a.docx", docx(&body)),
    ] {
        assert!(read(name, &whole).is_ok(), "{name}");
        for sixteenth in 1..16 {
            let cut = &whole[..whole.len() * sixteenth / 16];
            let error = read(name, cut).unwrap_err();
            assert_eq!(error.code(), "damaged", "{name} at {sixteenth}/16: {error}");
        }
    }
}

#[test]
fn declared_sizes_are_not_trusted() {
    let content = "<w:document><w:p><w:r><w:t>".to_owned()
        + &"x".repeat(1 << 20)
        + "</w:t></w:r></w:p></w:document>";
    let mut bytes = zip(&[(DOCX_MAIN, content.as_bytes())]);
    // Both headers claim one byte.
    for (mark, field) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
        let at = bytes.windows(4).position(|window| window == mark).unwrap();
        bytes[at + field..at + field + 4].copy_from_slice(&1_u32.to_le_bytes());
    }
    let error = read("liar.docx", &bytes).unwrap_err();
    assert!(["damaged", "unsafe"].contains(&error.code()), "{error}");
}

#[test]
fn limits_hold_for_every_reader() {
    let few = Limits {
        max_blocks: 3,
        ..Limits::default()
    };
    let lines = "one\n\ntwo\n\nthree\n\nfour";
    for media in [MediaType::Text, MediaType::Markdown] {
        assert_eq!(
            extract(media, lines.as_bytes(), &few, Meter::silent())
                .unwrap_err()
                .code(),
            "too-large",
            "{media}"
        );
    }
    let html = "<p>1<p>2<p>3<p>4";
    assert_eq!(
        extract(MediaType::Html, html.as_bytes(), &few, Meter::silent())
            .unwrap_err()
            .code(),
        "too-large"
    );
    let one_page = Limits {
        max_pages: 1,
        ..Limits::default()
    };
    let error = extract(
        MediaType::Pdf,
        &pdf(&[&["a"], &["b"]]),
        &one_page,
        Meter::silent(),
    )
    .unwrap_err();
    assert_eq!(
        error,
        ExtractError::TooLarge {
            what: "pages".into(),
            limit: 1
        }
    );
    let short = Limits {
        max_text_chars: 10,
        ..Limits::default()
    };
    let error = extract(
        MediaType::Pdf,
        &pdf(&[&["much more than ten characters of text"; 20]]),
        &short,
        Meter::silent(),
    )
    .unwrap_err();
    assert_eq!(error.code(), "too-large");
    let paragraphs = |count: usize| format!("<h1>{}</h1>{}", "x".repeat(100), "<p>1".repeat(count));
    let little = Limits {
        max_repeated_bytes: 1_000,
        ..Limits::default()
    };
    let read = |html: String| extract(MediaType::Html, html.as_bytes(), &little, Meter::silent());
    assert!(read(paragraphs(10)).is_ok());
    assert_eq!(read(paragraphs(11)).unwrap_err().code(), "too-large");
}

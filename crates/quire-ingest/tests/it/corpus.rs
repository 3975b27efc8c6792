//! More than 300 files that are cut, damaged, mislabelled or made to hurt, and what becomes of each: a document
//! or a reason, within bounds, and never the end of anybody but its own reader.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use quire_ingest::sandbox::Extractor;

use crate::support::{
    DOCX_MAIN, docx, encrypted_pdf, paragraph, pdf, png, pptx, row, shape, utf16, wav, xlsx, zip,
};

/// Far above what any of these takes, far below forever: the machine may be busy.
const MOST_SECONDS: u64 = 300;

struct Hostile {
    name: String,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Corpus(Vec<Hostile>);

impl Corpus {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Hostile {
            name: name.into(),
            bytes: bytes.into(),
        });
    }
}

/// One good file of every kind.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let cells = format!(
        "<sheetData>{}{}</sheetData>",
        row(1, &["Item", "Due", "Sum"]),
        row(2, &["Tile", "2:45826", "1:9"])
    );
    let mail = "From: a@example.com\r\nMessage-ID: <1@example.com>\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello there.\r\n--b\r\nContent-Type: text/csv; name=a.csv\r\n\
        Content-Disposition: attachment\r\n\r\na,b\r\n1,2\r\n--b--\r\n";
    vec![
        ("a.docx", docx(&paragraph("", "Some words on a page."))),
        ("a.pptx", pptx(&[(&shape("title", &["Week"]), "Notes."), (&shape("body", &["One", "Two"]), "")])),
        ("a.xlsx", xlsx(&[("Costs", &cells)])),
        ("a.pdf", pdf(&[&["Some words on a page.", "And more."], &["Two"]])),
        ("a.eml", mail.into()),
        ("a.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>Hello.\n\n00:03.000 --> 00:04.000\n<v B>Yes.\n".to_vec()),
        ("a.csv", b"Vendor,Rate,Note\nA,1,x\nB,2,y\nC,3,z\n".to_vec()),
        ("a.html", b"<!doctype html><html><body><h1>T</h1><table><tr><td>a<td>b</table><p>text".to_vec()),
        ("a.md", b"# T\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quote\n".to_vec()),
        ("a.png", png(40, 20)),
        ("a.wav", wav(16_000, 3_200)),
    ]
}

fn build() -> Vec<Hostile> {
    let mut corpus = Corpus::default();
    for (name, bytes) in good() {
        // Each costs a recogniser or two pictures; a few of them show as much as all.
        let is_costly = matches!(name, "a.wav" | "a.png");
        for part in (1..16).step_by(if is_costly { 5 } else { 1 }) {
            corpus.add(
                format!("cut-{part}-{name}"),
                &bytes[..bytes.len() * part / 16],
            );
        }
        for seed in 0..if is_costly { 3 } else { 8 } {
            corpus.add(format!("flipped-{seed}-{name}"), flipped(&bytes, seed));
        }
        corpus.add(format!("{name}.txt"), bytes.clone());
        let swapped = if name == "a.pdf" {
            "renamed.docx"
        } else {
            "renamed.pdf"
        };
        corpus.add(format!("{name}-{swapped}"), bytes);
    }
    office(&mut corpus);
    pdfs(&mut corpus);
    texts(&mut corpus);
    mails(&mut corpus);
    pictures(&mut corpus);
    recordings(&mut corpus);
    corpus.0
}

/// The bytes with eight of them changed.
fn flipped(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = (state % bytes.len() as u64) as usize;
        bytes[at] ^= (state >> 40) as u8 | 1;
    }
    bytes
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
    corpus.add(
        "10001-pages.pdf",
        raw_pdf(
            &[
                catalog.clone(),
                pages(&"3 0 R ".repeat(10_001), 10_001),
                page(""),
            ],
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

fn texts(corpus: &mut Corpus) {
    corpus.add("empty", b"".to_vec());
    corpus.add("blank", vec![b' '; 1 << 20]);
    corpus.add("zeros", vec![0; 1 << 20]);
    corpus.add("line.txt", vec![b'a'; 25 << 20]);
    corpus.add(
        "odd-utf16.txt",
        [b"\xFF\xFE".as_slice(), &utf16("text and more", true), b"x"].concat(),
    );
    corpus.add(
        "surrogates.txt",
        [b"\xFE\xFF".as_slice(), &[0xD8, 0x00].repeat(5_000)].concat(),
    );
    corpus.add("noise", flipped(&vec![0x80; 50_000], 7));
    corpus.add(
        "controls.txt",
        (0..=255_u8)
            .cycle()
            .take(20_000)
            .filter(|byte| *byte != 0)
            .collect::<Vec<_>>(),
    );
    corpus.add(
        "nested.html",
        format!("<!doctype html>{}", "<div>".repeat(300_000)),
    );
    corpus.add(
        "attributes.html",
        format!("<html><p {}>x", "a=b ".repeat(300_000)),
    );
    corpus.add(
        "tables.html",
        format!("<html>{}", "<table><tr><td>".repeat(20_000)),
    );
    corpus.add(
        "entities.html",
        format!(
            "<html>{}",
            "&CounterClockwiseContourIntegral;".repeat(50_000)
        ),
    );
    corpus.add("comment.html", format!("<html><!--{}", "-".repeat(1 << 20)));
    corpus.add(
        "picture.svg",
        "<svg xmlns:xlink='x'><image xlink:href='file:///etc/passwd'/><script>x</script></svg>",
    );
    corpus.add("quotes.md", "> ".repeat(200_000));
    corpus.add(
        "lists.md",
        (0..2_000)
            .map(|depth| " ".repeat(depth) + "- x\n")
            .collect::<String>(),
    );
    corpus.add("links.md", "[a](".repeat(100_000));
    corpus.add("stars.md", "*a_ ".repeat(100_000));
    corpus.add(
        "wide.md",
        format!("|{}\n|{}\n", "h|".repeat(50_000), "-|".repeat(50_000)),
    );
    corpus.add(
        "open-quote.csv",
        format!("a,b\n\"{}", "x,y\n".repeat(500_000)),
    );
    corpus.add(
        "wide.csv",
        format!("{}\n{}\n", "h,".repeat(200_000), "1,".repeat(200_000)),
    );
    corpus.add(
        "100000-rows.csv",
        format!("a,b,c\n{}", "1,two,3\n".repeat(100_000)),
    );
    corpus.add("formula.csv", "a,b\n=cmd|' /C calc'!A0,1\n@SUM(1+1),2\n");
    corpus.add(
        "many.srt",
        (0..50_000).fold(String::new(), |mut text, number| {
            let _ = write!(text, "{number}\n00:00:00,000 --> 99:59:59,999\nx\n\n");
            text
        }),
    );
    corpus.add("times.vtt", "WEBVTT\n\n99999999999999:00 --> -1:00\nx\n\n00:10.000 --> 00:05.000\nbackwards\n\n1:2:3:4 --> 5\ny\n");
    corpus.add(
        "tags.vtt",
        format!(
            "WEBVTT\n\n00:01.000 --> 00:02.000\n{}",
            "<v ".repeat(100_000)
        ),
    );
    for (name, text) in [
        ("playlist.m3u8", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile /etc/passwd\n"),
        (
            "session.sdp",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        ),
        (
            "film.mp4",
            "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nhttp://127.0.0.1/x\n",
        ),
    ] {
        corpus.add(name, text);
    }
}

fn mails(corpus: &mut Corpus) {
    let head = "From: a@example.com\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n";
    let mixed = format!("{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    let attachment = "--b\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\nx\r\n";
    corpus.add(
        "2000-attachments.eml",
        mixed.clone() + &attachment.repeat(2_000),
    );
    corpus.add(
        "400-attachments.eml",
        mixed.clone() + &attachment.repeat(400),
    );
    let nested = format!("{head}Content-Type: message/rfc822\r\n\r\n").repeat(500);
    corpus.add("nested.eml", nested);
    let parts: String = (0..3_000)
        .map(|depth| {
            format!(
                "--b{depth}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n",
                depth + 1
            )
        })
        .collect();
    corpus.add(
        "nested-parts.eml",
        format!("{head}Content-Type: multipart/mixed; boundary=b0\r\n\r\n{parts}"),
    );
    corpus.add(
        "long-header.eml",
        format!("{head}X: {}\r\n\r\nx", "y".repeat(10 << 20)),
    );
    corpus.add(
        "many-headers.eml",
        format!("{head}{}\r\nx", "X-Y: z\r\n".repeat(200_000)),
    );
    corpus.add(
        "empty-boundary.eml",
        format!("{head}Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n--\r\n----\r\n"),
    );
    corpus.add(
        "words.eml",
        format!(
            "{head}Subject: {}\r\n\r\nx",
            "=?utf-8?q?=FF?= ".repeat(50_000)
        ),
    );
    corpus.add("base64.eml", format!("{mixed}--b\r\nContent-Transfer-Encoding: base64\r\nContent-Type: application/zip; name=x.zip\r\n\r\n{}\r\n--b--", "UEsDB!!*".repeat(50_000)));
    corpus.add(
        "charset.eml",
        format!("{head}Content-Type: text/plain; charset=\"no-such\"\r\n\r\n\u{fe}x"),
    );
    corpus.add("name.eml", format!("{mixed}--b\r\nContent-Disposition: attachment; filename=\"../../../etc/{}\"\r\n\r\nx\r\n--b--", "a".repeat(100_000)));
}

fn pictures(corpus: &mut Corpus) {
    let mut flood = png(1, 1);
    flood[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    corpus.add("60000-pixels.png", flood);
    let mut larger = png(8, 8);
    larger[16..24].copy_from_slice(&[0, 0, 0x10, 0, 0, 0, 0x10, 0]);
    corpus.add("more-pixels-than-bytes.png", larger);
    corpus.add("no-pixels.png", {
        let mut none = png(1, 1);
        none[16..20].fill(0);
        none
    });
    let mut gif = b"GIF89a\xFF\xFF\xFF\xFF\0\0\0".to_vec();
    gif.push(0x3B);
    corpus.add("flood.gif", gif);
    let frame = b"\x21\xF9\x04\0\0\0\0\0\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    let mut frames = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec();
    frames.extend(frame.repeat(100_000));
    frames.push(0x3B);
    corpus.add("100000-frames.gif", frames);
    corpus.add(
        "flood.jpg",
        b"\xFF\xD8\xFF\xC0\0\x11\x08\xFF\xFF\xFF\xFF\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xFF\xD9"
            .to_vec(),
    );
    corpus.add("nothing.jpg", b"\xFF\xD8\xFF\xD9\xFF\xD9\xFF\xD9".to_vec());
    corpus.add(
        "markers.jpg",
        [
            b"\xFF\xD8".as_slice(),
            &b"\xFF\xE1\0\x02".repeat(100_000),
            b"\xFF\xD9",
        ]
        .concat(),
    );
    corpus.add(
        "flood.bmp",
        [
            b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\xFF\xFF\xFF\x7F\xFF\xFF\xFF\x7F\x01\0\x18\0"
                .as_slice(),
            &[0; 24],
        ]
        .concat(),
    );
    corpus.add(
        "circle.tif",
        b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x01\0\0\0\x08\0\0\0".to_vec(),
    );
    corpus.add("far.tif", b"MM\0*\xFF\xFF\xFF\xF0".to_vec());
    corpus.add(
        "flood.webp",
        b"RIFF\x1E\0\0\0WEBPVP8L\x11\0\0\0\x2F\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    );
    for brand in ["heic", "avif", "mif1"] {
        corpus.add(
            format!("x.{brand}"),
            [b"\0\0\0\x18ftyp".as_slice(), brand.as_bytes(), &[0; 100]].concat(),
        );
    }
}

fn recordings(corpus: &mut Corpus) {
    let header = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = wav(16_000, 1_600);
        change(&mut bytes);
        bytes
    };
    corpus.add("length.wav", header(&|bytes| bytes[40..44].fill(0xFF)));
    corpus.add("no-channels.wav", header(&|bytes| bytes[22..24].fill(0)));
    corpus.add("channels.wav", header(&|bytes| bytes[22..24].fill(0xFF)));
    corpus.add("no-rate.wav", header(&|bytes| bytes[24..28].fill(0)));
    corpus.add("no-data.wav", header(&|bytes| bytes.truncate(44)));
    // Silence for nine hours, by its own word.
    corpus.add(
        "nine-hours.wav",
        header(&|bytes| {
            bytes[24..28].copy_from_slice(&1_u32.to_le_bytes());
            bytes[28..32].copy_from_slice(&2_u32.to_le_bytes());
            bytes[40..44].copy_from_slice(&70_000_u32.to_le_bytes());
            bytes.resize(44 + 70_000, 0);
        }),
    );
    let atom = |name: &[u8; 4], inside: &[u8]| {
        let length = u32::try_from(inside.len() + 8).unwrap();
        [&length.to_be_bytes(), name.as_slice(), inside].concat()
    };
    let brand = atom(b"ftyp", b"isom\0\0\0\0isom");
    corpus.add("brand-only.mp4", brand.clone());
    let nested = (0..2_000).fold(Vec::new(), |inside: Vec<u8>, _| atom(b"moov", &inside));
    corpus.add("nested.mp4", [brand.clone(), nested].concat());
    corpus.add(
        "endless.mp4",
        [
            brand.as_slice(),
            b"\0\0\0\x01moov\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ]
        .concat(),
    );
    corpus.add(
        "reference.mov",
        [
            brand,
            atom(
                b"moov",
                &atom(
                    b"rmra",
                    &atom(
                        b"rmda",
                        &atom(b"rdrf", b"\0\0\0\0url \0\0\0\x14file:///etc/passwd\0"),
                    ),
                ),
            ),
        ]
        .concat(),
    );
    corpus.add(
        "endless.mkv",
        [
            b"\x1A\x45\xDF\xA3\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF".as_slice(),
            &[0x42; 500],
        ]
        .concat(),
    );
    corpus.add("nothing.ogg", [b"OggS".as_slice(), &[0xFF; 2_000]].concat());
    corpus.add(
        "nothing.flac",
        [b"fLaC".as_slice(), &[0xFF; 2_000]].concat(),
    );
    corpus.add("tag-only.mp3", b"ID3\x04\0\0\x7F\x7F\x7F\x7F".to_vec());
    corpus.add(
        "frames.mp3",
        b"\xFF\xFB\x90\x00"
            .iter()
            .copied()
            .chain([0; 413])
            .collect::<Vec<_>>()
            .repeat(3),
    );
    corpus.add(
        "nothing.avi",
        [b"RIFF\xFF\xFF\xFF\xFFAVI LIST".as_slice(), &[0xFF; 500]].concat(),
    );
    corpus.add("nothing.amr", b"#!AMR\n\xFF\xFF".to_vec());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_files_end_with_a_reason_and_harm_nobody() {
    let corpus = build();
    assert!(corpus.len() >= 300, "only {} files", corpus.len());
    let extractor = Extractor::new(env!("CARGO_BIN_EXE_quire-parse"));
    let outcomes = stream::iter(corpus).map(|hostile| {
        let extractor = &extractor;
        async move {
            let started = Instant::now();
            let outcome = extractor
                .extract(&hostile.name, hostile.bytes.into(), &|_| ())
                .await;
            (hostile.name, outcome, started.elapsed())
        }
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(3).collect().await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, outcome, time) in &outcomes {
        let code = match outcome {
            Ok(read) if !read.confinement.limits => "unlimited",
            Ok(read) if read.document.is_consistent() => "read",
            Ok(_) => "inconsistent",
            Err(error) => error.code(),
        };
        *counts.entry(code).or_default() += 1;
        // A reader that dies has a reason as well, but ours should say what is wrong before that.
        let is_wrong = ["unlimited", "inconsistent", "unavailable", "tool-missing"].contains(&code);
        if is_wrong || *time > Duration::from_secs(MOST_SECONDS) {
            wrong.push(format!(
                "{name}: {code} in {time:?}: {:?}",
                outcome.as_ref().err()
            ));
        }
    }
    let mut slowest: Vec<_> = outcomes
        .iter()
        .map(|(name, _, time)| (time, name))
        .collect();
    slowest.sort_by(|one, two| two.cmp(one));
    println!(
        "{} files: {counts:?}; slowest {:?}",
        outcomes.len(),
        &slowest[..8]
    );
    for (name, outcome, _) in &outcomes {
        if let Err(error) = outcome
            && error.code() == "crashed"
        {
            println!("{name}: {error}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

//! Presentations, workbooks, e-mails and transcripts: what they say, and the place each part of it has.

use quire_ingest::passages::{PassageOptions, passages};
use quire_types::MediaType;

use crate::extraction::{listing, read};
use crate::support::{docx, paragraph, pptx, row, shape, xlsx};

fn check(name: &str, bytes: &[u8], media: MediaType, expected: &[&str]) {
    assert_eq!(
        quire_ingest::detect::detect(name, bytes),
        Ok(media),
        "{name}"
    );
    assert_eq!(listing(&read(name, bytes)), expected, "{name}");
}

#[test]
fn slides_have_titles_tables_and_notes() {
    let table = "<p:graphicFrame><a:tbl><a:tr><a:tc><a:p><a:r><a:t>Phase</a:t></a:r></a:p></a:tc>\
        <a:tc><a:p><a:r><a:t>Start</a:t></a:r></a:p></a:tc><a:tc><a:p><a:r><a:t>End</a:t></a:r></a:p></a:tc></a:tr>\
        <a:tr><a:tc><a:p><a:r><a:t>One</a:t></a:r></a:p></a:tc><a:tc><a:p><a:r><a:t>June 16</a:t></a:r></a:p></a:tc>\
        <a:tc/></a:tr></a:tbl></p:graphicFrame>";
    let first = shape("body", &["Crane arrives", "Road closed &amp; signed"])
        + &shape("title", &["Week 12"])
        + &shape("sldNum", &["1"]);
    let slides = pptx(&[
        (&first, "Ask about the permit."),
        (&shape("title", &["Phases"]), ""),
        (table, ""),
    ]);
    check(
        "deck.bin",
        &slides,
        MediaType::Pptx,
        &[
            "h1 (slide 1) Week 12",
            "li (slide 1) - Crane arrives [Week 12]",
            "li (slide 1) - Road closed & signed [Week 12]",
            "p (slide 1) Notes: Ask about the permit. [Week 12]",
            "h1 (slide 2) Phases",
            "tr (slide 3) Phase: One; Start: June 16",
        ],
    );
    let drafts = passages(&read("deck", &slides), "deck", &PassageOptions::default());
    let places: Vec<String> = drafts.iter().map(|draft| draft.place.to_string()).collect();
    assert_eq!(places, ["slide 1", "slide 2", "slide 3"]);
}

#[test]
fn sheets_keep_headers_formats_and_cells() {
    let costs = format!(
        "<cols><col min=\"5\" max=\"5\" hidden=\"1\"/></cols><sheetData>{}{}{}{}{}{}</sheetData>\
         <mergeCells><mergeCell ref=\"A4:A5\"/></mergeCells>",
        row(1, &["Change orders"]),
        row(3, &["Trade", "Item", "Amount", "Due", "secret"]),
        row(4, &["Tile", "Room 110", "1:950.5", "2:45826", "x"]),
        row(5, &["", "Room 112", "1:1250", ""]),
        row(8, &["Total", "1:2200.5"]),
        "<row r=\"9\" hidden=\"1\"><c r=\"A9\" t=\"s\"><v>0</v></c></row>",
    );
    let terms =
        row(1, &["Retainage", "3:0.075"]) + "<row><c t=\"s\"><v>0</v></c><c><v>12</v></c></row>";
    let book = xlsx(&[("Costs", &costs), ("Terms", &terms)]);
    check(
        "costs",
        &book,
        MediaType::Xlsx,
        &[
            "h2 (sheet Costs, cells A1) Change orders",
            "tr (sheet Costs, cells A4:D4) Trade: Tile; Item: Room 110; Amount: $950.50; Due: 2025-06-18 [Change orders]",
            "tr (sheet Costs, cells A5:C5) Trade: Tile; Item: Room 112; Amount: $1,250.00 [Change orders]",
            "tr (sheet Costs, cells A8:B8) Total: $2,200.50 [Change orders]",
            "tr (sheet Terms, cells A1:B1) Retainage: 7.50%",
            "tr (sheet Terms, cells A2:B2) shared: 12",
        ],
    );
    let drafts = passages(&read("costs", &book), "costs", &PassageOptions::default());
    let places: Vec<String> = drafts.iter().map(|draft| draft.place.to_string()).collect();
    assert_eq!(
        places,
        ["sheet Costs, cells A1:D8", "sheet Terms, cells A1:B2"]
    );
}

/// The same table in each format that has cells.
fn in_every_format(rows: &[&[&str]]) -> Vec<(&'static str, Vec<u8>)> {
    let joined = |cell: &dyn Fn(&str) -> String, row: &dyn Fn(String) -> String| -> String {
        let rows = rows
            .iter()
            .map(|cells| row(cells.iter().map(|text| cell(text)).collect()));
        rows.collect()
    };
    let csv: Vec<String> = rows.iter().map(|cells| cells.join(";") + "\n").collect();
    let html = joined(&|text| format!("<td>{text}</td>"), &|cells| {
        format!("<tr>{cells}</tr>")
    });
    // The first row is marked, as pages do it.
    let html = html.replacen("</tr>", "</tr>\n", 1);
    let (head, body) = html.split_once('\n').unwrap();
    let html = format!(
        "<!doctype html><table>{}{body}</table>",
        head.replace("td>", "th>")
    );
    let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
    let word = joined(&cell, &|cells| format!("<w:tr>{cells}</w:tr>"));
    let book = (1..).zip(rows).map(|(number, cells)| {
        let cells = cells.iter().map(|text| match text.parse::<f64>() {
            Ok(_) => format!("0:{text}"),
            Err(_) => (*text).to_owned(),
        });
        let cells: Vec<String> = cells.collect();
        row(
            number,
            &cells.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    });
    let book: String = book.collect();
    vec![
        ("t.csv", csv.concat().into_bytes()),
        ("t.html", html.into_bytes()),
        ("t.docx", docx(&format!("<w:tbl>{word}</w:tbl>"))),
        (
            "t.xlsx",
            xlsx(&[("S", &format!("<sheetData>{book}</sheetData>"))]),
        ),
    ]
}

#[test]
fn rows_carry_the_units_and_the_groups_above_their_columns() {
    let prices: [&[&str]; 4] = [
        &["Floor", "Price", "Weight"],
        &["", "EUR/m²", "kg"],
        &["Tile", "48.5", "21"],
        &["Carpet", "31", "4"],
    ];
    let plans: [&[&str]; 4] = [
        &["Trade", "Days", "", "Crew", ""],
        &["", "Plan", "Actual", "Plan", "Actual"],
        &["Roof", "12", "15", "4", "5"],
        &["Tile", "6", "6", "2", "2"],
    ];
    for (rows, expected) in [
        (
            prices,
            [
                "Floor: Tile; Price (EUR/m²): 48.5; Weight (kg): 21",
                "Floor: Carpet; Price (EUR/m²): 31; Weight (kg): 4",
            ],
        ),
        (
            plans,
            [
                "Trade: Roof; Days (Plan): 12; Days (Actual): 15; Crew (Plan): 4; Crew (Actual): 5",
                "Trade: Tile; Days (Plan): 6; Days (Actual): 6; Crew (Plan): 2; Crew (Actual): 2",
            ],
        ),
    ] {
        for (name, bytes) in in_every_format(&rows) {
            let document = read(name, &bytes);
            let lines: Vec<&str> = document.text.lines().collect();
            assert_eq!(lines, expected, "{name}");
        }
    }
}

#[test]
fn csv_has_its_separator_found() {
    let rows = [
        "tr (cells A2:C2) Vendor: Kestrel; Rate: 84; Note: \"A\", nights",
        "tr (cells A3:C3) Vendor: Gibbs; Rate: 61,50; Note: days",
    ];
    check(
        "a.csv",
        b"Vendor;Rate;Note\nKestrel;84;\"\"\"A\"\", nights\"\nGibbs;61,50;days\n",
        MediaType::Csv,
        &rows,
    );
    check(
        "list",
        b"a,b,c\n1,2,3\n4,5,6\n7,8,9\n",
        MediaType::Csv,
        &[
            "tr (cells A2:C2) a: 1; b: 2; c: 3",
            "tr (cells A3:C3) a: 4; b: 5; c: 6",
            "tr (cells A4:C4) a: 7; b: 8; c: 9",
        ],
    );
    check(
        "prose",
        b"Well, yes, no.\nSo, what,\nnow, then, and, when?\nI see, well, yes\n",
        MediaType::Text,
        &["p Well, yes, no.\nSo, what,\nnow, then, and, when?\nI see, well, yes"],
    );
}

#[test]
fn empty_lines_of_csv_count_as_rows() {
    let rows = [
        "tr (cells A3:C3) a: 1; b: 2; c: 3",
        "tr (cells A4:C4) a: x\ny; b: 5; c: 6",
        "tr (cells A7:C7) a: 7; b: 8; c: 9",
    ];
    let rows = rows.map(|row| row.replace('\n', " "));
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    for end in ["\n", "\r\n", "\r"] {
        let table = "|a,b,c|1,2,3|\"x\ny\",5,6|||7,8,9|".replace('|', end);
        check("a.csv", table.as_bytes(), MediaType::Csv, &rows);
    }
}

#[test]
fn an_office_file_with_another_one_inside_is_what_it_is() {
    let inner = docx(&paragraph("", "Inside."));
    let deck = pptx(&[(&shape("title", &["Outside"]), "")]);
    let mut deck = zip::ZipWriter::new_append(std::io::Cursor::new(deck)).unwrap();
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    deck.start_file("ppt/embeddings/inner.docx", stored)
        .unwrap();
    std::io::Write::write_all(&mut deck, &inner).unwrap();
    let deck = deck.finish().unwrap().into_inner();
    check("deck", &deck, MediaType::Pptx, &["h1 (slide 1) Outside"]);
}

#[test]
fn an_email_is_read_with_its_attachments() {
    let attached = docx(&paragraph("berschrift1", "Scope"));
    let attached = base64(&attached);
    let mail = format!(
        "From: Marian Holt <marian@example.com>\r\nTo: dev@example.com\r\nSubject: =?utf-8?q?Sch=C3=B6ne_T=C3=BCr?=\r\n\
         Date: Wed, 18 Jun 2025 09:30:00 -0400\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThe door comes on Friday.\r\n\
         --b\r\nContent-Type: application/octet-stream; name=\"scope.docx\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"scope.docx\"\r\n\r\n{attached}\r\n\
         --b\r\nContent-Type: application/zip; name=\"all.zip\"\r\nContent-Disposition: attachment\r\n\r\nPK\x03\x04 broken\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@example.com\r\nSubject: Inner\r\n\r\nInside.\r\n--b--\r\n"
    );
    check(
        "mail.txt",
        mail.as_bytes(),
        MediaType::Email,
        &[
            "h1 Schöne Tür",
            "p From: Marian Holt <marian@example.com>\nTo: dev@example.com\nDate: 2025-06-18T09:30:00-04:00 [Schöne Tür]",
            "p The door comes on Friday. [Schöne Tür]",
            "h2 (part scope.docx) scope.docx [Schöne Tür]",
            "h3 (part scope.docx) Scope [Schöne Tür › scope.docx]",
            "h2 (part all.zip) all.zip [Schöne Tür]",
            "p (part all.zip) The attachment all.zip was not read: the Office or zip file is damaged or cut off (the end \
         of the file is missing): upload it again or export it anew [Schöne Tür › all.zip]",
            "h2 (part Inner) Inner [Schöne Tür]",
            "h3 (part Inner) Inner [Schöne Tür › Inner]",
            "p (part Inner) From: a@example.com [Schöne Tür › Inner › Inner]",
            "p (part Inner) Inside. [Schöne Tür › Inner › Inner]",
        ],
    );
    check(
        "memo.txt",
        b"To: all\nFrom: Paula\nSubject: hats\n\nWear them.",
        MediaType::Text,
        &["p To: all\nFrom: Paula\nSubject: hats", "p Wear them."],
    );
}

#[test]
fn transcripts_are_read_by_turns() {
    let vtt = "WEBVTT\n\nNOTE made by hand\n\n1\n00:00:01.000 --> 00:00:04.000 align:start\n<v Marian Holt>Good morning.\n\n\
        00:04.500 --> 00:00:06.000\n<v Marian Holt>We start <b>now</b>.\n\n00:00:07.000 --> 00:00:09.000\nDev Rao: The slab is dry.\n";
    check(
        "call.txt",
        vtt.as_bytes(),
        MediaType::Transcript,
        &[
            "p (0:01–0:06) Marian Holt: Good morning. We start now.",
            "p (0:07–0:09) Dev Rao: The slab is dry.",
        ],
    );
    let srt = "1\r\n00:59:58,000 --> 01:00:02,500\r\nMind the gap\r\nplease\r\n\r\n2\r\n01:02:00,000 --> 01:02:01,000\r\nThanks\r\n";
    check(
        "s.srt",
        srt.as_bytes(),
        MediaType::Transcript,
        &[
            "p (59:58–1:00:02) Mind the gap please",
            "p (1:02:00–1:02:01) Thanks",
        ],
    );
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).map(|group| {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        (0..4)
            .map(|at| {
                let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
                char::from(if at > group.len() { b'=' } else { letter })
            })
            .collect::<String>()
    });
    let lines: Vec<String> = groups
        .collect::<Vec<_>>()
        .chunks(19)
        .map(<[String]>::concat)
        .collect();
    lines.join("\r\n")
}

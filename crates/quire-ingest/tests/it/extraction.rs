//! What each format gives, as one readable listing per file.

use quire_ingest::detect::detect;
use quire_ingest::extract::{BlockKind, Document, Limits, Meter, extract};
use quire_types::{MediaType, Place};

use crate::support::{docx, paragraph, pdf, utf16};

pub(crate) fn read(name: &str, bytes: &[u8]) -> Document {
    let media = detect(name, bytes).unwrap();
    let document = extract(media, bytes, &Limits::default(), Meter::silent()).unwrap();
    assert!(document.is_consistent(), "{name}");
    document
}

/// One line per block: `h1`, `p`, `li`, `tr` or `code` for its kind, its place, its text, and its path.
pub(crate) fn listing(document: &Document) -> Vec<String> {
    let chars: Vec<char> = document.text.chars().collect();
    let line = |block: &quire_ingest::extract::Block| {
        let text: String = chars[block.char_start as usize..block.char_end as usize]
            .iter()
            .collect();
        let mark = match block.kind {
            BlockKind::Heading(level) => format!("h{level}"),
            BlockKind::Paragraph => "p".into(),
            BlockKind::ListItem => "li".into(),
            BlockKind::TableRow => "tr".into(),
            BlockKind::Code => "code".into(),
        };
        let page = block
            .page
            .map(|page| format!("@{page}"))
            .unwrap_or_default();
        let spot = Place {
            spot: block.spot.clone(),
            ..Place::default()
        };
        let spot = match spot.to_string() {
            spot if spot.is_empty() => spot,
            spot => format!(" ({spot})"),
        };
        let path = if block.heading_path.is_empty() {
            String::new()
        } else {
            format!(" [{}]", block.heading_path.join(" › "))
        };
        format!("{mark}{page}{spot} {text}{path}")
    };
    document.blocks.iter().map(line).collect()
}

fn check(name: &str, bytes: &[u8], title: Option<&str>, expected: &[&str]) {
    let document = read(name, bytes);
    assert_eq!(listing(&document), expected, "{name}");
    assert_eq!(document.title.as_deref(), title, "{name}");
}

#[test]
fn text_is_read_in_any_encoding() {
    let text = "Grüße aus Köln, schöne Straße.\r\nZweite Zeile\r\n\r\nNeuer Absatz über Äpfel";
    let expected = [
        "p Grüße aus Köln, schöne Straße.\nZweite Zeile",
        "p Neuer Absatz über Äpfel",
    ];
    let marked = |mark: &[u8], rest: Vec<u8>| [mark, &rest].concat();
    for bytes in [
        text.as_bytes().to_vec(),
        marked(b"\xEF\xBB\xBF", text.as_bytes().to_vec()),
        utf16(text, true),
        utf16(text, false),
        marked(b"\xFF\xFE", utf16(text, true)),
        marked(b"\xFE\xFF", utf16(text, false)),
        encoding_rs::WINDOWS_1252.encode(text).0.into_owned(),
    ] {
        check("gruss.txt", &bytes, None, &expected);
    }
    let russian = "Привет, мир. Это обычный текст на русском языке, который должен читаться.";
    let expected = format!("p {russian}");
    check(
        "ru",
        &encoding_rs::WINDOWS_1251.encode(russian).0,
        None,
        &[&expected],
    );
    let cut = format!("p {}\u{fffd}", &russian[..russian.len() - 3]);
    check(
        "cut",
        &russian.as_bytes()[..russian.len() - 2],
        None,
        &[&cut],
    );
}

#[test]
fn markdown_keeps_its_structure() {
    let source = "---\ntitle: \"Handbook\"\nauthor: x\n---\n# Rules\nFirst\nline with a [link](http://x) and `code`.\n\n\
        ## Hours\n- from 9\n- to 5\n  1. sharp\n\n| Day | Open |\n|---|---|\n| Mon | yes |\n| Sun | |\n\n\
        ```rust\nfn main() {\n\tok\n}\n```\n<div><p>In <b>HTML</b></p></div>\n\n## Pay\n> quoted";
    check(
        "a.md",
        source.as_bytes(),
        Some("Handbook"),
        &[
            "h1 Rules",
            "p First line with a link and code. [Rules]",
            "h2 Hours [Rules]",
            "li - from 9 [Rules › Hours]",
            "li - to 5 [Rules › Hours]",
            "li 1. sharp [Rules › Hours]",
            "tr Day: Mon; Open: yes [Rules › Hours]",
            "tr Day: Sun [Rules › Hours]",
            "code fn main() {\n    ok\n} [Rules › Hours]",
            "p In HTML [Rules › Hours]",
            "h2 Pay [Rules]",
            "p quoted [Rules › Pay]",
        ],
    );
}

#[test]
fn html_gives_what_a_reader_sees() {
    let source = "<!-- x --><!DOCTYPE html><html><head><meta charset=windows-1252><title> The\n Page </title><style>p{}</style></head>\
        <body><nav>menu</nav><h1>Top</h1><p>One<br>two <b>b</b>old &amp; more.</p><p hidden>no</p>\
        <div style='display: none'>no</div><script>no()</script><ul><li>a<li>b</ul><ol start=3><li>c</ol>\
        <table><caption>Prices</caption><tr><th>Item<th>Price</tr><tr><td>Tea<td><b>2</b> EUR</tr></table>\
        <table><tr><td><h2>Layout</h2><p>Text</td></tr></table><pre>a\n  b</pre>caf\u{e9}</body></html>";
    let bytes = encoding_rs::WINDOWS_1252.encode(source).0;
    check(
        "page.txt",
        &bytes,
        Some("The Page"),
        &[
            "h1 Top",
            "p One\ntwo bold & more. [Top]",
            "li - a [Top]",
            "li - b [Top]",
            "li 3. c [Top]",
            "p Prices [Top]",
            "tr Item: Tea; Price: 2 EUR [Top]",
            "h2 Layout [Top]",
            "p Text [Top › Layout]",
            "code a\n  b [Top › Layout]",
            "p café [Top › Layout]",
        ],
    );
}

#[test]
fn cells_of_html_over_several_rows_keep_their_columns() {
    let source = "<table><tr><th>Trade<th>Item<th>Price</tr>\
        <tr><td rowspan=2>Tile<td>Grout<td>9</tr><tr><td>Trim<td>7</tr>\
        <tr><td>Roof<td rowspan=0 colspan=2>none</tr><tr><td>Wall</tr></table>";
    check(
        "prices.html",
        source.as_bytes(),
        None,
        &[
            "tr Trade: Tile; Item: Grout; Price: 9",
            "tr Trade: Tile; Item: Trim; Price: 7",
            "tr Trade: Roof; Item: none",
            "tr Trade: Wall; Item: none",
        ],
    );
}

#[test]
fn html_in_the_old_encoding_of_japanese_mail_is_read() {
    let text = "<meta charset=iso-2022-jp><p>\u{1b}$B@_HwFs9f5!\u{1b}(B</p>";
    check("a.html", text.as_bytes(), None, &["p 設備二号機"]);
}

#[test]
fn word_documents_read_as_with_all_changes_accepted() {
    let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
    let row = |cells: [&str; 3]| format!("<w:tr>{}</w:tr>", cells.map(cell).concat());
    let merged = "<w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc><w:tc><w:p/></w:tc><w:tc><w:p><w:r><w:t>9</w:t></w:r></w:p></w:tc></w:tr>";
    let body = [
        paragraph("Titel", "Contract"),
        paragraph("berschrift1", "Terms"),
        "<w:p><w:r><w:t xml:space=\"preserve\">Pay </w:t></w:r><w:del><w:r><w:delText>never</w:delText><w:t>never</w:t></w:r></w:del>\
         <w:ins><w:r><w:t>&lt;30&#x20;days</w:t><w:br/><w:t>net</w:t></w:r></w:ins>\
         <w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:hyperlink><w:r><w:t> link</w:t></w:r></w:hyperlink></w:p>"
            .into(),
        paragraph("Clause2", "Scope"),
        "<w:p><w:pPr><w:numPr><w:numId w:val=\"3\"/></w:numPr></w:pPr><w:r><w:t>item</w:t></w:r></w:p>".into(),
        format!("<w:tbl>{}{}{merged}</w:tbl>", row(["Kind", "Unit", "Price"]), row(["Tea", "cup", "2"])),
    ]
    .concat();
    check(
        "contract.docx",
        &docx(&body),
        Some("Contract"),
        &[
            "p Contract",
            "h1 Terms",
            "p Pay <30 days\nnet link [Terms]",
            "h2 Scope [Terms]",
            "li - item [Terms › Scope]",
            "tr Kind: Tea; Unit: cup; Price: 2 [Terms › Scope]",
            "tr Kind: Tea; Price: 9 [Terms › Scope]",
        ],
    );
}

#[test]
fn clauses_of_a_pdf_keep_their_sentences_and_tables_their_rows() {
    let pages: [&[&str]; 2] = [
        &[
            "Article 2. Time",
            "2.1 Commencement. The date of commencement is June 16, 2025. No demolition may begin",
            "before the infection control permit for the phase is posted at the barrier door.",
            "2.2 Completion of the first phase by the contractor and of its parts by all other firms",
            "is due in May.",
            "2.3 Prices",
            "Item\tPrice\tRemark",
            "Door\t$ 120.00\tpainted on both",
            "\t\tsides",
            "Window\t$ 90.50",
        ],
        &[
            "Gate\t$ 1,400.00\tgalvanised",
            "Fence\t$ 700.00\tper side",
            "",
            "Prices hold for a year.",
        ],
    ];
    let path = "[Article 2. Time › 2.3 Prices]";
    assert_eq!(
        listing(&read("a.pdf", &pdf(&pages))),
        [
            "h1@1 Article 2. Time".to_owned(),
            format!("p@1 {} {} [Article 2. Time]", pages[0][1], pages[0][2]),
            format!("p@1 {} {} [Article 2. Time]", pages[0][3], pages[0][4]),
            "h2@1 2.3 Prices [Article 2. Time]".to_owned(),
            format!("tr@1 Item: Door; Price: $ 120.00; Remark: painted on both sides {path}"),
            format!("tr@1 Item: Window; Price: $ 90.50 {path}"),
            format!("tr@2 Item: Gate; Price: $ 1,400.00; Remark: galvanised {path}"),
            format!("tr@2 Item: Fence; Price: $ 700.00; Remark: per side {path}"),
            format!("p@2 Prices hold for a year. {path}"),
        ]
    );
}

#[test]
fn the_head_of_a_page_goes_where_tables_are_the_text() {
    let rows = [
        "Item\tPrice\tRemark",
        "Door\t$ 120.00\tpainted on both sides",
        "Gate\t$ 1,400.00\tgalvanised",
        "Fence\t$ 700.00\tper side",
    ];
    let pages = [1, 2, 3].map(|number| {
        let head = format!("Northgate price list, sheet {number}");
        let rows = rows.iter().map(|row| (*row).to_owned());
        [head, String::new()].into_iter().chain(rows).collect()
    });
    let pages: [Vec<String>; 3] = pages;
    let listed = listing(&read("a.pdf", &quire_testkit::pdf::pdf(&pages, "")));
    assert!(
        listed.iter().any(|block| block.starts_with("tr@1")),
        "{listed:#?}"
    );
    let heads = listed.iter().filter(|block| block.contains("price list"));
    assert_eq!(heads.count(), 0, "{listed:#?}");
}

#[test]
fn pdfs_become_paragraphs_with_pages() {
    let full =
        "This line of a paragraph is as long as the text area of the page allows, so it was wrap-";
    let next =
        "ped inside a word, which poppler undoes, and then it goes on up to the margin where";
    let pages: [&[&str]; 3] = [
        &[
            "Annual Report",
            "",
            "4.2 Payment",
            full,
            next,
            "it ends.",
            "Payments are due. This is a sentence.",
            "1",
        ],
        &[
            "Annual Report",
            "",
            "Second page with",
            "",
            "",
            "- one thing",
            "- another thing",
            "2",
        ],
        &[
            "Annual Report",
            "",
            "Third page with the last words of this document.",
            "3",
        ],
    ];
    // Named as text: the content decides.
    let bytes = pdf(&pages);
    assert_eq!(detect("notes.txt", &bytes), Ok(MediaType::Pdf));
    let document = read("notes.txt", &bytes);
    assert_eq!(document.pages, Some(3));
    let wrapped = format!(
        "p@1 {}{next} it ends. [4.2 Payment]",
        full.trim_end_matches('-')
    );
    assert_eq!(
        listing(&document),
        [
            "h2@1 4.2 Payment",
            &wrapped,
            "p@1 Payments are due. This is a sentence. [4.2 Payment]",
            "p@2 Second page with [4.2 Payment]",
            "li@2 - one thing [4.2 Payment]",
            "li@2 - another thing [4.2 Payment]",
            "p@3 Third page with the last words of this document. [4.2 Payment]",
        ]
    );
}

#[test]
fn types_come_from_content() {
    let cases: [(&str, &[u8], MediaType); 9] = [
        ("a.pdf", b"just text", MediaType::Text),
        ("README.MD", b"# hi", MediaType::Markdown),
        (
            "readme.md",
            b"<div align=center>x</div>",
            MediaType::Markdown,
        ),
        ("x.md", b"<!doctype html><p>x", MediaType::Html),
        (
            "x",
            b"<?xml version='1.0'?><!-- c -->\n<HTML><body>x",
            MediaType::Html,
        ),
        ("x.htm", b"<p>fragment", MediaType::Html),
        ("feed.xml", b"<?xml version='1.0'?><rss/>", MediaType::Text),
        (
            "about.txt",
            b"the mark of a PDF is %PDF-1.7 they say",
            MediaType::Text,
        ),
        (
            "id3.txt",
            b"ID3 is a tag, BZh and MZ and BM are magic",
            MediaType::Text,
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(detect(name, bytes), Ok(expected), "{name}");
    }
    assert_eq!(detect("x.bin", &docx("")), Ok(MediaType::Docx));
    assert_eq!(
        detect(
            "x",
            &[b"\xFF\xFE".as_slice(), &utf16("<html><body>x", true)].concat()
        ),
        Ok(MediaType::Html)
    );
}

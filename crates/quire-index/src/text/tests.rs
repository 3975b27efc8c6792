//! Words, identifiers, phrases and highlights, over segments and tails alike.

#![expect(clippy::unwrap_used, reason = "a test that fails should stop")]

mod scores;

use bytes::Bytes;
use quire_types::Language;

use super::analysis::{Analyzer, Kind, terms};
use super::bm25::Bm25;
use super::highlight;
use super::query::{LexicalQuery, Statistics};
use super::segment::{LexicalBuilder, LexicalSegment};
use super::tail::LexicalTail;
use crate::Error;

/// The bundle of these rows.
fn build<'a>(
    language: Language,
    rows: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<u8>, Error> {
    let mut builder = LexicalBuilder::new(language)?;
    for (context, body) in rows {
        builder.push(context, body)?;
    }
    builder.finish()
}

fn segment(language: Language, rows: &[(&str, &str)]) -> LexicalSegment {
    let bytes = build(language, rows.iter().copied()).unwrap();
    LexicalSegment::open(Bytes::from(bytes)).unwrap()
}

/// The rows a query finds, the same in a segment and in a tail.
fn found(language: Language, rows: &[(&str, &str)], query: &str) -> Vec<u32> {
    let query = LexicalQuery::parse(query, language);
    let segment = segment(language, rows);
    let tail = LexicalTail::new(language).with_rows(rows.iter().copied());
    let mut statistics = Statistics::new(&query);
    segment.count(&query, &mut statistics).unwrap();
    let bm25 = Bm25::new(&query, &statistics);
    let in_segment = segment.search(&query, &bm25, None, 10).unwrap();
    let in_tail = tail.search(&query, &bm25, None, 10);
    assert_eq!(numbers(&in_segment), numbers(&in_tail));
    numbers(&in_segment)
}

fn numbers(rows: &[(u32, f32)]) -> Vec<u32> {
    rows.iter().map(|(row, _)| *row).collect()
}

fn kinds(text: &str, kind: Kind) -> Vec<String> {
    let mut analyzer = Analyzer::new(Language::English);
    let mut tokens = analyzer.tokens(text);
    let mut term = String::new();
    let mut all = Vec::new();
    while let Some(found) = tokens.next(&mut term) {
        if found.kind == kind {
            all.push(term.clone());
        }
    }
    all
}

#[test]
fn terms_are_stemmed_words_without_stop_words() {
    for (text, expected) in [
        ("The Trusses are SET on 03 May", "truss set 3 may"),
        ("Change Order 01", "chang order 1"),
        ("RFI-007, 0.05 and 1.05", "rfi 7 0 05 1 05"),
        ("000 A007 007A 10", "000 a007 007a 10"),
        ("", ""),
        ("\u{0}\u{1}\u{feff} \t", ""),
    ] {
        assert_eq!(terms(text).join(" "), expected, "{text:?}");
    }
}

#[test]
fn codes_are_also_one_term() {
    for (text, expected) in [
        ("see INV-2024-0117.", vec!["inv-2024-117"]),
        ("RFI-007 and rfi_7", vec!["rfi-7", "rfi-7"]),
        ("AB12/34", vec!["ab12/34"]),
        ("4x6#2", vec!["4x6#2"]),
        ("INV\u{2011}2024", vec!["inv-2024"]),
        (
            "Invoice_INV-2024-0117_final.pdf",
            vec!["invoice-inv-2024-117-final", "inv-2024-117"],
        ),
        ("well-known and/or 2024 A7", vec![]),
        ("page 3.The end", vec![]),
        ("version 1.05 at 10:30", vec!["1.05", "10:30"]),
    ] {
        assert_eq!(kinds(text, Kind::Identifier), expected, "{text:?}");
    }
}

#[test]
fn a_named_code_comes_first() {
    let rows = [
        (
            "",
            "Invoice INV-2024-0118: 2024 inv 0117 inv 2024 117 inv 2024 117",
        ),
        (
            "",
            "Paid with the March draw, long after the first reminder: INV-2024-0117, roofing",
        ),
        ("", "Nothing of that"),
    ];
    assert_eq!(
        found(Language::English, &rows, "was INV-2024-0117 paid?"),
        [1, 0]
    );
    assert_eq!(found(Language::English, &rows, "\"inv-2024-0117\""), [1]);
    assert_eq!(found(Language::English, &rows, "\"INV-2024-0118\""), [0]);
    assert_eq!(
        found(Language::English, &rows, "\"INV-2024-0119\""),
        [] as [u32; 0]
    );
}

#[test]
fn stop_words_are_found_where_there_is_nothing_else() {
    let rows = [("", "It is what it is"), ("", "The roof"), ("", "")];
    assert_eq!(found(Language::English, &rows, "it"), [0]);
    assert_eq!(found(Language::English, &rows, "the roof is"), [1]);
    assert_eq!(found(Language::English, &rows, "zebra"), [] as [u32; 0]);
    assert_eq!(found(Language::English, &rows, "?!"), [] as [u32; 0]);
}

#[test]
fn languages_have_their_own_endings() {
    for (language, text, query) in [
        (
            Language::English,
            "The beams were inspected",
            "inspecting a beam",
        ),
        (Language::German, "Die Häuser wurden geprüft", "des Hauses"),
        (Language::Spanish, "Las facturas pagadas", "factura"),
        (Language::French, "Les poutres continuelles", "poutre"),
        (Language::Russian, "Проверка балки", "балка"),
        (Language::Turkish, "Evler ve binalar", "bina"),
        (Language::None, "The Beams", "THE"),
    ] {
        assert_eq!(found(language, &[("", text)], query), [0], "{language}");
    }
    assert_eq!(
        found(Language::None, &[("", "The Beams")], "beam"),
        [] as [u32; 0]
    );
}

#[test]
fn phrases_need_every_word_in_order() {
    let rows = [
        ("", "The certificate of occupancy was issued"),
        ("", "Occupancy needs a certificate"),
        ("certificate", "of occupancy"),
        ("", "A certificate only"),
    ];
    let text = "\"Certificates of Occupancy\"";
    assert_eq!(found(Language::English, &rows, text).len(), 3);
    let query = LexicalQuery::parse(text, Language::English);
    assert!(query.has_phrases());
    let matching: Vec<bool> = rows
        .iter()
        .map(|(context, body)| query.phrases_match(context, body))
        .collect();
    assert_eq!(matching, [true, false, false, false]);

    for (text, has_phrases) in [
        ("2\" pipe and 3\" valve", false),
        ("never \"closed", false),
        ("\"\" “ ”", false),
        ("“to be”", true),
        ("\"RFI-007\" now", true),
    ] {
        let query = LexicalQuery::parse(text, Language::English);
        assert_eq!(query.has_phrases(), has_phrases, "{text}");
    }
    let to_be = [("", "not to be"), ("", "be to us")];
    assert_eq!(found(Language::English, &to_be, "“to be” or").len(), 2);
    let query = LexicalQuery::parse("“to be” or", Language::English);
    assert!(query.phrases_match("", to_be[0].1) && !query.phrases_match("", to_be[1].1));
}

#[test]
fn highlights_lie_on_the_words_that_answer() {
    for (query, text, expected) in [
        (
            "inspecting beams",
            "Größe: the BEAM was inspected.",
            "BEAM|inspected",
        ),
        ("RFI-007", "RFI 12 answers RFI-007 in 2024", "RFI-007"),
        ("RFI-007", "rfi number 7", "rfi|7"),
        (
            "\"certificate of occupancy\"",
            "Certificates of occupancy; the certificate",
            "Certificates of occupancy|certificate",
        ),
        ("the", "The roof", "The"),
        ("", "anything", ""),
        ("roof", "", ""),
    ] {
        let ranges = highlight(text, query, Language::English);
        let shown: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
        assert_eq!(shown.join("|"), expected, "{query:?} in {text:?}");
    }
}

#[test]
fn huge_and_broken_text_costs_little() {
    let word = "x".repeat(10_000_000);
    let codes = "a1-".repeat(3_000_000);
    let zeros = "0".repeat(1_000_000);
    let rows = [
        ("", word.as_str()),
        ("", &codes),
        ("", &zeros),
        ("", "roof"),
    ];
    assert_eq!(found(Language::English, &rows, "roof"), [3]);
    assert_eq!(found(Language::English, &rows, "a1"), [1]);
    for query in [word.as_str(), &codes, &zeros] {
        assert!(LexicalQuery::parse(query, Language::English).terms().len() <= 64);
    }
    assert!(highlight(&word, "roof", Language::English).is_empty());
}

#[test]
fn a_damaged_bundle_is_refused() {
    let rows = [("title", "The roof of INV-2024-0117"), ("", "a door")];
    let good = build(Language::German, rows.into_iter()).unwrap();
    let opened = LexicalSegment::open(Bytes::from(good.clone())).unwrap();
    assert_eq!(
        (opened.language(), opened.rows(), opened.bytes()),
        (Language::German, 2, good.len())
    );
    let refused = |bytes: Vec<u8>| {
        matches!(
            LexicalSegment::open(Bytes::from(bytes)),
            Err(Error::Damaged(_))
        )
    };
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        assert!(refused(bad), "byte {byte}");
        assert!(refused(good[..byte].to_vec()), "cut at {byte}");
    }
    assert!(refused([good.as_slice(), b"x"].concat()));
    // A right sum over wrong content, as from another program.
    for content in [
        &b""[..],
        b"\x06german",
        b"\x06german\xff\xff\xff\xff",
        b"\x06german\0\0\0\0",
    ] {
        let mut bad = b"QLX1".to_vec();
        bad.extend(crc32fast::hash(content).to_le_bytes());
        bad.extend(content);
        assert!(LexicalSegment::open(Bytes::from(bad)).is_err());
    }
}

//! What holds for the passages of every document.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use quire_ingest::extract::{Document, Limits, Meter, extract};
use quire_ingest::passages::{PassageDraft, PassageOptions, passages};
use quire_types::MediaType;

fn markdown(source: &str) -> Document {
    extract(
        MediaType::Markdown,
        source.as_bytes(),
        &Limits::default(),
        Meter::silent(),
    )
    .unwrap()
}

fn check(
    document: &Document,
    options: &PassageOptions,
) -> Result<Vec<PassageDraft>, TestCaseError> {
    let drafts = passages(document, "name", options);
    let chars: Vec<char> = document.text.chars().collect();
    let mut covered = vec![false; chars.len()];
    let mut end = 0;
    for (number, draft) in drafts.iter().enumerate() {
        let place = &draft.place;
        prop_assert_eq!(draft.ordinal as usize, number);
        prop_assert!(place.char_start < place.char_end && place.char_end as usize <= chars.len());
        let range = place.char_start as usize..place.char_end as usize;
        prop_assert_eq!(
            &draft.text,
            &chars[range.clone()].iter().collect::<String>()
        );
        prop_assert!(
            range.len() <= options.max_chars as usize,
            "{} characters",
            range.len()
        );
        prop_assert!(place.char_end > end, "passages go forward");
        prop_assert!(
            place.char_start + options.overlap_chars >= end,
            "the overlap is one short sentence"
        );
        end = place.char_end;
        covered[range].fill(true);
    }
    let lost = chars
        .iter()
        .zip(&covered)
        .find(|(c, covered)| !c.is_whitespace() && !**covered);
    prop_assert!(lost.is_none(), "a character belongs to no passage");
    Ok(drafts)
}

fn check_plain(text: &str) -> Vec<PassageDraft> {
    let document = extract(
        MediaType::Text,
        text.as_bytes(),
        &Limits::default(),
        Meter::silent(),
    );
    check(&document.unwrap(), &PassageOptions::default()).unwrap()
}

fn source() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "[a-z]{1,12}",
        1 => "[A-Z][a-z]{0,9}[.!?]",
        1 => "[а-яé漢字ก👍🏽]{1,6}[。.]?",
        1 => "[0-9.,]{1,8}",
        1 => "[a-z]{200,400}",
    ];
    let line = vec(word, 0..60).prop_map(|words| words.join(" "));
    let block = (0..8_u8, line).prop_map(|(kind, line)| match kind {
        0 => format!("# {line}"),
        1 => format!("### {line}"),
        2 => format!("- {line}"),
        3 => format!("| a | b |\n|---|---|\n| {line} | {line} |\n| x | y |"),
        4 => format!("```\n{line}\n```"),
        _ => line,
    });
    vec(block, 1..30).prop_map(|blocks| blocks.join("\n\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn passages_quote_exactly_and_lose_nothing(source in source(), small in any::<bool>()) {
        let small_options = PassageOptions { enough_chars: 60, max_chars: 90, min_chars: 20, overlap_chars: 20 };
        let options = if small { small_options } else { PassageOptions::default() };
        if let Ok(document) = extract(MediaType::Markdown, source.as_bytes(), &Limits::default(), Meter::silent()) {
            check(&document, &options)?;
        }
    }

    #[test]
    fn plain_text_of_any_kind_is_covered(text in "\\PC{0,3000}") {
        if let Ok(document) = extract(MediaType::Text, text.as_bytes(), &Limits::default(), Meter::silent()) {
            check(&document, &PassageOptions::default())?;
        }
    }
}

#[test]
fn sections_stay_apart_when_large_and_meet_when_tiny() {
    let sentence = "A sentence of the section that says something plain. ";
    let large = sentence.repeat(10);
    let drafts = check(
        &markdown(&format!("# One\n\n{large}\n\n# Two\n\n{large}")),
        &PassageOptions::default(),
    )
    .unwrap();
    let starts: Vec<(&str, &str)> = drafts
        .iter()
        .map(|draft| (&draft.text[..3], draft.context.as_str()))
        .collect();
    assert_eq!(starts, [("One", "One"), ("Two", "One › Two")]);

    let tiny: String = (1..20)
        .map(|number| format!("## Point {number}\n\nShort.\n\n"))
        .collect();
    let drafts = check(
        &markdown(&format!("# List\n\n{tiny}")),
        &PassageOptions::default(),
    )
    .unwrap();
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].place.heading_path, ["List"]);
}

#[test]
fn a_cut_paragraph_repeats_one_sentence() {
    let text: String = (0..60)
        .map(|number| format!("Sentence number {number} stands here alone. "))
        .collect();
    let drafts = check(&markdown(&text), &PassageOptions::default()).unwrap();
    assert!(drafts.len() > 1);
    for pair in drafts.windows(2) {
        assert!(pair[0].text.ends_with('.') && pair[1].text.starts_with("Sentence number"));
        assert!(
            pair[1].place.char_start < pair[0].place.char_end,
            "no overlap"
        );
    }
}

#[test]
fn a_passage_ends_with_the_paragraph_that_makes_it_large_enough() {
    let paragraph =
        |letter: &str, sentences: usize| format!("{letter} sentence of this.\n").repeat(sentences);
    // Two small ones meet, what is large enough stands alone, and one that fits is not cut.
    let text = [("A", 15), ("B", 20), ("C", 35), ("D", 60)]
        .map(|(letter, many)| paragraph(letter, many))
        .join("\n");
    let drafts = check_plain(&text);
    let letters: Vec<String> = drafts
        .iter()
        .map(|draft| {
            let mut letters: Vec<char> = draft
                .text
                .lines()
                .filter_map(|line| line.chars().next())
                .collect();
            letters.dedup();
            letters.into_iter().collect()
        })
        .collect();
    assert_eq!(letters, ["AB", "C", "D"]);
}

#[test]
fn text_without_capitals_is_cut_behind_sentences_and_long_lines() {
    let small: String = (0..80)
        .map(|number| format!("the company paid {number} dollars of tax for it, e.g. in no. {number} of its plants. "))
        .collect();
    let long = "A line that goes on and on without a break is a paragraph of its own. ".repeat(9);
    let text = format!("{small}\n\nFirst head\n{long}\nSecond head\n{long}\n");
    let drafts = check_plain(&text);
    assert!(drafts.len() > 4);
    for draft in &drafts {
        assert!(draft.text.ends_with('.'), "{}", draft.text);
        let begins = ["the company", "First head", "Second head"];
        assert!(
            begins.iter().any(|begin| draft.text.starts_with(begin)),
            "{}",
            draft.text
        );
    }
}

#[test]
fn a_passage_over_several_pages_knows_where_each_begins() {
    let pages = [
        "The crane is insured by Hall.",
        "",
        "Tiles come on Friday.",
        "Over the gate hangs a sign.",
    ];
    let pages: Vec<[&str; 1]> = pages.into_iter().map(|page| [page]).collect();
    let bytes = quire_testkit::pdf::pdf(&pages, "");
    let document = extract(MediaType::Pdf, &bytes, &Limits::default(), Meter::silent()).unwrap();
    let drafts = passages(&document, "name", &PassageOptions::default());
    let [draft] = &drafts[..] else {
        panic!("{drafts:?}");
    };
    assert_eq!(draft.place.page, Some(1));
    let chars: Vec<char> = draft.text.chars().collect();
    let parts = draft.place.pages().into_iter().map(|part| {
        let text: String = chars[part.start as usize..part.end as usize]
            .iter()
            .collect();
        (draft.place.part(part).page, text.trim().to_owned())
    });
    assert_eq!(
        parts.collect::<Vec<_>>(),
        [(1, 0), (3, 2), (4, 3)].map(|(number, at)| (Some(number), pages[at][0].to_owned()))
    );
}

#[test]
fn rows_of_a_table_are_never_cut() {
    let rows: String = (0..100)
        .map(|number| format!("| part {number} | {number}.50 |\n"))
        .collect();
    let drafts = check(
        &markdown(&format!("| Name | Price |\n|---|---|\n{rows}")),
        &PassageOptions::default(),
    )
    .unwrap();
    for line in drafts.iter().flat_map(|draft| draft.text.lines()) {
        assert!(
            line.starts_with("Name: part ") && line.ends_with(".50"),
            "{line}"
        );
    }
}

#[test]
fn time_grows_with_the_text_only() {
    let size = 15_000_000;
    for (what, text) in [
        ("no boundary", "a".repeat(size)),
        ("dots", ".".repeat(size)),
        ("marks", "\u{301}".repeat(size / 4)),
        ("lines", "a\n".repeat(size / 2)),
        ("sections", "# a\n".repeat(100_000)),
    ] {
        let media = if what == "sections" {
            MediaType::Markdown
        } else {
            MediaType::Text
        };
        let document =
            extract(media, text.as_bytes(), &Limits::default(), Meter::silent()).unwrap();
        let started = Instant::now();
        let drafts = passages(&document, "name", &PassageOptions::default());
        println!(
            "{what}: {} passages in {:?}",
            drafts.len(),
            started.elapsed()
        );
        assert!(
            !drafts.is_empty() && started.elapsed() < Duration::from_secs(30),
            "{what}: {:?}",
            started.elapsed()
        );
    }
}

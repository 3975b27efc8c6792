//! Every question of `questions.jsonl` can be answered by quoting one sentence or table row.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use sample_company::manifest::{ENTRIES, Entry};
use sample_company::{markup, pdf};
use serde_json::Value;

/// Words whose full stop does not end a sentence.
const ABBREVIATIONS: [&str; 7] = ["a.m.", "p.m.", "Mr.", "Mrs.", "Ms.", "No.", "Inc."];

#[test]
fn expected_words_stand_in_one_sentence_of_every_accepted_file() -> Result<(), Box<dyn Error>> {
    for question in questions()? {
        let expect = &question["expect"];
        if expect["none"] == true {
            continue;
        }
        let contains = strings(&expect["contains"]);
        assert!(!contains.is_empty(), "{question} expects no words");
        for source in strings(&expect["also"])
            .into_iter()
            .chain(expect["source"].as_str())
        {
            let entry =
                entry(source).ok_or_else(|| format!("{source} does not exist: {question}"))?;
            let lines = markup::lines(&markup::parse(&entry.filled()?));
            let is_quotable = lines
                .iter()
                .flat_map(|line| sentences(line))
                .any(|quote| holds(&quote, &contains));
            assert!(
                is_quotable,
                "{source} has no sentence with {contains:?}: {question}"
            );
            if let Some(notebook) = question["notebook"].as_str() {
                assert!(
                    source.starts_with(&format!("{notebook}/")),
                    "{source} is outside the notebook: {question}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn expected_pages_show_the_words() -> Result<(), Box<dyn Error>> {
    for question in questions()? {
        let expect = &question["expect"];
        let (Some(page), Some(source)) = (expect["page"].as_u64(), expect["source"].as_str())
        else {
            continue;
        };
        let entry = entry(source).ok_or("no such file")?;
        let pages = pdf::page_texts(&markup::parse(&entry.filled()?), &entry.footer());
        let contains = strings(&expect["contains"]);
        let is_on_page = |text: &String| {
            text.lines()
                .flat_map(sentences)
                .any(|quote| holds(&quote, &contains))
        };
        let found: Vec<usize> = pages
            .iter()
            .enumerate()
            .filter(|(_, text)| is_on_page(text))
            .map(|(index, _)| index + 1)
            .collect();
        assert!(
            found.contains(&usize::try_from(page)?),
            "on pages {found:?} and not {page}: {question}"
        );
    }
    Ok(())
}

#[test]
fn there_are_forty_questions_of_which_four_have_no_answer() -> Result<(), Box<dyn Error>> {
    let questions = questions()?;
    let ids: BTreeSet<&str> = questions
        .iter()
        .filter_map(|question| question["id"].as_str())
        .collect();
    assert_eq!(ids.len(), 40);
    assert_eq!(
        questions
            .iter()
            .filter(|question| question["expect"]["none"] == true)
            .count(),
        4
    );
    Ok(())
}

fn questions() -> Result<Vec<Value>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../questions.jsonl");
    Ok(fs::read_to_string(path)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn entry(source: &str) -> Option<&'static Entry> {
    ENTRIES
        .iter()
        .find(|entry| entry.path.strip_prefix("northgate/") == Some(source))
}

fn holds(quote: &str, contains: &[&str]) -> bool {
    contains.iter().all(|words| quote.contains(words))
}

fn sentences(line: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for word in line.split_whitespace() {
        if let Some(sentence) = sentences.last_mut() {
            sentence.push_str(word);
            sentence.push(' ');
        }
        if word.ends_with(['.', '?', '!']) && !ABBREVIATIONS.contains(&word) {
            sentences.push(String::new());
        }
    }
    sentences
}

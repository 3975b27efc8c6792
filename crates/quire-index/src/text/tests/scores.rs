//! Scores held to BM25 written out, over segments and tails of random text.

use std::collections::HashMap;

use bytes::Bytes;
use quire_types::Language;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tantivy::fieldnorm::FieldNormReader;

use crate::text::analysis::terms;
use crate::text::bm25::Bm25;
use crate::text::query::{LexicalQuery, Statistics};
use crate::text::segment::LexicalSegment;
use crate::text::tail::LexicalTail;
use crate::text::tests::build;

/// Words of Zipf's frequencies, rows of very different lengths; `longer` makes rows of one part longer than
/// those of another.
fn random_rows(random: &mut StdRng, rows: usize, longer: usize) -> Vec<String> {
    (0..rows)
        .map(|_| {
            let words = random.random_range(0..40 * longer);
            let word = |random: &mut StdRng| {
                let rank = 500_f64.powf(random.random::<f64>()) as usize;
                format!("w{rank}x")
            };
            let words: Vec<String> = (0..words).map(|_| word(random)).collect();
            words.join(" ")
        })
        .collect()
}

fn pairs(rows: &[String]) -> impl Iterator<Item = (&str, &str)> {
    rows.iter().map(|row| ("", row.as_str()))
}

fn segment(rows: &[String]) -> LexicalSegment {
    let bytes = build(Language::English, pairs(rows)).unwrap();
    LexicalSegment::open(Bytes::from(bytes)).unwrap()
}

/// BM25 as in Robertson and Zaragoza (2009) with Lucene's idf, k1 = 1.2 and b = 0.75, in double precision;
/// the length of a row is rounded as tantivy stores it.
fn reference(rows: &[String], query: &[&str]) -> Vec<f64> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| terms(row)).collect();
    let tokens: usize = rows.iter().map(Vec::len).sum();
    let average = tokens as f64 / rows.len() as f64;
    let mut scores = vec![0.0; rows.len()];
    for term in query {
        let counts: Vec<usize> = rows
            .iter()
            .map(|row| row.iter().filter(|word| word == term).count())
            .collect();
        let holding = counts.iter().filter(|count| **count > 0).count() as f64;
        let idf = (1.0 + (rows.len() as f64 - holding + 0.5) / (holding + 0.5)).ln();
        for ((score, count), row) in scores.iter_mut().zip(counts).zip(&rows) {
            let id = FieldNormReader::fieldnorm_to_id(row.len() as u32);
            let length = f64::from(FieldNormReader::id_to_fieldnorm(id));
            let norm = 1.2 * (0.25 + 0.75 * length / average);
            *score += idf * 2.2 * count as f64 / (count as f64 + norm);
        }
    }
    scores
}

/// What a search must return: the scores of the best open rows.
fn best(scores: &[f64], mask: Option<&[u32]>, limit: usize) -> Vec<f64> {
    let is_open = |row: usize| mask.is_none_or(|mask| mask[row / 32] >> (row % 32) & 1 == 1);
    let mut open: Vec<f64> = scores
        .iter()
        .enumerate()
        .filter(|(row, score)| **score > 0.0 && is_open(*row))
        .map(|(_, score)| *score)
        .collect();
    open.sort_by(|a, b| b.total_cmp(a));
    open.truncate(limit);
    open
}

fn assert_same(found: &[(u32, f32)], scores: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for ((row, score), expected) in found.iter().zip(expected) {
        let own = scores[*row as usize];
        assert!(
            (f64::from(*score) - own).abs() < 1e-4 * own,
            "{score} {own}"
        );
        assert!(
            (own - expected).abs() < 1e-4 * own,
            "row {row}: {own} {expected}"
        );
    }
}

fn random_mask(random: &mut StdRng, rows: usize, share: f64) -> Vec<u32> {
    let mut mask = vec![0; rows.div_ceil(32)];
    for row in 0..rows {
        mask[row / 32] |= u32::from(random.random_bool(share)) << (row % 32);
    }
    mask
}

#[test]
fn two_segments_and_a_tail_score_as_one_collection() {
    for seed in 0..4 {
        let random = &mut StdRng::seed_from_u64(seed);
        // Averages differ by a factor of ten between the parts and from the whole.
        let sizes = [(3_000, 1), (700, 10), (300, 3)];
        let parts: Vec<Vec<String>> = sizes
            .into_iter()
            .map(|(rows, longer)| random_rows(random, rows, longer))
            .collect();
        let all: Vec<String> = parts.concat();
        let segments = [segment(&parts[0]), segment(&parts[1])];
        let mut tail = LexicalTail::new(Language::English);
        for rows in parts[2].chunks(7) {
            tail = tail.with_rows(pairs(rows));
        }
        for words in [
            "w1x",
            "w3x w90x",
            "w2x w2x w17x w400x w44x",
            "w1x w2x w3x w4x absent",
        ] {
            let query = LexicalQuery::parse(words, Language::English);
            let mut statistics = Statistics::new(&query);
            for segment in &segments {
                segment.count(&query, &mut statistics).unwrap();
            }
            tail.count(&query, &mut statistics);
            assert_eq!(statistics.rows, 4_000);
            let bm25 = Bm25::new(&query, &statistics);
            let distinct: Vec<&str> = query
                .terms()
                .iter()
                .map(|term| term.text.as_str())
                .collect();
            let scores = reference(&all, &distinct);
            for limit in [1, 10, 100, 100_000] {
                let mut first = 0;
                for (segment, rows) in segments.iter().zip(&parts) {
                    let scores = &scores[first..first + rows.len()];
                    let found = segment.search(&query, &bm25, None, limit).unwrap();
                    assert_same(&found, scores, &best(scores, None, limit));
                    first += rows.len();
                }
                let found = tail.search(&query, &bm25, None, limit);
                assert_same(
                    &found,
                    &scores[first..],
                    &best(&scores[first..], None, limit),
                );
            }
        }
    }
}

/// More rows than a window holds, and few enough wanted that common terms are only looked up.
#[test]
fn terms_that_are_looked_up_lose_no_row() {
    let random = &mut StdRng::seed_from_u64(2);
    let rows = random_rows(random, 20_000, 1);
    let segment = segment(&rows);
    for words in [
        "w1x w2x w3x w5x w8x w13x w21x w34x w55x w89x w144x w233x",
        "w480x w481x w1x w1x w2x",
        "w1x w2x",
    ] {
        let query = LexicalQuery::parse(words, Language::English);
        let mut statistics = Statistics::new(&query);
        segment.count(&query, &mut statistics).unwrap();
        let bm25 = Bm25::new(&query, &statistics);
        let distinct = query.terms().iter().map(|term| term.text.as_str());
        let scores = reference(&rows, &distinct.collect::<Vec<_>>());
        for limit in [1, 10, 100] {
            let found = segment.search(&query, &bm25, None, limit).unwrap();
            assert_same(&found, &scores, &best(&scores, None, limit));
        }
    }
}

/// The same text scores the same to the bit wherever it stands, so that the first of equals comes first.
#[test]
fn equal_rows_tie() {
    let random = &mut StdRng::seed_from_u64(3);
    let some = random_rows(random, 2_000, 1);
    let rows: Vec<String> = (0..6).flat_map(|_| some.clone()).collect();
    let (segment, tail) = (
        segment(&rows),
        LexicalTail::new(Language::English).with_rows(pairs(&rows)),
    );
    let query = LexicalQuery::parse("w1x w2x w3x w40x w41x w77x", Language::English);
    let mut statistics = Statistics::new(&query);
    segment.count(&query, &mut statistics).unwrap();
    let bm25 = Bm25::new(&query, &statistics);
    let found = segment.search(&query, &bm25, None, 60).unwrap();
    assert_eq!(found, tail.search(&query, &bm25, None, 60));
    for same in found.windows(2) {
        assert!(same[0].1 > same[1].1 || same[0].0 < same[1].0, "{same:?}");
    }
    assert!(
        found
            .chunks(6)
            .all(|same| same.iter().all(|row| row.1 == same[0].1))
    );
}

#[test]
fn masks_are_exact_at_every_selectivity() {
    let random = &mut StdRng::seed_from_u64(1);
    let rows = random_rows(random, 10_000, 2);
    let segment = segment(&rows);
    let tail = LexicalTail::new(Language::English).with_rows(pairs(&rows));
    for words in ["w1x w7x w300x", "w250x", "\"w2x w5x\" w9x"] {
        let query = LexicalQuery::parse(words, Language::English);
        let mut statistics = Statistics::new(&query);
        segment.count(&query, &mut statistics).unwrap();
        let bm25 = Bm25::new(&query, &statistics);
        let distinct: Vec<&str> = query
            .terms()
            .iter()
            .map(|term| term.text.as_str())
            .collect();
        let mut scores = reference(&rows, &distinct);
        for term in query.terms().iter().filter(|term| term.is_required) {
            for (score, held) in scores.iter_mut().zip(reference(&rows, &[&term.text])) {
                *score = if held > 0.0 { *score } else { 0.0 };
            }
        }
        for share in [1.0, 0.5, 0.05, 0.005, 0.0] {
            let mask = random_mask(random, rows.len(), share);
            for limit in [0, 1, 100, 100_000] {
                let expected = best(&scores, Some(&mask), limit);
                let found = segment.search(&query, &bm25, Some(&mask), limit).unwrap();
                assert_same(&found, &scores, &expected);
                let found = tail.search(&query, &bm25, Some(&mask), limit);
                assert_same(&found, &scores, &expected);
            }
        }
        // Rows beyond the end of a short mask are closed; bits beyond the last row mean nothing.
        let short = segment
            .search(&query, &bm25, Some(&[u32::MAX]), 100)
            .unwrap();
        assert!(short.iter().all(|(row, _)| *row < 32));
        let long = vec![u32::MAX; rows.len()];
        let found = segment.search(&query, &bm25, Some(&long), 100).unwrap();
        assert_same(&found, &scores, &best(&scores, None, 100));
    }
}

#[test]
fn an_older_tail_keeps_what_it_saw() {
    let older = LexicalTail::new(Language::English).with_rows([("", "roof")].into_iter());
    let newer = older.with_rows([("", "roof roof"), ("", "door")].into_iter());
    let query = LexicalQuery::parse("roof", Language::English);
    let mut frequencies = HashMap::new();
    for tail in [&older, &newer] {
        let mut statistics = Statistics::new(&query);
        assert!(statistics.doc_freq.iter().all(|rows| *rows == 0));
        tail.count(&query, &mut statistics);
        assert!(statistics.doc_freq.iter().any(|rows| *rows > 0));
        let bm25 = Bm25::new(&query, &statistics);
        let found = tail.search(&query, &bm25, None, 10);
        frequencies.insert(tail.rows(), found.len());
        assert!(tail.bytes() > 0);
    }
    assert_eq!(frequencies, HashMap::from([(1, 1), (3, 2)]));
}

#[test]
fn an_empty_corpus_finds_nothing() {
    let segment = segment(&[]);
    let tail = LexicalTail::new(Language::English);
    let query = LexicalQuery::parse("roof", Language::English);
    let mut statistics = Statistics::new(&query);
    segment.count(&query, &mut statistics).unwrap();
    tail.count(&query, &mut statistics);
    assert_eq!(segment.rows(), 0);
    let bm25 = Bm25::new(&query, &statistics);
    assert!(statistics.doc_freq.iter().all(|rows| *rows == 0));
    assert!(segment.search(&query, &bm25, None, 10).unwrap().is_empty());
    assert!(tail.search(&query, &bm25, None, 10).is_empty());
}

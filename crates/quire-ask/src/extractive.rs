//! An answer without a model: the sentences of the sources that answer best, word for word.

use quire_index::Hit;
use quire_models::Embedder;

use crate::Error;
use crate::answer::{Answer, AnswerKind, Citation, Claim, Event, Note, Support, Usage};
use crate::evidence::{Candidate, candidates};
use crate::render::inert;
use crate::router::Decision;

/// Sentences whose meaning is compared with the question: each costs about 5 ms, and on the questions of
/// the sample company a fifth never changed the answer.
const COMPARED: usize = 4;
/// Characters of a sentence that are compared; the beginning of a long table row says what it is about.
const COMPARED_CHARS: usize = 200;
/// Sentences of an answer.
const MOST: usize = 3;
/// The share of the best score that a further sentence must reach.
const NEAR_BEST: f32 = 0.85;
/// Below this the sources are said not to answer. Chosen on the sample company's questions and ten more
/// that it can't answer: 34 of 36 answers pass and 13 of 14 questions without an answer are refused.
const LEAST_SCORE: f32 = 0.75;

const UNANSWERED: &str = "The sources do not answer this question.";

/// Answers from the hits, and tells so in events.
pub(crate) async fn answer(
    question: &str,
    vector: &[f32],
    hits: &[Hit],
    embedder: &Embedder,
    decision: Decision,
    emit: &mut (dyn FnMut(Event) + Send),
) -> Result<Answer, Error> {
    let mut candidates = candidates(question, hits);
    candidates.truncate(COMPARED);
    let scored = compare(vector, candidates, embedder).await?;
    let usage = Usage {
        passages: u32::try_from(hits.len()).unwrap_or(u32::MAX),
        ..Usage::default()
    };
    let chosen = choose(scored);
    if chosen.is_empty() {
        emit(Event::Delta(UNANSWERED.to_owned()));
        return Ok(unanswered(decision, usage));
    }

    let mut answer = Answer {
        note: Some(Note::Quoted),
        ..Answer::empty(AnswerKind::Extractive, decision, usage)
    };
    for (marker, candidate) in (1..).zip(&chosen) {
        let char_start = length(&answer.text) + u32::from(marker > 1);
        let separator = if marker > 1 { " " } else { "" };
        let piece = format!("{separator}{} [{marker}]", inert(candidate.sentence.text));
        answer.text.push_str(&piece);
        let citation = Citation::of(
            candidate.hit,
            marker,
            candidate.sentence.text,
            candidate.sentence.chars.clone(),
        );
        answer.claims.push(Claim {
            char_start,
            char_end: length(&answer.text),
            markers: vec![marker],
            support: Support::Cited,
        });
        answer.citations.push(citation.clone());
        emit(Event::Delta(piece));
        emit(Event::Citation(Box::new(citation)));
    }
    Ok(answer)
}

pub(crate) fn unanswered(decision: Decision, usage: Usage) -> Answer {
    Answer {
        text: UNANSWERED.to_owned(),
        ..Answer::empty(AnswerKind::Unanswered, decision, usage)
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// A candidate with how near it is in meaning and its final score.
struct Scored<'a> {
    candidate: Candidate<'a>,
    score: f32,
}

async fn compare<'a>(
    question: &[f32],
    candidates: Vec<Candidate<'a>>,
    embedder: &Embedder,
) -> Result<Vec<Scored<'a>>, Error> {
    let texts: Vec<String> = candidates
        .iter()
        .map(|candidate| {
            candidate
                .sentence
                .text
                .chars()
                .take(COMPARED_CHARS)
                .collect()
        })
        .collect();
    let vectors = embedder.embed_queries(texts).await?;
    let mut scored: Vec<Scored<'a>> = candidates
        .into_iter()
        .zip(vectors)
        .map(|(candidate, vector)| {
            let cosine: f32 = question.iter().zip(&vector).map(|(a, b)| a * b).sum();
            let score = candidate.score(cosine);
            Scored { candidate, score }
        })
        .collect();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(scored)
}

/// The best sentences that say different things; none when even the best says too little.
fn choose(scored: Vec<Scored<'_>>) -> Vec<Candidate<'_>> {
    let Some(best) = scored.first() else {
        return Vec::new();
    };
    if best.score < LEAST_SCORE {
        return Vec::new();
    }
    let floor = best.score * NEAR_BEST;
    let mut chosen: Vec<Candidate<'_>> = Vec::new();
    for Scored { candidate, score } in scored {
        let is_new = chosen
            .iter()
            .all(|other| !says_the_same(other.sentence.text, candidate.sentence.text));
        if score >= floor && is_new && chosen.len() < MOST {
            chosen.push(candidate);
        }
    }
    chosen
}

/// Overlapping passages and copied files repeat sentences.
fn says_the_same(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> { quire_index::terms(text) };
    let (a, b) = (words(a), words(b));
    let shared = a.iter().filter(|word| b.contains(word)).count();
    shared * 10 >= a.len().max(b.len()) * 8
}

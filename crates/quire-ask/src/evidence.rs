//! Which sentences of the found passages answer the question, and whether any does.
//!
//! A sentence is scored by how much of the question it covers (its terms weighted by how rare they are
//! among what was found, since rare ones carry the question), by how near it is in meaning, and by
//! whether it holds the kind of thing the question word asks for.

use std::collections::{HashMap, HashSet};

use quire_index::{Hit, terms};

use crate::sentences::{Sentence, sentences};

/// A sentence that may answer the question.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) hit: &'a Hit,
    pub(crate) sentence: Sentence<'a>,
    /// The weighted share of the question's terms in the sentence itself.
    pub(crate) coverage: f32,
    /// The same for sentence, headings, name of the source and the passage around it.
    pub(crate) wide_coverage: f32,
    /// Whether it holds what the question word asks for.
    pub(crate) fits_question_word: bool,
    /// How good its passage is, from 0 to 1.
    pub(crate) passage_score: f32,
}

/// The weights of both scores were chosen by search over the sample company's questions; between them
/// every neighbouring choice ranks about equally well.
impl Candidate<'_> {
    /// What can be said before meaning is compared; decides which sentences are.
    pub(crate) fn first_score(&self) -> f32 {
        0.5 * self.coverage
            + 0.3 * self.wide_coverage
            + 0.3 * self.hit.scores.dense
            + 0.2 * self.passage_score
            + 0.05 * self.fit()
    }

    /// The final score, with the cosine of sentence and question.
    pub(crate) fn score(&self, cosine: f32) -> f32 {
        0.2 * self.coverage
            + 0.2 * self.wide_coverage
            + 0.6 * self.hit.scores.dense
            + 0.05 * self.fit()
            + 0.5 * cosine
    }

    fn fit(&self) -> f32 {
        f32::from(u8::from(self.fits_question_word))
    }
}

/// Every sentence of the hits that says more than their titles, best first by [`Candidate::first_score`].
pub(crate) fn candidates<'a>(question: &str, hits: &'a [Hit]) -> Vec<Candidate<'a>> {
    let weights = Weights::new(question, hits);
    let best = hits
        .iter()
        .map(|hit| hit.scores.fused)
        .fold(f32::EPSILON, f32::max);
    let word = QuestionWord::of(question);
    let mut all = Vec::new();
    for hit in hits {
        let around: HashSet<String> = terms(&surroundings(hit)).into_iter().collect();
        let body: HashSet<String> = terms(&hit.passage.body).into_iter().collect();
        let mut said = sentences(&hit.passage.body);
        if said.iter().any(|sentence| !is_title(sentence.text, hit)) {
            said.retain(|sentence| !is_title(sentence.text, hit));
        }
        for sentence in said {
            let own: HashSet<String> = terms(sentence.text).into_iter().collect();
            let coverage = weights.coverage(|term| own.contains(term));
            // A term that only stands elsewhere in the passage counts half: it may belong to something else.
            let near = weights.coverage(|term| own.contains(term) || around.contains(term));
            let far = weights.coverage(|term| {
                own.contains(term) || around.contains(term) || body.contains(term)
            });
            all.push(Candidate {
                hit,
                coverage,
                wide_coverage: near.midpoint(far),
                fits_question_word: word.fits(sentence.text),
                passage_score: (hit.scores.fused / best).clamp(0.0, 1.0),
                sentence,
            });
        }
    }
    all.sort_by(|a, b| b.first_score().total_cmp(&a.first_score()));
    all
}

/// Whether it only repeats what the source or the section is called. A citation names that anyway, and as an answer
/// it says nothing.
fn is_title(sentence: &str, hit: &Hit) -> bool {
    let bare = sentence.trim_matches(|c: char| !c.is_alphanumeric());
    hit.passage.source_name.ends_with(bare) || hit.passage.context.ends_with(bare)
}

/// What is known about a passage besides its text: headings, title, name of the source.
fn surroundings(hit: &Hit) -> String {
    let name = hit.passage.source_name.replace(['-', '_', '/', '.'], " ");
    format!("{} {name}", hit.passage.context)
}

/// How much each term of the question counts.
struct Weights {
    terms: Vec<(String, f32)>,
    total: f32,
}

impl Weights {
    fn new(question: &str, hits: &[Hit]) -> Self {
        let mut frequency: HashMap<String, f32> = HashMap::new();
        for hit in hits {
            let distinct: HashSet<String> =
                terms(&format!("{} {}", surroundings(hit), hit.passage.body))
                    .into_iter()
                    .collect();
            for term in distinct {
                *frequency.entry(term).or_default() += 1.0;
            }
        }
        let count = hits.len() as f32;
        let names: HashSet<String> = proper_names(question)
            .flat_map(|name| terms(&name))
            .collect();
        let mut seen = HashSet::new();
        let weighted: Vec<(String, f32)> = terms(&content_words(question))
            .into_iter()
            .filter(|term| seen.insert(term.clone()))
            .map(|term| {
                let found_in = frequency.get(&term).copied().unwrap_or(0.0);
                let rarity = (1.0 + (count + 0.5) / (found_in + 0.5)).ln();
                // A name or a number that nothing mentions means that the question is about something else.
                let weight = if names.contains(&term) {
                    rarity * 1.5
                } else {
                    rarity
                };
                (term, weight)
            })
            .collect();
        let total = weighted.iter().map(|(_, weight)| weight).sum();
        Self {
            terms: weighted,
            total,
        }
    }

    fn coverage(&self, holds: impl Fn(&str) -> bool) -> f32 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let held: f32 = self
            .terms
            .iter()
            .filter(|(term, _)| holds(term))
            .map(|(_, weight)| weight)
            .sum();
        held / self.total
    }
}

/// The question without the words that only make it a question: no answer repeats them.
fn content_words(question: &str) -> String {
    const FUNCTION_WORDS: [&str; 46] = [
        "how", "much", "many", "what", "which", "who", "whom", "whose", "when", "where", "why",
        "do", "does", "did", "can", "could", "should", "would", "may", "might", "must", "have",
        "has", "had", "were", "been", "i", "me", "my", "we", "us", "our", "you", "your", "he",
        "she", "its", "them", "from", "up", "out", "about", "so", "than", "any", "please",
    ];
    let is_content = |word: &&str| {
        let bare = word
            .trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase();
        !FUNCTION_WORDS.contains(&bare.as_str())
    };
    question
        .split_whitespace()
        .filter(is_content)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Words of the question that look like names or numbers: capitals after the first word, digits.
fn proper_names(question: &str) -> impl Iterator<Item = String> {
    question
        .split_whitespace()
        .enumerate()
        .filter_map(|(position, word)| {
            let is_name = position > 0 && word.chars().next().is_some_and(char::is_uppercase);
            (is_name || word.chars().any(|c| c.is_ascii_digit())).then(|| word.to_owned())
        })
}

/// What the question word asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuestionWord {
    Time,
    Amount,
    Person,
    Other,
}

impl QuestionWord {
    fn of(question: &str) -> Self {
        let lower = question.to_lowercase();
        let has = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
        if has(&[
            "how much",
            "how many",
            "what percent",
            "amount",
            "cost",
            "price",
            "total",
            "how long",
            "rate",
        ]) {
            Self::Amount
        } else if has(&[
            "when ",
            "what date",
            "which day",
            "deadline",
            "what time",
            "due",
        ]) {
            Self::Time
        } else if has(&["who ", "whom", "whose", "contact"]) {
            Self::Person
        } else {
            Self::Other
        }
    }

    fn fits(self, sentence: &str) -> bool {
        match self {
            Self::Time => {
                const MONTHS: [&str; 12] = [
                    "january",
                    "february",
                    "march",
                    "april",
                    "may ",
                    "june",
                    "july",
                    "august",
                    "september",
                    "october",
                    "november",
                    "december",
                ];
                let lower = sentence.to_lowercase();
                MONTHS.iter().any(|month| lower.contains(month))
                    || (lower.contains(|c: char| c.is_ascii_digit())
                        && ["day", "week", "month", "year", ":", "-", "/"]
                            .iter()
                            .any(|unit| lower.contains(unit)))
            }
            Self::Amount => sentence.contains(|c: char| c.is_ascii_digit()),
            Self::Person => sentence
                .split_whitespace()
                .skip(1)
                .filter(|word| word.chars().next().is_some_and(char::is_uppercase))
                .nth(1)
                .is_some(),
            Self::Other => false,
        }
    }
}

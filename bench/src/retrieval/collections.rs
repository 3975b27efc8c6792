//! Three collections that are made here, for what public ones do not have: [`records`] full of codes,
//! long [`reports`] with tables, and short [`turns`] of a chat.
//!
//! **How questions are made.** First there are facts (an order has lines, a report has findings, somebody
//! said what about which client). Documents and questions are two renderings of the facts by separate
//! phrases, and a judgement compares facts only; so relevance is known by construction and never taken
//! from a score. No phrase, mix or grade was chosen by looking at what a path or a way to fuse makes of it,
//! and questions that no path can answer stay in. What makes each collection hard is said in its module.
//!
//! A seed decides everything else: names, numbers, who says what, which facts are asked for. The phrases are
//! the same for all seeds, so another seed is a fresh sample of the same kind of collection, not a fresh
//! kind: constants are chosen on seed 1 and numbers are reported on [`REPORTED_SEED`].

mod records;
mod reports;
mod turns;

use std::collections::HashMap;

use super::judged::{Document, Judged, Question};

/// What is reported. The constants of the fusion were chosen on seed 1.
pub(super) const REPORTED_SEED: u64 = 2;

/// A collection by name, and what it is made by.
type Maker = (&'static str, fn(&mut Dice) -> Draft);

const MAKERS: [Maker; 3] = [
    ("records", records::make),
    ("reports", reports::make),
    ("turns", turns::make),
];

/// All three from a seed.
pub(super) fn make(seed: u64) -> Vec<Judged> {
    MAKERS
        .iter()
        .zip(0..)
        .map(|((name, make), stream)| make(&mut Dice::new(seed, stream)).finish(name))
        .collect()
}

/// A collection that is being written.
#[derive(Default)]
struct Draft {
    extension: &'static str,
    documents: Vec<String>,
    questions: Vec<Question>,
}

impl Draft {
    fn new(extension: &'static str) -> Self {
        Self {
            extension,
            ..Self::default()
        }
    }

    /// Adds a document and says its number.
    fn write(&mut self, text: String) -> u32 {
        self.documents.push(text);
        u32::try_from(self.documents.len()).unwrap_or(u32::MAX)
    }

    /// Adds a question, unless nothing answers it or it was asked before.
    fn ask(&mut self, kind: &'static str, text: String, grades: HashMap<u32, u8>) {
        let is_new = self.questions.iter().all(|question| question.text != text);
        if is_new && grades.values().any(|grade| *grade > 0) {
            self.questions.push(Question { kind, text, grades });
        }
    }

    fn finish(self, name: &str) -> Judged {
        let documents = (1..)
            .zip(self.documents)
            // As scanned or exported: the name of the file says nothing.
            .map(|(id, text)| Document {
                id,
                name: format!("{id:04}.{}", self.extension),
                text,
            })
            .collect();
        Judged {
            name: name.to_owned(),
            documents,
            questions: self.questions,
        }
    }
}

/// The rows of a table of phrases: cells between bars, comments after a number sign.
fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.try_into().ok()
    })
}

/// `template` with every `{name}` replaced.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
}

/// Numbers that are the same on every machine and with every version of a crate. Source: G. Steele,
/// D. Lea and C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014 (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(1_000_003).wrapping_add(stream));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let number = self.next() % (end.max(1) as u64);
        usize::try_from(number).unwrap_or(0)
    }

    /// A number from `low` to `high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// `count` different ones, in random order.
    fn sample<'a, T>(&mut self, all: &'a [T], count: usize) -> Vec<&'a T> {
        let mut left: Vec<&T> = all.iter().collect();
        let count = count.min(left.len());
        (0..count)
            .map(|_| left.swap_remove(self.below(left.len())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_collection_again_and_another_seed_another() {
        let texts = |seed| -> Vec<String> {
            let all = make(seed);
            let documents = all.iter().flat_map(|one| &one.documents);
            documents.map(|document| document.text.clone()).collect()
        };
        assert_eq!(texts(7), texts(7));
        assert_ne!(texts(7), texts(8));
    }

    #[test]
    fn collections_have_the_promised_size_and_every_question_an_answer() {
        for seed in [1, REPORTED_SEED, 3] {
            for collection in make(seed) {
                let name = &collection.name;
                let documents = collection.documents.len();
                assert!((400..=1_000).contains(&documents), "{name}: {documents}");
                let questions = collection.questions.len();
                assert!((100..=250).contains(&questions), "{name}: {questions}");
                let texts: HashSet<&str> = collection.texts().collect();
                assert_eq!(texts.len(), documents, "{name}: equal documents");
                for question in &collection.questions {
                    let text = &question.text;
                    assert!(!text.contains(['{', '}']), "{name}: {text}");
                    let known = question.grades.keys();
                    assert!(known.max() <= Some(&(documents as u32)), "{name}: {text}");
                    let good = question.grades.values().filter(|grade| **grade > 0);
                    assert!((1..=80).contains(&good.count()), "{name}: {text}");
                }
                assert!(!collection.texts().any(|text| text.contains(['{', '}'])));
            }
        }
    }
}

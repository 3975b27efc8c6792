//! What kind of question somebody asks, told from its words: plans differ in which kinds they have.
//!
//! The signals are those of the product documents: comparison, aggregation over everything, a range of time,
//! and length. A guess, so the worst that follows from it is an answer made of quotations.

use quire_index::Filter;
use quire_tenancy::catalogue::QuestionType;

/// Words beyond which a question asks for several things at once.
const LONG: usize = 40;
const COMPARING: &[&str] = &[
    "compare",
    "compared",
    "comparison",
    "versus",
    "vs",
    "between",
    "differ",
    "difference",
];
const SUMMING: &[&str] = &[
    "total",
    "sum",
    "average",
    "all",
    "every",
    "overall",
    "summarize",
    "summarise",
    "list",
];
const SPANNING: &[&str] = &[
    "week", "weeks", "month", "months", "quarter", "year", "years",
];

/// The kind of a question about what the filter lets through.
pub(crate) fn question_type(text: &str, filter: &Filter) -> QuestionType {
    let words: Vec<String> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let spans_notebooks = filter
        .notebooks
        .as_ref()
        .is_some_and(|notebooks| notebooks.len() > 1);
    if has(COMPARING) || spans_notebooks {
        QuestionType::CrossReference
    } else if has(SUMMING) || has(SPANNING) || words.len() > LONG {
        QuestionType::Complex
    } else {
        QuestionType::Simple
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quire_types::NotebookId;

    #[test]
    fn words_and_reach_tell_the_kind() {
        for (text, kind) in [
            ("How much retainage is held back?", QuestionType::Simple),
            ("Who takes the warranty calls?", QuestionType::Simple),
            (
                "What is the total of the change orders?",
                QuestionType::Complex,
            ),
            ("What happened on site last week?", QuestionType::Complex),
            (
                "Compare the two roofing bids.",
                QuestionType::CrossReference,
            ),
            (
                "Steel versus timber: which was cheaper?",
                QuestionType::CrossReference,
            ),
            // Part of another word is none of these words.
            ("Where is the allowance for tile?", QuestionType::Simple),
        ] {
            assert_eq!(question_type(text, &Filter::default()), kind, "{text}");
        }
        let two = Filter {
            notebooks: Some(vec![NotebookId::generate(), NotebookId::generate()]),
            ..Filter::default()
        };
        assert_eq!(
            question_type("Where is the vault?", &two),
            QuestionType::CrossReference
        );
    }
}

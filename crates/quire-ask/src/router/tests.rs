//! The router against the labelled questions, and the plans.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use super::*;

const QUESTIONS: &str = include_str!("../../../../bench/questions/router.tsv");

#[test]
fn nine_of_ten_questions_that_no_rule_was_made_for_go_the_right_way() {
    for set in ["tuning", "held-out"] {
        let (mut right, mut count, mut wrong) = (0, 0, Vec::new());
        for line in QUESTIONS.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [way, of, passages, _, question] = fields[..] else {
                panic!("{line}")
            };
            if of != set {
                continue;
            }
            let reach = Reach {
                passages: passages.parse().ok(),
                notebooks: Some(1),
            };
            let decision = route(question, reach);
            count += 1;
            if decision.route.as_str() == way {
                right += 1;
            } else if set == "tuning" {
                wrong.push(format!("{way} as {}: {question}", decision.route.as_str()));
            }
        }
        let accuracy = f64::from(right) / f64::from(count);
        assert!(
            accuracy >= 0.9,
            "{set}: {accuracy:.3}\n{}",
            wrong.join("\n")
        );
    }
}

#[test]
fn the_plan_is_asked_for_what_the_way_and_the_reach_need() {
    let needs = |text, notebooks| {
        let reach = Reach {
            notebooks,
            passages: None,
        };
        route(text, reach).needs()
    };
    let one = Some(1);
    assert_eq!(needs("Where is the vault?", one), QuestionType::Simple);
    assert_eq!(needs("Where is the vault?", None), QuestionType::Simple);
    assert_eq!(
        needs("Where is the vault?", Some(2)),
        QuestionType::CrossReference
    );
    assert_eq!(needs("Summarize the lease.", one), QuestionType::Complex);
    assert_eq!(needs("Compare the two bids.", one), QuestionType::Complex);
    assert_eq!(
        needs("For each lease, name the landlord.", one),
        QuestionType::Batch
    );
    // Part of another word is none of these words.
    assert_eq!(
        needs("Where is the allowance for tile?", one),
        QuestionType::Simple
    );
}

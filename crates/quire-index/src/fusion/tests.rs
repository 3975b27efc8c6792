//! What the fused list may never do, whatever the lists show.

use quire_types::Language;

use super::*;

const CODE: Question = Question {
    terms: 2,
    has_identifier: true,
    rows: 1_000,
};
const PLAIN: Question = Question {
    has_identifier: false,
    ..CODE
};
const ADAPTIVE: (Mode, Fusion) = (Mode::Hybrid, Fusion::Adaptive);

/// A list whose scores fall evenly from `best` to `last`.
fn list(rows: impl IntoIterator<Item = usize>, best: f32, last: f32) -> Vec<(usize, f32)> {
    let rows: Vec<usize> = rows.into_iter().collect();
    let step = (best - last) / (rows.len().max(2) - 1) as f32;
    let score = |at: usize| best - step * at as f32;
    rows.iter()
        .enumerate()
        .map(|(at, row)| (*row, score(at)))
        .collect()
}

fn run(
    how: (Mode, Fusion),
    lexical: &[(usize, f32)],
    dense: &[(usize, f32)],
    question: Question,
) -> Fused {
    let cosines: HashMap<usize, f32> = dense.iter().copied().collect();
    let cosine = |row| cosines.get(&row).copied().unwrap_or(0.0);
    fuse(how, lexical, dense, cosine, question, 1_000)
}

fn rows(fused: &Fused) -> Vec<usize> {
    fused.ranked.iter().map(|(row, _)| *row).collect()
}

fn weight(lexical: &[(usize, f32)], dense: &[(usize, f32)], question: Question) -> f32 {
    let weight = run(ADAPTIVE, lexical, dense, question).explained.weight;
    assert!(weight.is_some());
    weight.unwrap_or_default()
}

#[test]
fn a_path_that_found_nothing_leaves_the_other_as_it_is() {
    let dense = list([5, 3, 9, 1], 0.7, 0.2);
    let fused = run(ADAPTIVE, &[], &dense, PLAIN);
    assert_eq!(rows(&fused), [5, 3, 9, 1]);
    assert_eq!(fused.explained.reason, Reason::OnlyPath);

    let lexical = list([4, 2, 8], 9.0, 1.0);
    let fused = run(ADAPTIVE, &lexical, &[], PLAIN);
    assert_eq!(rows(&fused), [4, 2, 8]);
    assert_eq!(fused.explained.weight, Some(0.0));
}

#[test]
fn words_that_found_next_to_nothing_do_not_touch_the_order_of_the_vectors() {
    let dense = list(0..40, 0.8, 0.1);
    let lexical = list([30, 20, 70], 0.6, 0.5);
    let fused = run(ADAPTIVE, &lexical, &dense, PLAIN);
    assert_eq!(fused.explained.reason, Reason::WeakWords);
    assert_eq!(rows(&fused)[..40], (0..40).collect::<Vec<_>>());
}

#[test]
fn vectors_that_are_all_alike_do_not_touch_the_order_of_the_words() {
    let dense = list(0..40, 0.31, 0.309);
    let lexical = list([30, 20, 70], 40.0, 9.0);
    let fused = run(ADAPTIVE, &lexical, &dense, CODE);
    assert_eq!(fused.explained.reason, Reason::WeakVectors);
    assert_eq!(rows(&fused)[..3], [30, 20, 70]);
}

#[test]
fn lists_in_the_same_order_keep_it_whatever_the_weight() {
    let order = [7, 2, 9, 4, 0];
    let (lexical, dense) = (list(order, 12.0, 3.0), list(order, 0.8, 0.3));
    let ways = [
        Fusion::Adaptive,
        Fusion::Fixed(0.2),
        Fusion::Fixed(0.9),
        Fusion::Reciprocal,
    ];
    for fusion in ways {
        for question in [PLAIN, CODE] {
            let fused = run((Mode::Hybrid, fusion), &lexical, &dense, question);
            assert_eq!(rows(&fused), order, "{fusion:?}");
        }
    }
}

#[test]
fn each_signal_moves_the_weight_one_way() {
    let dense = list(0..30, 0.6, 0.4);
    let words = |best: f32| list(30..60, best, best / 2.0);
    let mut last = 1.0;
    for best in 1..60 {
        let weight = weight(&words(best as f32), &dense, PLAIN);
        assert!(
            (0.0..=last).contains(&weight),
            "gain {best}: {weight} after {last}"
        );
        last = weight;
    }
    assert!(last < 0.5);

    let mut last = 0.0;
    for spread in 1..60 {
        let dense = list(0..30, 0.3 + spread as f32 / 100.0, 0.3);
        let weight = weight(&words(8.0), &dense, PLAIN);
        assert!(
            (last..=1.0).contains(&weight),
            "spread {spread}: {weight} after {last}"
        );
        last = weight;
    }

    for best in [2.0, 5.0, 10.0, 20.0] {
        let plain = weight(&words(best), &dense, PLAIN);
        assert!(weight(&words(best), &dense, CODE) <= plain);
    }
    assert!(weight(&words(8.0), &dense, CODE) < weight(&words(8.0), &dense, PLAIN));
}

#[test]
fn a_better_score_on_a_path_never_costs_a_row_its_rank() {
    let dense = list([0, 1, 2, 3], 0.6, 0.3);
    let rank = |score: f32| {
        let mut lexical = vec![(9, 10.0), (2, score), (8, 0.5)];
        lexical.sort_by(|a, b| b.1.total_cmp(&a.1));
        let fused = run((Mode::Hybrid, Fusion::Fixed(0.5)), &lexical, &dense, PLAIN);
        rows(&fused).iter().position(|row| *row == 2)
    };
    let ranks: Vec<Option<usize>> = (1..10).map(|score| rank(score as f32)).collect();
    assert!(ranks.is_sorted_by(|a, b| a >= b), "{ranks:?}");
    assert!(ranks.first() > ranks.last());
}

#[test]
fn what_both_paths_like_comes_first() {
    let cosines = [0.9, 0.8, 0.1, 0.2];
    let (lexical, dense) = ([(2, 12.0), (1, 11.0)], [(0, 0.9), (1, 0.8)]);
    for fusion in [Fusion::Fixed(0.65), Fusion::Reciprocal] {
        let how = (Mode::Hybrid, fusion);
        let fused = fuse(how, &lexical, &dense, |row| cosines[row], PLAIN, 2);
        assert_eq!(rows(&fused), [1, 0]);
    }
}

#[test]
fn a_single_path_keeps_its_own_order_and_scores() {
    let (lexical, dense) = (list([2, 1], 12.0, 11.0), list([0, 1], 0.9, 0.8));
    let words = run((Mode::Lexical, Fusion::Adaptive), &lexical, &dense, CODE);
    assert_eq!(rows(&words), [2, 1]);
    assert_eq!(
        words.ranked.first().and_then(|(_, scores)| scores.lexical),
        Some(12.0)
    );
    let vectors = run((Mode::Dense, Fusion::Reciprocal), &lexical, &dense, CODE);
    assert_eq!(
        (rows(&vectors), vectors.explained.weight),
        (vec![0, 1], Some(1.0))
    );
}

#[test]
fn equal_scores_and_empty_lists_are_no_problem() {
    for fusion in [Fusion::Adaptive, Fusion::Fixed(0.5), Fusion::Reciprocal] {
        let how = (Mode::Hybrid, fusion);
        assert!(run(how, &[], &[], Question::default()).ranked.is_empty());
        assert!(
            fuse(how, &[], &[(1, 0.5)], |_| 0.5, PLAIN, 0)
                .ranked
                .is_empty()
        );
    }
    let same = run(ADAPTIVE, &[], &[(3, 0.5), (1, 0.5)], PLAIN);
    assert_eq!(rows(&same), [1, 3]);
    let odd = run(ADAPTIVE, &[(1, f32::NAN)], &[(2, 0.5)], PLAIN);
    assert_eq!(odd.explained.weight, Some(1.0));
}

#[test]
fn numbers_and_codes_are_identifiers_and_words_are_not() {
    for text in [
        "INV-2024-00417",
        "where is cg4471b?",
        "PO 45-10382",
        "in 2023",
        "part HX-44",
    ] {
        assert!(
            Question::new(text, Language::English, 10).has_identifier,
            "{text}"
        );
    }
    for text in [
        "",
        "change order 1",
        "who has 12 seats",
        "state-of-the-art",
        "NASA",
    ] {
        assert!(
            !Question::new(text, Language::English, 10).has_identifier,
            "{text}"
        );
    }
    assert_eq!(
        Question::new("the pump and the pumps of pump 7", Language::English, 10).terms,
        2
    );
}

fn hit(id: PassageId, fused: f32) -> Hit {
    Hit {
        passage: quire_store::passages::Passage {
            id,
            notebook: quire_types::NotebookId::generate(),
            source: quire_types::SourceId::generate(),
            source_version: 1,
            source_name: String::new(),
            ordinal: 0,
            context: String::new(),
            body: String::new(),
            place: quire_types::Place::default(),
        },
        scores: Scores {
            fused,
            lexical: None,
            dense: fused,
        },
    }
}

#[test]
fn other_phrasings_add_to_what_the_question_finds_and_never_displace_its_best() {
    let ids: Vec<PassageId> = (0..9).map(|_| PassageId::generate()).collect();
    let list = |numbers: &[usize]| -> Vec<Hit> {
        let hits = numbers.iter().map(|number| hit(ids[*number], 0.5));
        hits.collect()
    };
    let merged = |lists: &[&[usize]], limit| -> Vec<usize> {
        let lists = lists.iter().map(|numbers| list(numbers)).collect();
        let hits = merge(lists, limit);
        let number = |hit: &Hit| ids.iter().position(|id| *id == hit.passage.id);
        hits.iter().filter_map(number).collect()
    };
    // However many phrasings agree on something else, what the question itself found best stays first.
    assert_eq!(
        merged(&[&[0, 1], &[7, 8], &[7, 8], &[7, 8]], 9),
        [0, 1, 7, 8]
    );
    // What is found in both ways comes before what only one of them finds.
    assert_eq!(merged(&[&[0, 1, 2], &[2, 7]], 9), [2, 0, 1, 7]);
    assert_eq!(merged(&[&[0, 1, 2], &[2, 7]], 2), [2, 0]);
    // Nothing to add, nothing to add it to.
    assert_eq!(merged(&[&[3, 1], &[], &[]], 9), [3, 1]);
    assert_eq!(merged(&[&[], &[4]], 9), [4]);
    assert_eq!(merged(&[], 9), Vec::<usize>::new());
}

/// What says nothing in the corpus's language is no part of a question's length, and what is one word there counts
/// once; where the language is not known, every word counts.
#[test]
fn the_length_of_a_question_is_that_of_its_own_language() {
    let german = "Wo ist der Vertrag und wo sind die Verträge für das Dach?";
    for (text, language, terms) in [
        (german, Language::German, 2),
        (german, Language::English, 11),
        (german, Language::None, 11),
        (
            "Where is the contract, and where are the contracts of the roof?",
            Language::English,
            3,
        ),
    ] {
        let question = Question::new(text, language, 10);
        assert_eq!(question.terms, terms, "{text} {language}");
    }
}

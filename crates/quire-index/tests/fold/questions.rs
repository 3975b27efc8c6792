//! What is asked of passages in the tail, in segments and in both: odd questions, pages and neighbours.

use quire_index::{BulkSource, Error, Filter, Mode, Query};
use quire_store::PageRequest;
use quire_store::passages::NewPassage;
use quire_store::segments::Loaded;
use quire_types::{ErrorKind, Kind, MediaType, NotebookId, SourceId};

use crate::lab::{DIMENSION, Lab, axis, bodies, passage, publish, query, searching};

#[tokio::test]
async fn odd_questions_have_an_answer_or_a_clear_error() {
    let mut lab = Lab::new().await;
    let placement = lab.tenant.placement();
    let search = searching(&lab.test.store, 9);
    let modes = [Mode::Hybrid, Mode::Lexical, Mode::Dense];
    let ask = async |query| search.search(placement, query).await;
    let no_direction = [
        vec![0.0; DIMENSION],
        vec![f32::NAN; DIMENSION],
        vec![f32::INFINITY; DIMENSION],
    ];
    let token = "x".repeat(10 << 20);
    let odd = [
        "crane İstanbul ǅ ﬃ ſ ẞ ΌΣΟΣ".to_owned(),
        "crane e\u{301} שָׁלוֹם مرحبا नमस्ते ไทย 日本語 한국어".to_owned(),
        "crane 👩‍👩‍👧‍👦 \u{200b}\u{200d}\u{202e}\u{feff}\u{fffd}\u{ffff}\u{10ffff}".to_owned(),
        "crane \r\n\t\u{1}\u{7f}\u{85}\u{2028} ' \\ \" $1 %s".to_owned(),
        format!("crane {}", "\u{0301}".repeat(1_000)),
        String::new(),
    ];
    // Over nothing, over the tail, over a segment, and over both.
    for state in 0..4 {
        match state {
            1 => {
                let mut new: Vec<NewPassage> =
                    odd.iter().map(|text| passage(text, axis(0))).collect();
                new.push(passage(&format!("crane {token}"), axis(1)));
                new.push(passage("crane the iron bridge stands", axis(2)));
                new.push(passage("crane iron and a bridge", axis(2)));
                lab.put("odd.txt", &new).await;
            }
            2 => assert_eq!(lab.fold(&search).await.unwrap().folded, 9),
            3 => {
                let new = [passage("crane an iron bridge again", axis(3))];
                lab.put("more.txt", &new).await;
            }
            _ => {}
        }
        let all = lab.without(&[]);
        for mode in modes {
            for vector in &no_direction {
                for limit in [0, 10] {
                    let refused = ask(query("crane", vector.clone(), mode, limit)).await;
                    assert!(matches!(refused, Err(Error::Direction)), "{mode:?} {state}");
                }
            }
            let none = ask(query("crane", axis(0), mode, 0)).await.unwrap();
            assert!(none.hits.is_empty() && none.missing.is_empty());
            let nowhere = Query {
                filter: Filter {
                    notebooks: Some(vec![NotebookId::generate()]),
                    ..Filter::default()
                },
                ..query("crane \"iron bridge\"", axis(0), mode, 10)
            };
            assert!(ask(nowhere).await.unwrap().hits.is_empty());
            // By their vectors all are found, whatever the words are.
            for (text, limit) in [
                ("", usize::MAX),
                ("crane", 100_000),
                (" \u{200b} ", 100_000),
                ("of the", 100_000),
                (token.as_str(), 100_000),
                (odd[2].as_str(), 100_000),
                ("\"", 100_000),
                ("\"\" *:?-+~^", 100_000),
            ] {
                let found = bodies(ask(query(text, axis(0), mode, limit)).await.unwrap());
                if mode == Mode::Lexical {
                    assert!(found.iter().all(|body| all.contains(body)));
                } else {
                    // By their vectors all are found, whatever the words are.
                    assert!(found == all, "{mode:?} {state} {text:.20}");
                }
            }
        }
        let lexical = async |text: &str| {
            let found = ask(query(text, axis(0), Mode::Lexical, 100)).await.unwrap();
            bodies(found)
        };
        let phrase: &[&str] = match state {
            0 => &[],
            3 => &["crane an iron bridge again", "crane the iron bridge stands"],
            _ => &["crane the iron bridge stands"],
        };
        let iron: Vec<&String> = all.iter().filter(|body| body.contains("iron")).collect();
        for (open, close) in [("\"", "\""), ("“", "”"), ("„", "“"), ("«", "»"), ("»", "«")]
        {
            assert_eq!(lexical(&format!("{open}iron bridge{close}")).await, phrase);
            // Nobody wrote that, but the words in it.
            let found = lexical(&format!("{open}iron nowhere{close}")).await;
            assert!(
                found.iter().eq(iron.iter().copied()),
                "{open} {state} {found:?}"
            );
        }
        if state > 0 {
            assert_eq!(lexical("the").await, ["crane the iron bridge stands"]);
            assert_eq!(lexical("日本語").await, [odd[1].clone()]);
            assert_eq!(lexical(&token).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn the_passages_of_a_source_come_in_order_and_once_wherever_they_are() {
    const SIZES: [usize; 6] = [0, 1, 199, 200, 201, 450];
    let mut lab = Lab::new().await;
    let search = searching(&lab.test.store, 9);
    let folded = |size: &usize| format!("folded {size}.txt");
    let tail = |size: &usize| format!("tail {size}.txt");
    for size in &SIZES {
        lab.put_rows(&folded(size), 0, *size).await;
    }
    let moved = lab.fold(&search).await.unwrap().folded;
    assert_eq!(moved, 1_051);
    for size in &SIZES {
        lab.put_rows(&tail(size), 0, *size).await;
    }
    assert_eq!(lab.tail_rows().await, 1_051);
    for (name, (source, bodies)) in &lab.oracle {
        for limit in [0, 61, 199, 200, u32::MAX] {
            // A page of none is one of one.
            let expected = bodies.len().min(if limit == 0 { 20 } else { usize::MAX });
            let mut request = PageRequest { after: None, limit };
            let mut found = Vec::new();
            loop {
                let placement = lab.tenant.placement();
                let page = search.passages(placement, *source, request).await.unwrap();
                assert!(page.items.len() <= limit.clamp(1, PageRequest::MAX) as usize);
                request.after = page.items.last().map(|passage| passage.id.uuid());
                found.extend(page.items);
                if !page.more || (limit == 0 && found.len() == expected) {
                    assert_eq!(page.more, found.len() < bodies.len(), "{name} {limit}");
                    break;
                }
            }
            let ordinals = found.iter().map(|passage| passage.ordinal);
            assert!(ordinals.eq((0..).take(expected)), "{name} {limit}");
            let texts = found.iter().map(|passage| &passage.body);
            assert!(texts.eq(bodies.iter().take(expected)), "{name} {limit}");
        }
    }
    let unknown = search
        .passages(
            lab.tenant.placement(),
            SourceId::generate(),
            PageRequest::first(),
        )
        .await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn vectors_that_can_not_be_compared_are_refused_when_they_come() {
    let mut lab = Lab::new().await;
    lab.put("fine.txt", &[passage("crane", axis(0))]).await;
    let no_direction = "the vector of passage 1 has no direction: it is zero, or not a number";
    for (embedding, kind, message) in [
        (vec![0.0; DIMENSION], ErrorKind::Invalid, no_direction),
        (vec![f32::NAN; DIMENSION], ErrorKind::Invalid, no_direction),
        (
            vec![f32::INFINITY; DIMENSION],
            ErrorKind::Invalid,
            no_direction,
        ),
        (vec![1e-30; DIMENSION], ErrorKind::Invalid, no_direction),
        (vec![], ErrorKind::Invalid, no_direction),
        (
            vec![1.0],
            ErrorKind::Invalid,
            "the vector of passage 1 has 1 dimensions, that of the first 8",
        ),
    ] {
        let new = [
            passage("crane one", axis(0)),
            passage("crane two", embedding),
        ];
        let refused = publish(&lab.test, &lab.tenant, lab.notebook, "bad.txt", &new).await;
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    }
    let other = [passage("crane", vec![1.0; 3])];
    let refused = publish(&lab.test, &lab.tenant, lab.notebook, "bad.txt", &other).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let message = error.to_string();
    assert!(
        message.starts_with("vectors of 3 dimensions can't join a corpus of 8: rebuild"),
        "{message}"
    );
    // A bulk load asks for no less.
    let search = searching(&lab.test.store, 9);
    for embedding in [vec![0.0; DIMENSION], vec![f32::NAN; DIMENSION]] {
        let source = BulkSource {
            loaded: Loaded {
                source: SourceId::generate(),
                version: 1,
                media_type: MediaType::Text,
                pages: None,
                passages: 1,
            },
            passages: vec![passage("crane", embedding)],
        };
        let refused = search.load(lab.tenant.placement(), [source]).await;
        assert!(matches!(refused, Err(Error::Direction)));
    }
    // A refusal leaves nothing behind, neither in the tail nor in a segment.
    lab.check(&search).await;
    assert_eq!(lab.fold(&search).await.unwrap().folded, 1);
    lab.check(&search).await;
}

#[tokio::test]
async fn what_stands_beside_a_passage_is_read_from_wherever_it_is() {
    let mut lab = Lab::new().await;
    lab.put_rows("long.txt", 0, 5).await;
    lab.put_rows("other.txt", 1, 2).await;
    let search = searching(&lab.test.store, 4);
    let placement = lab.tenant.placement();
    for is_folded in [false, true] {
        if is_folded {
            search.fold(placement).await.unwrap();
        }
        let filter = Filter::default();
        let corpus = search.snapshot(placement, &filter).await.unwrap();
        let everything = query("crane", axis(0), Mode::Dense, 100);
        let hits = corpus.search(&everything).await.unwrap().hits;
        assert_eq!(hits.len(), 7);
        let beside = async |name: &str, ordinals: &[i32]| {
            let asked = hits.iter().map(|hit| hit.passage.clone());
            let asked = asked.filter(|passage| {
                passage.source_name == name && ordinals.contains(&passage.ordinal)
            });
            let found = corpus.beside(&asked.collect::<Vec<_>>()).await;
            let found = found.into_iter();
            found
                .map(|passage| (passage.source_name, passage.ordinal))
                .collect::<Vec<_>>()
        };
        let long = |ordinals: &[i32]| -> Vec<(String, i32)> {
            let named = ordinals.iter().map(|at| ("long.txt".to_owned(), *at));
            named.collect()
        };
        assert_eq!(beside("long.txt", &[2]).await, long(&[1, 3]));
        // The first and the last have one neighbour, and nobody stands beside a passage of another source.
        assert_eq!(beside("long.txt", &[0, 4]).await, long(&[1, 3]));
        assert_eq!(beside("long.txt", &[1, 3]).await, long(&[0, 2, 4]));
        assert_eq!(
            beside("other.txt", &[1]).await,
            [("other.txt".to_owned(), 0)]
        );
        assert_eq!(beside("other.txt", &[]).await, []);
    }
}

/// More than a thousand passages of each source hold both words more often, and in fewer words, than the one that
/// holds the phrase.
#[tokio::test]
async fn a_phrase_is_found_wherever_it_is() {
    let mut lab = Lab::new().await;
    let search = searching(&lab.test.store, 9);
    let placement = lab.tenant.placement();
    let long = |number: usize| {
        let filler = "about what was agreed on with those who came ".repeat(40);
        format!("{number} {filler} the iron bridge {filler}")
    };
    let better = |first: usize| -> Vec<NewPassage> {
        let body = |row: usize| format!("bridge of iron and bridge of iron {row}");
        let rows = first..first + 1_100;
        rows.map(|row| passage(&body(row), axis(row % DIMENSION)))
            .collect()
    };
    let mut new = better(0);
    new.push(passage(&long(1), axis(1)));
    lab.put("one.txt", &new).await;
    for state in ["tail", "segment", "segment and tail"] {
        match state {
            "tail" => {}
            "segment" => assert_eq!(lab.fold(&search).await.unwrap().folded, 1_101),
            _ => {
                let mut more = better(2_000);
                more.push(passage(&long(2), axis(2)));
                lab.put("two.txt", &more).await;
            }
        }
        let expected = match state {
            "segment and tail" => vec![long(1), long(2)],
            _ => vec![long(1)],
        };
        for limit in [1, 5] {
            for mode in [Mode::Hybrid, Mode::Lexical] {
                let asked = query("\"iron bridge\"", axis(0), mode, limit);
                let found = bodies(search.search(placement, asked).await.unwrap());
                assert_eq!(found.len(), expected.len().min(limit), "{state}");
                assert!(found.iter().all(|body| expected.contains(body)), "{state}");
            }
        }
    }
}

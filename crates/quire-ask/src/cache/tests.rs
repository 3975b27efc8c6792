//! Nobody gets what was worked out for somebody else or over something else, and everybody gets what was worked out
//! for the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use quire_index::Filter;
use quire_store::Placement;
use quire_types::{Groups, NotebookId};
use uuid::Uuid;

use super::*;
use crate::answer::{Answer, AnswerKind, Event};
use crate::router::{Chooser, Decision, Route, Signals};

/// All that tells two requests apart.
#[derive(Clone, Debug, PartialEq)]
struct Request {
    tenant: u8,
    incarnation: u8,
    shard: i16,
    version: i64,
    purges: i64,
    notebooks: Option<Vec<u8>>,
    groups: Option<&'static str>,
    question: &'static str,
    route: Option<Route>,
    explain: bool,
    settings: &'static str,
}

impl Request {
    fn key(&self) -> Key {
        let placement = Placement {
            tenant: Uuid::from_u128(u128::from(self.tenant)).into(),
            incarnation: Uuid::from_u128(u128::from(self.incarnation)),
            shard: self.shard,
        };
        let notebook = |number: &u8| NotebookId::from(Uuid::from_u128(u128::from(*number)));
        let filter = Filter {
            notebooks: (self.notebooks.as_ref()).map(|named| named.iter().map(notebook).collect()),
            groups: (self.groups).map(|names| Groups::parse(names).unwrap()),
            ..Filter::default()
        };
        Key::answer(
            placement,
            Asks {
                corpus: (self.version, self.purges),
                filter: &filter,
                question: self.question,
                route: self.route,
                explain: self.explain,
                in_plan: &[],
                settings: self.settings,
                history: &[],
            },
        )
    }
}

/// A key that has this number and nothing else.
pub(super) fn some_key(number: u64) -> Key {
    let placement = Placement {
        tenant: Uuid::from_u128(u128::from(number)).into(),
        incarnation: Uuid::nil(),
        shard: 0,
    };
    Key::vector(placement, "", "")
}

fn request() -> impl Strategy<Value = Request> {
    let notebooks = prop::option::of(prop::collection::btree_set(0..3_u8, 0..3));
    let questions = vec!["Where is it", "where is it", "Where is it or is it"];
    let routes = [None, Some(Route::Simple), Some(Route::Complex)];
    (
        (0..2_u8, 0..2_u8, 0..2_i16, 0..3_i64, 0..2_i64),
        notebooks,
        prop::sample::select(questions),
        prop::sample::select(routes.to_vec()),
        prop::sample::select(vec!["small", "large"]),
        prop::sample::select(vec![None, Some(""), Some("crew"), Some("crew,office")]),
    )
        .prop_map(
            |(whose, notebooks, question, route, settings, groups)| Request {
                tenant: whose.0,
                incarnation: whose.1,
                shard: whose.2,
                version: whose.3,
                purges: whose.4,
                notebooks: notebooks.map(|named| named.into_iter().collect()),
                groups,
                question,
                route,
                explain: false,
                settings,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn two_requests_share_an_entry_exactly_when_nothing_tells_them_apart(one in request(), other in request()) {
        prop_assert_eq!(one == other, one.key() == other.key());
        // One thing that differs is enough.
        for changed in [
            Request { tenant: one.tenant ^ 1, ..one.clone() },
            Request { incarnation: one.incarnation ^ 1, ..one.clone() },
            Request { version: one.version + 1, ..one.clone() },
            Request { purges: one.purges + 1, ..one.clone() },
            Request { explain: !one.explain, ..one.clone() },
            Request { notebooks: Some(vec![7]), ..one.clone() },
            Request { groups: Some("vault"), ..one.clone() },
        ] {
            prop_assert!(changed.key() != one.key());
        }
    }
}

#[test]
fn what_says_nothing_makes_no_other_key() {
    let base = Request {
        tenant: 1,
        incarnation: 1,
        shard: 0,
        version: 1,
        purges: 0,
        notebooks: Some(vec![1, 2]),
        groups: Some("crew,office"),
        question: "Where is it?",
        route: None,
        explain: false,
        settings: "",
    };
    let spaced = Request {
        question: "  Where is\n it ??",
        notebooks: Some(vec![2, 1]),
        groups: Some("Office, Crew"),
        ..base.clone()
    };
    assert!(base.key() == spaced.key());
    let marks = |question| {
        Request {
            question,
            ..base.clone()
        }
        .key()
    };
    assert!(marks("?") != marks("!"));
}

fn answer() -> Arc<Answer> {
    let decision = Decision {
        route: Route::Simple,
        by: Chooser::Signals,
        signals: Signals::default(),
    };
    Arc::new(Answer::empty(
        AnswerKind::Composed,
        decision,
        Default::default(),
    ))
}

fn key() -> Key {
    let placement = Placement {
        tenant: TenantId::generate(),
        incarnation: Uuid::nil(),
        shard: 0,
    };
    Key::vector(placement, "", "")
}

#[tokio::test]
async fn a_thousand_on_one_flight_hear_all_of_it_and_one_works() {
    let flights = Flights::default();
    let key = key();
    let calls = Arc::new(AtomicUsize::new(0));
    let ask = |number: usize| {
        let (flights, calls) = (flights.clone(), calls.clone());
        async move {
            let mut said = String::new();
            let mut emit = |event| {
                if let Event::Delta(text) = event {
                    said.push_str(&text);
                }
            };
            match flights.board(key) {
                Place::Follow(passenger) => assert!(passenger.hear(&mut emit).await.is_some()),
                Place::Lead(leading, own) => {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let work = tokio::spawn(async move {
                        for word in ["one ", "two ", "three"] {
                            tokio::task::yield_now().await;
                            leading.tell(Event::Delta(word.to_owned()));
                        }
                        leading.land(answer());
                    });
                    own.carries(work.abort_handle());
                    // Whoever leads may go away.
                    if number.is_multiple_of(2) {
                        assert!(own.hear(&mut emit).await.is_some());
                    } else {
                        said = "one two three".to_owned();
                    }
                }
            }
            assert_eq!(said, "one two three");
        }
    };
    futures::future::join_all((0..1_000).map(ask)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_flight_without_an_answer_lets_a_follower_lead_the_next() {
    let flights = Flights::default();
    let key = key();
    let Place::Lead(leading, own) = flights.board(key) else {
        panic!("nobody leads")
    };
    let Place::Follow(follower) = flights.board(key) else {
        panic!("two lead")
    };
    drop((leading, own));
    assert!(follower.hear(&mut |_| {}).await.is_none());
    let Place::Lead(leading, own) = flights.board(key) else {
        panic!("nobody takes over")
    };
    leading.land(answer());
    assert!(own.hear(&mut |_| {}).await.is_some());
    // It is over: nobody may board it any more.
    assert!(matches!(flights.board(key), Place::Lead(..)));
}

#[tokio::test]
async fn work_ends_with_the_last_who_listens() {
    let flights = Flights::default();
    let key = key();
    let Place::Lead(leading, own) = flights.board(key) else {
        panic!("nobody leads")
    };
    let work = tokio::spawn(async move {
        std::future::pending::<()>().await;
        leading.land(answer());
    });
    own.carries(work.abort_handle());
    let Place::Follow(follower) = flights.board(key) else {
        panic!("two lead")
    };
    drop(own);
    tokio::task::yield_now().await;
    assert!(!work.is_finished());
    drop(follower);
    assert!(work.await.unwrap_err().is_cancelled());
    assert!(matches!(flights.board(key), Place::Lead(..)));
}

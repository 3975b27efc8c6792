//! Objects that are damaged, gone or out of reach: what is missing is named, and the rest is right.

use std::time::{Duration, SystemTime};

use quire_index::{Error, Mode, Rebuild, Search, SearchConfig};
use quire_store::passages::NewPassage;
use quire_store::{ObjectKey, PageRequest, segments};
use quire_testkit::unreliable::{Fault, Operation};
use quire_types::{ErrorKind, Kind};

use crate::lab::{
    Lab, axis, bodies, held_when, leaning, notebook, passage, publish, query, searching,
};

#[tokio::test]
async fn any_operation_on_objects_may_fail_while_passages_move() {
    let mut lab = Lab::new().await;
    lab.change().await;
    let (store, unreliable) = lab.unreliable().await;
    lab.fold(&searching(&store, 1)).await.unwrap();
    for (operation, least) in [(Operation::Read, 3), (Operation::Write, 2)] {
        for fault in [Fault::Error, Fault::Lost] {
            let mut failed = 0;
            for n in 1.. {
                lab.change().await;
                // With nothing in memory everything has to be read.
                let search = searching(&store, 1);
                unreliable.reset_counts();
                unreliable.fail(operation, n, fault);
                let folded = lab.fold(&search).await;
                let counts = unreliable.counts();
                unreliable.fail_all(None);
                let happened = match operation {
                    Operation::Read => counts.reads,
                    _ => counts.writes,
                };
                lab.check(&search).await;
                lab.fold(&search).await.unwrap();
                lab.check(&search).await;
                lab.check(&searching(&lab.test.store, 1)).await;
                assert_eq!((lab.tail_rows().await, lab.segments().await.len()), (0, 1));
                if happened < n {
                    let folded = folded.unwrap();
                    assert!(folded.folded > 0 && folded.merged > 0);
                    break;
                }
                failed += 1;
            }
            assert!(failed >= least, "{operation:?} {fault:?}: only {failed}");
        }
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_moves_everything_is_found_and_the_next_try_does_it() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let placement = lab.tenant.placement();
    lab.put_rows("stays.txt", 2, 9).await;
    lab.fold(&searching(&store, 1)).await.unwrap();
    lab.change().await;
    let search = searching(&store, 1);
    let before = (lab.tail_rows().await, lab.segments().await.len());
    unreliable.fail_all(Some(Fault::Full));
    let folded = lab.fold(&search).await.map(drop);
    let archived = search.archive(placement, lab.notebook).await.map(drop);
    for refused in [folded, archived] {
        let refused = refused.unwrap_err();
        assert!(matches!(
            refused,
            Error::Store(quire_store::Error::DiskFull)
        ));
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "a task tries again");
    }
    let rebuilt = search.rebuild(placement, Rebuild::default(), &[], |_| {});
    assert!(rebuilt.await.is_err());
    assert_eq!((lab.tail_rows().await, lab.segments().await.len()), before);
    // What is published meanwhile is found as always.
    lab.change().await;
    lab.check(&search).await;
    lab.check(&searching(&store, 1)).await;

    // Wherever in a fold and a merge the disk fills up.
    for n in 1.. {
        unreliable.fail_all(None);
        lab.change().await;
        let search = searching(&store, 1);
        unreliable.reset_counts();
        unreliable.fail(Operation::Write, n, Fault::Full);
        let folded = lab.fold(&search).await;
        let writes = unreliable.counts().writes;
        lab.check(&search).await;
        if writes < n {
            let folded = folded.unwrap();
            assert!(
                n > 2 && folded.folded > 0 && folded.merged > 0,
                "{n} {folded:?}"
            );
            break;
        }
        let refused = folded.unwrap_err();
        assert!(matches!(
            refused,
            Error::Store(quire_store::Error::DiskFull)
        ));
    }
    assert_eq!((lab.tail_rows().await, lab.segments().await.len()), (0, 1));

    // What the tries left behind is known, and goes although there is no room.
    unreliable.fail_all(Some(Fault::Full));
    let ahead = SystemTime::now() + Duration::from_hours(9_000);
    let swept = search.sweep(placement, ahead.into(), Duration::from_hours(24), false);
    assert!(!swept.await.unwrap().retired.is_empty());
    let (known, objects) = lab.objects().await;
    assert_eq!((known.len(), &objects), (1, &known));
    lab.check(&search).await;
}

#[tokio::test]
async fn what_can_not_be_read_is_left_alone_for_a_while() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let placement = lab.tenant.placement();
    lab.put_rows("old.txt", 0, 60).await;
    lab.fold(&searching(&lab.test.store, 9)).await.unwrap();
    let old = lab.segments().await.pop().unwrap().id;
    lab.put_rows("tail.txt", 3, 10).await;
    let config = SearchConfig {
        retry: Duration::from_hours(1),
        ..SearchConfig::default()
    };
    let search = Search::new(store, config);
    unreliable.fail_all(Some(Fault::Error));
    let questions = (0..20).map(|_| search.prefetch(placement));
    for done in futures::future::join_all(questions).await {
        done.unwrap();
    }
    let tried = unreliable.counts().reads;
    assert!(tried > 0);
    // Whatever changes meanwhile is seen, in the tail and in segments.
    let rest = lab.without(&["old.txt"]);
    assert_eq!(lab.everything(&search).await, (rest, vec![old]));
    lab.put_rows("new.txt", 5, 10).await;
    lab.delete("tail.txt").await;
    let rest = lab.without(&["old.txt"]);
    assert_eq!(lab.everything(&search).await, (rest.clone(), vec![old]));
    assert_eq!(
        unreliable.counts().reads,
        tried,
        "one question asked for all"
    );
    unreliable.fail_all(None);
    lab.fold(&searching(&lab.test.store, 9)).await.unwrap();
    assert_eq!(lab.everything(&search).await, (rest, vec![old]));
    // Somebody who has not waited for it yet does.
    lab.check(&searching(&lab.test.store, 9)).await;
}

/// Where the sections of a segment are in its file, by their names: see `segment/format.rs`.
pub(crate) fn sections(footer: &[u8]) -> Vec<(&'static str, usize, usize)> {
    const FIRST: usize = 76;
    let number = |at: usize| {
        let bytes: [u8; 8] = footer[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    [
        "vectors", "texts", "lexical", "codes", "sources", "blocks", "clusters",
    ]
    .into_iter()
    .enumerate()
    .map(|(at, name)| (name, number(FIRST + at * 20), number(FIRST + at * 20 + 8)))
    .filter(|(.., length)| *length > 0)
    .collect()
}

#[tokio::test]
async fn a_damaged_segment_is_named_and_never_served_until_it_is_whole_again() {
    let mut lab = Lab::new().await;
    let keeping = searching(&lab.test.store, 9);
    lab.put_rows("hurt.txt", 0, 200).await;
    lab.fold(&keeping).await.unwrap();
    let hurt = lab.segments().await.pop().unwrap();
    lab.put_rows("well.txt", 3, 50).await;
    lab.fold(&keeping).await.unwrap();
    let well = lab.segments().await.pop().unwrap();
    lab.put_rows("tail.txt", 5, 30).await;
    assert_ne!(hurt.id, well.id);

    // Another tenant with the same texts, whose file has the same length.
    let other = lab.test.tenant("b").await;
    let there = notebook(&lab.test, &other).await;
    let same: Vec<NewPassage> = lab.oracle["hurt.txt"]
        .1
        .iter()
        .enumerate()
        .map(|(row, body)| passage(body, leaning(0, row)))
        .collect();
    publish(&lab.test, &other, there, "hurt.txt", &same)
        .await
        .unwrap();
    keeping.fold(other.placement()).await.unwrap();
    let mut tx = lab.test.tx(&other).await;
    let foreign = segments::live(&mut tx).await.unwrap().pop().unwrap();
    tx.commit().await.unwrap();
    let key = ObjectKey::segment(other.placement(), foreign.id.uuid());
    let foreign = std::fs::read(lab.test.objects_dir().join(key.as_str())).unwrap();

    let file = lab.file(hurt.id);
    let whole = std::fs::read(&file).unwrap();
    let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![
        ("gone".to_owned(), None),
        ("empty".to_owned(), Some(Vec::new())),
        ("half".to_owned(), Some(whole[..whole.len() / 2].to_vec())),
        (
            "a byte short".to_owned(),
            Some(whole[..whole.len() - 1].to_vec()),
        ),
        ("another tenant's".to_owned(), Some(foreign)),
        (
            "another segment's".to_owned(),
            Some(std::fs::read(lab.file(well.id)).unwrap()),
        ),
    ];
    let mut parts = sections(&hurt.footer);
    parts.push(("footer", whole.len() - hurt.footer.len(), hurt.footer.len()));
    assert_eq!(parts.len(), 7, "a small segment has no clusters");
    for (name, start, length) in parts {
        for at in [start, start + length / 2, start + length - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            damages.push((format!("{name} at {}", at - start), Some(flipped)));
        }
    }

    let (all, rest) = (lab.without(&[]), lab.without(&["hurt.txt"]));
    let placement = lab.tenant.placement();
    for (what, bytes) in damages {
        let warm = searching(&lab.test.store, 9);
        lab.check(&warm).await;
        match &bytes {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let cold = searching(&lab.test.store, 1);
        let found = lab.everything(&cold).await;
        assert_eq!(found, (rest.clone(), vec![hurt.id]), "{what}");
        // A view from before may have read what is damaged now: then it answers in full.
        let found = lab.everything(&warm).await;
        let is_whole = found == (all.clone(), vec![]);
        assert!(is_whole || found == (rest.clone(), vec![hurt.id]), "{what}");
        // What is best is out of reach, so the next best fill the list.
        for text in ["crane", "\"crane\""] {
            for mode in [Mode::Hybrid, Mode::Dense, Mode::Lexical] {
                let few = query(text, axis(0), mode, 5);
                let found = cold.search(placement, few).await.unwrap();
                // A block that the question needs nothing of can't be missed.
                let may_be_whole = what.starts_with("vectors") || what.starts_with("texts");
                let is_named = found.missing == [hurt.id];
                assert!(is_named || may_be_whole, "{what} {mode:?} {text}");
                assert_eq!(found.missing.is_empty(), !is_named);
                let seen = if is_named { &rest } else { &all };
                let found = bodies(found);
                assert_eq!(found.len(), 5, "{what} {mode:?} {text}");
                assert!(found.iter().all(|body| seen.contains(body)), "{what}");
            }
        }
        for (name, (source, bodies)) in &lab.oracle {
            let page = cold
                .passages(placement, *source, PageRequest::first())
                .await;
            if let Err(Error::Missing { segment }) = page {
                assert_eq!((name.as_str(), segment), ("hurt.txt", hurt.id), "{what}");
                continue;
            }
            let page = page.unwrap();
            let found = page.items.iter().map(|passage| &passage.body);
            assert!(found.eq(bodies.iter().take(50)), "{what} {name}");
        }
        // Moving passages around it loses nothing.
        let before = lab.segments().await;
        if let Err(error) = lab.fold(&cold).await {
            assert!(
                matches!(error, Error::Segment { .. } | Error::Store(_)),
                "{what}: {error}"
            );
        }
        assert!(
            lab.segments()
                .await
                .iter()
                .any(|segment| segment.id == hurt.id),
            "{what}"
        );
        assert!(before.len() <= 3, "{what}");
        let found = lab.everything(&cold).await;
        assert_eq!(found, (rest.clone(), vec![hurt.id]), "{what}");

        std::fs::write(&file, &whole).unwrap();
        for search in [&cold, &warm, &keeping] {
            lab.check(search).await;
        }
    }
}

#[tokio::test]
async fn with_the_object_store_down_what_is_in_memory_is_still_found() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let (warm, elsewhere) = (searching(&store, 9), searching(&lab.test.store, 9));
    lab.put_rows("old.txt", 0, 60).await;
    lab.fold(&elsewhere).await.unwrap();
    let old = lab.segments().await.pop().unwrap().id;
    lab.put_rows("tail.txt", 3, 10).await;
    // Blocks that are read again and again stay in memory.
    for _ in 0..4 {
        lab.check(&warm).await;
    }

    unreliable.fail_all(Some(Fault::Error));
    for _ in 0..2 {
        lab.check(&warm).await;
    }
    lab.put_rows("new.txt", 5, 10).await;
    lab.check(&warm).await;
    let cold = searching(&store, 9);
    let found = lab.everything(&cold).await;
    assert_eq!(found, (lab.without(&["old.txt"]), vec![old]));
    let failed = lab.fold(&cold).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);

    // Another node reaches the store, and moves the tail out of memory.
    lab.fold(&elsewhere).await.unwrap();
    let new = lab.segments().await.pop().unwrap().id;
    lab.put_rows("later.txt", 6, 10).await;
    for _ in 0..2 {
        let found = lab.everything(&warm).await;
        assert_eq!(found, (lab.without(&["tail.txt", "new.txt"]), vec![new]));
        let found = lab.everything(&cold).await;
        assert_eq!(
            found,
            (
                lab.without(&["tail.txt", "new.txt", "old.txt"]),
                vec![old, new]
            )
        );
    }
    unreliable.fail_all(None);
    for _ in 0..4 {
        lab.check(&warm).await;
        lab.check(&cold).await;
    }

    // Reads that hang hold up those who wait for them, and nobody after them.
    let waiting = searching(&store, 9);
    waiting.prefetch(lab.tenant.placement()).await.unwrap();
    unreliable.fail_all(Some(Fault::Hang));
    unreliable.reset_counts();
    let mut search = Box::pin(lab.everything(&waiting));
    held_when(search.as_mut(), || unreliable.counts().reads > 0).await;
    drop(search);
    lab.check(&warm).await;
    unreliable.fail_all(None);
    unreliable.delay(Duration::from_millis(50), Duration::ZERO);
    lab.check(&waiting).await;
}

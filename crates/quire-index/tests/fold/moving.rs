//! Passages that move while others write, sweep and move them, too: nothing is lost, and nothing is there twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use quire_index::Error;
use quire_testkit::unreliable::{Fault, Operation};
use quire_types::{ErrorKind, Kind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::lab::{DIMENSION, Lab, broken_off, held_when, searching};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_off_anywhere_and_repeated_nothing_is_lost_and_nothing_twice() {
    let mut lab = Lab::new().await;
    lab.change().await;
    lab.fold(&searching(&lab.test.store, 1)).await.unwrap();
    let mut seen = BTreeSet::new();
    let (mut polls, mut wholes) = (0, 0);
    // It is not woken equally often each time, so the end is passed several times.
    while wholes < 5 {
        lab.change().await;
        let search = searching(&lab.test.store, 1);
        let whole = broken_off(Box::pin(lab.fold(&search)), polls).await;
        let is_moved = lab.tail_rows().await == 0;
        seen.insert((is_moved, lab.segments().await.len()));
        lab.check(&search).await;
        lab.fold(&search).await.unwrap();
        lab.check(&search).await;
        lab.check(&searching(&lab.test.store, 1)).await;
        assert_eq!((lab.tail_rows().await, lab.segments().await.len()), (0, 1));
        wholes += usize::from(whole.is_some());
        polls += 1;
        assert!(polls < 2_000, "only {seen:?}");
    }
    // Nothing had happened, the tail had moved, and that was merged as well.
    let steps = BTreeSet::from([(false, 1), (true, 2), (true, 1)]);
    assert!(seen.is_superset(&steps), "only {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_move_passages_while_a_third_writes() {
    const SEGMENTS: usize = 2;
    let mut lab = Lab::new().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let search = searching(&lab.test.reopened(8).await, SEGMENTS);
        let (placement, is_over) = (lab.tenant.placement(), is_over.clone());
        nodes.push(tokio::spawn(async move {
            let mut moved = (0, 0);
            while !is_over.load(Ordering::SeqCst) {
                let folded = search.fold(placement).await.unwrap();
                moved = (moved.0 + folded.folded, moved.1 + folded.merged);
            }
            (search, moved)
        }));
    }
    let third = searching(&lab.test.store, SEGMENTS);
    let mut rng = StdRng::seed_from_u64(8);
    for step in 0..120 {
        let name = format!("{}.txt", rng.random_range(0..12));
        if rng.random_bool(0.7) {
            lab.put_rows(&name, step % DIMENSION, rng.random_range(1..30))
                .await;
        } else if lab.oracle.contains_key(&name) {
            lab.delete(&name).await;
        }
        let (found, missing) = lab.everything(&third).await;
        assert_eq!((found, missing), (lab.without(&[]), vec![]), "step {step}");
    }
    is_over.store(true, Ordering::SeqCst);
    let (one, other) = (
        nodes.remove(0).await.unwrap(),
        nodes.remove(0).await.unwrap(),
    );
    assert!(one.1.0 + other.1.0 > 0 && one.1.1 + other.1.1 > 0);
    let (one, other) = (one.0, other.0);
    let (left, right) = tokio::join!(lab.fold(&one), lab.fold(&other));
    left.and(right).unwrap();
    for search in [&one, &other, &third, &searching(&lab.test.store, 1)] {
        lab.check(search).await;
    }
    assert_eq!(lab.tail_rows().await, 0);
    assert!(lab.segments().await.len() <= SEGMENTS);
    let (known, objects) = lab.objects().await;
    assert_eq!(known, objects, "whoever came second left something behind");
}

#[tokio::test]
async fn what_changes_while_a_merge_is_under_way_stays_as_it_is() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let (keeping, merging) = (searching(&store, 9), searching(&store, 1));
    let elsewhere = searching(&lab.test.store, 1);
    // No put can be over before it is seen that it began.
    unreliable.delay(Duration::ZERO, Duration::from_millis(20));
    for (comes_second, fault) in [(false, None), (true, None), (true, Some(Fault::Error))] {
        for name in ["stays.txt", "goes.txt", "changes.txt"] {
            lab.put_rows(name, 0, 20).await;
            lab.fold(&keeping).await.unwrap();
        }
        assert!(lab.segments().await.len() > 1);
        unreliable.reset_counts();
        let mut merge = Box::pin(merging.fold(lab.tenant.placement()));
        held_when(merge.as_mut(), || unreliable.counts().writes > 0).await;
        // The survivors are chosen and their file is being written.
        lab.delete("goes.txt").await;
        lab.put_rows("changes.txt", 1, 7).await;
        lab.check(&elsewhere).await;
        if comes_second {
            let first = lab.fold(&elsewhere).await.unwrap();
            assert!(first.merged > 0);
        }
        if let Some(fault) = fault {
            unreliable.fail(Operation::Delete, 1, fault);
        }
        let merged = merge.await;
        // Whoever is first merges again at once, since most of the new segment is dead by now.
        let expected = if comes_second { 0 } else { 40 };
        match fault {
            None => assert_eq!(merged.unwrap().merged, expected),
            Some(_) => assert_eq!(merged.unwrap_err().kind(), ErrorKind::Unavailable),
        }
        for search in [&merging, &elsewhere, &keeping, &searching(&store, 1)] {
            lab.check(search).await;
        }
        // The next one drops what died meanwhile.
        lab.fold(&elsewhere).await.unwrap();
        lab.check(&elsewhere).await;
        let rows: i32 = lab
            .segments()
            .await
            .iter()
            .map(|segment| segment.rows)
            .sum();
        assert_eq!(rows, 27);
        let (known, objects) = lab.objects().await;
        // What can't be removed is left to the sweep, which knows it.
        assert_eq!(objects, known);
    }
}

#[tokio::test]
async fn a_sweep_that_comes_before_a_slow_fold_costs_a_try_and_loses_nothing() {
    let mut lab = Lab::new().await;
    let (store, unreliable) = lab.unreliable().await;
    let placement = lab.tenant.placement();
    let (slow, elsewhere) = (searching(&store, 1), searching(&lab.test.store, 1));
    unreliable.delay(Duration::ZERO, Duration::from_millis(20));
    for merges in [false, true] {
        for _ in 0..=usize::from(merges) {
            lab.put_rows(&format!("{}.txt", lab.versions), 0, 20).await;
            if merges {
                lab.fold(&searching(&store, 9)).await.unwrap();
            }
        }
        unreliable.reset_counts();
        let mut fold = Box::pin(slow.fold(placement));
        held_when(fold.as_mut(), || unreliable.counts().writes > 0).await;
        // Another node, whose clock is far ahead, or whose sweep comes after a long pause of the first.
        let ahead = SystemTime::now() + Duration::from_hours(9_000);
        let grace = Duration::from_hours(24);
        let swept = elsewhere.sweep(placement, ahead.into(), grace, false);
        let swept = swept.await.unwrap();
        assert!(!swept.retired.is_empty());
        let late = fold.await.unwrap_err();
        assert!(
            matches!(late, Error::Store(quire_store::Error::Swept)),
            "{late}"
        );
        assert_eq!(late.kind(), ErrorKind::Unavailable);
        lab.check(&elsewhere).await;
        lab.fold(&slow).await.unwrap();
        assert_eq!(lab.tail_rows().await, 0);
        for search in [&slow, &elsewhere, &searching(&store, 1)] {
            lab.check(search).await;
        }
        // What was stored all the same goes with the next sweep.
        let ahead = SystemTime::now() + Duration::from_hours(9_000);
        let swept = elsewhere.sweep(placement, ahead.into(), grace, false);
        swept.await.unwrap();
        let (known, objects) = lab.objects().await;
        assert_eq!(objects, known);
        lab.check(&elsewhere).await;
    }
}

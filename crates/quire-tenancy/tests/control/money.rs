//! Budgets: never beyond the bound, never free, never stuck.

use std::sync::Arc;

use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Reason, budgets};
use quire_types::NanoUsd;

use crate::support::{Lab, ask, caller, question};

const MONTH: &str = "cost/tenant/month";

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_spends_the_last_cent_twice() {
    let lab = Lab::new().await;
    let limits = [
        ("cost_per_day", "$1"),
        ("cost_per_month", "$1"),
        ("user_cost_per_month", "$0.60"),
        ("running_requests", "500"),
        ("waiting_requests", "500"),
    ];
    let tenant = lab.tenant("race", &limits).await;
    let processes = Arc::new([lab.other(), lab.other()]);
    // Twenty times what there is, in three nested budgets, from two processes.
    let spenders: Vec<_> = (0..200)
        .map(|number: usize| {
            let (processes, tenant) = (processes.clone(), tenant.clone());
            tokio::spawn(async move {
                let process = &processes[number % 2];
                let caller = caller(process, &tenant).await;
                let mut call = question("0.1");
                call.user = Some(format!("user-{}", number % 3));
                let admitted = loop {
                    match process.admit(&caller, call.clone()).await {
                        Ok(admitted) => break admitted,
                        // The database took longer than anybody waits for his turn.
                        Err(refusal) if refusal.reason == Reason::Unknown => {}
                        Err(_) => return 0,
                    }
                };
                if admitted.route != quire_tenancy::Route::Full {
                    return 0;
                }
                let attempt = admitted
                    .attempt(Kind::Chat, 1, "test", "gpt", (usd("0.1"), usd("0.01")))
                    .await
                    .unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                attempt.close(Quantities::default(), usd("0.1"));
                1
            })
        })
        .collect();
    let mut served = 0;
    for spender in spenders {
        served += spender.await.unwrap();
    }
    for process in processes.iter() {
        process.settle().await.unwrap();
    }
    let (spent, held) = lab.budget(&tenant, MONTH).await;
    assert_eq!(held, 0);
    assert_eq!(spent, i64::from(served) * usd("0.1").nanos());
    assert!(
        (5..=10).contains(&served),
        "{served} of 10 that could be paid"
    );
}

#[tokio::test]
async fn without_money_left_the_cheaper_way_is_left() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("cheaper", &[("cost_per_month", "$0.10")]).await;
    let admitted = lab.ask(&tenant, "0.2").await.unwrap();
    assert_eq!(
        admitted.route,
        quire_tenancy::Route::Cheaper(Reason::Budget)
    );
}

#[tokio::test]
async fn questions_of_a_month_end_and_the_refusal_says_when_they_begin_again() {
    let lab = Lab::new().await;
    let tenant = lab
        .tenant("questions", &[("questions_per_month", "3")])
        .await;
    for _ in 0..3 {
        lab.ask(&tenant, "0")
            .await
            .unwrap()
            .note(Kind::Question, Quantities::default());
    }
    let refusal = lab.ask(&tenant, "0").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::Budget);
    assert!(
        refusal.text.contains("3 questions of this month"),
        "{}",
        refusal.text
    );
    assert!(refusal.retry_after.is_some());
    // A question that was not answered is not counted.
    lab.limit(&tenant, "questions_per_month", Some("4")).await;
    drop(lab.ask(&tenant, "0").await.unwrap());
    assert!(lab.ask(&tenant, "0").await.is_ok());
}

#[tokio::test]
async fn what_was_used_beyond_the_hold_is_charged_all_the_same() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("overage", &[("cost_per_month", "$1")]).await;
    let admitted = lab.ask(&tenant, "0.5").await.unwrap();
    let prices = (usd("0.5"), usd("0.1"));
    let attempt = admitted
        .attempt(Kind::Chat, 1, "test", "gpt", prices)
        .await
        .unwrap();
    attempt.close(Quantities::default(), usd("2"));
    drop(admitted);
    lab.control.settle().await.unwrap();
    assert_eq!(lab.budget(&tenant, MONTH).await, (usd("2").nanos(), 0));
    let next = lab.ask(&tenant, "0.01").await.unwrap();
    assert_eq!(next.route, quire_tenancy::Route::Cheaper(Reason::Budget));
}

#[tokio::test]
async fn nobody_knows_is_never_free() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("unknown", &[("cost_per_month", "$10")]).await;
    let admitted = lab.ask(&tenant, "1").await.unwrap();
    let prices = (usd("1"), usd("0.1"));
    // Broken off before the first word: what was sent is paid.
    drop(
        admitted
            .attempt(Kind::Chat, 1, "test", "gpt", prices)
            .await
            .unwrap(),
    );
    // Broken off in the middle: everything that was reserved.
    let mut attempt = admitted
        .attempt(Kind::Chat, 2, "test", "gpt", prices)
        .await
        .unwrap();
    attempt.began();
    drop(attempt);
    drop(admitted);
    lab.control.settle().await.unwrap();
    assert_eq!(lab.budget(&tenant, MONTH).await, (usd("1.1").nanos(), 0));
    assert_eq!(lab.sum_of_today(&tenant).await.cost, usd("1.1").nanos());
}

#[tokio::test]
async fn a_process_that_dies_is_charged_what_it_sent_and_frees_the_rest() {
    let lab = Lab::new().await;
    let tenant = lab
        .tenant(
            "dies",
            &[("cost_per_month", "$10"), ("questions_per_month", "100")],
        )
        .await;
    let dying = lab.other();
    let admitted = ask(&dying, &tenant, "1").await.unwrap();
    let prices = (usd("1"), usd("0.1"));
    let attempt = admitted
        .attempt(Kind::Chat, 1, "test", "gpt", prices)
        .await
        .unwrap();
    assert_eq!(lab.budget(&tenant, MONTH).await, (0, usd("1").nanos()));
    // As after kill -9: nothing of this process is heard any more.
    std::mem::forget((attempt, admitted, dying));
    lab.age_holds().await;
    assert_eq!(budgets::sweep(&lab.db.store).await.unwrap(), 1);
    assert_eq!(lab.budget(&tenant, MONTH).await, (usd("1").nanos(), 0));
    assert_eq!(lab.budget(&tenant, "questions/tenant/month").await, (0, 0));
    assert_eq!(lab.sum_of_today(&tenant).await.cost, usd("1").nanos());
}

#[tokio::test]
async fn a_process_that_only_slept_is_charged_the_difference() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("slept", &[("cost_per_month", "$10")]).await;
    let admitted = lab.ask(&tenant, "1").await.unwrap();
    let prices = (usd("1"), usd("0.1"));
    let attempt = admitted
        .attempt(Kind::Chat, 1, "test", "gpt", prices)
        .await
        .unwrap();
    lab.age_holds().await;
    assert_eq!(budgets::sweep(&lab.db.store).await.unwrap(), 1);
    assert_eq!(lab.budget(&tenant, MONTH).await, (usd("1").nanos(), 0));
    attempt.close(Quantities::default(), usd("0.3"));
    drop(admitted);
    lab.control.settle().await.unwrap();
    assert_eq!(lab.budget(&tenant, MONTH).await, (usd("0.3").nanos(), 0));
    lab.control.settle().await.unwrap();
    assert_eq!(
        lab.budget(&tenant, MONTH).await,
        (usd("0.3").nanos(), 0),
        "once"
    );
}

#[tokio::test]
async fn a_dead_hold_stands_in_nobodys_way() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("in-the-way", &[("cost_per_month", "$1")]).await;
    let dead = lab.other();
    std::mem::forget(ask(&dead, &tenant, "1").await.unwrap());
    assert_ne!(
        lab.ask(&tenant, "1").await.unwrap().route,
        quire_tenancy::Route::Full
    );
    lab.age_holds().await;
    // Nobody swept: whoever is refused looks for dead holds first.
    assert_eq!(
        lab.ask(&tenant, "1").await.unwrap().route,
        quire_tenancy::Route::Full
    );
}

#[tokio::test]
async fn a_limit_that_comes_late_knows_what_was_spent_before_it() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("late-limit", &[]).await;
    let admitted = lab.ask(&tenant, "1").await.unwrap();
    let prices = (usd("1"), usd("0.1"));
    let attempt = admitted
        .attempt(Kind::Chat, 1, "test", "gpt", prices)
        .await
        .unwrap();
    attempt.close(Quantities::default(), usd("0.9"));
    drop(admitted);
    lab.control.settle().await.unwrap();
    // A downgrade below what is used refuses what is new and takes nothing away.
    lab.limit(&tenant, "cost_per_month", Some("$0.50")).await;
    assert_ne!(
        lab.ask(&tenant, "0.01").await.unwrap().route,
        quire_tenancy::Route::Full
    );
    lab.limit(&tenant, "cost_per_month", Some("$1")).await;
    assert_eq!(
        lab.ask(&tenant, "0.05").await.unwrap().route,
        quire_tenancy::Route::Full
    );
    assert_ne!(
        lab.ask(&tenant, "0.2").await.unwrap().route,
        quire_tenancy::Route::Full
    );
}

//! Rates, states, seats and what comes back when a request does not run.

use std::time::Duration;

use quire_tenancy::{Reason, lifecycle};
use quire_testkit::postgres::eventually;
use quire_types::{RequestId, TenantState};

use crate::support::{Lab, ask, caller, question};

#[tokio::test]
async fn a_rate_lets_its_burst_through_and_says_when_to_come_back() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("rate", &[("requests_per_minute", "12")]).await;
    for left in (0..3).rev() {
        let admitted = lab.ask(&tenant, "0").await.unwrap();
        let rate = admitted.rate.unwrap();
        assert_eq!((rate.per_minute, rate.remaining), (12, left));
    }
    let refusal = lab.ask(&tenant, "0").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::Rate);
    let wait = refusal.retry_after.unwrap();
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(5),
        "{wait:?}"
    );
}

#[tokio::test]
async fn processes_share_one_rate() {
    let lab = Lab::new().await;
    let tenant = lab
        .tenant("shared-rate", &[("requests_per_minute", "240")])
        .await;
    let processes = [lab.other(), lab.other(), lab.other(), lab.other()];
    let started = std::time::Instant::now();
    let (mut asked, mut admitted) = (0, 0_u32);
    while asked < 100 || started.elapsed() < Duration::from_secs(3) {
        for process in &processes {
            asked += 1;
            admitted += u32::from(ask(process, &tenant, "0").await.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A burst of 60, then 4 a second.
    let most = 60 + (started.elapsed().as_secs_f64() * 4.0).ceil() as u32;
    assert!(admitted <= most, "{admitted} > {most}");
    assert!(admitted >= 60, "{admitted}");
}

#[tokio::test]
async fn a_user_and_a_key_have_rates_of_their_own_and_all_count_or_none() {
    let lab = Lab::new().await;
    let limits = [
        ("requests_per_minute", "12"),
        ("user_requests_per_minute", "4"),
    ];
    let tenant = lab.tenant("user-rate", &limits).await;
    let caller = caller(&lab.control, &tenant).await;
    let by = |user: &str| {
        let mut call = question("0");
        call.user = Some(user.to_owned());
        call
    };
    lab.control.admit(&caller, by("ann")).await.unwrap();
    for _ in 0..20 {
        let refusal = lab.control.admit(&caller, by("ann")).await.err().unwrap();
        assert_eq!(refusal.reason, Reason::Rate);
        assert!(refusal.text.contains("user"), "{}", refusal.text);
    }
    // What was refused for the user's sake took nothing from the tenant's burst of three.
    let admitted = lab.control.admit(&caller, by("bob")).await.unwrap();
    assert!(admitted.rate.unwrap().remaining >= 1);
}

#[tokio::test]
async fn a_zero_limit_refuses_and_a_change_counts_at_once() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("zero", &[("requests_per_minute", "0")]).await;
    let refusal = lab.ask(&tenant, "0").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::Plan);
    lab.limit(&tenant, "requests_per_minute", Some("100")).await;
    assert!(lab.ask(&tenant, "0").await.is_ok());
    lab.limit(&tenant, "requests_per_minute", None).await;
    assert!(lab.ask(&tenant, "0").await.is_ok());
}

#[tokio::test]
async fn a_change_in_another_process_is_heard_of() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("heard", &[]).await;
    let other = lab.other();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(other.clone().run(stop.clone()));
    assert!(ask(&other, &tenant, "0").await.is_ok());
    lab.limit(&tenant, "running_requests", Some("0")).await;
    eventually("the other process knows", async || {
        ask(&other, &tenant, "0").await.is_err()
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_suspended_tenant_gets_nothing_and_what_runs_is_told() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("suspended", &[]).await;
    let running = lab.ask(&tenant, "0").await.unwrap();
    let mut tx = lab.db.store.system().await.unwrap();
    lifecycle::set_state(&mut tx, tenant.id, TenantState::Suspended)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    lab.control.forget(tenant.id);
    assert_eq!(running.revoked().await.reason, Reason::State);
    assert_eq!(
        lab.ask(&tenant, "0").await.err().unwrap().reason,
        Reason::State
    );

    let mut tx = lab.db.store.system().await.unwrap();
    lifecycle::set_state(&mut tx, tenant.id, TenantState::Closing)
        .await
        .unwrap();
    let reopened = lifecycle::set_state(&mut tx, tenant.id, TenantState::Active).await;
    assert!(
        reopened.is_err(),
        "what is being removed does not come back"
    );
}

#[tokio::test]
async fn whoever_insists_is_held_off_without_asking_the_database() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("insists", &[("requests_per_minute", "1")]).await;
    let mut reasons = Vec::new();
    for _ in 0..60 {
        reasons.extend(
            lab.ask(&tenant, "0")
                .await
                .err()
                .map(|refusal| refusal.reason),
        );
    }
    assert_eq!(reasons.last(), Some(&Reason::Throttled));
    let refusal = lab.ask(&tenant, "0").await.err().unwrap();
    assert!(refusal.retry_after.unwrap() > Duration::from_secs(50));
}

#[tokio::test]
async fn a_request_that_finds_no_seat_gives_everything_back() {
    let lab = Lab::new().await;
    let limits = [
        ("requests_per_minute", "12"),
        ("running_requests", "1"),
        ("questions_per_month", "10"),
    ];
    let tenant = lab.tenant("no-seat", &limits).await;
    let caller = caller(&lab.control, &tenant).await;
    let seated = lab.control.admit(&caller, question("0")).await.unwrap();
    for _ in 0..20 {
        let mut hasty = question("0");
        hasty.patience = Duration::from_millis(1);
        let refusal = lab.control.admit(&caller, hasty).await.err().unwrap();
        assert_eq!(refusal.reason, Reason::Seats);
        // A client that goes away while it waits.
        let waiting = lab.control.admit(&caller, question("0"));
        assert!(
            tokio::time::timeout(Duration::from_millis(2), waiting)
                .await
                .is_err()
        );
    }
    drop(seated);
    let admitted = lab.control.admit(&caller, question("0")).await.unwrap();
    let left = admitted.rate.unwrap().remaining;
    assert!(left >= 1, "of a burst of three only what ran counts");
}

#[tokio::test]
async fn a_database_that_does_not_answer_lets_nothing_through_that_costs() {
    let cluster = quire_testkit::postgres::Cluster::start().await;
    let cluster: &'static _ = Box::leak(Box::new(cluster));
    let lab = Lab::on(cluster).await;
    let tenant = lab
        .tenant(
            "down",
            &[("requests_per_minute", "600"), ("cost_per_month", "$5")],
        )
        .await;
    let caller = caller(&lab.control, &tenant).await;
    drop(lab.control.admit(&caller, question("0.01")).await.unwrap());
    cluster.kill().await;
    // A session outlives its server by a moment, and may answer once more.
    eventually("nothing is let in", async || {
        let refusal = lab.control.admit(&caller, question("4")).await.err();
        refusal.is_some_and(|refusal| refusal.reason == Reason::Unknown)
    })
    .await;
    cluster.restart().await;
    eventually("it works again", async || {
        lab.control.admit(&caller, question("0.01")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_same_request_twice_is_charged_once() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("twice", &[]).await;
    let caller = caller(&lab.control, &tenant).await;
    let mut call = question("0");
    call.request = RequestId::generate().uuid();
    for _ in 0..2 {
        let admitted = lab.control.admit(&caller, call.clone()).await.unwrap();
        admitted.note(quire_tenancy::usage::Kind::Question, Default::default());
    }
    lab.control.settle().await.unwrap();
    assert_eq!(lab.sum_of_today(&tenant).await.questions, 1);
}

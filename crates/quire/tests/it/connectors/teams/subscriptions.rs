//! Microsoft Teams: subscriptions that nobody wants any more, floods of notifications, and a database that is too slow
//! for what Graph waits.

use chrono::TimeDelta;
use quire_testkit::remote::RemoteServer;
use quire_testkit::teams::TeamsDouble;

use super::super::contract::{self, Product};
use super::super::{read, until};
use super::{id, meeting, part, tell, vtt};
use crate::support::Quire;

/// Waits until no task of this kind is left.
async fn no_task(quire: &Quire, kind: &str) {
    let admin = quire.caller(&quire.admin_key);
    until("its task is done", async || {
        let tasks = admin.get(&format!("/v1/tasks?kind={kind}")).await.ok();
        tasks.to_string().matches(kind).count() == 0
    })
    .await;
}

/// Waits until everybody's subscriptions are there, and are left alone until they are to be renewed.
async fn is_subscribed(quire: &Quire, teams: &TeamsDouble) {
    let admin = quire.caller(&quire.admin_key);
    until("it is subscribed", async || {
        let tasks = admin.get("/v1/tasks?kind=keep-subscription").await.ok();
        let mut tasks = tasks["items"].as_array().unwrap().iter();
        teams.subscriptions().len() == 2 && tasks.all(|task| task["state"] == "deferred")
    })
    .await;
}

#[tokio::test]
async fn subscriptions_end_with_the_last_connection() {
    let teams = TeamsDouble::start().await.unwrap();
    let quire = contract::up(&teams);
    let (one, two) = (quire.tenant("one").await, quire.tenant("two").await);
    let first = teams.connect(&one, "Meetings").await;
    let second = teams.connect(&two, "Meetings").await;
    read(&one, &first).await;
    read(&two, &second).await;
    is_subscribed(&quire, &teams).await;
    // The other tenant still wants them.
    one.delete(&format!("/v1/connections/{first}"))
        .await
        .is(204);
    no_task(&quire, "end-subscriptions").await;
    assert_eq!(teams.subscriptions().len(), 2);
    assert_eq!(teams.requests("DELETE /subscriptions"), 0);
    // A token that was taken back is no reason to leave them, nor is an organisation that fails once.
    teams.expire_access();
    two.delete(&format!("/v1/connections/{second}?purge=true"))
        .await
        .is(204);
    until("they are ended", async || teams.subscriptions().is_empty()).await;
    no_task(&quire, "end-subscriptions").await;
    assert_eq!(teams.requests("DELETE /subscriptions"), 2);

    // Where quire was thrown out there is nothing to end, and nothing is tried for long.
    let third = teams.connect(&one, "Meetings again").await;
    is_subscribed(&quire, &teams).await;
    teams.revoke();
    one.delete(&format!("/v1/connections/{third}"))
        .await
        .is(204);
    no_task(&quire, "end-subscriptions").await;
    assert_eq!(teams.subscriptions().len(), 2);
}

#[tokio::test]
async fn a_flood_is_looked_at_as_a_whole_and_what_can_not_be_kept_in_time_is_sent_again() {
    let server = RemoteServer::start();
    let teams = TeamsDouble::start().await.unwrap();
    let mut environment = teams.environment();
    environment.push(("QUIRE__DATABASE__URL", server.url("quire")));
    environment.push((
        "QUIRE__CONNECT__ALLOW_NETWORKS",
        "['127.0.0.0/8']".to_owned(),
    ));
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let quire = Quire::up_with(&environment);
    let caller = quire.tenant("flood").await;
    let connection = teams.connect(&caller, "Meetings").await;
    let notebook = read(&caller, &connection).await;
    until("it is subscribed", async || {
        teams.subscriptions().len() == 2
    })
    .await;

    // More than fifty at once: none is asked for by itself, and what is older than any reading looks is found.
    let ago = TimeDelta::days(20);
    let old = part("old-words", ago, vtt("The fence was delivered."));
    teams.put(&id(1), meeting("Fence", vec![old]));
    let names: Vec<String> = (0..60).map(|number| format!("flood-{number}")).collect();
    let meeting_id = id(1);
    let parts: Vec<(&str, &str, &str)> = names
        .iter()
        .map(|name| ("transcripts", meeting_id.as_str(), name.as_str()))
        .collect();
    let body = teams.told(&parts).to_string();
    assert_eq!(tell(&quire, &body).await.status, 202);
    until("everything was looked at", async || {
        let hits = caller.search(&notebook, "fence delivered").await;
        hits.iter().any(|hit| hit.contains("delivered"))
    })
    .await;
    assert_eq!(teams.requests("/communications/transcripts/flood-"), 0);

    // The database is busy for longer than Graph waits.
    let busy = std::thread::spawn(move || {
        let lock = "begin; lock table shard.connections in access exclusive mode; select pg_sleep(12); commit";
        server.run("quire", lock);
        server
    });
    let ago = TimeDelta::hours(2);
    let new = part("new-words", ago, vtt("The gate was painted."));
    teams.put(&id(2), meeting("Gate", vec![new]));
    let (meeting_id, lost) = (id(2), ("transcripts", "lost"));
    let unknown = teams.told(&[(lost.0, &meeting_id, lost.1)]).to_string();
    let mut refused = None;
    while refused.is_none() && !busy.is_finished() {
        let reply = tell(&quire, &unknown).await;
        refused = Some(reply).filter(|reply| reply.status == 503);
    }
    let refused = refused.unwrap();
    assert!(refused.text.contains("send them again"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    let server = busy.join().unwrap();
    let body = teams.told(&[("transcripts", &meeting_id, "new-words")]);
    assert_eq!(tell(&quire, &body.to_string()).await.status, 202);
    until("it is found", async || {
        let hits = caller.search(&notebook, "gate painted").await;
        hits.iter().any(|hit| hit.contains("painted"))
    })
    .await;
    drop((quire, server));
}

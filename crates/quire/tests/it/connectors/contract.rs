//! What every connector keeps: everything there is here once, whatever fails, dies or is taken back in between.

use reqwest::Method;
use serde_json::json;

use super::{names, state, until};
use crate::support::{Caller, Quire};

/// Things on the other side at first; more than a page of any list.
const MANY: usize = 30;

/// Something that can go wrong over there.
pub(super) enum Fault {
    /// 429 with this `Retry-After`.
    RateLimited(u64),
    /// This status.
    Status(u16),
    /// The place at which the next list wants to go on is forgotten.
    Place,
}

/// The other side of a connector.
pub(super) trait Product {
    /// An account without content.
    async fn start() -> Self;
    /// Settings of quire beside leave to reach the double.
    fn environment(&self) -> Vec<(&'static str, String)>;
    /// Connects an account, and returns the connection.
    async fn connect(&self, caller: &Caller, name: &str) -> String;
    /// Gives a connection that was shut out access again.
    async fn renew(&self, caller: &Caller, id: &str);
    /// Adds or changes a thing.
    fn put(&self, number: usize, text: &str);
    /// Takes a thing away.
    fn remove(&self, number: usize);
    /// Answers the next request wrongly.
    fn push(&self, fault: Fault);
    /// Takes the access back.
    fn revoke(&self);
    /// Requests so far.
    fn requests(&self) -> usize;
}

/// A code that no id can hold by chance: ids are written in hexadecimal.
fn gate(number: usize) -> String {
    format!("The code of gate {number} is K{}.", 7_000 + number)
}

pub(super) fn up<P: Product>(product: &P) -> Quire {
    let own = product.environment();
    let mut environment = vec![("QUIRE__CONNECT__ALLOW_NETWORKS", "['127.0.0.0/8']")];
    environment.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
    Quire::up_with(&environment)
}

pub(super) async fn is_kept_by<P: Product>() {
    let product = P::start().await;
    let mut quire = up(&product);
    let mut caller = quire.tenant("owner").await;
    let stranger = quire.tenant("stranger").await;
    for number in 0..MANY {
        product.put(number, &gate(number));
    }

    // First reading: limited twice, a failure, a forgotten place, and a death in the middle.
    let id = product.connect(&caller, "Gates").await;
    product.push(Fault::RateLimited(1));
    product.push(Fault::Status(500));
    product.push(Fault::RateLimited(1));
    product.push(Fault::Place);
    let before = product.requests();
    until("it is in the middle", async || {
        product.requests() > before + 12
    })
    .await;
    quire.kill_and_restart();
    caller.url = quire.caller("").url;
    let notebook = state(&caller, &id).await["notebook"]
        .as_str()
        .unwrap()
        .to_owned();
    until("everything is read", async || {
        state(&caller, &id).await["last_success_at"].is_string()
    })
    .await;
    let mut there = names(&caller, &notebook).await;
    there.sort();
    let count = there.len();
    there.dedup();
    assert_eq!((there.len(), count), (MANY, MANY), "{there:?}");
    let hits = caller.search(&notebook, "code of gate 17").await;
    assert!(hits[0].contains("K7017"), "{hits:?}");

    // What changes, comes and goes.
    product.put(3, "Gate three is closed for good.");
    product.put(MANY, &gate(MANY));
    product.remove(5);
    let sync = format!("/v1/connections/{id}/sync");
    caller.post(&sync, &json!({})).await.is(202);
    until("what changed is found", async || {
        let hits = caller.search(&notebook, "gate three closed for good").await;
        hits.iter().any(|hit| hit.contains("closed for good"))
    })
    .await;
    until("what is gone is gone", async || {
        let hits = caller.search(&notebook, "code of gate 5").await;
        !hits.iter().any(|hit| hit.contains("K7005"))
    })
    .await;
    assert_eq!(names(&caller, &notebook).await.len(), MANY);

    // A limit is no failure; a pause is none either.
    let read_at = state(&caller, &id).await["last_success_at"].clone();
    product.push(Fault::RateLimited(1));
    caller.post(&sync, &json!({})).await.is(202);
    until("it goes on after a limit", async || {
        state(&caller, &id).await["last_success_at"] != read_at
    })
    .await;
    let connection = format!("/v1/connections/{id}");
    let set = async |is_active: bool| {
        let set = json!({ "is_active": is_active });
        caller.patch(&connection, &set).await.ok()["state"].clone()
    };
    assert_eq!(set(false).await, "paused");
    product.put(7, "Gate seven is painted green.");
    caller.post(&sync, &json!({})).await.is(202);
    assert_eq!(set(true).await, "active");
    until("it is read after the pause", async || {
        let hits = caller.search(&notebook, "gate seven painted green").await;
        hits.iter().any(|hit| hit.contains("painted green"))
    })
    .await;

    // Access is taken back: that is said, with what to do, and nothing is lost.
    product.revoke();
    product.put(8, "Gate eight is always open.");
    caller.post(&sync, &json!({})).await;
    until("it has failed", async || {
        state(&caller, &id).await["state"] == "failed"
    })
    .await;
    let failed = state(&caller, &id).await;
    assert!(
        failed["reason"].as_str().unwrap().contains("new"),
        "{failed:#}"
    );
    assert_eq!(names(&caller, &notebook).await.len(), MANY);
    let tested = caller.post(&format!("{connection}/test"), &json!({})).await;
    assert_eq!(tested.status, 403, "{}", tested.text);
    product.renew(&caller, &id).await;
    until("it goes on", async || {
        let hits = caller.search(&notebook, "gate eight always open").await;
        hits.iter().any(|hit| hit.contains("always open"))
    })
    .await;
    assert_eq!(state(&caller, &id).await["state"], "active");
    caller
        .post(&format!("{connection}/test"), &json!({}))
        .await
        .ok();

    // Nobody else sees anything of it, and at the end nothing is left.
    let stranger = quire.caller(&stranger.key);
    let everywhere = json!({ "query": "code of gate 17", "limit": 50 });
    let found = stranger.post("/v1/search", &everywhere).await.ok();
    assert!(!found.to_string().contains("K7017"), "{found:#}");
    caller
        .delete(&format!("{connection}?purge=true"))
        .await
        .is(204);
    assert!(names(&caller, &notebook).await.is_empty());
    assert_eq!(caller.get(&connection).await.status, 404);
    let hook = caller.send(caller.request(Method::POST, &sync)).await;
    assert_eq!(hook.status, 404);
}

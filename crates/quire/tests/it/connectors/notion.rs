//! Notion: what its search hides, moves to the trash or does not share.

use quire_testkit::notion::{self, NotionDouble, NotionPage};
use serde_json::json;

use super::contract::{self, Fault, Product};
use super::{names, read, sees, state, until};
use crate::support::Caller;

fn page(title: &str, text: &str, edited_s: i64) -> NotionPage {
    NotionPage {
        title: title.to_owned(),
        blocks: vec![
            ("An introduction".to_owned(), Vec::new()),
            (
                "A list".to_owned(),
                vec!["One".to_owned(), "Two".to_owned(), text.to_owned()],
            ),
            ("An end".to_owned(), Vec::new()),
        ],
        edited_s,
        in_trash: false,
        is_hidden: false,
    }
}

fn id(number: usize) -> String {
    format!("page-{number:02}")
}

impl Product for NotionDouble {
    async fn start() -> Self {
        Self::start("secret-1").await.unwrap()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    async fn connect(&self, caller: &Caller, name: &str) -> String {
        let new = |secret: &str| {
            json!({ "kind": "notion", "name": name, "secret": secret,
                    "settings": { "base_url": self.base_url() } })
        };
        let refused = caller.post("/v1/connections", &new("wrong")).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        let made = caller.post("/v1/connections", &new("secret-1")).await;
        let made = made.created();
        assert_eq!(made["account"], "Harbor Works");
        assert!(!made.to_string().contains("secret-1"));
        made["id"].as_str().unwrap().to_owned()
    }

    async fn renew(&self, caller: &Caller, id: &str) {
        let path = format!("/v1/connections/{id}");
        let renew = async |secret: &str| caller.patch(&path, &json!({ "secret": secret })).await;
        assert_eq!(renew("secret-1").await.status, 403);
        assert_eq!(renew("secret-2").await.ok()["state"], "active");
    }

    fn put(&self, number: usize, text: &str) {
        let edited_s = i64::try_from(self.requests()).unwrap();
        self.put(&id(number), page(&format!("Gate {number}"), text, edited_s));
    }

    fn remove(&self, number: usize) {
        self.unshare(&id(number));
    }

    fn push(&self, fault: Fault) {
        match fault {
            Fault::RateLimited(seconds) => self.push(notion::Fault::RateLimited(seconds)),
            Fault::Status(status) => self.push(notion::Fault::Status(status)),
            Fault::Place => self.expire_cursor(),
        }
    }

    fn revoke(&self) {
        self.set_token("secret-2");
    }

    fn requests(&self) -> usize {
        self.requests()
    }
}

#[tokio::test]
async fn notion_keeps_the_contract() {
    contract::is_kept_by::<NotionDouble>().await;
}

#[tokio::test]
async fn what_notion_hides_stays_and_what_it_throws_away_goes() {
    let notion = NotionDouble::start("secret-1").await.unwrap();
    let quire = contract::up(&notion);
    let caller = quire.tenant("wiki").await;
    for number in 0..4 {
        Product::put(&notion, number, "Nothing special.");
    }
    let connection = notion.connect(&caller, "Team wiki").await;
    until("everything is read", async || {
        state(&caller, &connection).await["last_success_at"].is_string()
    })
    .await;
    let shown = state(&caller, &connection).await;
    let notebook = shown["notebook"].as_str().unwrap();
    notion.change(&id(0), |page| page.is_hidden = true);
    notion.change(&id(1), |page| page.in_trash = true);
    notion.unshare(&id(2));
    let sync = format!("/v1/connections/{connection}/sync");
    caller.post(&sync, &json!({})).await.is(202);
    until("what is gone is gone", async || {
        names(&caller, notebook).await.len() == 2
    })
    .await;
    let mut left = names(&caller, notebook).await;
    left.sort();
    assert_eq!(left, ["Gate 0", "Gate 3"]);
    // Whoever is shown a citation can be led to the page.
    let sources = caller
        .get(&format!("/v1/notebooks/{notebook}/sources"))
        .await
        .ok();
    let sources = sources["items"].as_array().unwrap();
    let last = sources.iter().find(|source| source["name"] == "Gate 3");
    let source = last.unwrap()["id"].as_str().unwrap();
    let source = caller.get(&format!("/v1/sources/{source}")).await.ok();
    assert_eq!(source["url"], "https://www.notion.so/page-03");
}

#[tokio::test]
async fn pages_are_for_those_whom_the_connection_names() {
    let notion = NotionDouble::start("secret-1").await.unwrap();
    let quire = contract::up(&notion);
    let caller = quire.tenant("some").await;
    notion.put(&id(0), page("Lift", "The lift is booked.", 0));
    let new = json!({ "kind": "notion", "name": "Wiki", "secret": "secret-1", "groups": ["Office"],
                      "settings": { "base_url": notion.base_url() } });
    let made = caller.post("/v1/connections", &new).await.created();
    assert_eq!(made["groups"], json!(["office"]));
    let connection = made["id"].as_str().unwrap();
    let notebook = read(&caller, connection).await;
    assert!(sees(&caller, &notebook, "office").await);
    assert!(!sees(&caller, &notebook, "crew").await);
    let path = format!("/v1/connections/{connection}");
    let change = json!({ "groups": ["crew"] });
    caller.patch(&path, &change).await.ok();
    assert!(sees(&caller, &notebook, "crew").await);
    assert!(!sees(&caller, &notebook, "office").await);
    // What is read from now on is for the same people.
    notion.put(&id(0), page("Lift", "The lift is cancelled.", 60));
    let sync = format!("{path}/sync");
    caller.post(&sync, &json!({})).await.is(202);
    until("the change is found", async || {
        let found = caller.search(&notebook, "lift cancelled").await;
        found.iter().any(|hit| hit.contains("cancelled"))
    })
    .await;
    assert!(!sees(&caller, &notebook, "office").await);
    // Records name groups of their own.
    let hook = json!({ "kind": "webhook", "name": "CMS", "groups": ["office"] });
    caller.post("/v1/connections", &hook).await.is(400);
}

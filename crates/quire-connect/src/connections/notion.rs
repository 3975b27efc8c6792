//! Notion: pages that are shared with the integration, with their nested blocks.
//!
//! News are found by searching from the last edit backwards; every few hours a whole round looks at everything and
//! asks after each page that the search did not show, since it shows not all. The API is that of 2026-03-11.

mod text;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use quire_types::{Secret, Timestamp};

use super::{Connector, Content, Found, Remote, RemotePage};
use crate::Error;
use crate::egress::{Egress, retry_after, unreachable};

const BASE: &str = "https://api.notion.com/v1";
const VERSION: &str = "2026-03-11";
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pages of one search.
const PAGE: usize = 25;
/// Edits may show up a little late, and clocks differ.
const LOOKBACK: TimeDelta = TimeDelta::minutes(5);
/// How often everything is looked at.
const WHOLE_EVERY: TimeDelta = TimeDelta::hours(6);
/// Blocks of one page that are read; more is cut off.
const MOST_BLOCKS: usize = 5_000;
/// Blocks in blocks.
const MOST_DEPTH: usize = 8;

/// A workspace as one integration sees it.
pub(super) struct Notion {
    egress: Egress,
    base: String,
    token: Secret,
}

/// How far it has been read.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Cursor {
    round: i64,
    /// Whether this round looks at everything.
    is_whole: bool,
    /// Where the round goes on; none between rounds.
    start: Option<String>,
    /// The last edit that this round saw.
    newest: Option<Timestamp>,
    /// The last edit that the rounds before saw.
    watermark: Option<Timestamp>,
    /// When everything was looked at.
    whole_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct List {
    results: Vec<Value>,
    next_cursor: Option<String>,
    #[serde(default)]
    has_more: bool,
}

impl Notion {
    /// Reads with this token; `base_url` of the settings is another address than that of Notion.
    pub(super) fn new(egress: Egress, settings: &Value, token: &Secret) -> Result<Self, Error> {
        let base = settings
            .get("base_url")
            .and_then(Value::as_str)
            .unwrap_or(BASE);
        egress.check(base)?;
        Ok(Self {
            egress,
            base: base.trim_end_matches('/').to_owned(),
            token: token.clone(),
        })
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let url = format!("{}{path}", self.base);
        Ok(self
            .egress
            .request(method, &url)?
            .bearer_auth(self.token.expose())
            .header("notion-version", VERSION)
            .timeout(TIMEOUT))
    }

    async fn send<T: serde::de::DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        match status {
            200..=299 => response.json().await.map_err(unreachable),
            // 529: Notion itself has too much to do.
            429 | 529 => Err(Error::Status {
                status: 429,
                retry_after: retry_after(&response),
            }),
            status => Err(Error::Status {
                status,
                retry_after: None,
            }),
        }
    }

    async fn search(&self, start: Option<&str>) -> Result<List, Error> {
        let mut body = json!({
            "filter": { "property": "object", "value": "page" },
            "sort": { "timestamp": "last_edited_time", "direction": "descending" },
            "page_size": PAGE,
        });
        if let Some(start) = start {
            body["start_cursor"] = start.into();
        }
        Self::send(self.request(Method::POST, "/search")?.json(&body)).await
    }

    /// The blocks of a page in reading order, each with its depth.
    async fn blocks(&self, id: &str) -> Result<Vec<(usize, Value)>, Error> {
        let mut found = Vec::new();
        let mut open = vec![Open::new(0, id)];
        while let Some(last) = open.last_mut() {
            let Some(block) = last.blocks.next() else {
                match last.next.take() {
                    Some(start) => {
                        let list = self.children(&last.id, start.as_deref()).await?;
                        last.next = list.next_cursor.filter(|_| list.has_more).map(Some);
                        last.blocks = list.results.into_iter();
                    }
                    None => drop(open.pop()),
                }
                continue;
            };
            if found.len() >= MOST_BLOCKS {
                break;
            }
            let depth = last.depth;
            // Pages in pages are pages of their own.
            let is_own = matches!(
                block["type"].as_str(),
                Some("child_page" | "child_database")
            );
            let goes_deeper = block["has_children"] == true && depth < MOST_DEPTH && !is_own;
            if let Some(id) = block["id"].as_str().filter(|_| goes_deeper) {
                open.push(Open::new(depth + 1, id));
            }
            found.push((depth, block));
        }
        Ok(found)
    }

    async fn children(&self, id: &str, start: Option<&str>) -> Result<List, Error> {
        let start = start.map(|start| format!("&start_cursor={start}"));
        let path = format!(
            "/blocks/{id}/children?page_size=100{}",
            start.unwrap_or_default()
        );
        Self::send(self.request(Method::GET, &path)?).await
    }
}

/// A block whose children are being read.
struct Open {
    depth: usize,
    id: String,
    blocks: std::vec::IntoIter<Value>,
    /// The page of children to read next: the first, one after a cursor, or none.
    next: Option<Option<String>>,
}

impl Open {
    fn new(depth: usize, id: &str) -> Self {
        Self {
            depth,
            id: id.to_owned(),
            blocks: Vec::new().into_iter(),
            next: Some(None),
        }
    }
}

/// A page as the search and the page itself show it; none when it is in the trash.
fn remote(page: &Value) -> Option<Remote> {
    let is_gone = page["in_trash"] == true || page["archived"] == true;
    let id = page["id"].as_str().filter(|_| !is_gone)?;
    Some(Remote {
        id: id.to_owned(),
        version: page["last_edited_time"].as_str()?.to_owned(),
        title: text::title(page),
        url: page["url"].as_str().map(str::to_owned),
        // The API tells nothing of who may see a page.
        groups: None,
    })
}

fn edited_at(item: &Remote) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc3339(&item.version).ok()?;
    Some(at.to_utc())
}

#[async_trait]
impl Connector for Notion {
    async fn test(&self) -> Result<String, Error> {
        let me: Value = Self::send(self.request(Method::GET, "/users/me")?).await?;
        let workspace = me["bot"]["workspace_name"].as_str().or(me["name"].as_str());
        Ok(workspace.unwrap_or("a workspace").to_owned())
    }

    async fn page(&self, cursor: &Value) -> Result<RemotePage, Error> {
        let mut cursor: Cursor = serde_json::from_value(cursor.clone()).unwrap_or_default();
        let now = Utc::now();
        if cursor.start.is_none() {
            cursor.round += 1;
            cursor.newest = None;
            cursor.is_whole = cursor.whole_at.is_none_or(|at| now - at > WHOLE_EVERY);
        }
        let list = match self.search(cursor.start.as_deref()).await {
            Ok(list) => list,
            // The place to go on has expired: the round begins again, and what is known is not read twice.
            Err(Error::Status { status: 400, .. }) if cursor.start.is_some() => {
                cursor.start = None;
                cursor.round -= 1;
                return Ok(RemotePage {
                    round: cursor.round,
                    cursor: json!(cursor),
                    has_more: true,
                    ..RemotePage::default()
                });
            }
            Err(error) => return Err(error),
        };
        let since = cursor
            .watermark
            .filter(|_| !cursor.is_whole)
            .map(|at| at - LOOKBACK);
        let mut items = Vec::new();
        let mut gone = Vec::new();
        let mut is_known_from_here = false;
        for page in &list.results {
            match remote(page) {
                Some(item) => {
                    let at = edited_at(&item);
                    cursor.newest = cursor.newest.max(at);
                    is_known_from_here |= since.is_some() && at < since;
                    items.push(item);
                }
                None => gone.extend(page["id"].as_str().map(str::to_owned)),
            }
        }
        cursor.start = list
            .next_cursor
            .filter(|_| list.has_more && !is_known_from_here);
        let has_more = cursor.start.is_some();
        if !has_more {
            cursor.watermark = cursor.watermark.max(cursor.newest);
            if cursor.is_whole {
                cursor.whole_at = Some(now);
            }
        }
        Ok(RemotePage {
            items,
            gone,
            has_more,
            ends_whole_round: !has_more && cursor.is_whole,
            round: cursor.round,
            cursor: json!(cursor),
            ..RemotePage::default()
        })
    }

    fn whole(&self, cursor: &Value) -> Value {
        let cursor: Cursor = serde_json::from_value(cursor.clone()).unwrap_or_default();
        json!(Cursor {
            start: None,
            whole_at: None,
            ..cursor
        })
    }

    async fn find(&self, id: &str) -> Result<Found, Error> {
        let page: Result<Value, Error> =
            Self::send(self.request(Method::GET, &format!("/pages/{id}"))?).await;
        match page {
            Ok(page) => Ok(remote(&page).into()),
            // Not shared with us any more looks the same.
            Err(Error::Status {
                status: 403 | 404, ..
            }) => Ok(Found::Gone),
            Err(error) => Err(error),
        }
    }

    async fn content(&self, item: &mut Remote) -> Result<Option<Content>, Error> {
        let page: Value =
            match Self::send(self.request(Method::GET, &format!("/pages/{}", item.id))?).await {
                Ok(page) => page,
                Err(Error::Status {
                    status: 403 | 404, ..
                }) => return Ok(None),
                Err(error) => return Err(error),
            };
        if remote(&page).is_none() {
            return Ok(None);
        }
        match self.blocks(&item.id).await {
            Ok(blocks) => Ok(Some(Content::Text(text::of(&page, &blocks)))),
            Err(Error::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

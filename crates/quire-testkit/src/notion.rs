//! Notion over real HTTP: search, pages and blocks with their cursors, versions of the API, rate limits, tokens
//! that are revoked, places that expire, and pages that the search does not show.
//!
//! Shapes follow the API of 2026-03-11; every list is cut into small pages.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Children of a block in one answer.
const CHILDREN: usize = 2;

/// An answer in place of the right one.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 429 with this `Retry-After`.
    RateLimited(u64),
    /// This status.
    Status(u16),
}

/// A page of the workspace.
#[derive(Clone, Debug)]
pub struct NotionPage {
    /// Its title.
    pub title: String,
    /// Its blocks: texts, each with the texts below it.
    pub blocks: Vec<(String, Vec<String>)>,
    /// When it was last edited, in seconds since 2025 began.
    pub edited_s: i64,
    /// Whether it is in the trash.
    pub in_trash: bool,
    /// Whether the search leaves it out, as it sometimes does.
    pub is_hidden: bool,
}

#[derive(Debug, Default)]
struct Workspace {
    token: String,
    pages: BTreeMap<String, NotionPage>,
    faults: VecDeque<Fault>,
    /// Places to go on that are not known any more.
    expires: bool,
    requests: usize,
}

/// The running workspace; it ends when it is dropped.
#[derive(Debug)]
pub struct NotionDouble {
    base_url: String,
    workspace: Arc<Mutex<Workspace>>,
    server: JoinHandle<()>,
}

impl NotionDouble {
    /// A workspace that is open to this token.
    pub async fn start(token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let workspace = Workspace {
            token: token.to_owned(),
            ..Workspace::default()
        };
        let workspace = Arc::new(Mutex::new(workspace));
        let router = Router::new()
            .route("/v1/users/me", get(me))
            .route("/v1/search", post(search))
            .route("/v1/pages/{id}", get(page))
            .route("/v1/blocks/{id}/children", get(children))
            .with_state(workspace.clone());
        let server = tokio::spawn(async move {
            // Serving ends only when the task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            base_url,
            workspace,
            server,
        })
    }

    /// The address to configure.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Adds or changes a page.
    pub fn put(&self, id: &str, page: NotionPage) {
        lock(&self.workspace).pages.insert(id.to_owned(), page);
    }

    /// Changes a page that is there.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut NotionPage)) {
        if let Some(page) = lock(&self.workspace).pages.get_mut(id) {
            change(page);
        }
    }

    /// Takes a page away, as when it is not shared any more.
    pub fn unshare(&self, id: &str) {
        lock(&self.workspace).pages.remove(id);
    }

    /// From now on only this token is good.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut lock(&self.workspace).token);
    }

    /// Answers the next request with a fault.
    pub fn push(&self, fault: Fault) {
        lock(&self.workspace).faults.push_back(fault);
    }

    /// Forgets the place at which the next search wants to go on.
    pub fn expire_cursor(&self) {
        lock(&self.workspace).expires = true;
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        lock(&self.workspace).requests
    }
}

impl Drop for NotionDouble {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = State<Arc<Mutex<Workspace>>>;

fn lock(workspace: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    workspace.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(status: StatusCode, code: &str) -> Response {
    let body =
        json!({ "object": "error", "status": status.as_u16(), "code": code, "message": code });
    (status, axum::Json(body)).into_response()
}

/// What every request has to have, or the answer that it gets instead.
fn enter<'a>(
    workspace: &'a Mutex<Workspace>,
    headers: &HeaderMap,
) -> Result<MutexGuard<'a, Workspace>, Box<Response>> {
    let mut workspace = lock(workspace);
    workspace.requests += 1;
    match workspace.faults.pop_front() {
        Some(Fault::RateLimited(seconds)) => {
            let mut answer = failure(StatusCode::TOO_MANY_REQUESTS, "rate_limited");
            answer.headers_mut().insert("retry-after", seconds.into());
            return Err(Box::new(answer));
        }
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Box::new(failure(status, "fault")));
        }
        None => {}
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("authorization") != Some(&format!("Bearer {}", workspace.token)) {
        return Err(Box::new(failure(StatusCode::UNAUTHORIZED, "unauthorized")));
    }
    if header("notion-version") != Some("2026-03-11") {
        return Err(Box::new(failure(
            StatusCode::BAD_REQUEST,
            "missing_version",
        )));
    }
    Ok(workspace)
}

async fn me(State(workspace): Shared, headers: HeaderMap) -> Response {
    match enter(&workspace, &headers) {
        Err(answer) => *answer,
        Ok(_) => axum::Json(json!({
            "object": "user", "type": "bot", "name": "quire", "bot": { "workspace_name": "Harbor Works" },
        }))
        .into_response(),
    }
}

fn shown(id: &str, page: &NotionPage) -> Value {
    let edited =
        chrono::DateTime::from_timestamp(1_735_689_600 + page.edited_s, 0).unwrap_or_default();
    json!({
        "object": "page", "id": id, "in_trash": page.in_trash, "archived": page.in_trash,
        "last_edited_time": edited.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "url": format!("https://www.notion.so/{id}"), "parent": { "type": "workspace", "workspace": true },
        "properties": { "title": { "id": "title", "type": "title", "title": [{ "type": "text", "plain_text": page.title }] } },
    })
}

async fn search(State(workspace): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let mut workspace = match enter(&workspace, &headers) {
        Ok(workspace) => workspace,
        Err(answer) => return *answer,
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let is_asked_right = body["filter"] == json!({ "property": "object", "value": "page" })
        && body["sort"] == json!({ "timestamp": "last_edited_time", "direction": "descending" });
    let size = body["page_size"]
        .as_u64()
        .and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|size| is_asked_right && *size <= 100) else {
        return failure(StatusCode::BAD_REQUEST, "validation_error");
    };
    let start = match body["start_cursor"].as_str() {
        None => 0,
        Some(_) if std::mem::take(&mut workspace.expires) => {
            return failure(StatusCode::BAD_REQUEST, "validation_error");
        }
        Some(cursor) => match cursor
            .strip_prefix("at-")
            .and_then(|at| at.parse::<usize>().ok())
        {
            Some(start) => start,
            None => return failure(StatusCode::BAD_REQUEST, "validation_error"),
        },
    };
    let mut pages: Vec<(&String, &NotionPage)> = workspace
        .pages
        .iter()
        .filter(|(_, page)| !page.in_trash && !page.is_hidden)
        .collect();
    pages.sort_by_key(|(id, page)| (std::cmp::Reverse(page.edited_s), (*id).clone()));
    let results: Vec<Value> = pages
        .iter()
        .skip(start)
        .take(size)
        .map(|(id, page)| shown(id, page))
        .collect();
    let end = start + results.len();
    let next = (end < pages.len()).then(|| format!("at-{end}"));
    axum::Json(json!({ "object": "list", "results": results, "has_more": next.is_some(), "next_cursor": next }))
        .into_response()
}

async fn page(State(workspace): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    match enter(&workspace, &headers) {
        Err(answer) => *answer,
        Ok(workspace) => match workspace.pages.get(&id) {
            Some(page) => axum::Json(shown(&id, page)).into_response(),
            None => failure(StatusCode::NOT_FOUND, "object_not_found"),
        },
    }
}

/// Children of a page have ids such as `page.3`.
async fn children(
    State(workspace): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let workspace = match enter(&workspace, &headers) {
        Ok(workspace) => workspace,
        Err(answer) => return *answer,
    };
    let (page, number) = match id.split_once('.') {
        Some((page, number)) => (page, number.parse::<usize>().ok()),
        None => (id.as_str(), None),
    };
    let Some(found) = workspace.pages.get(page) else {
        return failure(StatusCode::NOT_FOUND, "object_not_found");
    };
    let block = |id: String, text: &str, has_children: bool| {
        json!({
            "object": "block", "id": id, "type": "paragraph", "has_children": has_children, "in_trash": false,
            "paragraph": { "rich_text": [{ "type": "text", "plain_text": text }], "color": "default" },
        })
    };
    let all: Vec<Value> = match number {
        None => found
            .blocks
            .iter()
            .enumerate()
            .map(|(at, (text, below))| block(format!("{page}.{at}"), text, !below.is_empty()))
            .collect(),
        Some(number) => found
            .blocks
            .get(number)
            .map(|(_, below)| below.as_slice())
            .unwrap_or_default()
            .iter()
            .map(|text| block(format!("{page}.{number}.x"), text, false))
            .collect(),
    };
    let start = query
        .get("start_cursor")
        .and_then(|at| at.parse().ok())
        .unwrap_or(0);
    let results: Vec<Value> = all.iter().skip(start).take(CHILDREN).cloned().collect();
    let end = start + results.len();
    let next = (end < all.len()).then(|| end.to_string());
    axum::Json(json!({ "object": "list", "results": results, "has_more": next.is_some(), "next_cursor": next }))
        .into_response()
}

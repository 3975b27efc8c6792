//! Microsoft Teams over real HTTP: consent of an administrator and sign-in, tokens for an organisation, lists with
//! `@odata.nextLink`, transcripts and recordings, who attended, subscriptions that are validated and end, rate limits
//! and faults.
//!
//! Shapes follow Microsoft Graph v1.0 of 2026. A list has two entries on a page, whatever is asked for.

mod meetings;
mod sign_in;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Entries of a list in one answer.
const PAGE: usize = 2;

/// The client that the installation is known by, its secret, and what it makes the state of subscriptions of.
pub const CLIENT: (&str, &str, &str) = (
    "b54cc3a2-1f0d-4d4f-9d55-0c7ac1ba5a0e",
    "s3cret~/+",
    "a state of our own",
);

/// The organisation behind the double.
pub const ORGANISATION: &str = "2432b57b-0abd-43db-aa7b-16eadd115d34";

/// The people of the organisation: id, name to sign in with, name. The second has left.
pub const PEOPLE: [(&str, &str, &str); 3] = [
    (DANA, "dana@northgate.example", "Dana Ruiz"),
    (
        "5c0d7b1e-0000-4000-8000-00000000dead",
        "gone@northgate.example",
        "Gone",
    ),
    (LEE, "lee@northgate.example", "Tom Lee"),
];

/// The id of the first.
pub const DANA: &str = "976f4b31-fd01-4e0b-9178-29cc40c14438";

/// The id of the third.
pub const LEE: &str = "1c9165ff-ae92-49af-89b4-415554a36a51";

/// An answer in place of the right one.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// 429 with this `Retry-After`.
    RateLimited(u64),
    /// This status.
    Status(u16),
}

/// A transcript or a recording.
#[derive(Clone, Debug)]
pub struct TeamsPart {
    /// Its id.
    pub id: String,
    /// Which time of a series it was.
    pub call: &'static str,
    /// When it begins.
    pub start: DateTime<Utc>,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A meeting, or a series of them.
#[derive(Clone, Debug)]
pub struct TeamsMeeting {
    /// What it is called.
    pub subject: String,
    /// The id of who invited.
    pub organizer: &'static str,
    /// Its transcripts.
    pub transcripts: Vec<TeamsPart>,
    /// Its recordings.
    pub recordings: Vec<TeamsPart>,
    /// Who was invited: a name, or `name <address>`.
    pub invited: Vec<String>,
    /// Who took part each time; nobody where no report was made.
    pub attended: Vec<String>,
}

#[derive(Debug)]
struct Subscription {
    resource: String,
    address: String,
    state: String,
    end: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Cloud {
    base: String,
    /// Where the public address of the installation leads.
    installation: (String, String),
    meetings: BTreeMap<String, TeamsMeeting>,
    subscriptions: BTreeMap<String, Subscription>,
    /// The longest life of a subscription, in minutes.
    longest_m: i64,
    faults: VecDeque<Fault>,
    /// Whether an administrator agreed, and whether one signs in.
    is_open: bool,
    is_administrator: bool,
    codes: BTreeSet<String>,
    access: BTreeSet<String>,
    /// People whose meetings a policy keeps from apps.
    kept: BTreeSet<String>,
    given: usize,
    /// Places in lists that are not known any more.
    expires: bool,
    requests: Vec<String>,
}

/// The running cloud; it ends when it is dropped.
#[derive(Debug)]
pub struct TeamsDouble {
    cloud: Arc<Mutex<Cloud>>,
    base: String,
    server: JoinHandle<()>,
}

impl TeamsDouble {
    /// An organisation without meetings; an administrator will sign in.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let cloud = Arc::new(Mutex::new(Cloud {
            base: base.clone(),
            longest_m: 4_230,
            is_administrator: true,
            ..Cloud::default()
        }));
        let router = Router::new()
            .merge(sign_in::routes())
            .merge(meetings::routes())
            .merge(subscriptions::routes())
            .with_state(cloud.clone());
        let server = tokio::spawn(async move {
            // Serving ends only when the task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            cloud,
            base,
            server,
        })
    }

    /// The section `connect.teams` that leads here, as TOML on one line.
    pub fn config(&self) -> String {
        let (id, secret, state) = CLIENT;
        let base = &self.base;
        format!(
            "{{ client_id = '{id}', client_secret = '{secret}', webhook_secret = '{state}', \
             login_url = '{base}', api_url = '{base}/v1.0' }}"
        )
    }

    /// Where the public address of an installation leads: notifications and questions go there.
    pub fn reach(&self, public: &str, real: &str) {
        lock(&self.cloud).installation = (public.to_owned(), real.to_owned());
    }

    /// Adds or changes a meeting.
    pub fn put(&self, id: &str, meeting: TeamsMeeting) {
        lock(&self.cloud).meetings.insert(id.to_owned(), meeting);
    }

    /// Changes a meeting that is there.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut TeamsMeeting)) {
        if let Some(meeting) = lock(&self.cloud).meetings.get_mut(id) {
            change(meeting);
        }
    }

    /// A meeting expires: nothing is told of it any more.
    pub fn expire(&self, id: &str) {
        lock(&self.cloud).meetings.remove(id);
    }

    /// Answers the next request for content with a fault.
    pub fn push(&self, fault: Fault) {
        lock(&self.cloud).faults.push_back(fault);
    }

    /// Tokens are not good any more, as after an hour.
    pub fn expire_access(&self) {
        lock(&self.cloud).access.clear();
    }

    /// An administrator takes everything back.
    pub fn revoke(&self) {
        let mut cloud = lock(&self.cloud);
        cloud.access.clear();
        cloud.is_open = false;
    }

    /// Whether whoever signs in is an administrator.
    pub fn set_administrator(&self, is_one: bool) {
        lock(&self.cloud).is_administrator = is_one;
    }

    /// A policy keeps somebody's meetings from apps.
    pub fn keep(&self, person: &str) {
        lock(&self.cloud).kept.insert(person.to_owned());
    }

    /// Forgets the place at which the next list wants to go on.
    pub fn expire_place(&self) {
        lock(&self.cloud).expires = true;
    }

    /// Gives subscriptions no longer life than this.
    pub fn shorten_subscriptions(&self, minutes: i64) {
        lock(&self.cloud).longest_m = minutes;
    }

    /// Requests so far whose path has this in it.
    pub fn requests(&self, part: &str) -> usize {
        let cloud = lock(&self.cloud);
        let requests = cloud.requests.iter();
        requests.filter(|path| path.contains(part)).count()
    }
}

impl Drop for TeamsDouble {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = State<Arc<Mutex<Cloud>>>;
type Parameters = Query<BTreeMap<String, String>>;

fn lock(cloud: &Mutex<Cloud>) -> MutexGuard<'_, Cloud> {
    cloud.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "error": { "code": code, "message": message, "innerError": {} } });
    (status, axum::Json(body)).into_response()
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.0000000Z").to_string()
}

impl Cloud {
    /// Whether a request carries a token that is good now.
    fn lets_in(&self, headers: &HeaderMap) -> Result<(), Box<Response>> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match bearer.is_some_and(|token| self.access.contains(token)) {
            true => Ok(()),
            false => Err(Box::new(failure(
                401,
                "InvalidAuthenticationToken",
                "Lifetime validation failed, the token is expired.",
            ))),
        }
    }

    /// A page of a list at a path, and where it goes on.
    fn page(&mut self, path: &str, all: Vec<Value>, query: &BTreeMap<String, String>) -> Response {
        let start = match query.get("$skiptoken") {
            None => Some(0),
            Some(_) if std::mem::take(&mut self.expires) => None,
            Some(token) => token.strip_prefix("next-").and_then(|at| at.parse().ok()),
        };
        let Some(start) = start else {
            return failure(400, "BadRequest", "Skip token is null or expired.");
        };
        let count = all.len();
        let value: Vec<Value> = all.into_iter().skip(start).take(PAGE).collect();
        let end = start + value.len();
        let mut body =
            json!({ "@odata.context": format!("{}/v1.0/$metadata", self.base), "value": value });
        if end < count {
            body["@odata.nextLink"] =
                format!("{}/v1.0{path}?$skiptoken=next-{end}", self.base).into();
        }
        axum::Json(body).into_response()
    }
}

/// What every request for content has to have, or the answer that it gets instead.
fn enter<'a>(
    cloud: &'a Mutex<Cloud>,
    headers: &HeaderMap,
    path: &str,
) -> Result<MutexGuard<'a, Cloud>, Box<Response>> {
    let mut cloud = lock(cloud);
    cloud.requests.push(path.to_owned());
    match cloud.faults.pop_front() {
        Some(Fault::RateLimited(seconds)) => {
            let mut answer = failure(429, "TooManyRequests", "Too many requests");
            answer.headers_mut().insert("retry-after", seconds.into());
            return Err(Box::new(answer));
        }
        Some(Fault::Status(status)) => return Err(Box::new(failure(status, "fault", "fault"))),
        None => {}
    }
    cloud.lets_in(headers)?;
    Ok(cloud)
}

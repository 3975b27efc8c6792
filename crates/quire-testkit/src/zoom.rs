//! Zoom over real HTTP: consent, tokens that expire and rotate, recordings in windows and pages, downloads that lead
//! on to another address, participants, signed webhooks, rate limits and faults.
//!
//! Shapes follow the API of 2026 (v2). A list has two entries on a page, whatever is asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, NaiveDate, Utc};
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::people::name_and_address;

/// Entries of a list in one answer.
const PAGE: usize = 2;

/// The client that the installation is known by, its secret, and the secret that webhooks are signed with.
pub const CLIENT: (&str, &str, &str) = ("client-7", "s3cret/+", "hook-token-1");

/// The account behind the double.
pub const ACCOUNT: &str = "acc-North_gate-01";

/// An answer in place of the right one.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// 429, with a `Retry-After` or, as mostly, without.
    RateLimited(Option<u64>),
    /// This status.
    Status(u16),
}

/// A file of a recording.
#[derive(Clone, Debug)]
pub struct ZoomFile {
    /// Its id.
    pub id: String,
    /// `TRANSCRIPT`, `M4A`, `MP4`, `CHAT`.
    pub kind: &'static str,
    /// Whether Zoom is still working on it.
    pub is_processing: bool,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// When in the meeting it begins, in seconds.
    pub offset_s: i64,
}

/// A meeting that was recorded.
#[derive(Clone, Debug)]
pub struct ZoomMeeting {
    /// Its topic.
    pub topic: String,
    /// Whose recording it is: the id of a user.
    pub host: &'static str,
    /// When it began.
    pub start: DateTime<Utc>,
    /// Its files.
    pub files: Vec<ZoomFile>,
    /// Who took part: a name, or `name <address>`.
    pub people: Vec<String>,
}

#[derive(Debug, Default)]
struct Cloud {
    base: String,
    meetings: BTreeMap<String, ZoomMeeting>,
    faults: VecDeque<Fault>,
    /// Codes and tokens that are good now.
    codes: BTreeSet<String>,
    access: BTreeSet<String>,
    refresh: BTreeSet<String>,
    given: usize,
    /// Pages that are not known any more.
    expires: bool,
    requests: Vec<String>,
}

/// The running cloud; it ends when it is dropped.
#[derive(Debug)]
pub struct ZoomDouble {
    cloud: Arc<Mutex<Cloud>>,
    base: String,
    server: JoinHandle<()>,
}

impl ZoomDouble {
    /// An account with the users `u-dana` and `u-lee`; `me` is the first.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let cloud = Arc::new(Mutex::new(Cloud {
            base: base.clone(),
            ..Cloud::default()
        }));
        let router = Router::new()
            .route("/oauth/authorize", get(authorize))
            .route("/oauth/token", post(token))
            .route("/v2/users/me", get(me))
            .route("/v2/users", get(users))
            .route("/v2/users/{user}/recordings", get(recordings))
            .route("/v2/meetings/{meeting}/recordings", get(meeting))
            .route(
                "/v2/past_meetings/{meeting}/participants",
                get(participants),
            )
            .route("/rec/download/{file}", get(download))
            .route("/signed/{file}", get(signed))
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

    /// The section `connect.zoom` that leads here, as TOML on one line.
    pub fn config(&self) -> String {
        let (id, secret, hook) = CLIENT;
        let base = &self.base;
        format!(
            "{{ client_id = '{id}', client_secret = '{secret}', webhook_secret = '{hook}', \
             login_url = '{base}', api_url = '{base}/v2' }}"
        )
    }

    /// Adds or changes a meeting.
    pub fn put(&self, uuid: &str, meeting: ZoomMeeting) {
        lock(&self.cloud).meetings.insert(uuid.to_owned(), meeting);
    }

    /// Changes a meeting that is there.
    pub fn change(&self, uuid: &str, change: impl FnOnce(&mut ZoomMeeting)) {
        if let Some(meeting) = lock(&self.cloud).meetings.get_mut(uuid) {
            change(meeting);
        }
    }

    /// Deletes a recording.
    pub fn delete(&self, uuid: &str) {
        lock(&self.cloud).meetings.remove(uuid);
    }

    /// Answers the next request of the API with a fault.
    pub fn push(&self, fault: Fault) {
        lock(&self.cloud).faults.push_back(fault);
    }

    /// Access tokens are not good any more, as after an hour; they can be refreshed.
    pub fn expire_access(&self) {
        lock(&self.cloud).access.clear();
    }

    /// Somebody takes everything back.
    pub fn revoke(&self) {
        let mut cloud = lock(&self.cloud);
        cloud.access.clear();
        cloud.refresh.clear();
    }

    /// Forgets the page at which the next list wants to go on.
    pub fn expire_page(&self) {
        lock(&self.cloud).expires = true;
    }

    /// Requests so far whose path has this in it.
    pub fn requests(&self, part: &str) -> usize {
        let cloud = lock(&self.cloud);
        cloud
            .requests
            .iter()
            .filter(|path| path.contains(part))
            .count()
    }

    /// The body of a webhook about a meeting.
    pub fn event(&self, event: &str, uuid: &str, event_ts: i64) -> String {
        let cloud = lock(&self.cloud);
        let object = match cloud.meetings.get(uuid) {
            Some(meeting) => shown(&cloud, uuid, meeting),
            None => json!({ "uuid": uuid, "id": 7, "host_id": "u-dana", "topic": "" }),
        };
        json!({
            "event": event, "event_ts": event_ts, "download_token": "not.to.be.used",
            "payload": { "account_id": ACCOUNT, "object": object },
        })
        .to_string()
    }
}

/// The headers that Zoom sends with a body: its time and signature.
pub fn signed_headers(secret: &str, at: i64, body: &str) -> [(&'static str, String); 2] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{at}:{body}").as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    [
        ("x-zm-request-timestamp", at.to_string()),
        ("x-zm-signature", format!("v0={hex}")),
    ]
}

impl Drop for ZoomDouble {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = State<Arc<Mutex<Cloud>>>;
type Parameters = Query<BTreeMap<String, String>>;

fn lock(cloud: &Mutex<Cloud>) -> MutexGuard<'_, Cloud> {
    cloud.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(status: u16, code: i64, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        axum::Json(json!({ "code": code, "message": message })),
    )
        .into_response()
}

/// What every request of the API has to have, or the answer that it gets instead.
fn enter<'a>(
    cloud: &'a Mutex<Cloud>,
    headers: &HeaderMap,
    path: &str,
) -> Result<MutexGuard<'a, Cloud>, Box<Response>> {
    let mut cloud = lock(cloud);
    cloud.requests.push(path.to_owned());
    match cloud.faults.pop_front() {
        Some(Fault::RateLimited(wait)) => {
            let mut answer = failure(
                429,
                429,
                "You have reached the maximum per-second rate limit",
            );
            if let Some(seconds) = wait {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            return Err(Box::new(answer));
        }
        Some(Fault::Status(status)) => return Err(Box::new(failure(status, 0, "fault"))),
        None => {}
    }
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match bearer.is_some_and(|token| cloud.access.contains(token)) {
        true => Ok(cloud),
        false => Err(Box::new(failure(401, 124, "Invalid access token."))),
    }
}

/// Somebody agrees at once and comes back.
async fn authorize(State(cloud): Shared, Query(query): Parameters) -> Response {
    let of = |name: &str| query.get(name).cloned().unwrap_or_default();
    if of("response_type") != "code" || of("client_id") != CLIENT.0 || of("state").is_empty() {
        return failure(400, 4700, "Invalid client or request");
    }
    let mut cloud = lock(&cloud);
    cloud.given += 1;
    let code = format!("code-{}", cloud.given);
    cloud.codes.insert(code.clone());
    let back = format!("{}?code={code}&state={}", of("redirect_uri"), of("state"));
    (StatusCode::FOUND, [(header::LOCATION, back)]).into_response()
}

async fn token(State(cloud): Shared, headers: HeaderMap, body: String) -> Response {
    let mut cloud = lock(&cloud);
    cloud.requests.push("/oauth/token".to_owned());
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    // client-7:s3cret/+
    if basic != Some("Basic Y2xpZW50LTc6czNjcmV0Lys=") {
        return failure(401, 4701, "Invalid client");
    }
    let field = |name: &str| {
        let mut fields = body.split('&').filter_map(|field| field.split_once('='));
        let value = fields.find(|(own, _)| *own == name).map(|(_, value)| value);
        value.unwrap_or_default().to_owned()
    };
    let is_good = match field("grant_type").as_str() {
        "authorization_code" => {
            !field("redirect_uri").is_empty() && cloud.codes.remove(&field("code"))
        }
        // The old one is of no use afterwards.
        "refresh_token" => cloud.refresh.remove(&field("refresh_token")),
        _ => false,
    };
    if !is_good {
        let body = json!({ "reason": "Invalid Token!", "error": "invalid_request" });
        return (StatusCode::BAD_REQUEST, axum::Json(body)).into_response();
    }
    cloud.given += 1;
    let (access, refresh) = (format!("at-{}", cloud.given), format!("rt-{}", cloud.given));
    cloud.access.insert(access.clone());
    cloud.refresh.insert(refresh.clone());
    axum::Json(json!({
        "access_token": access, "token_type": "bearer", "refresh_token": refresh, "expires_in": 3599,
        "scope": "recording:read user:read meeting:read", "api_url": cloud.base,
    }))
    .into_response()
}

async fn me(State(cloud): Shared, headers: HeaderMap) -> Response {
    match enter(&cloud, &headers, "/users/me") {
        Err(answer) => *answer,
        Ok(_) => axum::Json(json!({
            "id": "u-dana", "account_id": ACCOUNT, "email": "dana@northgate.example", "type": 2, "status": "active",
        }))
        .into_response(),
    }
}

/// A page of a list, and the token of the next one.
fn paged<T: Clone>(
    cloud: &mut Cloud,
    all: &[T],
    token: Option<&String>,
) -> Result<(Vec<T>, String), Box<Response>> {
    let start = match token.map(String::as_str) {
        None | Some("") => 0,
        Some(_) if std::mem::take(&mut cloud.expires) => {
            return Err(Box::new(failure(
                400,
                300,
                "The next page token is invalid or expired.",
            )));
        }
        Some(token) => match token.strip_prefix("next+").and_then(|at| at.parse().ok()) {
            Some(start) => start,
            None => {
                return Err(Box::new(failure(
                    400,
                    300,
                    "The next page token is invalid or expired.",
                )));
            }
        },
    };
    let page: Vec<T> = all.iter().skip(start).take(PAGE).cloned().collect();
    let end = start + page.len();
    let next = match end < all.len() {
        true => format!("next+{end}"),
        false => String::new(),
    };
    Ok((page, next))
}

async fn users(State(cloud): Shared, headers: HeaderMap, Query(query): Parameters) -> Response {
    let mut cloud = match enter(&cloud, &headers, "/users") {
        Ok(cloud) => cloud,
        Err(answer) => return *answer,
    };
    let all: Vec<Value> = ["u-dana", "u-gone", "u-lee"]
        .iter()
        .map(|id| json!({ "id": id, "type": 2, "status": "active", "email": format!("{id}@northgate.example") }))
        .collect();
    match paged(&mut cloud, &all, query.get("next_page_token")) {
        Err(answer) => *answer,
        Ok((users, next)) => axum::Json(json!({
            "page_size": PAGE, "total_records": all.len(), "next_page_token": next, "users": users,
        }))
        .into_response(),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn shown(cloud: &Cloud, uuid: &str, meeting: &ZoomMeeting) -> Value {
    let files: Vec<Value> = meeting
        .files
        .iter()
        .map(|file| {
            let start = meeting.start + chrono::TimeDelta::seconds(file.offset_s);
            json!({
                "id": file.id, "meeting_id": uuid, "file_type": file.kind, "file_size": file.bytes.len(),
                "file_extension": if file.kind == "TRANSCRIPT" { "VTT" } else { file.kind },
                "status": if file.is_processing { "processing" } else { "completed" },
                "recording_start": time(start), "recording_end": time(start + chrono::TimeDelta::minutes(30)),
                "recording_type": if file.kind == "TRANSCRIPT" { "audio_transcript" } else { "audio_only" },
                "play_url": format!("{}/rec/play/{}", cloud.base, file.id),
                "download_url": format!("{}/rec/download/{}", cloud.base, file.id),
            })
        })
        .collect();
    json!({
        "uuid": uuid, "id": 6_840_331_990_u64, "account_id": ACCOUNT, "host_id": meeting.host,
        "host_email": format!("{}@northgate.example", meeting.host.trim_start_matches("u-")),
        "topic": meeting.topic, "type": 2, "start_time": time(meeting.start), "timezone": "America/New_York",
        "duration": 30, "total_size": 1, "recording_count": files.len(),
        "share_url": format!("https://zoom.us/rec/share/{uuid}"), "recording_files": files,
    })
}

async fn recordings(
    State(cloud): Shared,
    headers: HeaderMap,
    Path(user): Path<String>,
    Query(query): Parameters,
) -> Response {
    let mut cloud = match enter(&cloud, &headers, "/recordings") {
        Ok(cloud) => cloud,
        Err(answer) => return *answer,
    };
    let day = |name: &str| query.get(name)?.parse::<NaiveDate>().ok();
    let (Some(from), Some(to)) = (day("from"), day("to")) else {
        return failure(400, 300, "Invalid date");
    };
    if to < from || (to - from).num_days() > 31 {
        return failure(400, 300, "The date range must be within a month");
    }
    let host = match user.as_str() {
        "me" | "u-dana" => "u-dana",
        "u-lee" => "u-lee",
        _ => return failure(404, 1001, "User does not exist"),
    };
    let all: Vec<Value> = cloud
        .meetings
        .iter()
        .filter(|(_, meeting)| meeting.host == host)
        .filter(|(_, meeting)| (from..=to).contains(&meeting.start.date_naive()))
        .map(|(uuid, meeting)| shown(&cloud, uuid, meeting))
        .collect();
    match paged(&mut cloud, &all, query.get("next_page_token")) {
        Err(answer) => *answer,
        Ok((meetings, next)) => axum::Json(json!({
            "from": from, "to": to, "page_size": PAGE, "total_records": all.len(), "next_page_token": next,
            "meetings": meetings,
        }))
        .into_response(),
    }
}

/// An id in a path: those with slashes in the wrong places have to be encoded twice.
fn meeting_id(id: &str) -> String {
    id.replace("%2F", "/")
        .replace("%2B", "+")
        .replace("%3D", "=")
}

async fn meeting(State(cloud): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let is_once = id.starts_with('/') || id.contains("//");
    match enter(&cloud, &headers, "/meetings/") {
        Err(answer) => *answer,
        Ok(cloud) => match cloud.meetings.get_key_value(&meeting_id(&id)) {
            Some((uuid, meeting)) if !is_once => {
                axum::Json(shown(&cloud, uuid, meeting)).into_response()
            }
            _ => failure(404, 3301, "There is no recording for this meeting."),
        },
    }
}

async fn participants(
    State(cloud): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Parameters,
) -> Response {
    let mut cloud = match enter(&cloud, &headers, "/participants") {
        Ok(cloud) => cloud,
        Err(answer) => return *answer,
    };
    let Some(meeting) = cloud.meetings.get(&meeting_id(&id)) else {
        return failure(404, 3001, "Meeting does not exist.");
    };
    let all: Vec<Value> = meeting
        .people
        .iter()
        .map(|person| name_and_address(person))
        .map(
            |(name, email)| json!({ "id": "", "user_id": "16", "name": name, "user_email": email }),
        )
        .collect();
    match paged(&mut cloud, &all, query.get("next_page_token")) {
        Err(answer) => *answer,
        Ok((people, next)) => axum::Json(
            json!({ "page_size": PAGE, "next_page_token": next, "participants": people }),
        )
        .into_response(),
    }
}

/// Leads on to another address, to which no token may be sent.
async fn download(State(cloud): Shared, headers: HeaderMap, Path(file): Path<String>) -> Response {
    match enter(&cloud, &headers, &format!("/download/{file}")) {
        Err(answer) => *answer,
        Ok(cloud) => {
            let elsewhere = cloud.base.replace("127.0.0.1", "localhost");
            (
                StatusCode::FOUND,
                [(header::LOCATION, format!("{elsewhere}/signed/{file}"))],
            )
                .into_response()
        }
    }
}

async fn signed(State(cloud): Shared, Path(file): Path<String>) -> Response {
    let cloud = lock(&cloud);
    let mut files = cloud.meetings.values().flat_map(|meeting| &meeting.files);
    match files.find(|own| own.id == file) {
        Some(file) => file.bytes.clone().into_response(),
        None => failure(404, 3301, "This recording does not exist."),
    }
}

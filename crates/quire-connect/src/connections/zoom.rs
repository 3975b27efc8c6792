//! Zoom: what was said in recorded meetings, one source each.
//!
//! A transcript of Zoom is preferred. It comes a while after the recording, so a recording without one is left alone
//! for some hours and then listened to here. Webhooks only say where to look ([`webhook`]); what they missed is found
//! by listing the recordings of the last days, and once a day those of months, in windows of a month as Zoom
//! demands. The token of the connection alone decides what can be read.

mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use quire_ingest::Recording;
use quire_types::{Secret, Timestamp};

use super::{App, Connector, Content, Remote, RemotePage};
use crate::Error;
use crate::egress::{Egress, retry_after, unreachable};

pub use webhook::{Heard, Notice};

pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Recordings of one answer.
const PAGE: usize = 30;
/// The longest time between two days that Zoom answers.
const WINDOW: Days = Days::new(30);
/// Transcripts come late, and days begin at different hours.
const LOOKBACK: Days = Days::new(3);
/// How often everything is looked at.
const WHOLE_EVERY: TimeDelta = TimeDelta::days(1);
/// How often the recordings of everybody are listed; one's own are at every reading.
const EVERYBODY_EVERY: TimeDelta = TimeDelta::hours(1);
/// After this time without a transcript quire listens itself.
const PATIENCE: TimeDelta = TimeDelta::hours(6);
/// The largest file that is fetched, and how long that may take.
const MOST_BYTES: usize = 200 << 20;
const DOWNLOAD: Duration = Duration::from_mins(10);
/// People who are named in a source.
const MOST_PEOPLE: usize = 200;

/// What a tenant may choose, and which account it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Whether recordings of all people of the account are read; it takes a token of an administrator.
    everybody: bool,
    /// How far back.
    since_days: u16,
    /// The account that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            everybody: false,
            since_days: 180,
            account: None,
        }
    }
}

impl Settings {
    pub(super) fn parse(settings: &Value) -> Result<Self, Error> {
        let settings: Self = serde_json::from_value(settings.clone())
            .map_err(|error| Error::Invalid(format!("settings: {error}")))?;
        match settings.since_days {
            1..=3_650 => Ok(settings),
            _ => Err(Error::Invalid(
                "settings: since_days is 1 to 3650".to_owned(),
            )),
        }
    }
}

/// Whether a tenant may choose this.
pub(super) fn check(settings: &Value) -> Result<(), Error> {
    match Settings::parse(settings)?.account {
        None => Ok(()),
        Some(_) => Err(Error::Invalid(
            "settings: the account is that of whoever follows the link".to_owned(),
        )),
    }
}

/// An account as one token sees it.
pub(super) struct Zoom {
    egress: Egress,
    base: String,
    token: Secret,
    settings: Settings,
}

/// How far it has been read.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Cursor {
    round: i64,
    /// Whether this round looks at everything.
    is_whole: bool,
    /// The days that the round reads; none between rounds.
    days: Option<(NaiveDate, NaiveDate)>,
    /// Whose recordings are still to be read, the last one's now.
    people: Vec<String>,
    /// Where the list of people goes on; none at its end.
    more_people: Option<String>,
    /// The first day of the window that is being read.
    from: Option<NaiveDate>,
    /// Where the window goes on.
    start: Option<String>,
    /// The day on which the last round ended.
    watermark: Option<NaiveDate>,
    ended_at: Option<Timestamp>,
    /// When everything was looked at.
    whole_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Meeting {
    uuid: String,
    #[serde(default)]
    topic: String,
    start_time: Timestamp,
    #[serde(default)]
    duration: i64,
    #[serde(default)]
    host_email: String,
    share_url: Option<String>,
    #[serde(default)]
    recording_files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    id: String,
    #[serde(default)]
    file_type: String,
    #[serde(default)]
    file_size: u64,
    #[serde(default)]
    status: String,
    recording_start: Option<Timestamp>,
    recording_end: Option<Timestamp>,
    #[serde(default)]
    download_url: String,
}

#[derive(Deserialize)]
struct Recordings {
    #[serde(default)]
    meetings: Vec<Meeting>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct People {
    users: Vec<Person>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Person {
    id: String,
}

#[derive(Deserialize)]
struct Participants {
    #[serde(default)]
    participants: Vec<Participant>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Participant {
    #[serde(default)]
    name: String,
}

/// Asks whose token this is. Returns the id of the account, and what people call it.
pub(super) async fn whose(
    egress: &Egress,
    app: &App,
    token: &Secret,
) -> Result<(String, String), Error> {
    let me: Value = send(get(egress, &format!("{}/users/me", app.api_url), token)?).await?;
    let account = me["account_id"].as_str().filter(|id| !id.is_empty());
    let account = account.ok_or_else(|| Error::Remote("it names no account".to_owned()))?;
    let shown = me["email"].as_str().unwrap_or(account);
    Ok((account.to_owned(), shown.to_owned()))
}

fn get(egress: &Egress, url: &str, token: &Secret) -> Result<RequestBuilder, Error> {
    let request = egress.request(Method::GET, url)?;
    Ok(request.bearer_auth(token.expose()).timeout(TIMEOUT))
}

async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
    let response = request.send().await.map_err(unreachable)?;
    match response.status().as_u16() {
        200..=299 => response.json().await.map_err(unreachable),
        status => Err(Error::Status {
            status,
            retry_after: retry_after(&response),
        }),
    }
}

/// A part of a path. Zoom wants ids of meetings encoded twice when they have slashes in the wrong places.
fn segment(id: &str) -> String {
    let encode = |text: &str| -> String {
        let bytes = text.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        });
        bytes.collect()
    };
    match id.starts_with('/') || id.contains("//") {
        true => encode(&encode(id)),
        false => encode(id),
    }
}

/// An empty token means that nothing follows.
fn more(token: String) -> Option<String> {
    Some(token).filter(|token| !token.is_empty())
}

impl Cursor {
    fn begin(&mut self, now: Timestamp, settings: &Settings) {
        let today = now.date_naive();
        let back = |days: Days| today.checked_sub_days(days).unwrap_or(today);
        self.round += 1;
        self.is_whole = self.whole_at.is_none_or(|at| now - at > WHOLE_EVERY);
        let since = match self.watermark.filter(|_| !self.is_whole) {
            Some(day) => day.checked_sub_days(LOOKBACK).unwrap_or(day),
            None => back(Days::new(settings.since_days.into())),
        };
        let until = today.succ_opt().unwrap_or(today);
        self.days = Some((since, until));
        self.from = Some(since);
        self.start = None;
        (self.people, self.more_people) = match settings.everybody {
            true => (Vec::new(), Some(String::new())),
            false => (vec!["me".to_owned()], None),
        };
    }

    /// The same round from its beginning.
    fn again(self) -> RemotePage {
        let round = self.round - 1;
        let cursor = Self {
            round,
            days: None,
            ..self
        };
        RemotePage {
            round,
            cursor: json!(cursor),
            has_more: true,
            ..RemotePage::default()
        }
    }

    /// The page is read: the next one of the window, the next window, the next person.
    fn step(&mut self, next: Option<String>) {
        self.start = next;
        if self.start.is_some() {
            return;
        }
        let Some((since, until)) = self.days else {
            return;
        };
        let end = self.from.and_then(|from| from.checked_add_days(WINDOW));
        match end.filter(|end| *end < until) {
            Some(end) => self.from = Some(end),
            None => {
                self.people.pop();
                self.from = Some(since);
            }
        }
    }

    /// This page of the round, which ends here when nobody is left.
    fn page(mut self, items: Vec<Remote>, now: Timestamp) -> RemotePage {
        let is_end = self.people.is_empty() && self.more_people.is_none();
        if is_end {
            self.days = None;
            self.watermark = Some(now.date_naive());
            self.ended_at = Some(now);
            if self.is_whole {
                self.whole_at = Some(now);
            }
        }
        RemotePage {
            items,
            gone: Vec::new(),
            has_more: !is_end,
            ends_whole_round: is_end && self.is_whole,
            round: self.round,
            cursor: json!(self),
        }
    }
}

impl Meeting {
    /// The files that tell what was said: transcripts, or sound once no transcript is to be expected.
    fn said(&self, now: Timestamp) -> Vec<&File> {
        let of = |kind: &str| -> Vec<&File> {
            let files = self.recording_files.iter();
            files
                .filter(|file| file.file_type == kind && file.status != "processing")
                .filter(|file| !file.download_url.is_empty())
                .collect()
        };
        let ended = self.recording_files.iter();
        let ended = ended.filter_map(|file| file.recording_end).max();
        let is_overdue = now - ended.unwrap_or(self.start_time) > PATIENCE;
        let kinds: &[&str] = match is_overdue {
            true => &["TRANSCRIPT", "CC", "M4A", "MP4"],
            false => &["TRANSCRIPT", "CC"],
        };
        let mut found = kinds.iter().map(|kind| of(kind));
        found.find(|files| !files.is_empty()).unwrap_or_default()
    }

    /// The meeting as the frame sees it; none while nothing tells what was said.
    fn remote(&self, now: Timestamp) -> Option<Remote> {
        let files: Vec<String> = self
            .said(now)
            .iter()
            .map(|file| format!("{}:{}:{}", file.file_type, file.id, file.file_size))
            .collect();
        let topic = Some(self.topic.trim()).filter(|topic| !topic.is_empty());
        let day = self.start_time.format("%Y-%m-%d %H:%M");
        (!files.is_empty()).then(|| Remote {
            id: self.uuid.clone(),
            version: format!("{} {}", self.topic, files.join(" ")),
            title: format!("{} {day}", topic.unwrap_or("Meeting")),
            url: self.share_url.clone(),
        })
    }

    /// What is known about the meeting, in a few sentences.
    fn about(&self, people: &[String]) -> String {
        let start = self.start_time.format("%A, %-d %B %Y, %H:%M UTC");
        let mut about = format!("Meeting \"{}\" on {start}", self.topic.trim());
        if self.duration > 0 {
            about.push_str(&format!(", {} minutes", self.duration));
        }
        about.push('.');
        if !self.host_email.is_empty() {
            about.push_str(&format!(" Host: {}.", self.host_email));
        }
        if !people.is_empty() {
            about.push_str(&format!(" Participants: {}.", people.join(", ")));
        }
        about
    }
}

impl Zoom {
    /// Reads with this token.
    pub(super) fn new(
        egress: Egress,
        app: &App,
        settings: &Value,
        token: Secret,
    ) -> Result<Self, Error> {
        egress.check(&app.api_url)?;
        Ok(Self {
            egress,
            base: app.api_url.trim_end_matches('/').to_owned(),
            token,
            settings: Settings::parse(settings)?,
        })
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        send(get(
            &self.egress,
            &format!("{}{path}", self.base),
            &self.token,
        )?)
        .await
    }

    async fn meeting(&self, id: &str) -> Result<Option<Meeting>, Error> {
        let path = format!("/meetings/{}/recordings", segment(id));
        match self.read(&path).await {
            Ok(meeting) => Ok(Some(meeting)),
            Err(Error::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of those who took part. Not every token may know them.
    async fn people(&self, id: &str) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        let mut next = Some(String::new());
        while let Some(token) = next.filter(|_| names.len() < MOST_PEOPLE) {
            let path = format!(
                "/past_meetings/{}/participants?page_size=300&next_page_token={}",
                segment(id),
                segment(&token)
            );
            let page: Participants = match self.read(&path).await {
                Ok(page) => page,
                Err(Error::Status {
                    status: 400 | 403 | 404,
                    ..
                }) => break,
                Err(error) => return Err(error),
            };
            for person in page.participants {
                let name = person.name.trim();
                if !name.is_empty() && !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            next = more(page.next_page_token);
        }
        names.truncate(MOST_PEOPLE);
        Ok(names)
    }

    async fn everybody(&self, mut cursor: Cursor, now: Timestamp) -> Result<RemotePage, Error> {
        let token = cursor.more_people.take().unwrap_or_default();
        let path = format!(
            "/users?status=active&page_size=300&next_page_token={}",
            segment(&token)
        );
        let list: People = match self.read(&path).await {
            Err(Error::Status { status: 400, .. }) if !token.is_empty() => {
                return Ok(cursor.again());
            }
            list => list?,
        };
        cursor.people = list.users.into_iter().map(|person| person.id).collect();
        cursor.more_people = more(list.next_page_token);
        Ok(cursor.page(Vec::new(), now))
    }
}

#[async_trait]
impl Connector for Zoom {
    async fn test(&self) -> Result<String, Error> {
        let me: Value = self.read("/users/me").await?;
        Ok(me["email"].as_str().unwrap_or("an account").to_owned())
    }

    async fn page(&self, cursor: &Value) -> Result<RemotePage, Error> {
        let mut cursor: Cursor = serde_json::from_value(cursor.clone()).unwrap_or_default();
        let now = Utc::now();
        if cursor.days.is_none() {
            let was_lately = |at: Timestamp| now - at < EVERYBODY_EVERY;
            if self.settings.everybody && cursor.ended_at.is_some_and(was_lately) {
                return Ok(RemotePage {
                    round: cursor.round,
                    cursor: json!(cursor),
                    ..RemotePage::default()
                });
            }
            cursor.begin(now, &self.settings);
        }
        let Some(person) = cursor.people.last() else {
            return self.everybody(cursor, now).await;
        };
        let (since, until) = cursor.days.unwrap_or_default();
        let from = cursor.from.unwrap_or(since);
        let to = from.checked_add_days(WINDOW).unwrap_or(until).min(until);
        let path = format!(
            "/users/{}/recordings?from={from}&to={to}&page_size={PAGE}&next_page_token={}",
            segment(person),
            segment(cursor.start.as_deref().unwrap_or_default()),
        );
        let list: Recordings = match self.read(&path).await {
            // Tokens of pages live for a quarter of an hour; what is known is not read twice.
            Err(Error::Status { status: 400, .. }) if cursor.start.is_some() => {
                return Ok(cursor.again());
            }
            // Somebody who left meanwhile.
            Err(Error::Status { status: 404, .. }) => Recordings {
                meetings: Vec::new(),
                next_page_token: String::new(),
            },
            list => list?,
        };
        let items = list.meetings.iter();
        let items = items.filter_map(|meeting| meeting.remote(now)).collect();
        cursor.step(more(list.next_page_token));
        Ok(cursor.page(items, now))
    }

    fn whole(&self, cursor: &Value) -> Value {
        let cursor: Cursor = serde_json::from_value(cursor.clone()).unwrap_or_default();
        json!(Cursor {
            days: None,
            ended_at: None,
            whole_at: None,
            ..cursor
        })
    }

    async fn find(&self, id: &str) -> Result<Option<Remote>, Error> {
        let meeting = self.meeting(id).await?;
        Ok(meeting.and_then(|meeting| meeting.remote(Utc::now())))
    }

    async fn content(&self, item: &Remote) -> Result<Option<Content>, Error> {
        let Some(meeting) = self.meeting(&item.id).await? else {
            return Ok(None);
        };
        let files = meeting.said(Utc::now());
        let first = files.iter().filter_map(|file| file.recording_start).min();
        let mut parts = Vec::with_capacity(files.len());
        for file in &files {
            let fetched = self
                .egress
                .get(&file.download_url, DOWNLOAD, MOST_BYTES, |request| {
                    request.bearer_auth(self.token.expose())
                })
                .await?;
            parts.push(Recording {
                start_ms: offset_ms(first, file.recording_start),
                bytes: Bytes::from(fetched.bytes),
            });
        }
        if parts.is_empty() {
            return Ok(None);
        }
        parts.sort_by_key(|part| part.start_ms);
        let about = meeting.about(&self.people(&item.id).await?);
        Ok(Some(Content::Said { about, parts }))
    }
}

/// How long after the first part another one begins.
fn offset_ms(first: Option<Timestamp>, start: Option<DateTime<Utc>>) -> u64 {
    let between = start.zip(first).map(|(start, first)| start - first);
    let ms = between.map_or(0, |between| between.num_milliseconds());
    u64::try_from(ms).unwrap_or(0)
}

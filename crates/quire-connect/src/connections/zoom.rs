//! Zoom: what was said in recorded meetings, one source each.
//!
//! A transcript of Zoom is preferred. It comes a while after the recording, so a recording without one is left alone
//! for some hours and then listened to here. Webhooks only say where to look ([`webhook`]); what they missed is found
//! by listing the recordings of the last days, and once a day those of months, in windows of a month as Zoom
//! demands. The token of the connection alone decides what can be read.

mod webhook;

use async_trait::async_trait;
use chrono::{Days, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use quire_ingest::Recording;
use quire_types::{Secret, Timestamp};

use super::api::{self, encode, known};
use super::meetings::{About, People, Settings, fetch, offset_ms, said};
use super::rounds::Cursor;
use super::{App, Connector, Content, Found, Remote, RemotePage};
use crate::Error;
use crate::egress::Egress;

pub use webhook::{Heard, Notice};

/// Recordings of one answer.
const PAGE: usize = 30;
/// The longest time between two days that Zoom answers.
const WINDOW: Days = Days::new(30);

/// Whether a tenant may choose this.
pub(super) fn check(settings: &Value) -> Result<(), Error> {
    match Settings::parse_new(settings)?.organizers.as_slice() {
        [] => Ok(()),
        _ => Err(Error::Invalid(
            "settings: Zoom knows no organizers, only everybody".to_owned(),
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
struct Users {
    users: Vec<User>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct User {
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
    /// Empty for guests from outside.
    #[serde(default)]
    user_email: String,
}

/// Asks whose token this is. Returns the id of the account, and what people call it.
pub(super) async fn whose(
    egress: &Egress,
    app: &App,
    token: &Secret,
) -> Result<(String, String), Error> {
    let me: Value = api::get(egress, &format!("{}/users/me", app.api_url), token).await?;
    let account = me["account_id"].as_str().filter(|id| !id.is_empty());
    let account = account.ok_or_else(|| Error::Remote("it names no account".to_owned()))?;
    let shown = me["email"].as_str().unwrap_or(account);
    Ok((account.to_owned(), shown.to_owned()))
}

/// A part of a path. Zoom wants ids of meetings encoded twice when they have slashes in the wrong places.
fn segment(id: &str) -> String {
    match id.starts_with('/') || id.contains("//") {
        true => encode(&encode(id)),
        false => encode(id),
    }
}

/// An empty token means that nothing follows.
fn more(token: String) -> Option<String> {
    Some(token).filter(|token| !token.is_empty())
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
        let ended = ended.unwrap_or(self.start_time);
        said(
            ["TRANSCRIPT", "CC"].map(of),
            ["M4A", "MP4"].map(of),
            ended,
            now,
        )
    }

    fn about(&self) -> About<'_> {
        About {
            topic: &self.topic,
            start: self.start_time,
            minutes: self.duration,
            host: &self.host_email,
        }
    }

    /// The meeting as the frame sees it; none while nothing tells what was said.
    fn remote(&self, now: Timestamp) -> Option<Remote> {
        let files: Vec<String> = self
            .said(now)
            .iter()
            .map(|file| format!("{}:{}:{}", file.file_type, file.id, file.file_size))
            .collect();
        (!files.is_empty()).then(|| Remote {
            id: self.uuid.clone(),
            version: format!("{} {}", self.topic, files.join(" ")),
            title: self.about().title(),
            url: self.share_url.clone(),
            groups: None,
        })
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
        api::get(&self.egress, &format!("{}{path}", self.base), &self.token).await
    }

    async fn meeting(&self, id: &str) -> Result<Option<Meeting>, Error> {
        let path = format!("/meetings/{}/recordings", segment(id));
        known(self.read(&path).await)
    }

    /// Those who took part. Not every token may know them.
    async fn people(&self, id: &str) -> Result<People, Error> {
        let mut people = People::default();
        let mut next = Some(String::new());
        while let Some(token) = next.filter(|_| !people.is_full()) {
            let path = format!(
                "/past_meetings/{}/participants?page_size=300&next_page_token={}",
                segment(id),
                encode(&token)
            );
            let page: Participants = match self.read(&path).await {
                Ok(page) => page,
                Err(Error::Status {
                    status: 400 | 403 | 404,
                    ..
                }) => break,
                Err(error) => return Err(error),
            };
            for person in &page.participants {
                people.add(&person.name, &person.user_email);
            }
            next = more(page.next_page_token);
        }
        Ok(people)
    }

    async fn everybody(&self, mut cursor: Cursor, now: Timestamp) -> Result<RemotePage, Error> {
        let token = cursor.more_people.take().unwrap_or_default();
        let path = format!(
            "/users?status=active&page_size=300&next_page_token={}",
            encode(&token)
        );
        let list: Users = match self.read(&path).await {
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
        let mut cursor = Cursor::parse(cursor);
        let now = Utc::now();
        if cursor.days.is_none() {
            let (people, more_people) = match self.settings.everybody {
                true if cursor.was_lately(now) => return Ok(cursor.nothing()),
                true => (Vec::new(), Some(String::new())),
                false => (vec!["me".to_owned()], None),
            };
            cursor.begin(now, self.settings.since_days, people, more_people);
        }
        let Some(person) = cursor.people.last() else {
            return self.everybody(cursor, now).await;
        };
        let (since, until) = cursor.days.unwrap_or_default();
        let from = cursor.from.unwrap_or(since);
        let to = from.checked_add_days(WINDOW).unwrap_or(until).min(until);
        let path = format!(
            "/users/{}/recordings?from={from}&to={to}&page_size={PAGE}&next_page_token={}",
            encode(person),
            encode(cursor.start.as_deref().unwrap_or_default()),
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
        cursor.step(more(list.next_page_token), Some(WINDOW));
        Ok(cursor.page(items, now))
    }

    fn whole(&self, cursor: &Value) -> Value {
        Cursor::whole(cursor)
    }

    async fn find(&self, id: &str) -> Result<Found, Error> {
        let meeting = self.meeting(id).await?;
        let remote = meeting.and_then(|meeting| meeting.remote(Utc::now()));
        Ok(remote.into())
    }

    async fn content(&self, item: &mut Remote) -> Result<Option<Content>, Error> {
        let Some(meeting) = self.meeting(&item.id).await? else {
            return Ok(None);
        };
        let files = meeting.said(Utc::now());
        let first = files.iter().filter_map(|file| file.recording_start).min();
        let mut parts = Vec::with_capacity(files.len());
        for file in &files {
            parts.push(Recording {
                start_ms: offset_ms(first, file.recording_start),
                bytes: fetch(&self.egress, &file.download_url, &self.token).await?,
            });
        }
        if parts.is_empty() {
            return Ok(None);
        }
        parts.sort_by_key(|part| part.start_ms);
        let people = self.people(&item.id).await?;
        let about = meeting.about().text(&people);
        item.groups = self.settings.groups(&meeting.host_email, &people);
        Ok(Some(Content::Said { about, parts }))
    }
}

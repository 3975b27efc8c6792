//! Microsoft Teams: what was said in meetings with a transcript or a recording, one source for each time that people
//! met.
//!
//! An administrator opens the whole organisation to quire ([`consent`]), since Graph lets nobody else list transcripts,
//! and the settings say whose meetings are read. Notifications only say where to look ([`webhook`]), for as long as
//! they are asked for again in time ([`subscription`]); what they missed is found by listing what was said lately,
//! and once a day in months. A transcript of Teams is preferred to listening here.

mod calls;
mod consent;
mod ending;
mod graph;
mod subscription;
mod webhook;

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;

use quire_ingest::Recording;
use quire_types::{Secret, Timestamp};

use super::api::{encode, known};
use super::meetings::{People, Settings, fetch, offset_ms};
use super::rounds::Cursor;
use super::{App, Connector, Content, Found, Remote, RemotePage};
use crate::Error;
use crate::egress::Egress;
use calls::{Call, Meeting, Part, Participant, Place, Report};
use graph::List;
use webhook::Told;

pub(super) use consent::{administrator, scope};
pub use ending::EndSubscriptions;
pub(super) use graph::Graph;
pub use subscription::KeepSubscription;

/// Calls of one page.
const PAGE: usize = 30;
/// A call that goes on over the first day of a round is seen whole: none is as long as this.
const LONGEST: Days = Days::new(2);
/// People whose meetings a connection may be told to read.
const MOST_ORGANIZERS: usize = 100;

/// Whether a tenant may choose this.
pub(super) fn check(settings: &Value) -> Result<(), Error> {
    let Settings {
        everybody,
        organizers,
        ..
    } = Settings::parse_new(settings)?;
    let are_names = organizers.iter().all(|name| !name.trim().is_empty());
    match organizers.len() {
        0 if everybody => Ok(()),
        1..=MOST_ORGANIZERS if !everybody && are_names => Ok(()),
        _ => Err(Error::Invalid(format!(
            "settings: name up to {MOST_ORGANIZERS} organizers whose meetings are read (their sign-in names), or say everybody: true"
        ))),
    }
}

/// An organisation with what is to be read of it.
pub(super) struct Teams {
    graph: Graph,
    settings: Settings,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

/// The path of what a meeting has.
fn path(place: &Place, what: &str) -> String {
    let Place {
        organizer, meeting, ..
    } = place;
    format!(
        "/users/{}/onlineMeetings/{}{what}",
        encode(organizer),
        encode(meeting)
    )
}

/// What is there, or nothing where the app is not let in.
fn shown<T: Default>(answer: Result<T, Error>) -> Result<T, Error> {
    match answer {
        Err(Error::Status {
            status: 403 | 404, ..
        }) => Ok(T::default()),
        answer => answer,
    }
}

fn add(people: &mut People, person: &Participant) {
    let name = person.name().unwrap_or_default();
    people.add(name, person.address().unwrap_or_default());
}

fn marked(mut recordings: Vec<Part>) -> Vec<Part> {
    for part in &mut recordings {
        part.is_recording = true;
    }
    recordings
}

impl Teams {
    /// Reads with this token.
    pub(super) fn new(
        egress: Egress,
        app: &App,
        settings: &Value,
        token: Secret,
    ) -> Result<Self, Error> {
        Ok(Self {
            graph: Graph::new(egress, app, token)?,
            settings: Settings::parse(settings)?,
        })
    }

    /// The next people whose meetings are read.
    async fn everybody(&self, mut cursor: Cursor, now: Timestamp) -> Result<RemotePage, Error> {
        let place = cursor.more_people.take().filter(|place| !place.is_empty());
        let first = place.is_none();
        let place = place.unwrap_or_else(|| "/users?$select=id&$top=100".to_owned());
        let list: List<User> = match self.graph.list(&place).await {
            Err(Error::Status {
                status: 400 | 410, ..
            }) if !first => return Ok(cursor.again()),
            list => list?,
        };
        cursor.people = list.value.into_iter().map(|user| user.id).collect();
        cursor.more_people = list.next;
        Ok(cursor.page(Vec::new(), now))
    }

    /// The id of somebody who is named by it, or by the name to sign in with; none who is not there.
    async fn id_of(&self, person: &str) -> Result<Option<String>, Error> {
        if !person.contains('@') {
            return Ok(Some(person.to_owned()));
        }
        let path = format!("/users/{}?$select=id", encode(person));
        let user: Option<User> = known(self.graph.get(&path).await)?;
        Ok(user.map(|user| user.id))
    }

    /// The calls in meetings of somebody that began on this day or later.
    async fn calls(
        &self,
        organizer: &str,
        since: NaiveDate,
        now: Timestamp,
    ) -> Result<BTreeMap<Place, Call>, Error> {
        let from = since.checked_sub_days(LONGEST).unwrap_or(since);
        let from = from.and_time(NaiveTime::MIN).and_utc();
        let format = "%Y-%m-%dT%H:%M:%SZ";
        let (from, to) = (
            from.format(format),
            (now + TimeDelta::days(1)).format(format),
        );
        let organizer_id = encode(organizer);
        let path = |what: &str| {
            format!(
                "/users/{organizer_id}/onlineMeetings/{what}(meetingOrganizerUserId='{organizer_id}',startDateTime={from},endDateTime={to})"
            )
        };
        let mut parts: Vec<Part> = self.graph.all(&path("getAllTranscripts")).await?;
        let recordings = shown(self.graph.all(&path("getAllRecordings")).await)?;
        parts.extend(marked(recordings));
        let mut calls = Call::sort(organizer, parts);
        // Graph is known to leave conditions aside.
        let is_in = |call: &Call| call.start().is_some_and(|at| at.date_naive() >= since);
        calls.retain(|_, call| is_in(call));
        Ok(calls)
    }

    /// What is left of one call; none when nothing is.
    async fn call(&self, place: &Place) -> Result<Option<Call>, Error> {
        let is_its = |part: &Part| part.call() == place.call;
        let transcripts = self.graph.all(&path(place, "/transcripts")).await?;
        let mut parts: Vec<Part> = transcripts.into_iter().filter(is_its).collect();
        if parts.is_empty() {
            let recordings = shown(self.graph.all(&path(place, "/recordings")).await)?;
            parts = marked(recordings).into_iter().filter(is_its).collect();
        }
        Ok((!parts.is_empty()).then(|| Call::of(parts)))
    }

    /// Those who took part, or those who were invited where that is all that the app may know.
    async fn people(
        &self,
        place: &Place,
        meeting: &Meeting,
        at: Timestamp,
    ) -> Result<People, Error> {
        let mut people = People::default();
        let reports = shown(self.graph.all(&path(place, "/attendanceReports")).await)?;
        if let Some(report) = reports.iter().find(|report: &&Report| report.covers(at)) {
            let records = format!(
                "/attendanceReports/{}/attendanceRecords",
                encode(&report.id)
            );
            let records = shown(self.graph.all(&path(place, &records)).await)?;
            records.iter().for_each(|person| add(&mut people, person));
        }
        if people.is_empty() {
            meeting
                .invited()
                .for_each(|person| add(&mut people, person));
        }
        Ok(people)
    }

    /// Whether the settings let meetings of this organizer in.
    async fn is_wanted(&self, place: &Place) -> Result<bool, Error> {
        let organizers = &self.settings.organizers;
        let is_named = |name: &str| organizers.iter().any(|own| own.eq_ignore_ascii_case(name));
        if self.settings.everybody || is_named(&place.organizer) {
            return Ok(true);
        }
        let meeting: Meeting = shown(self.graph.get(&path(place, "")).await)?;
        Ok(organizers.iter().any(|own| meeting.is_by(own)))
    }
}

#[async_trait]
impl Connector for Teams {
    async fn test(&self) -> Result<String, Error> {
        self.graph.test().await?;
        for organizer in &self.settings.organizers {
            if self.id_of(organizer).await?.is_none() {
                return Err(Error::Invalid(format!(
                    "nobody there signs in as '{organizer}': make a connection with another name"
                )));
            }
        }
        let account = self.settings.account.as_deref();
        Ok(format!("organisation {}", account.unwrap_or_default()))
    }

    async fn page(&self, cursor: &Value) -> Result<RemotePage, Error> {
        let mut cursor = Cursor::parse(cursor);
        let now = Utc::now();
        let settings = &self.settings;
        if cursor.days.is_none() {
            let (people, more_people) = match settings.everybody {
                true if cursor.was_lately(now) => return Ok(cursor.nothing()),
                true => (Vec::new(), Some(String::new())),
                false => (settings.organizers.clone(), None),
            };
            cursor.begin(now, settings.since_days, people, more_people);
        }
        let Some(person) = cursor.people.last() else {
            return self.everybody(cursor, now).await;
        };
        let (since, _) = cursor.days.unwrap_or_default();
        let listed = match self.id_of(person).await? {
            Some(id) => self.calls(&id, since, now).await,
            None => Ok(BTreeMap::new()),
        };
        let calls = match listed {
            Ok(calls) => {
                cursor.is_shown = true;
                calls
            }
            // A policy of the organisation may keep some people's meetings from the app.
            Err(Error::Status { status: 403, .. }) => {
                cursor.is_refused = true;
                BTreeMap::new()
            }
            // Somebody who left meanwhile.
            Err(Error::Status { status: 404, .. }) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let after = cursor.start.as_deref().and_then(Place::parse);
        let is_next = |place: &Place| after.as_ref().is_none_or(|after| place > after);
        let mut calls = calls.iter().filter(|(place, _)| is_next(place));
        let page: Vec<(&Place, &Call)> = calls.by_ref().take(PAGE).collect();
        let last = page.last().map(|(place, _)| place.to_string());
        let items = page.iter();
        let items = items.filter_map(|(place, call)| call.remote(place, now));
        let items = items.collect();
        cursor.step(last.filter(|_| calls.next().is_some()), None);
        if cursor.is_end() && cursor.is_refused && !cursor.is_shown {
            return Err(Error::Status {
                status: 403,
                retry_after: None,
            });
        }
        Ok(cursor.page(items, now))
    }

    fn whole(&self, cursor: &Value) -> Value {
        Cursor::whole(cursor)
    }

    async fn find(&self, id: &str) -> Result<Found, Error> {
        let Some(place) = Place::parse(id) else {
            return Ok(Found::Gone);
        };
        match self.call(&place).await {
            Ok(call) => {
                let remote = call.and_then(|call| call.remote(&place, Utc::now()));
                Ok(remote.into())
            }
            // Meetings expire, people leave, and policies change; what was said stays said.
            Err(Error::Status {
                status: 403 | 404, ..
            }) => Ok(Found::Untold),
            Err(error) => Err(error),
        }
    }

    async fn look(&self, hint: &str) -> Result<RemotePage, Error> {
        let mut page = RemotePage::default();
        let Some(told) = Told::parse(hint) else {
            return Ok(page);
        };
        let part: Option<Part> = shown(self.graph.get(&told.path()).await.map(Some))?;
        let place = part.and_then(|part| part.place(""));
        let Some(place) = place.filter(|place| !place.organizer.is_empty()) else {
            return Ok(page);
        };
        if self.is_wanted(&place).await?
            && let Found::Here(item) = self.find(&place.to_string()).await?
        {
            page.items.push(item);
        }
        Ok(page)
    }

    async fn content(&self, item: &mut Remote) -> Result<Option<Content>, Error> {
        let Some(place) = Place::parse(&item.id) else {
            return Ok(None);
        };
        let Some(call) = self.call(&place).await? else {
            return Ok(None);
        };
        let said = call.said(Utc::now());
        let first = said.first().and_then(|part| part.start());
        let Some(start) = first else {
            return Ok(None);
        };
        let mut parts = Vec::with_capacity(said.len());
        for part in said {
            let id = encode(&part.id);
            let content = match part.is_recording {
                true => format!("/recordings/{id}/content"),
                false => format!("/transcripts/{id}/content?$format=text/vtt"),
            };
            let url = self.graph.address(&path(&place, &content));
            parts.push(Recording {
                start_ms: offset_ms(first, part.start()),
                bytes: fetch(&self.graph.egress, &url, &self.graph.token).await?,
            });
        }
        let meeting: Meeting = shown(self.graph.get(&path(&place, "")).await)?;
        let about = call.about(&meeting, meeting.host(), start);
        let people = self.people(&place, &meeting, start).await?;
        item.title = about.title();
        item.url = meeting.join_web_url.clone();
        item.groups = self.settings.groups(meeting.host_address(), &people);
        Ok(Some(Content::Said {
            about: about.text(&people),
            parts,
        }))
    }
}

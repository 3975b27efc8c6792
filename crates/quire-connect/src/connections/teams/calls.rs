//! Calls: each time that people met in a meeting, which may be one of a series, with its transcripts and recordings.
//! Knows the shapes of Graph, and asks nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use quire_types::Timestamp;

use super::super::Remote;
use super::super::meetings::{About, said};

/// A transcript or a recording.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) id: String,
    meeting_id: Option<String>,
    call_id: Option<String>,
    created_date_time: Option<Timestamp>,
    end_date_time: Option<Timestamp>,
    meeting_organizer: Option<Identities>,
    /// Which of both it is.
    #[serde(skip)]
    pub(super) is_recording: bool,
}

/// Who somebody is: as a user, or by a name alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Identities {
    user: Option<Identity>,
    display_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity {
    id: Option<String>,
    display_name: Option<String>,
}

/// What is known about a meeting.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meeting {
    subject: Option<String>,
    pub(super) join_web_url: Option<String>,
    participants: Participants,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Participants {
    organizer: Option<Participant>,
    attendees: Vec<Participant>,
}

/// Somebody who was invited or took part.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Participant {
    identity: Option<Identities>,
    upn: Option<String>,
    email_address: Option<String>,
}

/// Who was there between two moments.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) id: String,
    meeting_start_date_time: Option<Timestamp>,
    meeting_end_date_time: Option<Timestamp>,
}

/// Where a call is: who invited, to which meeting, and which time it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) organizer: String,
    pub(super) meeting: String,
    pub(super) call: String,
}

/// A call.
#[derive(Debug, Default)]
pub(super) struct Call {
    parts: Vec<Part>,
}

impl Part {
    /// The call that it belongs to; `organizer` is whose list it was found in.
    pub(super) fn place(&self, organizer: &str) -> Option<Place> {
        let own = self.meeting_organizer.as_ref();
        let own = own.and_then(|own| own.user.as_ref()?.id.clone());
        Some(Place {
            organizer: own.unwrap_or_else(|| organizer.to_owned()),
            meeting: self.meeting_id.clone()?,
            call: self.call().to_owned(),
        })
    }

    /// The call; what names none is one by itself.
    pub(super) fn call(&self) -> &str {
        self.call_id.as_deref().unwrap_or(&self.id)
    }

    /// When it begins.
    pub(super) fn start(&self) -> Option<Timestamp> {
        self.created_date_time
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.organizer, self.meeting, self.call)
    }
}

impl Place {
    /// The place that an id of an item names.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let mut words = id.split(' ').map(str::to_owned);
        Some(Self {
            organizer: words.next()?,
            meeting: words.next()?,
            call: words.next()?,
        })
    }
}

impl Call {
    pub(super) fn of(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// Parts of many calls, sorted out.
    pub(super) fn sort(organizer: &str, parts: Vec<Part>) -> BTreeMap<Place, Self> {
        let mut calls: BTreeMap<Place, Self> = BTreeMap::new();
        for part in parts {
            if let Some(place) = part.place(organizer) {
                calls.entry(place).or_default().parts.push(part);
            }
        }
        calls
    }

    /// When it began, as far as anything tells. A meeting itself tells when the first of its series was.
    pub(super) fn start(&self) -> Option<Timestamp> {
        self.parts.iter().filter_map(Part::start).min()
    }

    fn end(&self) -> Option<Timestamp> {
        let parts = self.parts.iter();
        let ends = parts.filter_map(|part| part.end_date_time.or(part.created_date_time));
        ends.max()
    }

    /// The parts that tell what was said, in their order.
    pub(super) fn said(&self, now: Timestamp) -> Vec<&Part> {
        let of = |is_recording: bool| -> Vec<&Part> {
            let parts = self.parts.iter();
            let parts = parts.filter(|part| part.is_recording == is_recording);
            parts.filter(|part| part.start().is_some()).collect()
        };
        let end = self.end().unwrap_or(now);
        let mut parts = said([of(false)], [of(true)], end, now);
        parts.sort_by_key(|part| (part.start(), &part.id));
        parts
    }

    /// The call as the frame sees it; none while nothing tells what was said.
    pub(super) fn remote(&self, place: &Place, now: Timestamp) -> Option<Remote> {
        let parts = self.said(now);
        let start = parts.first()?.start()?;
        let ids: Vec<&str> = parts.iter().map(|part| part.id.as_str()).collect();
        Some(Remote {
            id: place.to_string(),
            version: ids.join(" "),
            title: self.about(&Meeting::default(), "", start).title(),
            url: None,
            groups: None,
        })
    }

    /// What is known about it.
    pub(super) fn about<'a>(
        &self,
        meeting: &'a Meeting,
        host: &'a str,
        start: Timestamp,
    ) -> About<'a> {
        let length = self.end().map(|end| end - start);
        About {
            topic: meeting.subject.as_deref().unwrap_or_default(),
            start,
            minutes: length.map_or(0, |length| length.num_minutes()),
            host,
        }
    }
}

impl Meeting {
    /// Who invited, as people call them.
    pub(super) fn host(&self) -> &str {
        let host = self.participants.organizer.as_ref();
        host.and_then(Participant::address_or_name)
            .unwrap_or_default()
    }

    /// The address of who invited, where it is told.
    pub(super) fn host_address(&self) -> &str {
        let host = self.participants.organizer.as_ref();
        host.and_then(Participant::address).unwrap_or_default()
    }

    /// Whether this is who invited.
    pub(super) fn is_by(&self, organizer: &str) -> bool {
        self.host().eq_ignore_ascii_case(organizer)
    }

    /// Those who were invited.
    pub(super) fn invited(&self) -> impl Iterator<Item = &Participant> {
        let all = self.participants.organizer.iter();
        all.chain(&self.participants.attendees)
    }
}

impl Participant {
    fn shown(&self) -> Option<&str> {
        let own = self.identity.as_ref()?;
        let user = own
            .user
            .as_ref()
            .and_then(|user| user.display_name.as_deref());
        user.or(own.display_name.as_deref())
            .filter(|name| !name.is_empty())
    }

    /// What they sign in with, or their address.
    pub(super) fn address(&self) -> Option<&str> {
        self.upn.as_deref().or(self.email_address.as_deref())
    }

    fn address_or_name(&self) -> Option<&str> {
        self.address().or(self.shown())
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.shown().or(self.address())
    }
}

impl Report {
    /// Whether it tells who was there at this moment.
    pub(super) fn covers(&self, at: Timestamp) -> bool {
        let is_after = self
            .meeting_start_date_time
            .is_some_and(|start| start <= at);
        is_after && self.meeting_end_date_time.is_some_and(|end| at <= end)
    }
}

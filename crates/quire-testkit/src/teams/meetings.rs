//! People, their meetings, and what was said in them.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::people::name_and_address;

use super::{
    Cloud, ORGANISATION, PEOPLE, Parameters, Shared, TeamsMeeting, TeamsPart, enter, failure, lock,
    time,
};

/// How long every call was.
const LENGTH: TimeDelta = TimeDelta::minutes(30);

pub(super) fn routes() -> Router<Arc<Mutex<Cloud>>> {
    let meeting = "/v1.0/users/{user}/onlineMeetings/{meeting}";
    Router::new()
        .route("/v1.0/users", get(users))
        .route("/v1.0/users/{user}", get(user))
        .route(meeting, get(one))
        .route(&format!("{meeting}/{{what}}"), get(list))
        .route(
            &format!("{meeting}/{{what}}/{{id}}/{{content}}"),
            get(content),
        )
        .route(
            "/v1.0/communications/onlineMeetings/{meeting}/{what}/{id}",
            get(part),
        )
        .route("/signed/{id}", get(signed))
}

async fn users(State(cloud): Shared, headers: HeaderMap, Query(query): Parameters) -> Response {
    match enter(&cloud, &headers, "/users") {
        Err(answer) => *answer,
        Ok(mut cloud) => {
            let all = PEOPLE.iter().map(|(id, ..)| json!({ "id": id })).collect();
            cloud.page("/users", all, &query)
        }
    }
}

fn unknown() -> Response {
    failure(404, "ResourceNotFound", "The resource does not exist.")
}

async fn user(State(cloud): Shared, headers: HeaderMap, Path(user): Path<String>) -> Response {
    match enter(&cloud, &headers, "/users/one") {
        Err(answer) => *answer,
        Ok(_) => {
            let mut people = PEOPLE.iter();
            let found =
                people.find(|(id, name, _)| *id == user || name.eq_ignore_ascii_case(&user));
            match found {
                Some((id, ..)) => Json(json!({ "id": id })).into_response(),
                None => unknown(),
            }
        }
    }
}

fn shown(cloud: &Cloud, id: &str, meeting: &TeamsMeeting, what: &str, part: &TeamsPart) -> Value {
    let (organizer, base) = (meeting.organizer, &cloud.base);
    let content = format!(
        "{base}/v1.0/users/{organizer}/onlineMeetings/{id}/{what}/{}/content",
        part.id
    );
    let (kind, address) = match what {
        "transcripts" => ("callTranscript", "transcriptContentUrl"),
        _ => ("callRecording", "recordingContentUrl"),
    };
    json!({
        "@odata.type": format!("#microsoft.graph.{kind}"), "id": part.id, "meetingId": id, "callId": part.call,
        "contentCorrelationId": format!("{}-{}", part.call, part.start.timestamp()),
        "createdDateTime": time(part.start), "endDateTime": time(part.start + LENGTH), address: content,
        "meetingOrganizer": { "application": null, "device": null, "user": {
            "@odata.type": "#microsoft.graph.teamworkUserIdentity", "id": organizer, "displayName": null,
            "userIdentityType": "aadUser", "tenantId": ORGANISATION } },
    })
}

fn parts<'a>(meeting: &'a TeamsMeeting, what: &str) -> &'a [TeamsPart] {
    match what {
        "transcripts" => &meeting.transcripts,
        _ => &meeting.recordings,
    }
}

/// A date that a function is called with.
fn argument(call: &str, name: &str) -> Option<DateTime<Utc>> {
    let (_, rest) = call.split_once(&format!("{name}="))?;
    rest.split([',', ')']).next()?.parse().ok()
}

/// A meeting, or a function over all of them.
async fn one(
    State(cloud): Shared,
    headers: HeaderMap,
    Path((user, id)): Path<(String, String)>,
    Query(query): Parameters,
) -> Response {
    let mut cloud = match enter(&cloud, &headers, &format!("/onlineMeetings/{id}")) {
        Ok(cloud) => cloud,
        Err(answer) => return *answer,
    };
    let what = match id.split('(').next() {
        Some("getAllTranscripts") => "transcripts",
        Some("getAllRecordings") => "recordings",
        _ => return details(&cloud, &user, &id),
    };
    if user == PEOPLE[1].0 {
        return unknown();
    }
    if cloud.kept.contains(&user) {
        return failure(
            403,
            "Forbidden",
            "No application access policy found for this app.",
        );
    }
    let dates = argument(&id, "startDateTime").zip(argument(&id, "endDateTime"));
    let is_whose = id.contains(&format!("meetingOrganizerUserId='{user}'"));
    let Some((from, to)) = dates.filter(|_| is_whose) else {
        return failure(400, "BadRequest", "meetingOrganizerUserId is needed");
    };
    let meetings = cloud.meetings.iter();
    let meetings = meetings.filter(|(_, meeting)| meeting.organizer == user);
    // The newest come first.
    let mut found: Vec<(DateTime<Utc>, Value)> = meetings
        .flat_map(|(key, meeting)| {
            let parts = parts(meeting, what).iter();
            let parts = parts.filter(|part| (from..=to).contains(&part.start));
            parts.map(|part| (part.start, shown(&cloud, key, meeting, what, part)))
        })
        .collect();
    found.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    let all = found.into_iter().map(|(_, part)| part).collect();
    cloud.page(&format!("/users/{user}/onlineMeetings/{id}"), all, &query)
}

fn details(cloud: &Cloud, user: &str, id: &str) -> Response {
    let meeting = cloud.meetings.get(id);
    let Some(meeting) = meeting.filter(|meeting| meeting.organizer == user) else {
        return unknown();
    };
    let mut people = PEOPLE.iter();
    let host = people.find(|(own, ..)| *own == user);
    let (_, upn, name) = host.unwrap_or(&PEOPLE[1]);
    let person = |name: &str, upn: &str| json!({ "upn": upn, "role": "presenter", "identity": { "user": { "id": null, "displayName": name } } });
    let invited = meeting.invited.iter();
    let invited = invited.map(|person| name_and_address(person));
    let invited: Vec<Value> = invited.map(|(name, upn)| person(name, upn)).collect();
    Json(json!({
        "id": id, "subject": meeting.subject, "joinWebUrl": format!("https://teams.microsoft.com/l/meetup-join/{id}"),
        // Of a series, the first.
        "startDateTime": "2020-01-07T09:00:00Z", "endDateTime": "2020-01-07T09:30:00Z",
        "participants": { "organizer": person(name, upn), "attendees": invited },
    }))
    .into_response()
}

/// What a meeting has of something.
async fn list(
    State(cloud): Shared,
    headers: HeaderMap,
    Path((user, id, what)): Path<(String, String, String)>,
    Query(query): Parameters,
) -> Response {
    let mut cloud = match enter(&cloud, &headers, &format!("/{what}")) {
        Ok(cloud) => cloud,
        Err(answer) => return *answer,
    };
    let Some(meeting) = cloud.meetings.get(&id) else {
        return unknown();
    };
    if meeting.organizer != user {
        return unknown();
    }
    let all: Vec<Value> = match what.as_str() {
        "attendanceReports" => {
            let both = meeting.transcripts.iter().chain(&meeting.recordings);
            let both = both.filter(|_| !meeting.attended.is_empty());
            both.map(|part| {
                json!({ "id": format!("report-{}", part.call), "totalParticipantCount": meeting.attended.len(),
                        "meetingStartDateTime": time(part.start - TimeDelta::minutes(1)),
                        "meetingEndDateTime": time(part.start + LENGTH) })
            })
            .collect()
        }
        what => {
            let parts = parts(meeting, what).iter();
            parts
                .map(|part| shown(&cloud, &id, meeting, what, part))
                .collect()
        }
    };
    let path = format!("/users/{user}/onlineMeetings/{id}/{what}");
    cloud.page(&path, all, &query)
}

/// The content of a part, or who attended.
async fn content(
    State(cloud): Shared,
    headers: HeaderMap,
    Path((user, id, what, part, content)): Path<(String, String, String, String, String)>,
    Query(query): Parameters,
) -> Response {
    let mut cloud = match enter(&cloud, &headers, &format!("/{what}/{part}/{content}")) {
        Ok(cloud) => cloud,
        Err(answer) => return *answer,
    };
    let Some(meeting) = cloud.meetings.get(&id) else {
        return unknown();
    };
    if meeting.organizer != user {
        return unknown();
    }
    if content == "attendanceRecords" {
        let attended = meeting.attended.iter();
        let all = attended.map(|person| {
            let (name, email) = name_and_address(person);
            let email = Some(email).filter(|email| !email.is_empty());
            json!({ "emailAddress": email, "totalAttendanceInSeconds": 1_800, "role": "Attendee",
                    "identity": { "id": null, "displayName": name } })
        });
        let all = all.collect();
        let path = format!("/users/{user}/onlineMeetings/{id}/{what}/{part}/{content}");
        return cloud.page(&path, all, &query);
    }
    let mut parts = parts(meeting, &what).iter();
    match parts.find(|own| own.id == part) {
        None => unknown(),
        Some(found) if what == "transcripts" => match query.get("$format").map(String::as_str) {
            Some("text/vtt") => found.bytes.clone().into_response(),
            _ => failure(400, "BadRequest", "The format is not known."),
        },
        // Recordings lead on to another address, to which no token may be sent.
        Some(_) => {
            let elsewhere = cloud.base.replace("127.0.0.1", "localhost");
            let to = format!("{elsewhere}/signed/{part}");
            (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
        }
    }
}

async fn signed(State(cloud): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return failure(400, "BadRequest", "a token came where none belongs");
    }
    let cloud = lock(&cloud);
    let mut files = cloud
        .meetings
        .values()
        .flat_map(|meeting| &meeting.recordings);
    match files.find(|own| own.id == id) {
        Some(file) => file.bytes.clone().into_response(),
        None => unknown(),
    }
}

/// A part at the path that notifications name.
async fn part(
    State(cloud): Shared,
    headers: HeaderMap,
    Path((id, what, part)): Path<(String, String, String)>,
) -> Response {
    match enter(&cloud, &headers, &format!("/communications/{what}/{part}")) {
        Err(answer) => *answer,
        Ok(cloud) => {
            let meeting = cloud.meetings.get(&id);
            let found = meeting.and_then(|meeting| {
                let mut parts = parts(meeting, &what).iter();
                let part = parts.find(|own| own.id == part)?;
                Some(shown(&cloud, &id, meeting, &what, part))
            });
            match found {
                Some(part) => Json(part).into_response(),
                None => unknown(),
            }
        }
    }
}

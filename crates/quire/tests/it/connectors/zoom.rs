//! Zoom: consent, webhooks, transcripts that come late or never, and whose meeting it is.

use chrono::{TimeDelta, Utc};
use quire_testkit::zoom::{self, CLIENT, ZoomDouble, ZoomFile, ZoomMeeting, signed_headers};
use reqwest::Method;
use serde_json::{Value, json};

use super::contract::{self, Fault, Product};
use super::{
    PUBLIC, agree, is_for_those_who_took_part, moment, names, open_account, open_again, read,
    state, until,
};
use crate::support::{Caller, Quire, Reply};

fn vtt(text: &str) -> Vec<u8> {
    format!(
        "WEBVTT\r\n\r\n1\r\n00:00:02.000 --> 00:00:05.000\r\nDana Ruiz: Good morning.\r\n\r\n\
         2\r\n00:12:30.000 --> 00:12:36.500\r\nTom Lee: {text}\r\n"
    )
    .into_bytes()
}

fn file(id: &str, kind: &'static str, bytes: Vec<u8>) -> ZoomFile {
    ZoomFile {
        id: id.to_owned(),
        kind,
        is_processing: false,
        bytes,
        offset_s: 0,
    }
}

fn meeting(topic: &str, days_ago: i64, files: Vec<ZoomFile>) -> ZoomMeeting {
    ZoomMeeting {
        topic: topic.to_owned(),
        host: "u-dana",
        start: Utc::now() - TimeDelta::days(days_ago) - TimeDelta::minutes(40),
        files,
        people: ["Dana Ruiz", "Tom Lee", "Priya Shah", "Dana Ruiz"]
            .map(str::to_owned)
            .to_vec(),
    }
}

fn uuid(number: usize) -> String {
    match number % 3 {
        0 => format!("/meet+ing{number}=="),
        1 => format!("mee//ting{number}=="),
        _ => format!("meeting{number}=="),
    }
}

async fn connect_with(caller: &Caller, name: &str, settings: &Value) -> String {
    let new = json!({ "kind": "zoom", "name": name, "settings": settings });
    let made = caller.post("/v1/connections", &new).await.created();
    assert_eq!(made["state"], "waiting");
    open_account(caller, &made).await;
    made["id"].as_str().unwrap().to_owned()
}

impl Product for ZoomDouble {
    async fn start() -> Self {
        Self::start().await.unwrap()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("QUIRE__CONNECT__PUBLIC_URL", PUBLIC.to_owned()),
            ("QUIRE__CONNECT__ZOOM", self.config()),
        ]
    }

    async fn connect(&self, caller: &Caller, name: &str) -> String {
        connect_with(caller, name, &json!({})).await
    }

    async fn renew(&self, caller: &Caller, id: &str) {
        open_again(caller, id).await;
    }

    fn put(&self, number: usize, text: &str) {
        let id = format!("file-{number}-{}", self.requests(""));
        let days = i64::try_from(number).unwrap() * 2;
        let files = vec![file(&id, "TRANSCRIPT", vtt(text))];
        self.put(
            &uuid(number),
            meeting(&format!("Gate {number}"), days, files),
        );
    }

    fn remove(&self, number: usize) {
        self.delete(&uuid(number));
    }

    fn push(&self, fault: Fault) {
        match fault {
            Fault::RateLimited(seconds) => self.push(zoom::Fault::RateLimited(Some(seconds))),
            Fault::Status(status) => self.push(zoom::Fault::Status(status)),
            Fault::Place => self.expire_page(),
        }
    }

    fn revoke(&self) {
        self.revoke();
    }

    fn requests(&self) -> usize {
        self.requests("")
    }
}

#[tokio::test]
async fn zoom_keeps_the_contract() {
    contract::is_kept_by::<ZoomDouble>().await;
}

async fn tell(quire: &Quire, secret: &str, at: i64, body: &str) -> Reply {
    let nobody = quire.caller("");
    let mut request = nobody
        .request(Method::POST, "/hooks/zoom")
        .body(body.to_owned());
    for (name, value) in signed_headers(secret, at, body) {
        request = request.header(name, value);
    }
    nobody.send(request).await
}

#[tokio::test]
async fn zoom_webhooks_bring_each_meeting_once() {
    let zoom = ZoomDouble::start().await.unwrap();
    let quire = contract::up(&zoom);
    let (one, two) = (quire.tenant("one").await, quire.tenant("two").await);
    let bystander = quire.tenant("bystander").await;
    let first = zoom.connect(&one, "Meetings").await;
    let second = zoom.connect(&two, "Meetings").await;
    let (notebook, other) = (read(&one, &first).await, read(&two, &second).await);

    // Who can't sign is told nothing, least of all a signature.
    let now = Utc::now().timestamp();
    let secret = CLIENT.2;
    let challenge = json!({ "event": "endpoint.url_validation", "event_ts": now * 1_000,
                            "payload": { "plainToken": "v0:1:{}" } })
    .to_string();
    let answered = tell(&quire, secret, now, &challenge).await.ok();
    assert_eq!(answered["plainToken"], "v0:1:{}");
    assert_eq!(answered["encryptedToken"].as_str().unwrap().len(), 64);
    let nobody = quire.caller("");
    let unsigned = nobody
        .request(Method::POST, "/hooks/zoom")
        .body(challenge.clone());
    assert_eq!(nobody.send(unsigned).await.status, 400);
    for (case, reply, status) in [
        (
            "a stranger's signature",
            tell(&quire, "other", now, &challenge).await,
            401,
        ),
        (
            "an old time",
            tell(&quire, secret, now - 400, &challenge).await,
            400,
        ),
        (
            "a time ahead",
            tell(&quire, secret, now + 400, &challenge).await,
            400,
        ),
        ("no JSON", tell(&quire, secret, now, "nonsense").await, 400),
        ("no object", tell(&quire, secret, now, "[]").await, 204),
        (
            "too large",
            tell(&quire, secret, now, &"x".repeat(17 << 20)).await,
            413,
        ),
    ] {
        assert_eq!(reply.status, status, "{case}: {}", reply.text);
    }
    let unknown = zoom
        .event("recording.completed", "m", now)
        .replace("acc-North", "acc-South");
    assert_eq!(tell(&quire, secret, now, &unknown).await.status, 204);

    // It ends, the recording is there, and the transcript later; told twice and in the wrong order.
    let id = "/abc//Def+9==";
    let say = async |event: &str, at: i64| {
        let body = zoom.event(event, id, at);
        assert_eq!(tell(&quire, secret, now, &body).await.status, 204);
    };
    say("meeting.ended", 1).await;
    let mut recorded = meeting(
        "Pier Nine weekly",
        0,
        vec![file("sound", "M4A", b"no sound".to_vec())],
    );
    recorded.files.push(ZoomFile {
        is_processing: true,
        ..file("words", "TRANSCRIPT", Vec::new())
    });
    zoom.put(id, recorded);
    let looked = zoom.requests("/meetings/");
    say("recording.completed", 2).await;
    say("recording.completed", 2).await;
    until("it was looked at", async || {
        zoom.requests("/meetings/") > looked
    })
    .await;
    assert!(names(&one, &notebook).await.is_empty());
    zoom.change(id, |meeting| {
        meeting.files[1].is_processing = false;
        meeting.files[1].bytes =
            vtt("The crane permit of pier nine expires on the fourth of June.");
        // Somebody paused, so there is a second part.
        let second = vtt("We moved the survey to Tuesday.");
        meeting.files.push(ZoomFile {
            offset_s: 3_600,
            ..file("words-2", "TRANSCRIPT", second)
        });
    });
    for (event, at) in [
        ("recording.transcript_completed", 4),
        ("recording.transcript_completed", 4),
        ("recording.completed", 3),
        ("recording.transcript_completed", 5),
    ] {
        say(event, at).await;
    }
    for (caller, notebook) in [(&one, &notebook), (&two, &other)] {
        until("the meeting is found", async || {
            let hits = caller.search(notebook, "crane permit").await;
            hits.iter().any(|hit| hit.contains("fourth of June"))
        })
        .await;
        let there = names(caller, notebook).await;
        assert_eq!(there.len(), 1, "{there:?}");
        assert!(there[0].starts_with("Pier Nine weekly 20"), "{there:?}");
    }
    // An answer leads to the second of the recording; parts follow each other; people are known.
    let query = |query: &str| json!({ "query": query, "filter": { "notebooks": [notebook] } });
    let found = one
        .post("/v1/search", &query("survey moved to Tuesday"))
        .await
        .ok();
    let (start, end) = moment(&found, "Tuesday");
    assert!(start <= 4_350_000 && end == 4_356_500, "{start} {end}");
    let found = one
        .post("/v1/search", &query("who took part in pier nine weekly"))
        .await
        .ok();
    assert_eq!(moment(&found, "Dana Ruiz, Tom Lee, Priya Shah.").0, 0);
    let everywhere = json!({ "query": "crane permit" });
    let found = bystander.post("/v1/search", &everywhere).await.ok();
    assert!(!found.to_string().contains("fourth of June"), "{found:#}");

    // Deleted there, gone here, for the one who is told; and whoever was thrown out says so.
    zoom.delete(id);
    say("recording.deleted", 6).await;
    until("it is gone", async || {
        names(&one, &notebook).await.is_empty()
    })
    .await;
    zoom.revoke();
    say("app_deauthorized", 7).await;
    for (caller, id) in [(&one, &first), (&two, &second)] {
        until("it has failed", async || {
            state(caller, id).await["state"] == "failed"
        })
        .await;
    }
}

#[tokio::test]
async fn a_link_opens_one_connection_to_one_account() {
    let zoom = ZoomDouble::start().await.unwrap();
    let quire = contract::up(&zoom);
    let caller = quire.tenant("consent").await;
    let create = async |more: Value| {
        let mut new = json!({ "kind": "zoom", "name": "Meetings" });
        new.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        caller.post("/v1/connections", &new).await
    };
    for bad in [
        json!({ "secret": "token" }),
        json!({ "settings": { "since_days": 0 } }),
        json!({ "settings": { "who": "all" } }),
        json!({ "settings": { "account": "acc-other" } }),
    ] {
        let refused = create(bad).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
    }
    let made = create(json!({})).await.created();
    let id = made["id"].as_str().unwrap();
    // Until somebody agrees there is nothing to do, and every way says what is missing.
    for (path, body) in [("/sync", json!({})), ("/test", json!({}))] {
        let reply = caller
            .post(&format!("/v1/connections/{id}{path}"), &body)
            .await;
        assert_eq!(reply.status, 409, "{path}: {}", reply.text);
        assert!(reply.text.contains("link"), "{}", reply.text);
    }
    for patch in [json!({ "is_active": true }), json!({ "secret": "token" })] {
        let reply = caller.patch(&format!("/v1/connections/{id}"), &patch).await;
        assert_eq!(reply.status, 409, "{}", reply.text);
    }
    let link = made["authorize_url"].as_str().unwrap();
    let sealed = link.split("state=").nth(1).unwrap();
    let nobody = quire.caller("");
    let flipped: String = sealed.chars().rev().collect();
    for back in [
        "/oauth/zoom".to_owned(),
        format!("/oauth/zoom?error=access_denied&state={sealed}"),
        "/oauth/zoom?code=code-1&state=".to_owned(),
        format!("/oauth/zoom?code=code-1&state={flipped}"),
    ] {
        assert_eq!(nobody.get(&back).await.status, 400, "{back}");
    }
    // A code that Zoom did not give.
    let guessed = nobody
        .get(&format!("/oauth/zoom?code=guessed&state={sealed}"))
        .await;
    assert_eq!(guessed.status, 403, "{}", guessed.text);
    assert_eq!(state(&caller, id).await["state"], "waiting");

    // Sound of a meeting long ago is listened to here; what can't be used holds up nothing else.
    let memo = sample_company::media::files();
    let memo = memo
        .into_iter()
        .find(|file| file.path.ends_with("voice-memo.mp3"))
        .unwrap();
    zoom.put(
        "old",
        meeting("Old one", 9, vec![file("old-sound", "M4A", memo.bytes)]),
    );
    zoom.put(
        "bad",
        meeting(
            "Bad one",
            5,
            vec![file(
                "bad-words",
                "TRANSCRIPT",
                b"%PDF-1.7 nonsense".to_vec(),
            )],
        ),
    );
    zoom.put(
        "good",
        meeting(
            "Good one",
            3,
            vec![file("good-words", "TRANSCRIPT", vtt("The lift is booked."))],
        ),
    );
    let mut colleague = meeting(
        "Not mine",
        2,
        vec![file("lee-words", "TRANSCRIPT", vtt("The budget is tight."))],
    );
    colleague.host = "u-lee";
    zoom.put("lee", colleague);
    let reply = agree(&caller, link).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let notebook = read(&caller, id).await;
    let mut there = names(&caller, &notebook).await;
    there.sort();
    assert_eq!(there.len(), 2, "{there:?}");
    assert!(
        there[0].starts_with("Good one") && there[1].starts_with("Old one"),
        "{there:?}"
    );
    let found = caller.search(&notebook, "concrete on friday").await;
    assert!(found.iter().any(|hit| hit.contains("friday")), "{found:?}");

    // An hour later the token is refreshed, once and for good; the old one is of no use to anybody.
    let given = zoom.requests("/oauth/token");
    zoom.expire_access();
    zoom.change("good", |meeting| {
        meeting.files[0] = file("new-words", "TRANSCRIPT", vtt("The lift is cancelled."));
    });
    caller
        .post(&format!("/v1/connections/{id}/sync"), &json!({}))
        .await
        .is(202);
    until("it is read with a new token", async || {
        let found = caller.search(&notebook, "lift cancelled").await;
        found.iter().any(|hit| hit.contains("cancelled"))
    })
    .await;
    assert_eq!(zoom.requests("/oauth/token"), given + 1);
    assert_eq!(
        zoom.requests("bad-words"),
        1,
        "what can't be used is fetched once"
    );

    // An administrator may have everybody's.
    let all = connect_with(&caller, "All meetings", &json!({ "everybody": true })).await;
    let everybodys = read(&caller, &all).await;
    let found = caller.search(&everybodys, "budget").await;
    assert!(found.iter().any(|hit| hit.contains("tight")), "{found:?}");
    assert_eq!(names(&caller, &everybodys).await.len(), 3);
}

#[tokio::test]
async fn a_meeting_of_zoom_is_for_those_who_took_part() {
    let zoom = ZoomDouble::start().await.unwrap();
    let quire = contract::up(&zoom);
    let caller = quire.tenant("took-part").await;
    let words = file("words", "TRANSCRIPT", vtt("The lift is booked."));
    let people = ["Dana Ruiz", "Tom Lee <tom@northgate.example>", "Guest"];
    let mut own = meeting("Lift", 2, vec![words]);
    own.people = people.map(str::to_owned).to_vec();
    zoom.put("lift", own);
    let settings = json!({ "participants_only": true });
    let connection = connect_with(&caller, "Meetings", &settings).await;
    is_for_those_who_took_part(&caller, &connection).await;
}

//! Microsoft Teams: who may open an organisation, subscriptions that last, and meetings that come as series.

mod subscriptions;

use chrono::{TimeDelta, Utc};
use quire_testkit::teams::{
    self, DANA, LEE, ORGANISATION, PEOPLE, TeamsDouble, TeamsMeeting, TeamsPart,
};
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
        "WEBVTT\r\n\r\n00:00:02.000 --> 00:00:05.000\r\n<v Dana Ruiz>Good morning.</v>\r\n\r\n\
         00:12:30.000 --> 00:12:36.500\r\n<v Tom Lee>{text}</v>\r\n"
    )
    .into_bytes()
}

/// A part of the first time that people met, so long ago.
fn part(id: &str, ago: TimeDelta, bytes: Vec<u8>) -> TeamsPart {
    TeamsPart {
        id: id.to_owned(),
        call: "call-1",
        start: Utc::now() - ago,
        bytes,
    }
}

fn meeting(subject: &str, transcripts: Vec<TeamsPart>) -> TeamsMeeting {
    TeamsMeeting {
        subject: subject.to_owned(),
        organizer: DANA,
        transcripts,
        recordings: Vec::new(),
        invited: ["Tom Lee", "Priya Shah", "Max Weber"]
            .map(str::to_owned)
            .to_vec(),
        attended: ["Dana Ruiz", "Priya Shah", "Tom Lee"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// Ids of meetings are long.
fn id(number: usize) -> String {
    format!(
        "MSo5NzZmNGIzMS1mZDAxLTRlMGItOTE3OC0yOWNjNDBjMTQ0MzgqMCoqMTk6bWVldGluZ19aalk0TXpRNU9UQXRZamxqWWkwMFpESX{number}=="
    )
}

async fn create(caller: &Caller, name: &str, settings: &Value) -> Reply {
    let new = json!({ "kind": "teams", "name": name, "settings": settings });
    caller.post("/v1/connections", &new).await
}

async fn connect_with(
    teams: &TeamsDouble,
    caller: &Caller,
    name: &str,
    settings: &Value,
) -> String {
    teams.reach(PUBLIC, &caller.url);
    let made = create(caller, name, settings).await.created();
    assert_eq!(made["state"], "waiting");
    open_account(caller, &made).await;
    made["id"].as_str().unwrap().to_owned()
}

impl Product for TeamsDouble {
    async fn start() -> Self {
        Self::start().await.unwrap()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("QUIRE__CONNECT__PUBLIC_URL", PUBLIC.to_owned()),
            ("QUIRE__CONNECT__TEAMS", self.config()),
        ]
    }

    async fn connect(&self, caller: &Caller, name: &str) -> String {
        connect_with(self, caller, name, &json!({ "everybody": true })).await
    }

    async fn renew(&self, caller: &Caller, id: &str) {
        open_again(caller, id).await;
    }

    fn put(&self, number: usize, text: &str) {
        let words = format!("words-{number}-{}", self.requests(""));
        let days = i64::try_from(number).unwrap() * 2;
        let ago = TimeDelta::days(days) + TimeDelta::minutes(40);
        let mut meeting = meeting(
            &format!("Gate {number}"),
            vec![part(&words, ago, vtt(text))],
        );
        meeting.organizer = [DANA, LEE][number % 2];
        self.put(&id(number), meeting);
    }

    fn remove(&self, number: usize) {
        self.change(&id(number), |meeting| meeting.transcripts.clear());
    }

    fn push(&self, fault: Fault) {
        match fault {
            Fault::RateLimited(seconds) => self.push(teams::Fault::RateLimited(seconds)),
            Fault::Status(status) => self.push(teams::Fault::Status(status)),
            Fault::Place => self.expire_place(),
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
async fn teams_keeps_the_contract() {
    contract::is_kept_by::<TeamsDouble>().await;
}

async fn tell(quire: &Quire, body: &str) -> Reply {
    let nobody = quire.caller("");
    let request = nobody.request(Method::POST, "/hooks/teams");
    nobody.send(request.body(body.to_owned())).await
}

#[tokio::test]
async fn teams_notifications_bring_each_call_once() {
    let teams = TeamsDouble::start().await.unwrap();
    let quire = contract::up(&teams);
    let (one, two) = (quire.tenant("one").await, quire.tenant("two").await);
    let bystander = quire.tenant("bystander").await;
    let first = teams.connect(&one, "Meetings").await;
    let second = teams.connect(&two, "Meetings").await;
    let (notebook, other) = (read(&one, &first).await, read(&two, &second).await);

    // What Graph asks is repeated, and means nothing to a browser.
    let nobody = quire.caller("");
    let ask = "/hooks/teams?validationToken=Validation%3A%20a%2Bb%20%3Cscript%3E";
    let asked = nobody.send(nobody.request(Method::POST, ask)).await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.text, "Validation: a+b &lt;script&gt;");
    let kind = asked.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");

    // Both tenants share what one organisation gives an app only once.
    until("it is subscribed", async || {
        teams.subscriptions().len() == 2
    })
    .await;

    let weekly = id(1);
    let tell_of = async |parts: &[(&str, &str, &str)]| {
        let body = teams.told(parts).to_string();
        assert_eq!(tell(&quire, &body).await.status, 202, "{body}");
    };
    let body = teams.told(&[("transcripts", &weekly, "forged")]);
    let state_of = body["value"][0]["clientState"].as_str().unwrap();
    let elsewhere = state_of.replace(ORGANISATION, "11111111-0abd-43db-aa7b-16eadd115d34");
    let forged = |state: &str| body.to_string().replace(state_of, state);
    let mut without = body.clone();
    without["value"][0]
        .as_object_mut()
        .unwrap()
        .remove("clientState");
    for (case, body, status) in [
        ("a state of nobody", forged("guessed"), 202),
        ("a state of another", forged(&elsewhere), 202),
        ("no state", without.to_string(), 202),
        ("nothing", "{}".to_owned(), 202),
        ("no object", "[]".to_owned(), 202),
        (
            "other things",
            r#"{"value":[1,{"clientState":7}]}"#.to_owned(),
            202,
        ),
        ("no JSON", "nonsense".to_owned(), 400),
        ("too large", "x".repeat(17 << 20), 413),
    ] {
        let reply = tell(&quire, &body).await;
        assert_eq!(reply.status, status, "{case}: {}", reply.text);
    }

    // The recording is there, and the transcript later, in two parts since somebody paused; told twice and in the
    // wrong order, also in one request.
    let hour = TimeDelta::hours(1);
    let mut recorded = meeting("Pier Nine weekly", Vec::new());
    recorded.recordings = vec![part("sound", hour * 2, b"no sound".to_vec())];
    teams.put(&weekly, recorded);
    tell_of(&[("recordings", &weekly, "sound")]).await;
    until("it was looked at", async || {
        teams.requests("/communications/recordings/sound") >= 2
    })
    .await;
    assert!(names(&one, &notebook).await.is_empty());
    teams.change(&weekly, |meeting| {
        let permit = vtt("The crane permit of pier nine expires on the fourth of June.");
        let mut words = part("words", hour * 2, permit);
        words.start = meeting.recordings[0].start;
        let survey = vtt("We moved the survey to Tuesday.");
        let mut more = part("words-2", hour, survey);
        more.start = words.start + hour;
        meeting.transcripts = vec![more, words];
    });
    let words = ("transcripts", weekly.as_str(), "words");
    let more = ("transcripts", weekly.as_str(), "words-2");
    tell_of(&[more, words]).await;
    tell_of(&[words]).await;
    tell_of(&[words, more, ("recordings", &weekly, "sound")]).await;
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
    // An answer leads to the second of the recording and to the meeting; those who came are known, not those invited.
    let search = async |query: &str| {
        let query = json!({ "query": query, "filter": { "notebooks": [notebook] } });
        one.post("/v1/search", &query).await.ok()
    };
    let (start, end) = moment(&search("survey moved to Tuesday").await, "Tuesday");
    assert!(start <= 4_350_000 && end == 4_356_500, "{start} {end}");
    let about = search("who took part in pier nine weekly").await;
    assert_eq!(moment(&about, "Dana Ruiz, Priya Shah, Tom Lee.").0, 0);
    assert!(!about.to_string().contains("Max Weber"), "{about:#}");
    let sources = format!("/v1/notebooks/{notebook}/sources");
    let sources = one.get(&sources).await.ok();
    let own = sources["items"][0]["id"].as_str().unwrap();
    let own = one.get(&format!("/v1/sources/{own}")).await.ok();
    let url = own["url"].as_str().unwrap();
    assert!(url.starts_with("https://teams.microsoft.com/"), "{url}");

    // The next time of the series is a source of its own.
    teams.change(&weekly, |meeting| {
        let mut next = part(
            "words-3",
            TimeDelta::minutes(35),
            vtt("The survey went well."),
        );
        next.call = "call-2";
        meeting.transcripts.push(next);
    });
    tell_of(&[("transcripts", &weekly, "words-3")]).await;
    until("the next one is found", async || {
        names(&one, &notebook).await.len() == 2
    })
    .await;
    let found = bystander
        .post("/v1/search", &json!({ "query": "crane permit" }))
        .await
        .ok();
    assert!(!found.to_string().contains("fourth of June"), "{found:#}");
    assert_eq!(teams.requests("forged"), 0);

    // Asked whether they are still wanted, subscriptions are renewed; removed, they are made anew, and what was missed
    // meanwhile is found.
    let renewed = teams.requests("PATCH /subscriptions");
    let event = teams.lifecycle("reauthorizationRequired").to_string();
    assert_eq!(tell(&quire, &event).await.status, 202);
    until("they are renewed", async || {
        teams.requests("PATCH /subscriptions") >= renewed + 4
    })
    .await;
    let event = teams.lifecycle("subscriptionRemoved").to_string();
    let before: Vec<String> = teams.subscriptions().into_iter().map(|own| own.0).collect();
    teams.remove_subscriptions();
    let ago = TimeDelta::days(20);
    let missed = part("missed-words", ago, vtt("The fence was delivered."));
    teams.put(&id(2), meeting("Missed", vec![missed]));
    assert_eq!(tell(&quire, &event).await.status, 202);
    until("what was missed is found", async || {
        let hits = one.search(&notebook, "fence delivered").await;
        hits.iter().any(|hit| hit.contains("delivered"))
    })
    .await;
    until("it is subscribed anew", async || {
        let now = teams.subscriptions();
        now.len() == 2 && now.iter().all(|own| !before.contains(&own.0))
    })
    .await;

    // Whoever was thrown out says so.
    teams.revoke();
    tell_of(&[("transcripts", &weekly, "words-4")]).await;
    for (caller, id) in [(&one, &first), (&two, &second)] {
        until("it has failed", async || {
            state(caller, id).await["state"] == "failed"
        })
        .await;
        let reason = state(caller, id).await["reason"].to_string();
        assert!(reason.contains("link"), "{reason}");
    }
}

#[tokio::test]
async fn only_an_administrator_opens_an_organisation_and_only_what_is_named_is_read() {
    let teams = TeamsDouble::start().await.unwrap();
    teams.shorten_subscriptions(60);
    let quire = contract::up(&teams);
    let caller = quire.tenant("consent").await;
    for bad in [
        json!({}),
        json!({ "organizers": [] }),
        json!({ "organizers": [" "] }),
        json!({ "organizers": ["lee@northgate.example"], "everybody": true }),
        json!({ "everybody": true, "since_days": 0 }),
        json!({ "everybody": true, "account": ORGANISATION }),
    ] {
        let refused = create(&caller, "Meetings", &bad).await;
        assert_eq!(refused.status, 400, "{bad}: {}", refused.text);
    }
    teams.reach(PUBLIC, &caller.url);
    let made = create(
        &caller,
        "Meetings",
        &json!({ "organizers": ["Lee@northgate.example"] }),
    )
    .await
    .created();
    let id_of = made["id"].as_str().unwrap();
    let link = made["authorize_url"].as_str().unwrap();
    let sealed = link.split("state=").nth(1).unwrap();
    let sealed = sealed.split('&').next().unwrap();
    let nobody = quire.caller("");
    let flipped: String = sealed.chars().rev().collect();
    for back in [
        "/oauth/teams".to_owned(),
        format!("/oauth/teams?error=access_denied&state={sealed}"),
        format!("/oauth/teams?admin_consent=False&state={sealed}"),
        format!("/oauth/teams?admin_consent=True&tenant={ORGANISATION}&state={flipped}"),
        format!("/oauth/teams?code=code-1&state={flipped}"),
        // A state of another provider's link is none.
        format!("/oauth/zoom?code=code-1&state={sealed}"),
    ] {
        assert_eq!(nobody.get(&back).await.status, 400, "{back}");
    }
    let guessed = nobody
        .get(&format!("/oauth/teams?code=guessed&state={sealed}"))
        .await;
    assert_eq!(guessed.status, 403, "{}", guessed.text);
    // Another tenant opened the organisation already; that lets none of its people open it to this one.
    let other = quire.tenant("other").await;
    let open = connect_with(&teams, &other, "Meetings", &json!({ "everybody": true })).await;
    read(&other, &open).await;
    teams.set_administrator(false);
    let refused = agree(&caller, link).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.text.contains("Administrator"), "{}", refused.text);
    assert_eq!(state(&caller, id_of).await["state"], "waiting");

    // One was only recorded, long ago; one is somebody else's; what can't be used holds up nothing.
    let memo = sample_company::media::files();
    let memo = memo
        .into_iter()
        .find(|file| file.path.ends_with("voice-memo.mp3"))
        .unwrap();
    let by_lee = |mut meeting: TeamsMeeting| {
        meeting.organizer = LEE;
        meeting.attended.clear();
        meeting
    };
    let mut recorded = by_lee(meeting("Old one", Vec::new()));
    recorded.recordings = vec![part("old-sound", TimeDelta::days(9), memo.bytes)];
    teams.put(&id(1), recorded);
    let words = |id: &str, days: i64, bytes: Vec<u8>| vec![part(id, TimeDelta::days(days), bytes)];
    let bad = words("bad-words", 5, b"%PDF-1.7 nonsense".to_vec());
    teams.put(&id(2), by_lee(meeting("Bad one", bad)));
    let good = words("good-words", 3, vtt("The lift is booked."));
    teams.put(&id(3), by_lee(meeting("Good one", good)));
    let secret = words("dana-words", 2, vtt("The budget is tight."));
    teams.put(&id(4), meeting("Not hers", secret));
    teams.set_administrator(true);
    let reply = agree(&caller, link).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let notebook = read(&caller, id_of).await;
    let mut there = names(&caller, &notebook).await;
    there.sort();
    assert_eq!(there.len(), 2, "{there:?}");
    assert!(
        there[0].starts_with("Good one 20") && there[1].starts_with("Old one 20"),
        "{there:?}"
    );
    let found = caller.search(&notebook, "concrete on friday").await;
    assert!(found.iter().any(|hit| hit.contains("friday")), "{found:?}");
    // Nobody says who came, so those who were invited are named.
    let found = caller.search(&notebook, "participants of good one").await;
    assert!(
        found.iter().any(|hit| hit.contains("Max Weber")),
        "{found:?}"
    );

    // Subscriptions are as long as they are given, and a notification brings only what is named.
    until("it is subscribed", async || {
        teams.subscriptions().len() == 2
    })
    .await;
    let longest = Utc::now() + TimeDelta::minutes(60);
    assert!(teams.subscriptions().iter().all(|own| own.2 <= longest));
    let (theirs, hers) = (id(4), id(5));
    let news = words("new-words", 0, vtt("The lift was inspected."));
    teams.put(&hers, by_lee(meeting("New one", news)));
    let body = teams.told(&[
        ("transcripts", &theirs, "dana-words"),
        ("transcripts", &hers, "new-words"),
    ]);
    assert_eq!(tell(&quire, &body.to_string()).await.status, 202);
    until("both were looked at", async || {
        let hits = caller.search(&notebook, "lift inspected").await;
        let looked = teams.requests("/communications/transcripts/dana-words");
        looked >= 2 && hits.iter().any(|hit| hit.contains("inspected"))
    })
    .await;

    // An hour later there is another token; a meeting that expired stays, a transcript that was deleted goes.
    teams.expire_access();
    teams.expire(&id(1));
    teams.change(&hers, |meeting| meeting.transcripts.clear());
    let given = teams.requests("/oauth2/v2.0/token");
    let sync = format!("/v1/connections/{id_of}/sync");
    caller.post(&sync, &json!({})).await.is(202);
    until("what was deleted is gone", async || {
        names(&caller, &notebook).await.len() == 2
    })
    .await;
    let mut left = names(&caller, &notebook).await;
    left.sort();
    assert!(
        left[0].starts_with("Good one") && left[1].starts_with("Old one"),
        "{left:?}"
    );
    assert!(teams.requests("/oauth2/v2.0/token") > given);
    assert_eq!(
        teams.requests("/bad-words/content"),
        1,
        "what can't be used is fetched once"
    );

    // A policy that keeps everybody's meetings from quire is said; what is here stays.
    for (person, ..) in PEOPLE {
        teams.keep(person);
    }
    caller.post(&sync, &json!({})).await.is(202);
    until("it has failed", async || {
        state(&caller, id_of).await["state"] == "failed"
    })
    .await;
    assert_eq!(names(&caller, &notebook).await.len(), 2);
}

#[tokio::test]
async fn a_meeting_of_teams_is_for_those_who_took_part() {
    let teams = TeamsDouble::start().await.unwrap();
    let quire = contract::up(&teams);
    let caller = quire.tenant("took-part").await;
    let words = part("words", TimeDelta::days(2), vtt("The lift is booked."));
    let mut own = meeting("Lift", vec![words]);
    let there = ["Tom Lee <tom@northgate.example>", "Guest"];
    own.attended = there.map(str::to_owned).to_vec();
    own.invited = vec!["Priya Shah <priya@northgate.example>".to_owned()];
    teams.put(&id(1), own);
    let settings = json!({ "everybody": true, "participants_only": true });
    let connection = connect_with(&teams, &caller, "Meetings", &settings).await;
    is_for_those_who_took_part(&caller, &connection).await;
}

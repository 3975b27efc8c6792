//! Recordings and pictures that models of a provider hear and see: in which pieces they are sent, what comes of it,
//! what it costs, and what happens when nobody answers.

use quire_store::passages;
use quire_store::tenants::Tenant;
use quire_tenancy::budgets::Period;
use quire_tenancy::sums;
use quire_tenancy::usage::{self, Event};
use quire_testkit::postgres::eventually;
use quire_testkit::provider::{ChatDouble, Script};
use quire_types::{NotebookId, Secret, SourceId, SourceState};
use serde_json::{Value, json};

use crate::lab::{Lab, add};
use crate::support::{png, wav};

/// A customer whose recordings or pictures go to a provider.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) double: ChatDouble,
    pub(crate) tenant: Tenant,
    notebook: NotebookId,
}

impl Site {
    async fn new(chains: &[(&str, &str)], limits: &[(&str, &str)]) -> Self {
        let double = ChatDouble::start().await.unwrap();
        let lab = Lab::with_models(Some(&double), chains).await;
        Self::in_lab(lab, double, limits).await
    }

    /// The same in pools of Google's and OpenAI's, all of which the double plays; Google is shown a service account.
    pub(crate) async fn with_google(chains: &[(&str, &[&str])]) -> Self {
        let double = ChatDouble::start().await.unwrap();
        let account = Some(Secret::new(double.service_account()));
        let pools = [
            ("google-speech", double.google_speech(), account.clone()),
            ("document-ai", double.document_ai(), account),
            ("openai", double.base_url(), None),
        ];
        let lab = Lab::with_pools(&pools, chains).await;
        Self::in_lab(lab, double, &[]).await
    }

    async fn in_lab(lab: Lab, double: ChatDouble, limits: &[(&str, &str)]) -> Self {
        let tenant = lab.tenant("site", limits).await;
        let notebook = lab.notebook(&tenant).await;
        Self {
            lab,
            double,
            tenant,
            notebook,
        }
    }

    pub(crate) async fn add(&self, name: &str, bytes: Vec<u8>) -> SourceId {
        let added = add(&self.lab.ingest, &self.tenant, self.notebook, name, bytes).await;
        added.unwrap().source().id
    }

    /// What search sees of a file, with the milliseconds of each passage.
    pub(crate) async fn read(&self, name: &str, bytes: Vec<u8>) -> Vec<(u64, u64, String)> {
        let id = self.add(name, bytes).await;
        self.lab
            .until(&self.tenant, id, SourceState::Searchable)
            .await;
        self.found(id).await
    }

    async fn found(&self, id: SourceId) -> Vec<(u64, u64, String)> {
        let mut tx = self.lab.db.tx(&self.tenant).await;
        let found = passages::tail(&mut tx, Some(&[id]), None, 100).await;
        let found = found.unwrap().into_iter().map(|passage| {
            let time = passage.place.spot.time;
            let (start, end) = time.map_or((0, 0), |time| (time.start_ms, time.end_ms));
            (start, end, passage.body)
        });
        found.collect()
    }

    /// Attempts of a kind, once there are so many and each is closed.
    pub(crate) async fn attempts(&self, kind: &str, count: usize) -> Vec<Event> {
        let all = async || {
            self.lab.control.settle().await.unwrap();
            let mut tx = self.lab.db.store.system().await.unwrap();
            let today = chrono::Utc::now().date_naive();
            let days = (today.pred_opt().unwrap(), today.succ_opt().unwrap());
            let events = usage::events(&mut tx, self.tenant.id, days, None, 100).await;
            let events = events.unwrap().into_iter();
            events
                .filter(|event| event.kind == kind && !event.is_open)
                .collect::<Vec<Event>>()
        };
        eventually("every attempt is closed", async || {
            all().await.len() == count
        })
        .await;
        let mut events = all().await;
        events.sort_by_key(|event| (event.at, event.attempt));
        events
    }
}

pub(crate) fn failure(code: u16) -> Script {
    Script::Status {
        code,
        body: json!({"error": {"message": "not now"}}).to_string(),
        retry_after: None,
    }
}

pub(crate) fn texts(found: &[(u64, u64, String)]) -> String {
    let texts = found.iter().map(|(_, _, text)| text.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// A tone of so many seconds in few bytes.
pub(crate) fn tone(seconds: u32) -> Vec<u8> {
    wav(400, 400 * seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_written_down_in_parts_and_its_minutes_are_counted_once() {
    let limits = [("transcribed_minutes_per_month", "13")];
    let site = Site::new(&[("speech", "whisper-1")], &limits).await;
    let _worker = site.lab.work();
    let found = site.read("walk.wav", tone(700)).await;
    let text = texts(&found);
    let told = "Recording of 11 min 40 s (wav). Its words were recognised by whisper-1. Who speaks is not told.";
    assert!(text.starts_with(told), "{text}");
    assert_eq!(
        text.matches("The gate is open. Close it at six.").count(),
        2
    );
    assert!(
        found.iter().any(|(_, end, _)| *end == 604_200),
        "the second part begins after ten minutes: {found:?}"
    );

    let sent = site.double.received();
    assert_eq!(sent.len(), 2);
    for request in &sent {
        assert_eq!(request.path, "/v1/audio/transcriptions");
        assert_eq!(request.body["model"], "whisper-1");
        assert_eq!(request.body["response_format"], "verbose_json");
        assert_eq!(request.body["file"]["name"], "part.flac");
        assert_eq!(request.body["file"]["begins"], "fLaC");
    }
    // $100 for a million seconds, of which the provider says five each time.
    let attempts = site.attempts("transcribe", 2).await;
    let told: Vec<(i64, i64)> = attempts
        .iter()
        .map(|event| (event.quantities.audio_ms, event.cost.nanos()))
        .collect();
    assert_eq!(told, [(600_000, 500_000), (100_000, 500_000)]);
    assert!(attempts.iter().all(|event| !event.is_estimated));

    // 780 seconds are given, 700 used, whoever heard them; also when they are counted anew.
    let forget = async || {
        let mut tx = site.lab.db.store.system().await.unwrap();
        sqlx::query("delete from control.budgets")
            .execute(tx.connection())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    site.lab.control.settle().await.unwrap();
    forget().await;
    site.read("note.wav", tone(60)).await;
    site.attempts("transcribe", 3).await;
    let store = &site.lab.db.store;
    sums::sum(store, None).await.unwrap();
    let mut tx = store.system().await.unwrap();
    let month = Period::Month.start(chrono::Utc::now().date_naive());
    let top = sums::top(&mut tx, Period::Month, month, 10).await.unwrap();
    assert_eq!(top[0].quantities.audio_ms, 760_000);
    drop(tx);
    let more = site.add("more.wav", tone(30)).await;
    let failed = site.lab.until(&site.tenant, more, SourceState::Failed);
    let reason = failed.await.reason.unwrap();
    assert!(reason.contains("13 minutes of sound"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_provider_writes_down_is_left_to_this_machine_part_by_part() {
    let site = Site::new(&[("speech", "whisper-1")], &[]).await;
    let _worker = site.lab.work();
    let heard = json!({"text": "Pour on Friday.", "duration": 600.0,
        "segments": [{"start": 1.0, "end": 2.5, "text": "Pour on Friday."}]});
    site.double.push(Script::Status {
        code: 200,
        body: heard.to_string(),
        retry_after: None,
    });
    site.double.push(failure(503));
    let text = texts(&site.read("walk.wav", tone(615)).await);
    let told = "Its words were recognised by whisper-1; those from 10:00 to 10:15 by a program on this machine, \
        which gets many of them wrong. Who speaks is not told.";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("Pour on Friday."), "{text}");
    // Nobody said what ten minutes took, so it is known from what was sent; a refusal costs nothing.
    let costs: Vec<i64> = site
        .attempts("transcribe", 2)
        .await
        .iter()
        .map(|event| event.cost.nanos())
        .collect();
    assert_eq!(costs, [60_000_000, 0]);

    // The tenant has no money for models: nobody is asked.
    site.lab
        .limit(&site.tenant, "cost_per_day", Some("$0"))
        .await;
    let text = texts(&site.read("memo.wav", tone(5)).await);
    assert!(text.starts_with("Recording of 0 min 5 s (wav)."), "{text}");
    assert!(!text.contains("whisper-1"), "{text}");
    assert_eq!(site.double.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passages_go_by_the_turns_of_speakers_where_the_model_tells_them() {
    let site = Site::new(&[("speech", "gpt-4o-transcribe-diarize")], &[]).await;
    let _worker = site.lab.work();
    let text = texts(&site.read("call.wav", tone(6)).await);
    let told = "Its words were recognised by gpt-4o-transcribe-diarize.";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("Who speaks"), "{text}");
    assert!(text.contains("Speaker A: The gate is open."), "{text}");
    assert!(text.contains("Speaker B: Close it at six."), "{text}");
    let sent = site.double.received().remove(0).body;
    assert_eq!(sent["response_format"], "diarized_json");
    assert_eq!(sent["chunking_strategy"], "auto");
    // Paid by the token: 42 at $2.50, 12 at $10 a million.
    let attempts = site.attempts("transcribe", 1).await;
    assert_eq!(attempts[0].cost.nanos(), 225_000);
    assert_eq!(attempts[0].quantities.input_tokens, 42);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_wrote_down_is_never_replaced_by_worse_words() {
    let site = Site::new(&[("speech", "whisper-1")], &[]).await;
    let _worker = site.lab.work();
    let id = site.add("call.wav", tone(6)).await;
    site.lab
        .until(&site.tenant, id, SourceState::Searchable)
        .await;
    let before = site.found(id).await;
    // Read again while the provider is down, then once it is back.
    site.double.push(failure(503));
    let mut tx = site.lab.db.tx(&site.tenant).await;
    sqlx::query("update shard.sources set processor = 0 where tenant_id = $1 and id = $2")
        .bind(site.tenant.id.uuid())
        .bind(id.uuid())
        .execute(tx.connection())
        .await
        .unwrap();
    quire_ingest::tasks::RereadSources::plan(&mut tx, std::time::Duration::ZERO)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    eventually("it was asked again, and answered", async || {
        site.double.count() == 3 && site.lab.tasks().await == 0
    })
    .await;
    assert_eq!(site.found(id).await, before);
}

fn seen() -> Value {
    json!({"description": "A yellow crane stands\nbeside a wall.", "objects": ["crane", "Crane", "wall"],
        "text": "CR-4410\nMAX 5 T"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_described_and_read_by_a_model() {
    let site = Site::new(&[("vision", "gpt-4o-mini")], &[]).await;
    let _worker = site.lab.work();
    // The first reply can't be read, so the model is asked once more.
    site.double.push(Script::Answer("A crane.".to_owned()));
    site.double.push(Script::Answer(seen().to_string()));
    let text = texts(&site.read("crane.png", png(64, 48)).await);
    for line in [
        "Picture, 64 × 48 pixels.",
        "Description by a model (gpt-4o-mini): A yellow crane stands beside a wall.",
        "Objects seen by a model (gpt-4o-mini): crane, wall",
        "Text read by a model (gpt-4o-mini): CR-4410\nMAX 5 T",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let sent = site.double.received();
    assert_eq!(sent.len(), 2);
    assert_eq!(
        sent[0].body["response_format"]["json_schema"]["name"],
        "picture"
    );
    for (request, last) in sent.iter().zip([1, 3]) {
        let content = &request.body["messages"][last]["content"];
        let url = content[1]["image_url"]["url"].as_str().unwrap();
        assert!(url.starts_with("data:image/jpeg;base64,/9j/"), "{url}");
        assert!(content[0]["text"].is_string());
    }
    let attempts = site.attempts("describe", 2).await;
    assert!(
        attempts
            .iter()
            .all(|event| event.quantities.images == 1 && event.cost.nanos() > 0)
    );

    // Nobody looks: the picture is found by what was read in it.
    site.double.push(failure(500));
    let text = texts(&site.read("wall.png", png(70, 50)).await);
    assert_eq!(text, "Picture, 70 × 50 pixels.");

    // Two pictures, however often and by whom they were looked at.
    site.attempts("describe", 3).await;
    let store = &site.lab.db.store;
    sums::sum(store, None).await.unwrap();
    let mut tx = store.system().await.unwrap();
    let month = Period::Month.start(chrono::Utc::now().date_naive());
    let top = sums::top(&mut tx, Period::Month, month, 10).await.unwrap();
    assert_eq!(top[0].quantities.images, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenes_of_a_film_are_described_with_their_times() {
    let chains = [("speech", "whisper-1"), ("vision", "gpt-4o-mini")];
    let site = Site::new(&chains, &[]).await;
    let _worker = site.lab.work();
    let film = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/northgate/site-media/weekly-walk.mp4"
    ));
    for number in 1..=3 {
        let said = json!({"description": format!("Scene {number} shows a sign."), "objects": [], "text": "SIGN"});
        // What is heard is asked first, by another method.
        if number == 1 {
            site.double.push(Script::Status {
                code: 200,
                body: json!({"text": "This is the walk.", "segments": [
                    {"start": 0.5, "end": 2.0, "text": "This is the walk."}]})
                .to_string(),
                retry_after: None,
            });
        }
        site.double.push(Script::Answer(said.to_string()));
    }
    let found = site.read("walk.mp4", film.unwrap()).await;
    let text = texts(&found);
    assert!(text.contains("This is the walk."), "{text}");
    assert!(text.contains("On screen: "), "{text}");
    assert!(!text.contains("Text read by a model"), "{text}");
    assert_eq!(site.double.scripts_left(), 0);
    assert_eq!(site.double.count(), 4);
    // What was seen stands apart from what was said and read.
    let [_, (0, 12_000, seen)] = &found[..] else {
        panic!("{found:?}");
    };
    let lines = (1..=3).map(|number| {
        format!("Description by a model (gpt-4o-mini): Scene {number} shows a sign.")
    });
    assert_eq!(seen, &lines.collect::<Vec<_>>().join("\n\n"));
}

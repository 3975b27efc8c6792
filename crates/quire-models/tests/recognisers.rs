//! Recognisers of speech, who have to be alike whoever they are, and Google's reader of pages, against a real HTTP server
//! that behaves and misbehaves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use quire_models::registry::{Registry, Wire};
use quire_models::{
    Error, Models, ModelsConfig, Patience, Picture, Pool, PoolState, Quota, Server, ServerConfig,
    Supply, TranscribeCall, Wish, Work,
};
use quire_testkit::provider::{ChatDouble, GOOGLE_KEY, Script};
use quire_types::{ErrorKind, Kind, NanoUsd, Secret, TenantId};
use serde_json::json;

/// A picture by its first bytes, in base64.
const JPEG: Picture<'static> = Picture {
    media_type: "image/jpeg",
    base64: "/9j/4AAQ",
};

fn server(wire: Wire, base_url: String, key: &str) -> Result<Server, Error> {
    Server::new(ServerConfig {
        wire,
        base_url,
        api_key: Some(Secret::new(key)),
        patience: Patience {
            sound: Duration::from_secs(2),
            ..Patience::default()
        },
    })
}

/// Everybody who writes down speech, with who shows what to whom.
async fn recognisers() -> Vec<(&'static str, Server, ChatDouble)> {
    let mut all = Vec::new();
    for name in ["openai", "google by key", "google by account"] {
        let double = ChatDouble::start().await.unwrap();
        let (wire, url, key) = match name {
            "openai" => (Wire::OpenAi, double.base_url(), "sk-test-123".to_owned()),
            "google by key" => (
                Wire::GoogleSpeech,
                double.google_speech(),
                GOOGLE_KEY.to_owned(),
            ),
            _ => (
                Wire::GoogleSpeech,
                double.google_speech(),
                double.service_account(),
            ),
        };
        all.push((name, server(wire, url, &key).unwrap(), double));
    }
    all
}

fn call(tells_speakers: bool) -> TranscribeCall<'static> {
    TranscribeCall {
        model: "a-model",
        bytes: b"RIFF....",
        file_name: "yard.wav",
        language: None,
        tells_speakers,
    }
}

#[tokio::test]
async fn every_recogniser_tells_what_was_said_when_and_by_whom() {
    for (name, server, _double) in recognisers().await {
        let (plain, _) = server.transcribe(&call(false)).await.unwrap();
        assert_eq!(plain.text, "The gate is open. Close it at six.", "{name}");
        assert_eq!(plain.usage.seconds, Some(5.0), "{name}");
        let (told, _) = server.transcribe(&call(true)).await.unwrap();
        let mut speakers = Vec::new();
        for transcript in [plain, told] {
            let segments: Vec<(f64, f64, &str)> = transcript
                .segments
                .iter()
                .map(|one| (one.start, one.end, one.text.trim()))
                .collect();
            let wanted = [
                (0.0, 2.0, "The gate is open."),
                (2.0, 4.2, "Close it at six."),
            ];
            assert_eq!(segments, wanted, "{name}");
            speakers.push(
                transcript
                    .segments
                    .into_iter()
                    .map(|one| one.speaker)
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(speakers[0], [None, None], "{name}");
        assert!(speakers[1].iter().all(Option::is_some), "{name}");
        assert_ne!(speakers[1][0], speakers[1][1], "{name}");
    }
}

fn status(code: u16, body: &str) -> Script {
    Script::Status {
        code,
        body: body.to_owned(),
        retry_after: Some("7".to_owned()),
    }
}

fn failures() -> Vec<(Script, ErrorKind)> {
    let because = "{\"error\":{\"message\":\"because\",\"status\":\"INTERNAL\"}}";
    vec![
        (status(429, because), ErrorKind::RateLimited),
        (status(401, because), ErrorKind::Unavailable),
        (status(403, because), ErrorKind::Unavailable),
        (status(500, because), ErrorKind::Unavailable),
        (status(503, "<html>"), ErrorKind::Unavailable),
        (status(400, because), ErrorKind::Invalid),
        (status(200, "{}"), ErrorKind::Unavailable),
        (status(200, "{\"results\": ["), ErrorKind::Unavailable),
        (Script::ErrorBody200, ErrorKind::Unavailable),
        (Script::HangBefore, ErrorKind::Timeout),
    ]
}

fn check_failure(name: &str, script: &Script, error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{name}: {script:?}: {error:?}");
    let shown = format!("{error:?} {error}");
    for secret in ["sk-test", GOOGLE_KEY, "PRIVATE KEY", "ya29"] {
        assert!(!shown.contains(secret), "{name}: {shown}");
    }
    if kind == ErrorKind::RateLimited {
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{name}");
    }
    let may_fall_back = kind != ErrorKind::Invalid;
    assert_eq!(error.may_fall_back(), may_fall_back, "{name}: {script:?}");
}

#[tokio::test]
async fn every_recogniser_fails_alike() {
    for (name, server, double) in recognisers().await {
        for (script, kind) in failures() {
            double.push(script.clone());
            let error = server.transcribe(&call(false)).await.unwrap_err();
            check_failure(name, &script, &error, kind);
        }
    }
}

#[tokio::test]
async fn a_reader_of_pages_tells_what_it_is_sure_of_and_fails_like_the_others() {
    let double = ChatDouble::start().await.unwrap();
    for key in [GOOGLE_KEY.to_owned(), double.service_account()] {
        let reader = server(Wire::DocumentAi, double.document_ai(), &key).unwrap();
        let (text, _) = reader.read_page(JPEG).await.unwrap();
        // The third paragraph is a guess.
        assert_eq!(text.paragraphs, ["Überlassung 4411", "Total due $950"]);
        for (script, kind) in failures() {
            double.push(script.clone());
            let error = reader.read_page(JPEG).await.unwrap_err();
            check_failure("reader", &script, &error, kind);
        }
    }
    let sent = &double.received()[0];
    assert_eq!(
        sent.path,
        "/v1/projects/acme/locations/eu/processors/1a2b3c:process"
    );
    assert_eq!(sent.body["rawDocument"]["mimeType"], "image/jpeg");
    assert_eq!(sent.header("x-goog-api-key"), Some(GOOGLE_KEY));
}

#[tokio::test]
async fn google_is_told_the_model_and_takes_sound_of_a_minute() {
    let double = ChatDouble::start().await.unwrap();
    let google = server(Wire::GoogleSpeech, double.google_speech(), GOOGLE_KEY).unwrap();
    google.transcribe(&call(true)).await.unwrap();
    let in_english = TranscribeCall {
        language: Some("en-US"),
        ..call(false)
    };
    google.transcribe(&in_english).await.unwrap();
    let sent = double.received();
    assert_eq!(
        sent[0].path,
        "/v2/projects/acme/locations/eu/recognizers/_:recognize"
    );
    let config = json!({"autoDecodingConfig": {}, "model": "a-model", "languageCodes": ["auto"],
        "features": {"enableWordTimeOffsets": true, "enableAutomaticPunctuation": true,
            "diarizationConfig": {}}});
    assert_eq!(sent[0].body["config"], config);
    assert_eq!(sent[0].body["content"], "UklGRi4uLi4=");
    assert_eq!(sent[1].body["config"]["languageCodes"], json!(["en-US"]));
    assert!(sent[1].body["config"]["features"]["diarizationConfig"].is_null());
}

#[tokio::test]
async fn a_service_account_gets_one_token_and_another_when_that_is_refused() {
    let double = ChatDouble::start().await.unwrap();
    let account = double.service_account();
    let google = server(Wire::GoogleSpeech, double.google_speech(), &account).unwrap();
    let call = call(false);
    let both = tokio::join!(google.transcribe(&call), google.transcribe(&call));
    assert!(both.0.is_ok() && both.1.is_ok());
    google.transcribe(&call).await.unwrap();
    assert_eq!(double.tokens_given(), 1);

    double.end_tokens();
    let error = google.transcribe(&call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    google.transcribe(&call).await.unwrap();
    assert_eq!(double.tokens_given(), 2);

    double.end_tokens();
    double.refuse_tokens(true);
    google.transcribe(&call).await.unwrap_err();
    let error = google.transcribe(&call).await.unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("no token for the service account: Invalid grant"),
        "{told}"
    );
    assert!(error.may_fall_back() && error.is_unbilled(), "{error:?}");
    assert!(!format!("{google:?}").contains("PRIVATE"), "{google:?}");
}

#[tokio::test]
async fn a_wrong_credential_is_told_by_what_is_wrong_with_it() {
    let double = ChatDouble::start().await.unwrap();
    // Google answers 400 to a wrong key, which is no fault of the request.
    let google = server(Wire::GoogleSpeech, double.google_speech(), "AIza-other").unwrap();
    let error = google.transcribe(&call(false)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                status: Some(401),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.may_fall_back());

    let stranger = double.service_account().replace("reader@", "stranger@");
    let google = server(Wire::GoogleSpeech, double.google_speech(), &stranger).unwrap();
    let error = google.transcribe(&call(false)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                status: Some(401),
                ..
            }
        ),
        "{error:?}"
    );

    let no_pem = json!({"client_email": "a@b", "private_key": "-----BEGIN"}).to_string();
    let ftp = double.service_account().replace("http://", "ftp://");
    for (key, why) in [
        (
            "{\"client_email\": \"a@b\"}",
            "client_email and private_key",
        ),
        (no_pem.as_str(), "its private_key is no PEM"),
        (ftp.as_str(), "its token_uri is no address"),
    ] {
        let error = server(Wire::DocumentAi, double.document_ai(), key).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    for wire in [Wire::GoogleSpeech, Wire::DocumentAi] {
        let error = server(wire, double.base_url(), GOOGLE_KEY).unwrap_err();
        assert!(
            error.to_string().contains("project and the place"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_chain_knows_how_much_each_listens_to_and_who_reads() {
    let double = ChatDouble::start().await.unwrap();
    let document = r#"
        [[models]]
        name = "unpriced"
        provider = "document-ai"
        does = ["read"]
        prices = [{ from = "2020-01-01", input = "$0", output = "$0" }]
        [[models]]
        name = "elsewhere"
        provider = "openai"
        does = ["read"]
        prices = [{ from = "2020-01-01", input = "$0", output = "$0", pages = "$1" }]
    "#;
    let registry = Arc::new(Registry::shipped().unwrap().with(document).unwrap());
    let pool = |id: &str, provider: &str, region: &str, base_url: String| Pool {
        id: id.to_owned(),
        region: region.to_owned(),
        provider: provider.to_owned(),
        base_url: Some(base_url),
        key: None,
        models: Vec::new(),
        quota: Quota::default(),
        state: PoolState::Active,
        reserved_for: None,
    };
    let chain = |name: &str, models: &[&str]| {
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        (name.to_owned(), models)
    };
    let models = Models::new(ModelsConfig {
        chains: [
            chain("speech", &["chirp_3", "whisper-1"]),
            chain("ocr", &["document-ocr", "gpt-4o-mini"]),
            chain("unpriced", &["unpriced"]),
            chain("elsewhere", &["elsewhere"]),
            chain("whisper-1", &["whisper-1"]),
        ]
        .into(),
        patience: Patience::default(),
    });
    let pools = vec![
        pool("speech", "google-speech", "eu", double.google_speech()),
        pool("pages", "document-ai", "eu", double.document_ai()),
        pool("eu", "openai", "eu", double.base_url()),
        pool("us", "openai", "us", double.base_url()),
    ];
    models.supply(Arc::new(Supply { registry, pools })).unwrap();
    let route = |chain: &str, region: &str, work: Work| {
        let wish = Wish {
            chain: chain.to_owned(),
            tenant: TenantId::generate(),
            region: region.to_owned(),
            home: String::new(),
            input_tokens: 1_000,
            output_tokens: 100,
            work,
            features: Vec::new(),
        };
        models.route(wish, Utc::now())
    };
    let short = Work::Transcribe { seconds: 1 };
    assert_eq!(
        route("speech", "eu", short).unwrap().seconds_at_once(),
        Some(59)
    );
    // A region is a wall: there is nobody there who listens to less.
    assert_eq!(
        route("speech", "us", short).unwrap().seconds_at_once(),
        Some(600)
    );
    let long = Work::Transcribe { seconds: 60 };
    let mut hops = route("speech", "eu", long).unwrap();
    assert_eq!(hops.next(None).unwrap().model(), "whisper-1");

    // $266.67 for a million seconds.
    let mut hops = route("speech", "eu", Work::Transcribe { seconds: 59 }).unwrap();
    let hop = hops.next(None).unwrap();
    assert!(hop.tells_speakers());
    assert_eq!(hop.costs().0, NanoUsd::from_nanos(15_733_530));

    let mut hops = route("ocr", "eu", Work::Read).unwrap();
    let reader = hops.next(None).unwrap();
    assert!(reader.is_reader());
    assert_eq!(reader.costs().0, NanoUsd::from_nanos(1_500_000));
    let no_key = reader.read(JPEG).await.unwrap_err();
    let other = hops.next(Some(&no_key)).unwrap();
    assert_eq!((other.model(), other.is_reader()), ("gpt-4o-mini", false));
    assert!(other.read(JPEG).await.is_err());
    for (chain, why) in [
        ("unpriced", "'unpriced' has no price for pages"),
        ("elsewhere", "the provider of 'elsewhere' reads no pictures"),
        ("whisper-1", "'whisper-1' reads no pictures"),
    ] {
        let error = route(chain, "eu", Work::Read).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}

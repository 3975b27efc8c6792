//! What is no chat (vectors, order, sound) from providers, against a real HTTP server that behaves and
//! misbehaves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use quire_models::registry::{Registry, Tokens, Wire};
use quire_models::{
    BatchState, EmbedCall, Error, Models, ModelsConfig, Patience, Pool, PoolState, Quota,
    RerankCall, Server, ServerConfig, SpeakCall, Supply, TranscribeCall, Wish, Work,
};
use quire_testkit::provider::{BatchFate, ChatDouble, Dialect, Script};
use quire_types::{ErrorKind, Kind, NanoUsd, Secret, TenantId};
use serde_json::{Value, json};

fn server(double: &ChatDouble, wire: Wire) -> Server {
    let dialect = match wire {
        Wire::Gemini => Dialect::Gemini,
        _ => Dialect::OpenAi,
    };
    let config = ServerConfig {
        wire,
        base_url: double.base_url_of(dialect),
        api_key: Some(Secret::new("sk-test-123")),
        patience: Patience {
            first_token: Duration::from_secs(5),
            ..Patience::default()
        },
    };
    Server::new(config).unwrap()
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text {number}")).collect()
}

fn embed(texts: &[String]) -> EmbedCall<'_> {
    EmbedCall {
        model: "double",
        texts,
        dimensions: 16,
        are_questions: false,
    }
}

/// What every tool does with a server that fails, one call each.
async fn every_failure(script: Script) -> Vec<Error> {
    let mut errors = Vec::new();
    let texts = texts(2);
    for wire in [Wire::OpenAi, Wire::Gemini] {
        let double = ChatDouble::start().await.unwrap();
        double.push(script.clone());
        errors.push(
            server(&double, wire)
                .embed(&embed(&texts))
                .await
                .unwrap_err(),
        );
    }
    let double = ChatDouble::start().await.unwrap();
    let openai = server(&double, Wire::OpenAi);
    let call = RerankCall {
        model: "double",
        query: "q",
        documents: &texts,
        top: 2,
    };
    double.push(script.clone());
    errors.push(openai.rerank(&call).await.unwrap_err());
    let call = TranscribeCall {
        model: "double",
        bytes: b"RIFF",
        file_name: "a.wav",
        language: None,
        tells_speakers: false,
    };
    double.push(script.clone());
    errors.push(openai.transcribe(&call).await.unwrap_err());
    let call = SpeakCall {
        model: "double",
        text: "hello",
        voice: "alloy",
        format: "wav",
    };
    double.push(script);
    errors.push(openai.speak(&call).await.unwrap_err());
    errors
}

#[tokio::test]
async fn vectors_come_in_the_order_of_their_texts_and_in_as_many_requests_as_it_takes() {
    for (wire, requests) in [(Wire::OpenAi, 1), (Wire::Gemini, 3)] {
        let double = ChatDouble::start().await.unwrap();
        let texts = texts(250);
        let embedded = server(&double, wire).embed(&embed(&texts)).await.unwrap();
        assert_eq!(double.received().len(), requests, "{wire:?}");
        assert_eq!(embedded.vectors.len(), 250);
        assert_ne!(embedded.vectors[0], embedded.vectors[1]);
        let alone = server(&double, wire)
            .embed(&embed(&texts[7..8]))
            .await
            .unwrap();
        assert_eq!(alone.vectors[0], embedded.vectors[7]);
        assert_eq!(
            embedded.input_tokens,
            (wire == Wire::OpenAi).then_some(1_250)
        );
    }
}

#[tokio::test]
async fn vectors_that_are_none_are_refused() {
    let texts = texts(2);
    let vector =
        |index: usize, length: usize| json!({"index": index, "embedding": vec![0.5; length]});
    for data in [
        json!([vector(0, 16)]),
        json!([vector(0, 16), vector(0, 16)]),
        json!([vector(0, 16), vector(1, 15)]),
        json!([vector(0, 16), vector(2, 16)]),
    ] {
        let double = ChatDouble::start().await.unwrap();
        double.push(reply(&json!({ "data": data })));
        let error = server(&double, Wire::OpenAi)
            .embed(&embed(&texts))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
}

fn reply(body: &Value) -> Script {
    Script::Status {
        code: 200,
        body: body.to_string(),
        retry_after: None,
    }
}

fn documents() -> [String; 3] {
    ["the roof leaks", "who pays the buyer", "the buyer"].map(str::to_owned)
}

fn who_pays(documents: &[String], top: usize) -> RerankCall<'_> {
    RerankCall {
        model: "double",
        query: "buyer pays",
        documents,
        top,
    }
}

#[tokio::test]
async fn passages_are_ordered_by_what_the_provider_finds() {
    let double = ChatDouble::start().await.unwrap();
    let documents = documents();
    let call = who_pays(&documents, 2);
    let reranked = server(&double, Wire::Cohere).rerank(&call).await.unwrap();
    assert_eq!(reranked.order, [(1, 1.0), (2, 0.5)]);
    assert_eq!(reranked.searches, Some(1));
    let request = double.received().remove(0);
    assert_eq!(request.path, "/v1/rerank");
    assert_eq!(request.body["top_n"], 2);
    // An order of what was never asked is none.
    for results in [
        json!([{"index": 3, "relevance_score": 1.0}]),
        json!([{"index": 1, "relevance_score": 1.0}, {"index": 1, "relevance_score": 0.9}]),
    ] {
        double.push(reply(&json!({ "results": results })));
        let error = server(&double, Wire::Cohere)
            .rerank(&call)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn passages_are_ordered_by_scores_where_a_server_tells_nothing_else() {
    let double = ChatDouble::start().await.unwrap();
    let documents = documents();
    let call = who_pays(&documents, 3);
    let scored = server(&double, Wire::OpenAi).score(&call).await.unwrap();
    assert_eq!(scored.order, [(1, 1.0), (2, 0.5), (0, 0.0)]);
    assert_eq!((scored.searches, scored.input_tokens), (None, Some(27)));
    let request = double.received().remove(0);
    assert_eq!(request.path, "/v1/score");
    assert_eq!(request.body["text_1"], "buyer pays");
    // Scores of some, of others and of none in particular are no order.
    for data in [
        json!([{"index": 0, "score": 1.0}, {"index": 1, "score": 0.5}]),
        json!([{"index": 0, "score": 1.0}, {"index": 1, "score": 0.5}, {"index": 9, "score": 0.1}]),
        json!([{"index": 0, "score": 1.0}, {"index": 0, "score": 0.5}, {"index": 1, "score": 0.1}]),
        json!([{"index": 0, "score": null}, {"index": 1, "score": 0.5}, {"index": 2, "score": 0.1}]),
    ] {
        double.push(reply(&json!({ "data": data })));
        let error = server(&double, Wire::OpenAi).score(&call).await;
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
    let error = server(&double, Wire::Cohere).score(&call).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn an_order_is_paid_by_the_search_or_by_the_token_and_never_bought_without_a_price() {
    let double = ChatDouble::start().await.unwrap();
    let document = r#"
        [providers.own]
        wire = "openai"
        [[models]]
        name = "scorer"
        provider = "own"
        does = ["score"]
        prices = [{ from = "2020-01-01", input = "$1", output = "$0" }]
        [[models]]
        name = "unpriced"
        provider = "cohere"
        does = ["rerank"]
        prices = [{ from = "2020-01-01", input = "$0", output = "$0" }]
    "#;
    let names = ["rerank-v3.5", "scorer", "unpriced", "gpt-4o-mini"];
    let models = models(&double, document, &names, &["cohere", "own", "openai"]);
    let route = |chain: &str| {
        let wish = Wish {
            work: Work::Rerank { searches: 2 },
            ..wish(chain)
        };
        models.route(wish, Utc::now())
    };
    let documents = texts(3);
    // $2 for a thousand searches, of which one is told and two were reserved.
    let hop = route("rerank-v3.5").unwrap().next(None).unwrap();
    assert_eq!(hop.costs().0.nanos(), 4_000_000);
    let (ranked, cost) = hop.rerank("text 1", &documents).await.unwrap();
    assert_eq!(ranked.order.first(), Some(&(1, 1.0)));
    assert_eq!(cost.map(NanoUsd::nanos), Some(2_000_000));
    // More searches than can have been are as good as none told.
    let lie = json!({"results": [{"index": 0, "relevance_score": 0.5}],
        "meta": {"billed_units": {"search_units": 500}}});
    double.push(Script::Status {
        code: 200,
        body: lie.to_string(),
        retry_after: None,
    });
    let hop = route("rerank-v3.5").unwrap().next(None).unwrap();
    assert_eq!(hop.rerank("q", &documents).await.unwrap().1, None);
    let again = hop.rerank("q", &documents).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid, "a hop is asked once");
    // $1 for a million tokens.
    let hop = route("scorer").unwrap().next(None).unwrap();
    assert_eq!(hop.costs().0.nanos(), 1_000_000);
    let (_, cost) = hop.rerank("text 1", &documents).await.unwrap();
    assert_eq!(cost.map(NanoUsd::nanos), Some(27_000));
    for (chain, why) in [
        ("unpriced", "no price for searches"),
        ("gpt-4o-mini", "orders no passages"),
    ] {
        let error = route(chain).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn speech_is_paid_by_the_second_or_by_the_token_and_never_bought_without_a_price() {
    let double = ChatDouble::start().await.unwrap();
    let document = r#"
        [providers.own]
        wire = "openai"
        [[models]]
        name = "unpriced"
        provider = "own"
        does = ["transcribe"]
        prices = [{ from = "2020-01-01", input = "$0", output = "$0" }]
        [[models]]
        name = "elsewhere"
        provider = "gemini"
        does = ["transcribe"]
        prices = [{ from = "2020-01-01", input = "$0", output = "$0", audio_seconds = "$0" }]
    "#;
    let names = [
        "whisper-1",
        "gpt-4o-transcribe-diarize",
        "unpriced",
        "elsewhere",
        "gpt-4o-mini",
    ];
    let models = models(&double, document, &names, &["own", "openai", "gemini"]);
    let hop = |chain: &str| {
        let wish = Wish {
            input_tokens: 60 * 20,
            output_tokens: 60 * 20,
            work: Work::Transcribe { seconds: 60 },
            ..wish(chain)
        };
        models
            .route(wish, Utc::now())
            .map(|mut route| route.next(None).unwrap())
    };
    // $100 for a million seconds: all of them reserved, five told.
    let whisper = hop("whisper-1").unwrap();
    assert_eq!(whisper.costs().0.nanos(), 6_000_000);
    assert!(!whisper.tells_speakers());
    let (transcript, cost) = whisper.transcribe(b"fLaC", "part.flac").await.unwrap();
    assert_eq!(cost.map(NanoUsd::nanos), Some(500_000));
    assert_eq!(transcript.usage.seconds, Some(5.0));
    let again = whisper.transcribe(b"fLaC", "part.flac").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid, "a hop is asked once");
    // More than was sent is as good as all of it.
    double.push(reply(
        &json!({"text": "x", "usage": {"type": "duration", "seconds": 9_000}}),
    ));
    let hop_again = hop("whisper-1").unwrap();
    let (_, cost) = hop_again.transcribe(b"fLaC", "part.flac").await.unwrap();
    assert_eq!(cost.map(NanoUsd::nanos), Some(6_000_000));
    // By the token, if that can be true.
    let diarize = hop("gpt-4o-transcribe-diarize").unwrap();
    let (transcript, cost) = diarize.transcribe(b"fLaC", "part.flac").await.unwrap();
    assert_eq!(cost.map(NanoUsd::nanos), Some(225_000));
    assert_eq!(transcript.segments[1].speaker.as_deref(), Some("B"));
    double.push(reply(
        &json!({"text": "x", "usage": {"type": "tokens", "input_tokens": 9_000_000_000_u64,
        "output_tokens": 1}}),
    ));
    let diarize = hop("gpt-4o-transcribe-diarize").unwrap();
    let (transcript, cost) = diarize.transcribe(b"fLaC", "part.flac").await.unwrap();
    assert_eq!((cost, transcript.usage.input_tokens), (None, None));
    for (chain, why) in [
        ("unpriced", "no price for seconds of sound"),
        ("elsewhere", "has no transcriptions"),
        ("gpt-4o-mini", "writes down no speech"),
    ] {
        let error = hop(chain).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn only_models_that_look_at_pictures_are_shown_any() {
    let double = ChatDouble::start().await.unwrap();
    let document = r#"
        [[models]]
        name = "blind"
        provider = "openai"
        does = ["chat"]
        prices = [{ from = "2020-01-01", input = "$1", output = "$1" }]
        [[models]]
        name = "by-the-picture"
        provider = "openai"
        does = ["chat"]
        features = ["vision"]
        prices = [{ from = "2020-01-01", input = "$0", output = "$0", images = "$1000" }]
    "#;
    let names = ["blind", "by-the-picture"];
    let models = models(&double, document, &names, &["openai"]);
    let hop = |chain: &str| {
        let wish = Wish {
            work: Work::Look,
            ..wish(chain)
        };
        models
            .route(wish, Utc::now())
            .map(|mut route| route.next(None).unwrap())
    };
    let error = hop("blind").err().unwrap().to_string();
    assert!(error.contains("'blind' looks at no pictures"), "{error}");
    let hop = hop("by-the-picture").unwrap();
    assert_eq!(hop.costs().0.nanos(), 1_000_000);
    assert_eq!(hop.look_cost(Tokens::default()).nanos(), 1_000_000);
}

fn wish(chain: &str) -> Wish {
    Wish {
        chain: chain.to_owned(),
        tenant: TenantId::generate(),
        region: "local".to_owned(),
        home: String::new(),
        input_tokens: 1_000,
        output_tokens: 0,
        work: Work::Chat,
        features: Vec::new(),
    }
}

/// Models with a chain of each, in pools of these providers that the double plays.
fn models(double: &ChatDouble, document: &str, names: &[&str], providers: &[&str]) -> Models {
    let registry = Arc::new(Registry::shipped().unwrap().with(document).unwrap());
    let pool = |provider: &&str| Pool {
        id: (*provider).to_owned(),
        region: "local".to_owned(),
        provider: (*provider).to_owned(),
        base_url: Some(double.base_url()),
        key: None,
        models: Vec::new(),
        quota: Quota::default(),
        state: PoolState::Active,
        reserved_for: None,
    };
    let chain = |name: &&str| ((*name).to_owned(), vec![(*name).to_owned()]);
    let models = Models::new(ModelsConfig {
        chains: names.iter().map(chain).collect(),
        patience: Patience::default(),
    });
    let pools = providers.iter().map(pool).collect();
    models.supply(Arc::new(Supply { registry, pools })).unwrap();
    models
}

#[tokio::test]
async fn speech_is_written_down_with_its_times_and_text_is_spoken() {
    let double = ChatDouble::start().await.unwrap();
    let openai = server(&double, Wire::OpenAi);
    let call = TranscribeCall {
        model: "whisper-1",
        bytes: b"RIFF....",
        file_name: "yard\"\r\nX: y.wav",
        language: Some("en"),
        tells_speakers: false,
    };
    let (transcript, _) = openai.transcribe(&call).await.unwrap();
    assert_eq!(transcript.segments.len(), 2);
    assert_eq!(
        (transcript.segments[1].start, transcript.segments[1].end),
        (2.0, 4.2)
    );
    assert_eq!(transcript.duration, Some(4.2));
    let request = double.received().remove(0);
    let content_type = request.header("content-type").unwrap().to_owned();
    assert!(
        content_type.starts_with("multipart/form-data; boundary=quire-"),
        "{content_type}"
    );

    let call = SpeakCall {
        model: "tts-1",
        text: "hello",
        voice: "alloy",
        format: "wav",
    };
    let (sound, _) = openai.speak(&call).await.unwrap();
    assert!(sound.starts_with(b"RIFF"));
    let too_long = "x".repeat(4_097);
    let error = openai
        .speak(&SpeakCall {
            text: &too_long,
            ..call
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_server_that_fails_fails_alike_for_every_tool() {
    let status = |code| Script::Status {
        code,
        body: "{\"error\":{\"message\":\"because\"}}".to_owned(),
        retry_after: None,
    };
    for (script, kind) in [
        (status(429), ErrorKind::RateLimited),
        (status(401), ErrorKind::Unavailable),
        (status(500), ErrorKind::Unavailable),
        (status(400), ErrorKind::Invalid),
        (Script::ErrorBody200, ErrorKind::Unavailable),
        (
            Script::Status {
                code: 200,
                body: "{}".to_owned(),
                retry_after: None,
            },
            ErrorKind::Unavailable,
        ),
        (
            Script::Status {
                code: 200,
                body: "{\"data\": [".to_owned(),
                retry_after: None,
            },
            ErrorKind::Unavailable,
        ),
    ] {
        let errors = every_failure(script.clone()).await;
        assert_eq!(errors.len(), 5);
        for error in errors {
            assert_eq!(error.kind(), kind, "{script:?}: {error:?}");
            assert!(!format!("{error:?}").contains("sk-test"));
        }
    }
}

#[tokio::test]
async fn vectors_are_asked_for_where_the_same_model_is_and_never_of_another() {
    let (first, second, gateway, other) = (
        ChatDouble::start().await.unwrap(),
        ChatDouble::start().await.unwrap(),
        ChatDouble::start().await.unwrap(),
        ChatDouble::start().await.unwrap(),
    );
    let document = r#"
        [providers.gateway]
        wire = "openai"
        [[models]]
        name = "openai/text-embedding-3-small"
        provider = "gateway"
        does = ["embed"]
        same_vectors_as = "text-embedding-3-small"
        prices = [{ from = "2020-01-01", input = "$1", output = "$0" }]
        [[models]]
        name = "text-embedding-3-large"
        provider = "gateway"
        does = ["embed"]
        prices = [{ from = "2020-01-01", input = "$1", output = "$0" }]
    "#;
    let registry = Arc::new(Registry::shipped().unwrap().with(document).unwrap());
    let pool = |id: &str, provider: &str, region: &str, double: &ChatDouble| Pool {
        id: id.to_owned(),
        region: region.to_owned(),
        provider: provider.to_owned(),
        base_url: Some(double.base_url()),
        key: None,
        models: Vec::new(),
        quota: Quota::default(),
        state: PoolState::Active,
        reserved_for: None,
    };
    let models = Models::new(ModelsConfig::default());
    let pools = vec![
        pool("first", "openai", "eu", &first),
        pool("second", "openai", "eu", &second),
        pool("gateway", "gateway", "eu", &gateway),
        pool("other", "openai", "us", &other),
    ];
    models.supply(Arc::new(Supply { registry, pools })).unwrap();
    let wish = Wish {
        chain: "text-embedding-3-small".to_owned(),
        tenant: TenantId::generate(),
        region: "eu".to_owned(),
        home: "first".to_owned(),
        input_tokens: 100,
        output_tokens: 0,
        work: Work::Embed {
            dimensions: 8,
            are_questions: false,
        },
        features: Vec::new(),
    };
    for double in [&first, &second] {
        double.push(Script::Status {
            code: 503,
            body: "{}".to_owned(),
            retry_after: None,
        });
    }
    let mut route = models.route(wish, Utc::now()).unwrap();
    let texts = texts(2);
    let mut failed = None;
    let mut asked = Vec::new();
    let embedded = loop {
        let hop = route.next(failed.as_ref()).unwrap();
        asked.push((hop.pool().to_owned(), hop.model().to_owned()));
        match hop.embed(&texts).await {
            Ok((embedded, cost)) => break (embedded, cost),
            Err(error) => failed = Some(error),
        }
    };
    let own = "text-embedding-3-small";
    let wanted = [
        ("first", own),
        ("second", own),
        ("gateway", "openai/text-embedding-3-small"),
    ];
    assert_eq!(
        asked,
        wanted.map(|(pool, model)| (pool.to_owned(), model.to_owned()))
    );
    assert_eq!(
        gateway.received()[0].body["model"],
        "openai/text-embedding-3-small"
    );
    // Ten tokens at the price of who answered.
    assert_eq!(embedded.1.map(NanoUsd::nanos), Some(10_000));
    assert_eq!(embedded.0.vectors.len(), 2);
    let more = route.next(None).err().unwrap().to_string();
    assert!(more.contains("busy or failing"), "{more}");
    assert_eq!(other.count(), 0, "a region is a wall");
}

/// Both kinds of batches keep the same promises.
#[tokio::test]
async fn a_batch_is_found_by_its_mark_and_its_failed_lines_are_left_out() {
    for wire in [Wire::OpenAi, Wire::Gemini] {
        let double = ChatDouble::start().await.unwrap();
        let server = server(&double, wire);
        let lines: Vec<(String, String)> = (0..5)
            .map(|number| (format!("id{number}"), format!("text {number}")))
            .collect();
        let begin = async |mark: &str| server.begin_batch("m", 16, &lines, mark).await.unwrap();
        double.batches(BatchFate::Runs);
        let begun = begin("mark 1").await;
        begin("mark 2").await;
        assert_eq!(begun.state, BatchState::Running, "{wire:?}");
        assert_eq!(
            server.marked_batch("mark 1").await.unwrap().unwrap().id,
            begun.id
        );
        assert!(server.marked_batch("mark 3").await.unwrap().is_none());
        let state = server.batch(&begun.id).await.unwrap().state;
        assert_eq!(state, BatchState::Running, "{wire:?}");

        double.batches(BatchFate::FailsLinesWith("text 3".to_owned()));
        let over = server.batch(&begun.id).await.unwrap();
        assert_eq!(over.state, BatchState::Completed, "{wire:?}");
        let collected = server.collect_batch(&over, 16).await.unwrap();
        let mut found: Vec<&String> = collected.vectors.keys().collect();
        found.sort();
        assert_eq!(found, ["id0", "id1", "id2", "id4"], "{wire:?}");
        assert_eq!(collected.input_tokens, Some(20), "{wire:?}");
        let plain = server.embed(&embed(&texts(5))).await.unwrap();
        for at in [0, 1, 2, 4] {
            assert_eq!(collected.vectors[&format!("id{at}")], plain.vectors[at]);
        }
        // Vectors of another length are no vectors.
        let wrong = server.collect_batch(&over, 8).await.unwrap();
        assert!(wrong.vectors.is_empty(), "{wire:?}");

        let (kept, _) = double.kept();
        server.forget_batch(&over).await.unwrap();
        // OpenAI's files: what went up, came, and failed. Gemini's batch is one.
        let files = if wire == Wire::Gemini { 1 } else { 3 };
        assert_eq!(double.kept().0, kept - files, "{wire:?}");

        double.batches(BatchFate::ExpiresAfter(2));
        let begun = begin("mark 4").await;
        let over = server.batch(&begun.id).await.unwrap();
        assert_eq!(over.state, BatchState::Ended, "{wire:?}");
        let collected = server.collect_batch(&over, 16).await.unwrap();
        assert_eq!(collected.vectors.len(), 2, "{wire:?}");

        double.batches(BatchFate::Fails);
        let begun = begin("mark 5").await;
        let over = server.batch(&begun.id).await.unwrap();
        let why = "line 1 is no JSON".to_owned();
        assert_eq!(over.state, BatchState::Failed(why), "{wire:?}");
        let begun = begin("mark 6").await;
        server.cancel_batch(&begun.id).await.unwrap();
        let over = server.batch(&begun.id).await.unwrap();
        assert_eq!(over.state, BatchState::Ended, "{wire:?}");
        let collected = server.collect_batch(&over, 16).await.unwrap();
        assert!(collected.vectors.is_empty(), "{wire:?}");

        let gone = server.batch("batch_77").await.unwrap_err();
        let is_gone = matches!(
            gone,
            Error::Refused {
                status: Some(404),
                ..
            }
        );
        assert!(is_gone, "{wire:?}: {gone:?}");
        let strange = server.batch("../files").await.unwrap_err();
        assert!(
            matches!(strange, Error::Malformed { .. }),
            "{wire:?}: {strange:?}"
        );
    }
}

//! One contract for chat, whoever answers: every protocol against a real HTTP server that behaves and
//! misbehaves.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use futures::StreamExt;
use quire_models::registry::{Tokens, Wire};
use quire_models::{
    ChatCall, ChatEvent, Error, FinishReason, Patience, Schema, Server, ServerConfig, Structured,
};
use quire_testkit::provider::{
    CACHED_TOKENS, ChatDouble, Dialect, PROMPT_TOKENS, REASONING_TOKENS, Script,
};
use quire_types::{ChatMessage, ChatRole, ErrorKind, Kind, Secret};
use serde_json::json;

const KEY: &str = "sk-test-123";

fn wire(dialect: Dialect) -> Wire {
    match dialect {
        Dialect::OpenAi => Wire::OpenAi,
        Dialect::Responses => Wire::Responses,
        Dialect::Anthropic => Wire::Anthropic,
        Dialect::Gemini => Wire::Gemini,
    }
}

fn config(double: &ChatDouble, dialect: Dialect) -> ServerConfig {
    ServerConfig {
        wire: wire(dialect),
        base_url: double.base_url_of(dialect),
        api_key: Some(Secret::new(KEY)),
        patience: Patience::default(),
    }
}

fn server(double: &ChatDouble, dialect: Dialect) -> Server {
    Server::new(config(double, dialect)).unwrap()
}

fn messages() -> [ChatMessage; 2] {
    [
        (ChatRole::System, "be brief"),
        (ChatRole::User, "who pays?"),
    ]
    .map(|(role, content)| ChatMessage {
        role,
        content: content.to_owned(),
    })
}

fn call(messages: &[ChatMessage]) -> ChatCall<'_> {
    ChatCall {
        model: "double",
        messages,
        max_tokens: 500,
        schema: None,
        picture: None,
    }
}

/// The text, the events after it and the error, if any.
type Outcome = (String, Vec<ChatEvent>, Option<Error>);

async fn ask(server: &Server) -> Outcome {
    let (mut text, mut rest) = (String::new(), Vec::new());
    let mut answer = match server.stream(&call(&messages())).await {
        Ok(answer) => answer.events,
        Err(error) => return (text, rest, Some(error)),
    };
    while let Some(event) = answer.next().await {
        match event {
            Ok(ChatEvent::Delta(delta)) => {
                assert!(rest.is_empty(), "text after {rest:?}");
                text.push_str(&delta);
            }
            Ok(event) => rest.push(event),
            Err(error) => {
                assert!(answer.next().await.is_none(), "something followed {error}");
                return (text, rest, Some(error));
            }
        }
    }
    (text, rest, None)
}

async fn play_as(dialect: Dialect, script: Script) -> Outcome {
    let double = ChatDouble::start().await.unwrap();
    double.push(script);
    ask(&server(&double, dialect)).await
}

async fn play(script: Script) -> Outcome {
    play_as(Dialect::OpenAi, script).await
}

fn raw(pieces: &[&str]) -> Script {
    Script::Raw {
        content_type: "text/event-stream".to_owned(),
        pieces: pieces
            .iter()
            .map(|piece| piece.as_bytes().to_vec())
            .collect(),
    }
}

fn usage(dialect: Dialect, output: u64) -> ChatEvent {
    let thinks = matches!(dialect, Dialect::Responses | Dialect::Gemini);
    ChatEvent::Usage(Tokens {
        input: PROMPT_TOKENS,
        cached: CACHED_TOKENS,
        cache_written: 0,
        output,
        reasoning: if thinks { REASONING_TOKENS } else { 0 },
    })
}

fn done(finish_reason: FinishReason) -> ChatEvent {
    ChatEvent::Done { finish_reason }
}

#[track_caller]
fn check_answer(outcome: Outcome, text: &str, rest: &[ChatEvent]) {
    let (found_text, found_rest, error) = outcome;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found_text, text);
    assert_eq!(found_rest, rest);
}

#[track_caller]
fn check_error(outcome: Outcome, text: &str, kind: ErrorKind, message: &str) -> Error {
    let (found_text, rest, error) = outcome;
    let error = error.unwrap_or_else(|| panic!("no error, but {rest:?}"));
    assert_eq!(found_text, text);
    assert_eq!(rest, []);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    error
}

#[tokio::test]
async fn an_answer_arrives_with_its_usage_and_reason() {
    for dialect in Dialect::ALL {
        let text = "The buyer pays – in März.";
        let outcome = play_as(dialect, Script::Answer(text.to_owned())).await;
        check_answer(
            outcome,
            text,
            &[usage(dialect, 6), done(FinishReason::Stop)],
        );
    }
}

#[tokio::test]
async fn the_request_is_what_openai_documents() {
    let double = ChatDouble::start().await.unwrap();
    double.push(Script::Answer("yes".to_owned()));
    ask(&server(&double, Dialect::OpenAi)).await;
    let received = double.received();
    let [request] = received.as_slice() else {
        panic!("{received:?}")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert_eq!(request.header("authorization"), Some("Bearer sk-test-123"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let expected = json!({
        "model": "double",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who pays?"}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": 500,
    });
    assert_eq!(request.body, expected);
}

#[tokio::test]
async fn no_key_means_no_authorization() {
    let double = ChatDouble::start().await.unwrap();
    double.push(Script::Answer("yes".to_owned()));
    let config = ServerConfig {
        api_key: None,
        ..config(&double, Dialect::OpenAi)
    };
    ask(&Server::new(config).unwrap()).await;
    assert_eq!(double.received()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    for dialect in Dialect::ALL {
        if dialect == Dialect::Responses {
            // Whoever has that protocol streams.
            continue;
        }
        let outcome = play_as(dialect, Script::NotStreaming("all at once".to_owned())).await;
        check_answer(
            outcome,
            "all at once",
            &[usage(dialect, 3), done(FinishReason::Stop)],
        );
    }
}

#[tokio::test]
async fn line_ends_comments_and_cut_characters_do_no_harm() {
    let text = ": hello\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Grüße 🦀\"}}]}\r\n\r\n: ping\r\n\r\n\
                data:{\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    let pieces = text.bytes().map(|byte| vec![byte]).collect();
    let outcome = play(Script::Raw {
        content_type: "text/event-stream".to_owned(),
        pieces,
    })
    .await;
    check_answer(outcome, "Grüße 🦀", &[done(FinishReason::Length)]);
}

#[tokio::test]
async fn the_end_may_lack_its_marker_or_its_reason() {
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"yes\"}}]}\n\n";
    let reason = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"eos\"}]}\n\n";
    check_answer(
        play(raw(&[word, reason])).await,
        "yes",
        &[done(FinishReason::Other("eos".to_owned()))],
    );
    check_answer(
        play(raw(&[word, "data: [DONE]"])).await,
        "yes",
        &[done(FinishReason::Stop)],
    );
}

#[tokio::test]
async fn a_cut_answer_is_an_error_after_its_text() {
    for dialect in Dialect::ALL {
        for script in [Script::CutAfter(2), Script::EndAfter(2)] {
            let error = check_error(
                play_as(dialect, script).await,
                "word1 word2 ",
                ErrorKind::Unavailable,
                "in the middle",
            );
            assert!(matches!(error, Error::Cut { .. }), "{dialect:?} {error:?}");
        }
    }
    let half = raw(&[
        "data: {\"choices\":[{\"delta\":{\"content\":\"yes\"}}]}\n\n",
        "data: {\"choi",
    ]);
    check_error(
        play(half).await,
        "yes",
        ErrorKind::Unavailable,
        "in the middle",
    );
    check_error(
        play(raw(&[])).await,
        "",
        ErrorKind::Unavailable,
        "in the middle",
    );
}

#[tokio::test]
async fn nonsense_is_an_error() {
    for dialect in Dialect::ALL {
        check_error(
            play_as(dialect, Script::Malformed).await,
            "word1 ",
            ErrorKind::Unavailable,
            "not a chunk",
        );
        check_error(
            play_as(dialect, raw(&["data: {\"ok\":true}\n\n"])).await,
            "",
            ErrorKind::Unavailable,
            "the provider sent JSON",
        );
        let page = Script::Raw {
            content_type: "text/html".to_owned(),
            pieces: vec![b"<html>sign in</html>".to_vec()],
        };
        check_error(
            play_as(dialect, page).await,
            "",
            ErrorKind::Unavailable,
            "a web page",
        );
        // Bytes that are no text are replaced, in the text of the answer and anywhere else.
        let bytes = Script::Raw {
            content_type: "text/event-stream".to_owned(),
            pieces: vec![b"data: \xff\xfe\x00\x9f\n\n".to_vec()],
        };
        check_error(
            play_as(dialect, bytes).await,
            "",
            ErrorKind::Unavailable,
            "not a chunk",
        );
    }
    let word =
        b"data: {\"choices\":[{\"delta\":{\"content\":\"a\xff\xc3b\"}}]}\n\ndata: [DONE]\n\n";
    let broken = Script::Raw {
        content_type: "text/event-stream".to_owned(),
        pieces: vec![word.to_vec()],
    };
    check_answer(
        play(broken).await,
        "a\u{fffd}\u{fffd}b",
        &[done(FinishReason::Stop)],
    );
}

#[tokio::test]
async fn an_error_object_is_an_error_wherever_it_comes() {
    for dialect in Dialect::ALL {
        check_error(
            play_as(dialect, Script::ErrorInStream).await,
            "word1 ",
            ErrorKind::Unavailable,
            "the engine crashed",
        );
        check_error(
            play_as(dialect, Script::ErrorBody200).await,
            "",
            ErrorKind::Unavailable,
            "the model is loading",
        );
    }
    let busy = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}\n\n";
    check_error(
        play_as(Dialect::Anthropic, raw(&[busy])).await,
        "",
        ErrorKind::RateLimited,
        "slow down",
    );
    let limited = raw(&["data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n"]);
    check_error(play(limited).await, "", ErrorKind::RateLimited, "slow down");
}

#[tokio::test]
async fn a_status_decides_the_kind() {
    for (code, kind, message) in [
        (400, ErrorKind::Invalid, "HTTP 400: because"),
        (401, ErrorKind::Unavailable, "check the key: because"),
        (403, ErrorKind::Unavailable, "check the key: because"),
        (
            404,
            ErrorKind::Unavailable,
            "check `model` and `base_url`: because",
        ),
        (413, ErrorKind::Invalid, "because"),
        (429, ErrorKind::RateLimited, "because"),
        (500, ErrorKind::Unavailable, "because"),
        (503, ErrorKind::Unavailable, "because"),
        (504, ErrorKind::Timeout, "because"),
        (307, ErrorKind::Unavailable, "leads elsewhere"),
    ] {
        for dialect in Dialect::ALL {
            let body = json!({"error": {"message": "because", "type": "t", "code": "c"}});
            let script = Script::Status {
                code,
                body: body.to_string(),
                retry_after: None,
            };
            let error = check_error(play_as(dialect, script).await, "", kind, message);
            assert_eq!(error.retry_after(), None);
            assert_eq!(error.may_fall_back(), kind != ErrorKind::Invalid);
        }
    }
}

#[tokio::test]
async fn the_wish_to_be_left_alone_is_kept() {
    let script = Script::Status {
        code: 429,
        body: "{}".to_owned(),
        retry_after: Some("17".to_owned()),
    };
    let error = check_error(play(script).await, "", ErrorKind::RateLimited, "429");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn a_key_that_the_server_repeats_is_not_shown() {
    for body in [
        format!("bad key\n{KEY}"),
        json!({"error": format!("bad key {KEY}")}).to_string(),
    ] {
        let outcome = play(Script::Status {
            code: 401,
            body,
            retry_after: None,
        })
        .await;
        let error = check_error(outcome, "", ErrorKind::Unavailable, "bad key [secret]");
        assert!(!format!("{error:?}").contains(KEY));
    }
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    for dialect in Dialect::ALL {
        for (script, text, waited_for, first_token, between_tokens) in [
            (Script::HangBefore, "", "first token", 200, 60_000),
            (Script::HangAfter(0), "", "first token", 200, 60_000),
            (
                Script::HangAfter(2),
                "word1 word2 ",
                "further token",
                60_000,
                1_000,
            ),
        ] {
            let double = ChatDouble::start().await.unwrap();
            double.push(script);
            let config = ServerConfig {
                patience: Patience {
                    first_token: Duration::from_millis(first_token),
                    between_tokens: Duration::from_millis(between_tokens),
                    ..Patience::default()
                },
                ..config(&double, dialect)
            };
            check_error(
                ask(&Server::new(config).unwrap()).await,
                text,
                ErrorKind::Timeout,
                waited_for,
            );
        }
    }
}

#[tokio::test]
async fn an_endless_answer_is_stopped() {
    for dialect in Dialect::ALL {
        let (text, _, error) = play_as(dialect, Script::Endless).await;
        assert!(text.len() <= 4 * 1024 * 1024, "{} bytes", text.len());
        assert!(
            matches!(error, Some(Error::TooLarge { .. })),
            "{dialect:?} {error:?}"
        );
    }
    // 50 MB in one piece.
    let object = Script::Raw {
        content_type: "application/json".to_owned(),
        pieces: std::iter::once(b"{\"choices\":[{\"message\":{\"content\":\"".to_vec())
            .chain(std::iter::repeat_n(vec![b'x'; 1024 * 1024], 50))
            .collect(),
    };
    let (_, _, error) = play(object).await;
    assert!(matches!(error, Some(Error::TooLarge { .. })), "{error:?}");
}

#[tokio::test]
async fn a_usage_that_is_missing_or_can_t_be_true_is_none() {
    for dialect in Dialect::ALL {
        let text = "one two three four five six seven eight nine ten".repeat(20);
        for script in [
            Script::NoUsage(text.clone()),
            // Nothing at all, nothing for so much text, more than was sent or allowed, overflow.
            Script::Usage(text.clone(), 0, 0),
            Script::Usage(text.clone(), 12, 0),
            Script::Usage(text.clone(), 5_000_000, 200),
            Script::Usage(text.clone(), 12, 5_000_000),
            Script::Usage(text.clone(), u64::MAX, u64::MAX),
        ] {
            let shown = format!("{dialect:?} {script:?}");
            let (found, rest, error) = play_as(dialect, script).await;
            assert!(error.is_none(), "{shown}: {error:?}");
            assert_eq!(found, text);
            let thinks = matches!(dialect, Dialect::Responses | Dialect::Gemini);
            let is_thought = thinks && shown.ends_with(", 12, 0)");
            if !is_thought {
                assert_eq!(rest, [done(FinishReason::Stop)], "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn each_protocol_sends_its_own_shape_and_its_own_kind_of_key() {
    for (dialect, path, header, value) in [
        (
            Dialect::Responses,
            "/v1/responses",
            "authorization",
            "Bearer sk-test-123",
        ),
        (Dialect::Anthropic, "/v1/messages", "x-api-key", KEY),
        (
            Dialect::Gemini,
            "/v1beta/models/double:streamGenerateContent?alt=sse",
            "x-goog-api-key",
            KEY,
        ),
    ] {
        let double = ChatDouble::start().await.unwrap();
        double.push(Script::Answer("yes".to_owned()));
        ask(&server(&double, dialect)).await;
        let request = double.received().remove(0);
        assert_eq!(request.path, path);
        assert_eq!(request.header(header), Some(value));
        let expected = match dialect {
            Dialect::Anthropic => {
                assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
                assert_eq!(request.header("authorization"), None);
                json!({"model": "double", "system": "be brief", "max_tokens": 500, "stream": true,
                    "messages": [{"role": "user", "content": "who pays?"}]})
            }
            Dialect::Gemini => json!({
                "systemInstruction": {"parts": [{"text": "be brief"}]},
                "contents": [{"role": "user", "parts": [{"text": "who pays?"}]}],
                "generationConfig": {"maxOutputTokens": 500}}),
            _ => {
                json!({"model": "double", "instructions": "be brief", "stream": true, "store": false,
                "max_output_tokens": 500, "input": [{"role": "user", "content": "who pays?"}]})
            }
        };
        assert_eq!(request.body, expected, "{dialect:?}");
    }
}

#[tokio::test]
async fn what_a_server_says_of_its_limits_is_heard() {
    for (headers, requests, seconds) in [
        (
            vec![
                ("x-ratelimit-remaining-requests", "59".to_owned()),
                ("x-ratelimit-reset-requests", "1.5s".to_owned()),
            ],
            Some(59),
            1.5,
        ),
        (
            vec![
                ("anthropic-ratelimit-requests-remaining", "7".to_owned()),
                (
                    "anthropic-ratelimit-requests-reset",
                    "2020-01-01T00:00:00Z".to_owned(),
                ),
            ],
            Some(7),
            0.0,
        ),
        (
            vec![("x-ratelimit-remaining-requests", "many".to_owned())],
            None,
            0.0,
        ),
        (Vec::new(), None, 0.0),
    ] {
        let double = ChatDouble::start().await.unwrap();
        double.push(Script::With(
            headers,
            Box::new(Script::Answer("yes".to_owned())),
        ));
        let server = server(&double, Dialect::OpenAi);
        let told = server.stream(&call(&messages())).await.unwrap().told;
        assert_eq!(told.requests.map(|told| told.left), requests);
        let resets = told
            .requests
            .map_or(0.0, |told| told.resets_after.as_secs_f64());
        assert!((resets - seconds).abs() < 1e-9);
    }
}

#[tokio::test]
async fn too_long_for_one_model_is_told_from_wrong() {
    for (message, is_too_long) in [
        ("This model's maximum context length is 128000 tokens", true),
        ("prompt is too long: 210000 tokens > 200000 maximum", true),
        (
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            true,
        ),
        ("unknown parameter: max_tokens", false),
    ] {
        let body = json!({"error": {"message": message}}).to_string();
        let outcome = play(Script::Status {
            code: 400,
            body,
            retry_after: None,
        })
        .await;
        let error = check_error(outcome, "", ErrorKind::Invalid, "HTTP 400");
        assert_eq!(error.is_too_long(), is_too_long, "{message}");
        assert_eq!(error.may_fall_back(), is_too_long, "{message}");
    }
}

#[tokio::test]
async fn data_is_asked_for_with_a_schema_and_once_more_when_it_is_none() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Verdict {
        pays: String,
    }
    let schema = Schema {
        name: "verdict".to_owned(),
        shape: json!({"type": "object", "properties": {"pays": {"type": "string"}},
            "required": ["pays"], "additionalProperties": false}),
    };
    for dialect in Dialect::ALL {
        let double = ChatDouble::start().await.unwrap();
        double.push(Script::Answer("The buyer, I think.".to_owned()));
        double.push(Script::Answer(
            "```json\n{\"pays\": \"the buyer\"}\n```".to_owned(),
        ));
        let server = server(&double, dialect);
        let messages = messages();
        let first = ChatCall {
            schema: Some(&schema),
            ..call(&messages)
        };
        let events = server.stream(&first).await.unwrap().events;
        let wrong = Structured::<Verdict>::read(events)
            .await
            .unwrap()
            .unwrap_err();
        let again = wrong.repair(first.messages, &schema);
        let events = server
            .stream(&ChatCall {
                messages: &again,
                ..first
            })
            .await
            .unwrap()
            .events;
        let verdict = Structured::<Verdict>::read(events).await.unwrap().unwrap();
        assert_eq!(verdict.value.pays, "the buyer");
        assert!(verdict.usage.is_some());
        let sent: Vec<String> = double
            .received()
            .iter()
            .map(|request| request.body.to_string())
            .collect();
        assert!(
            sent.iter()
                .all(|body| body.contains("additionalProperties")),
            "{dialect:?}"
        );
        assert!(sent[1].contains("The buyer, I think."), "{dialect:?}");
    }
}

#[tokio::test]
async fn an_endless_line_is_stopped() {
    let pieces = vec![vec![b'x'; 1024 * 1024]; 5];
    let (_, _, error) = play(Script::Raw {
        content_type: "text/event-stream".to_owned(),
        pieces,
    })
    .await;
    assert!(matches!(error, Some(Error::TooLarge { .. })), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let double = ChatDouble::start().await.unwrap();
    let chat = server(&double, Dialect::OpenAi);
    drop(double);
    // The listener closes when the aborted task is dropped, which needs a turn of the runtime.
    tokio::task::yield_now().await;
    check_error(
        ask(&chat).await,
        "",
        ErrorKind::Unavailable,
        "check `base_url`",
    );
}

#[tokio::test]
async fn requests_are_answered_in_the_order_of_the_scripts() {
    let double = ChatDouble::start().await.unwrap();
    double.push(Script::Answer("first".to_owned()));
    double.push(Script::Answer("second".to_owned()));
    let chat = server(&double, Dialect::OpenAi);
    assert_eq!(ask(&chat).await.0, "first");
    assert_eq!(ask(&chat).await.0, "second");
    assert_eq!(double.scripts_left(), 0);
    check_error(
        ask(&chat).await,
        "",
        ErrorKind::Unavailable,
        "no script left",
    );
}

#[tokio::test]
async fn a_picture_is_shown_with_the_last_message_in_every_protocol() {
    let picture = quire_models::Picture {
        media_type: "image/jpeg",
        base64: "/9j/AAA=",
    };
    let url = "data:image/jpeg;base64,/9j/AAA=";
    for (dialect, path, shown) in [
        (
            Dialect::OpenAi,
            "/messages/1/content/1",
            json!({"type": "image_url", "image_url": {"url": url}}),
        ),
        (
            Dialect::Responses,
            "/input/0/content/1",
            json!({"type": "input_image", "image_url": url}),
        ),
        (
            Dialect::Anthropic,
            "/messages/0/content/0",
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/AAA="}}),
        ),
        (
            Dialect::Gemini,
            "/contents/0/parts/1",
            json!({"inlineData": {"mimeType": "image/jpeg", "data": "/9j/AAA="}}),
        ),
    ] {
        let double = ChatDouble::start().await.unwrap();
        // More than its few words can be: pictures count as many tokens.
        double.push(Script::Usage("A crane.".to_owned(), 25_501, 3));
        let messages = [ChatRole::System, ChatRole::User].map(|role| ChatMessage {
            role,
            content: "What is this?".to_owned(),
        });
        let looking = ChatCall {
            picture: Some(picture),
            ..call(&messages)
        };
        let mut events = server(&double, dialect)
            .stream(&looking)
            .await
            .unwrap()
            .events;
        let mut used = None;
        while let Some(event) = events.next().await {
            if let ChatEvent::Usage(tokens) = event.unwrap() {
                used = Some(tokens.input);
            }
        }
        assert_eq!(used, Some(25_501), "{dialect:?}");
        let body = double.received().remove(0).body;
        assert_eq!(body.pointer(path), Some(&shown), "{dialect:?}: {body:#}");
        assert!(
            body.to_string().contains("What is this?"),
            "{dialect:?}: {body:#}"
        );
    }
}

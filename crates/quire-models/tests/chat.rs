//! The chat client against a real HTTP server that behaves and misbehaves.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use futures::StreamExt;
use quire_models::{Chat, ChatConfig, ChatEvent, Error, FinishReason};
use quire_testkit::openai::{CACHED_TOKENS, ChatDouble, PROMPT_TOKENS, Script};
use quire_types::{ChatMessage, ChatRole, ErrorKind, Kind, Secret};
use serde_json::json;

const KEY: &str = "sk-test-123";

fn config(base_url: String) -> ChatConfig {
    ChatConfig {
        base_url,
        api_key: Some(Secret::new(KEY)),
        model: "double".to_owned(),
        connect_timeout: Duration::from_secs(5),
        first_token_timeout: Duration::from_secs(20),
        between_tokens_timeout: Duration::from_secs(20),
        max_tokens: 500,
    }
}

/// The text, the events after it and the error, if any.
type Outcome = (String, Vec<ChatEvent>, Option<Error>);

async fn ask(chat: &Chat) -> Outcome {
    let messages = [
        ChatMessage {
            role: ChatRole::System,
            content: "be brief".to_owned(),
        },
        ChatMessage {
            role: ChatRole::User,
            content: "who pays?".to_owned(),
        },
    ];
    let (mut text, mut rest) = (String::new(), Vec::new());
    let mut answer = match chat.stream(&messages).await {
        Ok(answer) => answer,
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

async fn play(script: Script) -> Outcome {
    let double = ChatDouble::start().await.unwrap();
    double.push(script);
    ask(&Chat::new(config(double.base_url())).unwrap()).await
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

fn usage(output_tokens: u64) -> ChatEvent {
    ChatEvent::Usage {
        input_tokens: PROMPT_TOKENS,
        output_tokens,
        cached_tokens: CACHED_TOKENS,
    }
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
    let outcome = play(Script::Answer("The buyer pays – in März.".to_owned())).await;
    check_answer(
        outcome,
        "The buyer pays – in März.",
        &[usage(6), done(FinishReason::Stop)],
    );
}

#[tokio::test]
async fn the_request_is_what_openai_documents() {
    let double = ChatDouble::start().await.unwrap();
    double.push(Script::Answer("yes".to_owned()));
    ask(&Chat::new(config(double.base_url())).unwrap()).await;
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
    let config = ChatConfig {
        api_key: None,
        ..config(double.base_url())
    };
    ask(&Chat::new(config).unwrap()).await;
    assert_eq!(double.received()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let outcome = play(Script::NotStreaming("all at once".to_owned())).await;
    check_answer(
        outcome,
        "all at once",
        &[usage(3), done(FinishReason::Stop)],
    );
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
    for script in [Script::CutAfter(2), Script::EndAfter(2)] {
        let error = check_error(
            play(script).await,
            "word1 word2 ",
            ErrorKind::Unavailable,
            "in the middle",
        );
        assert!(matches!(error, Error::ChatCut { .. }), "{error:?}");
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
    check_error(
        play(Script::Malformed).await,
        "word1 ",
        ErrorKind::Unavailable,
        "not a chunk",
    );
    check_error(
        play(raw(&["data: {\"ok\":true}\n\n"])).await,
        "",
        ErrorKind::Unavailable,
        "without choices",
    );
    let page = Script::Raw {
        content_type: "text/html".to_owned(),
        pieces: vec![b"<html>sign in</html>".to_vec()],
    };
    check_error(play(page).await, "", ErrorKind::Unavailable, "a web page");
}

#[tokio::test]
async fn an_error_object_is_an_error_wherever_it_comes() {
    check_error(
        play(Script::ErrorInStream).await,
        "word1 ",
        ErrorKind::Unavailable,
        "the engine crashed",
    );
    check_error(
        play(Script::ErrorBody200).await,
        "",
        ErrorKind::Unavailable,
        "the model is loading",
    );
    let limited = raw(&["data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n"]);
    check_error(play(limited).await, "", ErrorKind::RateLimited, "slow down");
}

#[tokio::test]
async fn a_status_decides_the_kind() {
    for (code, kind, message) in [
        (400, ErrorKind::Invalid, "HTTP 400: because"),
        (401, ErrorKind::Unavailable, "check `api_key`: because"),
        (403, ErrorKind::Unavailable, "check `api_key`: because"),
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
        let body = json!({"error": {"message": "because", "type": "t", "code": "c"}}).to_string();
        let outcome = play(Script::Status {
            code,
            body,
            retry_after: None,
        })
        .await;
        let error = check_error(outcome, "", kind, message);
        assert_eq!(error.retry_after(), None);
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
    for (script, text, waited_for) in [
        (Script::HangBefore, "", "first token"),
        (Script::HangAfter(0), "", "first token"),
        (Script::HangAfter(2), "word1 word2 ", "further token"),
    ] {
        let double = ChatDouble::start().await.unwrap();
        double.push(script);
        let config = ChatConfig {
            first_token_timeout: Duration::from_millis(400),
            between_tokens_timeout: Duration::from_millis(400),
            ..config(double.base_url())
        };
        let start = Instant::now();
        check_error(
            ask(&Chat::new(config).unwrap()).await,
            text,
            ErrorKind::Timeout,
            waited_for,
        );
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "took {:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_stopped() {
    let (text, _, error) = play(Script::Endless).await;
    assert!(text.len() <= 4 * 1024 * 1024, "{} bytes", text.len());
    assert!(
        matches!(error, Some(Error::ChatTooLarge { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_endless_line_is_stopped() {
    let pieces = vec![vec![b'x'; 1024 * 1024]; 5];
    let (_, _, error) = play(Script::Raw {
        content_type: "text/event-stream".to_owned(),
        pieces,
    })
    .await;
    assert!(
        matches!(error, Some(Error::ChatTooLarge { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let double = ChatDouble::start().await.unwrap();
    let chat = Chat::new(config(double.base_url())).unwrap();
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
    let chat = Chat::new(config(double.base_url())).unwrap();
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

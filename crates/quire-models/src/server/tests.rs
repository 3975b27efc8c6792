//! Tests of the client that need no server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn an_address_has_a_scheme_and_a_host_and_nothing_secret() {
    for text in [
        "http://127.0.0.1:11434/v1",
        "http://127.0.0.1:11434/v1/",
        " http://127.0.0.1:11434/v1",
    ] {
        assert_eq!(
            base_url(text).unwrap().as_str(),
            "http://127.0.0.1:11434/v1/"
        );
    }
    for text in [
        "",
        "127.0.0.1:11434",
        "ftp://models/v1",
        "http://me:pw@models/v1",
        "http://models/v1?key=1",
    ] {
        assert!(base_url(text).is_err(), "{text} was accepted");
    }
}

#[test]
fn a_secret_is_not_printed() {
    let secret = Secret::new("sk-1");
    assert_eq!(format!("{secret:?}"), "[secret]");
    for wire in [Wire::OpenAi, Wire::Anthropic, Wire::Gemini] {
        let headers = headers(wire, Some(&secret)).unwrap();
        assert!(!format!("{headers:?}").contains("sk-1"));
    }
}

#[test]
fn a_wait_is_seconds_or_milliseconds() {
    let check = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        retry_after(&headers)
    };
    assert_eq!(check("retry-after", "7"), Some(Duration::from_secs(7)));
    assert_eq!(
        check("retry-after-ms", "250"),
        Some(Duration::from_millis(250))
    );
    for nonsense in [
        "-1",
        "soon",
        "NaN",
        "1e300",
        "Wed, 21 Oct 2026 07:28:00 GMT",
    ] {
        assert_eq!(check("retry-after", nonsense), None, "{nonsense}");
    }
}

#[test]
fn only_this_machine_is_loopback() {
    for (text, expected) in [
        ("http://localhost:1/v1", true),
        ("http://127.9.9.9/v1", true),
        ("http://[::1]:1/v1", true),
        ("http://10.0.0.1/v1", false),
        ("http://localhost.example.org/v1", false),
    ] {
        assert_eq!(is_loopback(&base_url(text).unwrap()), expected, "{text}");
    }
}

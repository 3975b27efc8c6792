//! What happens around every request: an id, a log line, a metric, security headers, and the body of
//! an error.

use std::any::Any;
use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};

use quire_types::{ErrorKind, RequestId};

use crate::problem::ApiError;
use crate::routes::openai::{ErrorOut, speaks_openai};
use crate::state::App;

/// What an error that is told later, inside a stream, says about its request.
#[derive(Clone, Debug)]
pub(crate) struct RequestLabel {
    pub(crate) id: String,
    pub(crate) path: String,
}

/// The target of spans that are for a collector and not for the log.
pub const EXPORTED_ONLY: &str = "quire::spans";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps a request. A request id of the caller is kept if it is one short word, so that traces of two
/// systems can be joined; no text of a caller reaches the log unchecked.
pub(crate) async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = given_id(&request).unwrap_or_else(|| RequestId::generate().to_string());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let exported = exported_span(&request, &route, &id);
    // Inside that one, so that what is logged below it names the request.
    let span = exported.in_scope(|| info_span!("request", request.id = %id));

    request.extensions_mut().insert(RequestLabel {
        id: id.clone(),
        path: path.clone(),
    });
    let mut response = next
        .run(request)
        .instrument(span.clone())
        .instrument(exported.clone())
        .await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = with_body(response, &error, &path, &id);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));

    let elapsed = start.elapsed();
    exported.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        exported.record("error.type", response.status().as_str());
    }
    app.metrics
        .request(method.as_str(), &route, response.status(), elapsed);
    let _in_span = span.enter();
    // The route, not the path: ids and names of tenants stay out of the log.
    info!(
        http.method = %method, http.route = %route, http.status = response.status().as_u16(),
        elapsed_ms = elapsed.as_millis(), "request"
    );
    response
}

/// The span of a request for a collector, by OpenTelemetry's conventions for HTTP; made only where there is one. It ends
/// when everything in it has ended, a stream of events included.
fn exported_span(request: &Request, route: &str, id: &str) -> Span {
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
        _ => "_OTHER",
    };
    let caller = request.headers().get("traceparent");
    info_span!(
        target: EXPORTED_ONLY,
        "http_request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        traceparent = caller.and_then(|value| value.to_str().ok()),
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        "error.type" = Empty,
        request.id = id,
    )
}

fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(&REQUEST_ID)?.to_str().ok()?;
    let is_word = |id: &str| {
        id.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    ((1..=64).contains(&id.len()) && is_word(id)).then(|| id.to_owned())
}

fn with_body(response: Response, error: &ApiError, path: &str, id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let problem = error.problem(path, id);
    let (body, content_type) = match speaks_openai(path) {
        true => (
            Json(ErrorOut::of(error, &problem)).into_response(),
            "application/json",
        ),
        false => (Json(problem).into_response(), "application/problem+json"),
    };
    let mut whole = (parts, body.into_body()).into_response();
    whole
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    whole
}

/// A path that no route has.
pub(crate) async fn no_route() -> ApiError {
    ApiError::not_found("route")
}

/// A path that has a route, but not for this method.
pub(crate) async fn no_method() -> ApiError {
    ApiError::invalid("this route does not take this method; /docs lists those it takes")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// A handler that panicked.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    panic_error(&*panic).into_response()
}

/// What a panic says, as an error of quire's own.
pub(crate) fn panic_error(panic: &(dyn Any + Send)) -> ApiError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ApiError::new(ErrorKind::Internal, format!("a handler panicked: {text}"))
}

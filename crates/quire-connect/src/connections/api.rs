//! Requests to the API of a product, with a bearer token and answers in JSON. Knows no product.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

use quire_types::Secret;

use crate::Error;
use crate::egress::{Egress, retry_after, unreachable};

/// How long an answer may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// A request with a token.
pub(super) fn request(
    egress: &Egress,
    method: Method,
    url: &str,
    token: &Secret,
) -> Result<RequestBuilder, Error> {
    let request = egress.request(method, url)?;
    Ok(request.bearer_auth(token.expose()).timeout(TIMEOUT))
}

/// What comes back, or the status that stands for it.
pub(super) async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
    answer(request).await?.json().await.map_err(unreachable)
}

/// The same where nothing comes back.
pub(super) async fn done(request: RequestBuilder) -> Result<(), Error> {
    answer(request).await.map(drop)
}

async fn answer(request: RequestBuilder) -> Result<Response, Error> {
    let response = request.send().await.map_err(unreachable)?;
    match response.status().as_u16() {
        200..=299 => Ok(response),
        status => Err(Error::Status {
            status,
            retry_after: retry_after(&response),
        }),
    }
}

/// Gets something.
pub(super) async fn get<T: DeserializeOwned>(
    egress: &Egress,
    url: &str,
    token: &Secret,
) -> Result<T, Error> {
    send(request(egress, Method::GET, url, token)?).await
}

/// What is there, or nothing when the other side does not know it.
pub(super) fn known<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::Status { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Text as a part of a path or a value of a query.
pub(super) fn encode(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

//! What a caller is told about its rate (draft-ietf-httpapi-ratelimit-headers-10).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use quire_tenancy::RateState;

use crate::problem::ApiError;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The headers of an answer; none where there is no limit.
pub(crate) fn rate_headers(rate: Option<RateState>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(rate) = rate {
        let reset = rate.reset.as_secs_f64().ceil();
        let texts = [
            (POLICY, format!("\"tenant\";q={};w=60", rate.per_minute)),
            (LIMIT, format!("\"tenant\";r={};t={reset}", rate.remaining)),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
    headers
}

/// An error of asking, with what the rate has left if that is what refused.
pub(crate) fn refused(error: quire_ask::Error) -> ApiError {
    let rate = match &error {
        quire_ask::Error::Refused(refusal) => refusal.rate,
        _ => None,
    };
    ApiError::from(error).with_rate(rate)
}

//! A quota as providers keep it: so many requests in a sliding window, told in headers, refused beyond.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{error_object, with_headers};

/// So many requests in a window.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// The requests.
    pub requests: usize,
    /// The window.
    pub window: Duration,
    /// Whether the headers of OpenAI tell what is left, and when to come back.
    pub is_told: bool,
}

#[derive(Debug)]
pub(super) struct Meter {
    quota: Quota,
    taken: VecDeque<Instant>,
    pub(super) refused: usize,
}

impl Meter {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            taken: VecDeque::new(),
            refused: 0,
        }
    }

    /// Takes a request from the quota: the headers of its answer, or a refusal.
    #[expect(clippy::result_large_err, reason = "both end up as one response")]
    pub(super) fn take(&mut self) -> Result<Vec<(&'static str, String)>, Response> {
        let now = Instant::now();
        while let Some(first) = self.taken.front().copied() {
            if now.duration_since(first) < self.quota.window {
                break;
            }
            self.taken.pop_front();
        }
        let wait = self.taken.front().map_or(Duration::ZERO, |first| {
            self.quota.window.saturating_sub(now.duration_since(*first))
        });
        let mut headers = Vec::new();
        if self.taken.len() >= self.quota.requests {
            self.refused += 1;
            if self.quota.is_told {
                headers.push(("retry-after-ms", wait.as_millis().to_string()));
            }
            let body = axum::Json(error_object("rate limit reached"));
            let refusal = (StatusCode::TOO_MANY_REQUESTS, body).into_response();
            return Err(with_headers(refusal, &headers));
        }
        self.taken.push_back(now);
        if self.quota.is_told {
            let left = self.quota.requests - self.taken.len();
            headers.push(("x-ratelimit-remaining-requests", left.to_string()));
            headers.push((
                "x-ratelimit-reset-requests",
                format!("{}ms", wait.as_millis()),
            ));
        }
        Ok(headers)
    }
}

//! Extractors and small bodies that many routes share, with our own words for what is wrong.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_store::{Page, PageRequest};
use quire_types::{ErrorKind, Timestamp};

use crate::problem::ApiError;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Json::<T>::from_request(request, state)
            .await
            .map(|Json(value)| Self(value))
            .map_err(|rejection| {
                let kind = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::TooLarge,
                    _ => ErrorKind::Invalid,
                };
                ApiError::new(kind, rejection.body_text().to_lowercase_first())
            })
    }
}

/// A body as it came, byte by byte.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| {
                let kind = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::TooLarge,
                    _ => ErrorKind::Invalid,
                };
                ApiError::new(kind, rejection.body_text().to_lowercase_first())
            })
    }
}

/// Path parameters that can't be parsed name nothing that exists.
pub(crate) async fn path<T: DeserializeOwned + Send, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    what: &str,
) -> Result<T, ApiError> {
    let Path(value) = Path::<T>::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::not_found(what))?;
    Ok(value)
}

/// What stands behind the question mark.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(params)| Self(params))
            .map_err(|rejection| ApiError::invalid(rejection.body_text().to_lowercase_first()))
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageParams {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many items, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// The page of a list whose items have ids of type `I`.
pub(crate) struct Paged<I> {
    pub(crate) request: PageRequest,
    id: std::marker::PhantomData<I>,
}

impl<S: Send + Sync, I: std::str::FromStr + Into<uuid::Uuid>> FromRequestParts<S> for Paged<I> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Params(params) = Params::<PageParams>::from_request_parts(parts, state).await?;
        let after = params
            .cursor
            .map(|cursor| {
                cursor.parse::<I>().map(Into::into).map_err(|_| {
                    ApiError::invalid("the cursor is not one of this list: start again without it")
                })
            })
            .transpose()?;
        let limit = params.limit.unwrap_or(PageRequest::first().limit);
        if !(1..=PageRequest::MAX).contains(&limit) {
            return Err(ApiError::invalid(format!(
                "limit must be between 1 and {}",
                PageRequest::MAX
            )));
        }
        Ok(Self {
            request: PageRequest { after, limit },
            id: std::marker::PhantomData,
        })
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListOut<T> {
    /// The items, oldest first.
    pub(crate) items: Vec<T>,
    /// What to pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T> ListOut<T> {
    pub(crate) fn of<R>(page: Page<R>, id: impl Fn(&R) -> String, out: impl Fn(R) -> T) -> Self {
        let next_cursor = page.items.last().filter(|_| page.more).map(id);
        Self {
            items: page.items.into_iter().map(out).collect(),
            next_cursor,
        }
    }
}

/// An instant as RFC 3339 text in UTC.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

trait LowercaseFirst {
    fn to_lowercase_first(&self) -> String;
}

impl LowercaseFirst for String {
    fn to_lowercase_first(&self) -> String {
        let mut chars = self.chars();
        chars
            .next()
            .map(|first| first.to_lowercase().chain(chars).collect())
            .unwrap_or_default()
    }
}

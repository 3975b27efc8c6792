//! Microsoft Graph: requests, lists that go on at an address of their own, and the token, which stays with Graph.

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use quire_types::Secret;

use super::super::{App, api};
use crate::Error;
use crate::egress::Egress;

/// Pages of one list.
const MOST_PAGES: usize = 1_000;

/// An organisation as one token sees it.
pub(in super::super) struct Graph {
    pub(super) egress: Egress,
    pub(super) token: Secret,
    base: String,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) value: Vec<T>,
    /// Where it goes on.
    #[serde(rename = "@odata.nextLink")]
    pub(super) next: Option<String>,
}

impl Graph {
    /// Asks with this token.
    pub(in super::super) fn new(egress: Egress, app: &App, token: Secret) -> Result<Self, Error> {
        egress.check(&app.api_url)?;
        Ok(Self {
            egress,
            token,
            base: app.api_url.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether anything is to be seen with this token.
    pub(in super::super) async fn test(&self) -> Result<(), Error> {
        drop(self.list::<Value>("/users?$select=id&$top=1").await?);
        Ok(())
    }

    pub(super) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        api::get(&self.egress, &self.address(path), &self.token).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<T, Error> {
        let request = api::request(&self.egress, method, &self.address(path), &self.token)?;
        api::send(request.json(body)).await
    }

    /// Removes something; what is gone already is fine.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Error> {
        let url = self.address(path);
        let request = api::request(&self.egress, Method::DELETE, &url, &self.token)?;
        api::known(api::done(request).await).map(drop)
    }

    /// A page of a list: the first one at a path, another one at the address that the page before named.
    pub(super) async fn list<T: DeserializeOwned>(&self, place: &str) -> Result<List<T>, Error> {
        if place.starts_with('/') {
            return self.get(place).await;
        }
        // An answer must not lead the token away.
        if !place.starts_with(&self.address("/")) {
            return Err(Error::Remote(
                "a list goes on at another address".to_owned(),
            ));
        }
        api::get(&self.egress, place, &self.token).await
    }

    /// A list to its end.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let List {
            value: mut all,
            mut next,
        } = self.list(path).await?;
        for _ in 1..MOST_PAGES {
            let Some(place) = next else {
                return Ok(all);
            };
            let page: List<T> = self.list(&place).await.map_err(forgotten)?;
            all.extend(page.value);
            next = page.next;
        }
        Err(Error::Remote("a list goes on and on".to_owned()))
    }
}

/// Places in lists do not last; the list has to be read from its beginning then.
fn forgotten(error: Error) -> Error {
    match error {
        Error::Status {
            status: 400 | 410, ..
        } => Error::Remote("it forgot a place in a list".to_owned()),
        error => error,
    }
}

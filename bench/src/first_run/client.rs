//! The HTTP API as far as the suite uses it, over one connection that is kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use quire_types::Secret;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::questions::Question;
use crate::failure::Failure;

/// A caller with a tenant's key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

/// Notebooks by id.
pub(crate) type Notebooks = HashMap<String, String>;

#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) citations: Vec<Citation>,
}

#[derive(Deserialize)]
pub(super) struct Citation {
    pub(super) source_name: String,
    pub(super) notebook: String,
    pub(super) quote: String,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Notebook {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Source {
    name: String,
    state: String,
    reason: Option<String>,
    passages: i32,
}

#[derive(Deserialize)]
struct Connected {
    hook: String,
    secret: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, key: &str) -> Result<Self, Failure> {
        // The library wants a TLS provider even where no TLS is spoken.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(Failure::doing("building the HTTP client"))?;
        Ok(Self {
            http,
            base: format!("http://{address}"),
            key: key.to_owned(),
        })
    }

    pub(crate) async fn notebooks(&self) -> Result<Notebooks, Failure> {
        let request = self.http.get(self.url("/v1/notebooks?limit=200"));
        let list: List<Notebook> = self.send(request).await?;
        let pairs = list.items.into_iter();
        Ok(pairs.map(|notebook| (notebook.id, notebook.name)).collect())
    }

    pub(super) async fn ask(
        &self,
        question: &Question,
        notebooks: &Notebooks,
    ) -> Result<Answer, Failure> {
        // Answers are made, not remembered.
        let mut body = json!({ "question": question.text, "fresh": true });
        if let Some(wanted) = &question.notebook {
            let named = notebooks.iter().find(|(_, name)| *name == wanted);
            let (id, _) = named.ok_or_else(|| {
                Failure::failed(format!("there is no notebook '{wanted}' in the sample"))
            })?;
            body["filter"] = json!({ "notebooks": [id] });
        }
        self.send(self.http.post(self.url("/v1/ask")).json(&body))
            .await
    }

    /// Asks with this body.
    pub(crate) async fn ask_with(
        &self,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Failure> {
        self.send(self.http.post(self.url("/v1/ask")).json(body))
            .await
    }

    pub(crate) async fn create_notebook(&self, name: &str) -> Result<String, Failure> {
        let request = self.http.post(self.url("/v1/notebooks"));
        let notebook: Notebook = self.send(request.json(&json!({ "name": name }))).await?;
        Ok(notebook.id)
    }

    pub(crate) async fn add(&self, notebook: &str, name: &str, text: &str) -> Result<(), Failure> {
        let request = self.http.post(self.sources(notebook));
        let body = json!({ "name": name, "text": text });
        self.send::<serde_json::Value>(request.json(&body))
            .await
            .map(drop)
    }

    /// Connects a sender of webhooks: the path to send them to, and what they are signed with.
    pub(crate) async fn connect_webhook(&self, name: &str) -> Result<(String, Secret), Failure> {
        let request = self.http.post(self.url("/v1/connections"));
        let body = json!({ "kind": "webhook", "name": name });
        let connected: Connected = self.send(request.json(&body)).await?;
        Ok((connected.hook, Secret::new(connected.secret)))
    }

    /// Sends a signed webhook.
    pub(crate) async fn post_webhook(
        &self,
        hook: &str,
        headers: [(&'static str, String); 3],
        body: String,
    ) -> Result<(), Failure> {
        let mut request = self.http.post(self.url(hook)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(Failure::doing("HTTP"))?;
        match response.status() {
            StatusCode::ACCEPTED => Ok(()),
            status => Err(Failure::failed(format!("a webhook got {status}"))),
        }
    }

    /// Whether all sources of a notebook can be found.
    pub(crate) async fn is_all_searchable(&self, notebook: &str) -> Result<bool, Failure> {
        let request = self.http.get(self.sources(notebook) + "?limit=200");
        let list: List<Source> = self.send(request).await?;
        Ok(list.items.iter().all(|source| source.state == "searchable"))
    }

    /// Waits until all sources of a notebook can be found, and counts their passages.
    pub(crate) async fn passages_when_searchable(&self, notebook: &str) -> Result<i32, Failure> {
        loop {
            let request = self.http.get(self.sources(notebook) + "?limit=200");
            let list: List<Source> = self.send(request).await?;
            if let Some(failed) = list.items.iter().find(|source| source.state == "failed") {
                let reason = failed.reason.clone().unwrap_or_default();
                return Err(Failure::failed(format!("{}: {reason}", failed.name)));
            }
            if list.items.iter().all(|source| source.state == "searchable") {
                return Ok(list.items.iter().map(|source| source.passages).sum());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn sources(&self, notebook: &str) -> String {
        self.url(&format!("/v1/notebooks/{notebook}/sources"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = request
            .bearer_auth(&self.key)
            .send()
            .await
            .map_err(Failure::doing("HTTP"))?;
        let (status, path) = (response.status(), response.url().path().to_owned());
        let body = response
            .bytes()
            .await
            .map_err(Failure::doing(format!("reading the answer of {path}")))?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(Failure::failed(format!("{path}: {status}: {text}")));
        }
        serde_json::from_slice(&body).map_err(Failure::doing(format!("the answer of {path}")))
    }
}

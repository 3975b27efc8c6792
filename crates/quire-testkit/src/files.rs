//! A web server with files, as somebody's address may lead to: real HTTP, with detours and things that are missing.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is at a path.
#[derive(Clone, Debug)]
pub enum At {
    /// These bytes.
    File(Vec<u8>),
    /// The way to another address.
    Moved(String),
}

/// The running server; it ends when it is dropped.
#[derive(Debug)]
pub struct FileServer {
    url: String,
    server: JoinHandle<()>,
}

impl FileServer {
    /// Listens on a free port of this machine.
    pub async fn start(files: &[(&str, At)]) -> std::io::Result<Self> {
        let files: HashMap<String, At> = files
            .iter()
            .map(|(path, at)| ((*path).to_owned(), at.clone()))
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(Arc::new(files));
        let server = tokio::spawn(async move {
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { url, server })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(files): State<Arc<HashMap<String, At>>>, uri: Uri) -> Response {
    match files.get(uri.path()) {
        Some(At::File(bytes)) => bytes.clone().into_response(),
        Some(At::Moved(to)) => {
            (StatusCode::FOUND, [(header::LOCATION, to.as_str())]).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

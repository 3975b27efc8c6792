//! A server for tests that speaks S3: on a free loopback port, in memory only, gone with its value.
//!
//! It is the Python package moto, which `scripts/setup.sh --tests` puts into a place of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quire_store::{Objects, S3Config, S3Credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::port::free_port;

/// The same place as in `scripts/setup.sh`.
const START: &str = r#"exec "${XDG_CACHE_HOME:-$HOME/.cache}/quire/moto/bin/python" -m moto.server -H 127.0.0.1 -p "$0""#;
const BUCKET: &str = "quire";

/// A server of the test's own, with one bucket.
pub struct S3Server {
    child: Child,
    port: u16,
}

impl S3Server {
    /// Starts a server and waits until it has its bucket.
    pub async fn start() -> Self {
        // Another process may take the port before the server does; then the next one is tried.
        for _ in 0..10 {
            let port = free_port();
            let child = Command::new("sh")
                .args(["-c", START, &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a shell");
            let mut server = Self { child, port };
            if server.makes_a_bucket().await {
                return server;
            }
        }
        unreachable!("no S3 server started ten times: run scripts/setup.sh --tests")
    }

    /// How to reach its bucket.
    pub fn config(&self) -> S3Config {
        S3Config {
            bucket: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            path_style: true,
            allow_http: false,
            credentials: Some(S3Credentials {
                access_key_id: "test".to_owned(),
                secret_access_key: "test".to_owned(),
                session_token: None,
            }),
            timeout: Duration::from_secs(30),
            retries: 2,
        }
    }

    /// Its bucket.
    pub fn objects(&self) -> Objects {
        Objects::s3(self.config()).expect("objects in S3")
    }

    /// How many uploads in parts were begun and neither completed nor aborted.
    pub async fn open_uploads(&self) -> usize {
        let answer = self.ask("GET", "?uploads").await.expect("the uploads");
        answer.matches("<Upload>").count()
    }

    async fn makes_a_bucket(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            let answer = self.ask("PUT", "").await;
            if answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Asks about the bucket, with a signature that the server does not check.
    async fn ask(&self, method: &str, query: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request = format!(
            "{method} /{BUCKET}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request\r\n\
             Content-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

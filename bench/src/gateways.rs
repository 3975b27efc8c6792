//! Gateways of others, each before the same provider as quire: `bench/peers/models/serve.py` starts one in a process
//! of its own, and it is asked over HTTP as its users ask it. What can't be installed or started is left out with a message.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::python::{Drivers, run};
use crate::report::{line, note};

/// As they are printed, and as the driver calls them.
pub(crate) const GATEWAYS: [&str; 3] = ["tensorzero", "portkey", "litellm"];

/// One that does not listen by then is left out.
const PATIENCE: Duration = Duration::from_secs(100);

/// What can be started.
pub(crate) struct Gateways {
    drivers: Drivers,
}

impl Gateways {
    /// Installs them, unless `PEERS=0` leaves them out or they can't be had.
    pub(crate) async fn install(peers: &Path) -> Option<Self> {
        if std::env::var_os("PEERS").is_some_and(|value| value == "0") {
            return None;
        }
        match Self::try_install(peers).await {
            Ok(gateways) => Some(gateways),
            Err(failure) => {
                line(format!("no other gateways: {failure}"));
                None
            }
        }
    }

    async fn try_install(peers: &Path) -> Result<Self, Failure> {
        let drivers = Drivers::install(peers, "models").await?;
        let packages = "package.json";
        let (ours, theirs) = (drivers.folder.join(packages), drivers.place.join(packages));
        let wanted = std::fs::read(&ours).map_err(Failure::doing(ours.display()))?;
        let is_there = drivers.place.join("node_modules").is_dir()
            && std::fs::read(&theirs).is_ok_and(|installed| installed == wanted);
        if !is_there {
            std::fs::write(&theirs, wanted).map_err(Failure::doing(theirs.display()))?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-fund", "--no-audit"]);
            if let Err(failure) = run(npm.current_dir(&drivers.place)).await {
                note(format!("models: can't install what npm has: {failure}"));
            }
        }
        Ok(Self { drivers })
    }

    /// Starts one before a provider, with its cache or without.
    pub(crate) async fn start(
        &self,
        name: &'static str,
        provider: &str,
        cache: bool,
    ) -> Result<Gateway, Failure> {
        let folder = crate::lab::open_folder()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let port = listener
            .and_then(|listener| listener.local_addr())
            .map_err(Failure::doing("finding a free port"))?
            .port();
        let mut command = Command::new(&self.drivers.python);
        command
            .arg(self.drivers.folder.join("serve.py"))
            .args([name, provider, &port.to_string()])
            .args([folder.path(), &self.drivers.place])
            .args(cache.then_some("--cache"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(Failure::doing("starting Python"))?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| Failure::failed("a driver has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let telling = async {
            while let Some(line) = lines.next_line().await.map_err(Failure::doing(name))? {
                // What a gateway prints itself stands before it.
                if let Ok(told) = serde_json::from_str::<Told>(&line) {
                    return Ok(told);
                }
            }
            Err(Failure::failed("it ended before it listened"))
        };
        let told = tokio::time::timeout(PATIENCE, telling).await;
        let told = told.map_err(|_| Failure::failed("it does not listen"))??;
        let headers = told.headers.iter().map(|(name, value)| {
            let name = HeaderName::try_from(name).map_err(Failure::doing(name))?;
            let value = HeaderValue::try_from(value).map_err(Failure::doing(value))?;
            Ok((name, value))
        });
        Ok(Gateway {
            line: Line::new(
                told.url,
                told.model,
                headers.collect::<Result<_, Failure>>()?,
            )?,
            version: told.version,
            child,
            _folder: folder,
        })
    }
}

/// What the driver says of the one it started.
#[derive(Deserialize)]
struct Told {
    version: String,
    url: String,
    model: String,
    headers: std::collections::BTreeMap<String, String>,
}

/// One that listens; dropping it ends it.
pub(crate) struct Gateway {
    pub(crate) version: String,
    pub(crate) line: Line,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Ends it, so that it takes nothing from whoever is measured next.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        self.child
            .wait()
            .await
            .map_err(Failure::doing("ending a gateway"))?;
        Ok(())
    }
}

/// How one server that speaks OpenAI's chat completions is asked: the provider itself, or a gateway before it.
pub(crate) struct Line {
    client: reqwest::Client,
    url: String,
    model: String,
    headers: HeaderMap,
}

impl Line {
    pub(crate) fn new(
        base_url: String,
        model: String,
        headers: HeaderMap,
    ) -> Result<Self, Failure> {
        let client = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            client: client.map_err(Failure::doing("making a client"))?,
            url: format!("{base_url}/chat/completions"),
            model,
            headers,
        })
    }

    /// How long an answer in one piece takes.
    pub(crate) async fn whole(&self, tenant: &str, question: &str) -> Result<Duration, Failure> {
        let began = Instant::now();
        let response = self.send(tenant, question, false).await?;
        let answer: Value = response.json().await.map_err(Failure::doing(&self.url))?;
        match answer.pointer("/choices/0/message/content") {
            Some(Value::String(_)) => Ok(began.elapsed()),
            _ => Err(Failure::failed(format!("an answer without text: {answer}"))),
        }
    }

    /// How long the first word of a streamed answer takes; reads it to its end.
    pub(crate) async fn first(&self, tenant: &str, question: &str) -> Result<Duration, Failure> {
        let began = Instant::now();
        let response = self.send(tenant, question, true).await?;
        let mut pieces = response.bytes_stream();
        let (mut first, mut text) = (None, Vec::new());
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.map_err(Failure::doing(&self.url))?);
            // Roles come in a piece of their own, before the first word.
            if first.is_none() && text.windows(WORD.len()).any(|window| window == WORD) {
                first = Some(began.elapsed());
            }
        }
        first.ok_or_else(|| Failure::failed("a stream without text"))
    }

    async fn send(
        &self,
        tenant: &str,
        question: &str,
        stream: bool,
    ) -> Result<reqwest::Response, Failure> {
        let body = json!({
            "model": self.model,
            "stream": stream,
            "messages": [{ "role": "user", "content": question }],
        });
        let sent = self.client.post(&self.url).headers(self.headers.clone());
        let sent = sent
            .header(AUTHORIZATION, format!("Bearer {tenant}"))
            .json(&body);
        let response = sent.send().await.map_err(Failure::doing(&self.url))?;
        response
            .error_for_status()
            .map_err(Failure::doing("asking"))
    }
}

/// How a word stands in a stream of the double, whose answers are made of it.
const WORD: &[u8] = b"word";

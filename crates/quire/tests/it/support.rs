//! A running quire for tests: its own data directory, its own port, stopped and removed at the end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use quire_testkit::PATIENCE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A quire process with its data.
pub(crate) struct Quire {
    child: Mutex<Option<Child>>,
    pub(crate) url: String,
    pub(crate) admin_key: String,
    environment: Vec<(String, String)>,
    data: TempDir,
}

impl Quire {
    /// Starts `quire up` on a free port.
    pub(crate) fn up() -> Self {
        Self::up_with(&[])
    }

    /// The same with settings from the environment.
    pub(crate) fn up_with(environment: &[(&str, &str)]) -> Self {
        let data = tempfile::Builder::new()
            .prefix("quire-it-")
            .tempdir()
            .unwrap();
        // The server's user must be able to pass when the tests run as root.
        std::fs::set_permissions(data.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (child, url) = start(data.path(), &environment);
        let made = run(
            &["key", "create", "--role", "admin", "--name", "test"],
            data.path(),
            &environment,
            Path::new("/"),
            b"",
        );
        let admin_key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        assert!(
            admin_key.starts_with("qk_"),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self {
            child: Mutex::new(Some(child)),
            url,
            admin_key,
            environment,
            data,
        }
    }

    /// One instance for all tests of this process that change nothing global; it stops with the last.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Quire>> = Mutex::new(Weak::new());
        // Whoever could not start it has failed alone.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let quire = Arc::new(Self::up());
            *shared = Arc::downgrade(&quire);
            quire
        })
    }

    /// Kills the process without warning, as a power cut would, and starts another on the same data.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// The first half of it.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The second half of it.
    pub(crate) fn restart(&mut self) {
        let (child, url) = start(self.data.path(), &self.environment);
        self.child = Mutex::new(Some(child));
        self.url = url;
    }

    /// The process id of the private PostgreSQL.
    pub(crate) fn postgres_pid(&self) -> u32 {
        let file =
            std::fs::read_to_string(self.data.path().join("postgres/data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Asks the process to stop and returns how it ended.
    pub(crate) fn stop(&self) -> std::process::ExitStatus {
        let mut child = self.child.lock().unwrap().take().unwrap();
        stop(&mut child)
    }

    /// Runs another command on the same data, as an operator would while the service runs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.command_in(arguments, Path::new("/"), b"")
    }

    /// Starts a command that goes on until it is stopped.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let child = quire(self.data.path(), &self.environment)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }

    pub(crate) fn command_in(&self, arguments: &[&str], dir: &Path, input: &[u8]) -> Output {
        run(arguments, self.data.path(), &self.environment, dir, input)
    }

    /// A new tenant with one key for all of it.
    pub(crate) async fn tenant(&self, slug: &str) -> Caller {
        let admin = self.caller(&self.admin_key);
        let tenant = admin
            .post("/v1/tenants", &json!({ "slug": slug, "name": slug }))
            .await
            .created();
        let id = tenant["id"].as_str().unwrap().to_owned();
        let key = json!({ "name": "test", "role": "tenant" });
        let key = admin
            .post(&format!("/v1/tenants/{id}/keys"), &key)
            .await
            .created();
        Caller {
            tenant: id,
            ..self.caller(key["secret"].as_str().unwrap())
        }
    }

    pub(crate) fn caller(&self, key: &str) -> Caller {
        Caller {
            url: self.url.clone(),
            key: key.to_owned(),
            tenant: String::new(),
            groups: None,
            client: client(),
        }
    }
}

impl Drop for Quire {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            stop(&mut child);
        }
    }
}

/// A command that goes on until it is stopped, at the latest at the end of its test.
pub(crate) struct Running(Child);

impl Running {
    /// Sends it a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to stop, which it has to do in good order.
    pub(crate) fn stop(mut self) {
        assert!(stop(&mut self.0).success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // One that was stopped hears nothing else.
            self.signal("-CONT");
            stop(&mut self.0);
        }
    }
}

fn stop(child: &mut Child) -> std::process::ExitStatus {
    Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            return child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_quire"))
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

fn quire(data: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(binary());
    // Settings of whoever runs the tests must not reach them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIRE_")) {
        command.env_remove(name);
    }
    if let Ok(model) = std::env::var("QUIRE_MODEL_DIR") {
        command.env("QUIRE__MODEL__DIR", model);
    }
    command
        .env("QUIRE_DATA", data)
        .env("QUIRE_CONFIG", "/dev/null")
        .envs(environment.iter().cloned());
    command
}

fn run(
    arguments: &[&str],
    data: &Path,
    environment: &[(String, String)],
    dir: &Path,
    input: &[u8],
) -> Output {
    use std::io::Write;
    let mut child = quire(data, environment)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

fn start(data: &Path, environment: &[(String, String)]) -> (Child, String) {
    let mut child = quire(data, environment)
        .args(["up", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines(BufReader::new(child.stderr.take().unwrap()));
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("quire did not start; it said:\n{}", said.join("\n"));
        };
        said.push(line.clone());
        if let Some(rest) = line.strip_prefix("serving ") {
            let url = rest.split(' ').next().unwrap().to_owned();
            // Whatever it says later must be read, or its pipe fills up.
            std::thread::spawn(move || lines.into_iter().for_each(drop));
            return (child, url);
        }
    }
}

fn lines(reader: impl BufRead + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn client() -> reqwest::Client {
    // Already installed by another test is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// Somebody with a key.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) url: String,
    pub(crate) key: String,
    /// The id of the tenant, where the key was made by `Quire::tenant`.
    pub(crate) tenant: String,
    /// What is told of the groups of the person behind the requests.
    groups: Option<String>,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        self.is(200)
    }

    #[track_caller]
    pub(crate) fn created(self) -> Value {
        self.is(201)
    }
}

impl Caller {
    /// The same for a person in these groups.
    pub(crate) fn acting_for(&self, groups: &str) -> Self {
        Self {
            groups: Some(groups.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(groups) = &self.groups {
            request = request.header("quire-groups", groups);
        }
        if self.key.is_empty() {
            request
        } else {
            request.bearer_auth(&self.key)
        }
    }

    pub(crate) async fn send(&self, mut request: reqwest::RequestBuilder) -> Reply {
        // Who answers before it has read the whole body may cut the connection before the answer is read
        // (RFC 9112, 9.6). On a busy machine that happens to large bodies that are refused.
        let mut cuts = 0;
        let response = loop {
            let again = request.try_clone();
            match (request.send().await, again) {
                (Err(cut), Some(again)) if cut.is_request() && !cut.is_timeout() && cuts < 5 => {
                    cuts += 1;
                    request = again;
                }
                (response, _) => break response.unwrap(),
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        Reply {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::PATCH, path).json(body))
            .await
    }

    /// A new notebook's id.
    pub(crate) async fn notebook(&self, name: &str) -> String {
        let notebook = self
            .post("/v1/notebooks", &json!({ "name": name }))
            .await
            .created();
        notebook["id"].as_str().unwrap().to_owned()
    }

    /// Uploads files as one form.
    pub(crate) async fn upload(&self, notebook: &str, files: &[(&str, &[u8])]) -> Reply {
        self.upload_to(&format!("/v1/notebooks/{notebook}/sources"), files)
            .await
    }

    pub(crate) async fn upload_to(&self, path: &str, files: &[(&str, &[u8])]) -> Reply {
        let request = self
            .request(Method::POST, path)
            .header(
                "content-type",
                "multipart/form-data; boundary=quire-test-boundary",
            )
            .body(form(files));
        self.send(request).await
    }

    /// Adds a text and waits until it can be found.
    pub(crate) async fn add(&self, notebook: &str, name: &str, text: &str) -> Value {
        let path = format!("/v1/notebooks/{notebook}/sources");
        let added = self
            .post(&path, &json!({ "name": name, "text": text }))
            .await
            .is(202);
        self.finished(added["sources"][0]["id"].as_str().unwrap())
            .await
    }

    /// The source once it can be found or has failed.
    pub(crate) async fn finished(&self, source: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.get(&format!("/v1/sources/{source}")).await;
            // The database may be restarting under a test that wants it to. Its words are for the log.
            if reply.status == StatusCode::SERVICE_UNAVAILABLE {
                assert!(!reply.text.contains("database:"), "{}", reply.text);
            } else {
                let source = reply.ok();
                if ["searchable", "failed"].contains(&source["state"].as_str().unwrap()) {
                    return source;
                }
            }
            assert!(
                Instant::now() < deadline,
                "the source is still not finished"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn ask(&self, notebook: &str, question: &str) -> Value {
        self.post(
            &format!("/v1/notebooks/{notebook}/ask"),
            &json!({ "question": question, "fresh": true }),
        )
        .await
        .ok()
    }

    /// What was used by a tenant, of one kind, as the operator is told it.
    pub(crate) async fn usage_events(&self, tenant: &str, kind: &str) -> Vec<Value> {
        let path = format!("/v1/tenants/{tenant}/usage/events?format=cloudevents");
        let text = self.get(&path).await.text;
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter(|event| event["type"] == format!("quire.usage.{kind}"))
            .map(|event| event["data"].clone())
            .collect()
    }

    /// The texts that a search in one notebook finds.
    pub(crate) async fn search(&self, notebook: &str, query: &str) -> Vec<String> {
        let found = self
            .post(
                "/v1/search",
                &json!({ "query": query, "filter": { "notebooks": [notebook] } }),
            )
            .await
            .ok();
        found["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn form(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in files {
        let head = format!(
            "--quire-test-boundary\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--quire-test-boundary--\r\n");
    body
}

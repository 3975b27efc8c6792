//! A PostgreSQL server as an operator would provide one: TCP on loopback, passwords, nothing private.
//! Ends with the test process, like the shared cluster.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use quire_postgres::Binaries;

use crate::free_port;
use crate::postgres::reaper;

const USER: &str = "operator";
const PASSWORD: &str = "correct horse";

/// Who signed the certificate of a server that speaks TLS; the certificate is for [`TLS_HOST`]. Neither key is used
/// for anything else.
pub const TLS_ROOT: &str = include_str!("remote/root.pem");
/// The name of a server that speaks TLS.
pub const TLS_HOST: &str = "cms.example.com";
const TLS_FILES: [(&str, &str, &str); 2] = [
    (
        "ssl_cert_file",
        "server.pem",
        include_str!("remote/server.pem"),
    ),
    (
        "ssl_key_file",
        "server.key",
        include_str!("remote/server.key"),
    ),
];

/// A server on a loopback port, with a superuser that needs a password.
pub struct RemoteServer {
    port: u16,
    process: Child,
    /// Closes with the process; never read.
    _reaper: ChildStdin,
}

impl RemoteServer {
    /// Starts a server with an empty database named `quire`.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// The same, and it speaks TLS.
    pub fn start_with_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(has_tls: bool) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("quire-remote-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .expect("a directory in /tmp")
            .keep();
        let home = dir.join("postgres");
        fs::create_dir(&home).expect("a directory");
        let password_file = home.join("password");
        fs::write(&password_file, PASSWORD).expect("a file");
        let account = unprivileged();
        if let Some((uid, gid)) = account {
            for path in [&home, &password_file] {
                chown(path, Some(uid), Some(gid)).expect("ownership");
            }
        }
        let binaries = Binaries::find(None).expect("PostgreSQL");
        let program = |name: &str| {
            let mut command = Command::new(binaries.program(name));
            command
                .current_dir(&home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = home.join("data");
        let made = program("initdb")
            .args([
                "--auth=scram-sha-256",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "-U",
                USER,
            ])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("-D")
            .arg(&data)
            .status();
        assert!(made.is_ok_and(|status| status.success()), "initdb");
        let reaper = reaper(&dir);
        let mut settings = Vec::new();
        if has_tls {
            settings.push("ssl=on".to_owned());
            for (setting, name, content) in TLS_FILES {
                let path = home.join(name);
                fs::write(&path, content).expect("a file");
                fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("permissions");
                if let Some((uid, gid)) = account {
                    chown(&path, Some(uid), Some(gid)).expect("ownership");
                }
                settings.push(format!("{setting}={}", path.display()));
            }
        }
        let start = |port: u16| {
            let mut postgres = program("postgres");
            postgres.arg("-D").arg(&data);
            postgres.args(["-c", "listen_addresses=127.0.0.1"]);
            postgres.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
            for setting in &settings {
                postgres.args(["-c", setting]);
            }
            postgres.arg("-c").arg(format!("port={port}"));
            postgres.process_group(0).spawn().expect("postgres")
        };
        let port = free_port();
        let mut server = Self {
            port,
            process: start(port),
            _reaper: reaper,
        };
        // Somebody else may have taken the port.
        for _ in 0..10 {
            if server.creates_database(&binaries.program("psql")) {
                return server;
            }
            server.port = free_port();
            server.process = start(server.port);
        }
        unreachable!("ten ports were taken by others")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The address of a database for its superuser.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{}@127.0.0.1:{}/{database}",
            PASSWORD.replace(' ', "%20"),
            self.port
        )
    }

    /// The address of a database for another role.
    pub fn url_of(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Runs statements as the superuser.
    pub fn run(&self, database: &str, statements: &str) {
        let psql = Binaries::find(None).expect("PostgreSQL").program("psql");
        let done = Command::new(psql)
            .args(["--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1"])
            .args([&self.url(database), "-c", statements])
            .stdout(Stdio::null())
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{statements}");
    }

    /// What a query of the superuser finds: a line for each row, its columns with bars between them.
    pub fn ask(&self, database: &str, query: &str) -> Vec<String> {
        let psql = Binaries::find(None).expect("PostgreSQL").program("psql");
        let found = Command::new(psql)
            .args(["--quiet", "--no-psqlrc", "--tuples-only", "--no-align"])
            .args(["-v", "ON_ERROR_STOP=1", &self.url(database), "-c", query])
            .output()
            .expect("psql");
        assert!(found.status.success(), "{query}");
        let text = String::from_utf8_lossy(&found.stdout);
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the server, once it answers, is this one.
    fn creates_database(&mut self, psql: &Path) -> bool {
        let started = Instant::now();
        loop {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return false;
            }
            let answers = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            let created = answers
                && Command::new(psql)
                    .arg(self.url("postgres"))
                    .args(["-c", "create database quire"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .is_ok_and(|status| status.success());
            if created {
                return true;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the server does not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for RemoteServer {
    fn drop(&mut self) {
        // The reaper removes what it leaves behind.
        drop(self.process.kill().and_then(|()| self.process.wait()));
    }
}

/// The user that the server runs as when the tests run as root, whom PostgreSQL refuses.
fn unprivileged() -> Option<(u32, u32)> {
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user that is not root"),
    )
}

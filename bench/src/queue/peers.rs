//! Other queues, on the same server and in the same run. Each has a driver in `bench/peers`, a file or a
//! project of its own, that adds and does the same tasks and prints one line of JSON; what can't be installed
//! is left out with a message.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use super::lab::{Lab, sql};
use crate::failure::Failure;
use crate::report::{line, note};

struct Peer {
    name: &'static str,
    install: &'static [&'static str],
    run: &'static [&'static str],
}

const PEERS: [Peer; 5] = [
    Peer {
        name: "graphile-worker",
        install: &[
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--silent",
            "graphile-worker@0.18.0",
            "pg@8",
        ],
        run: &["node", "graphile-worker.mjs"],
    },
    Peer {
        name: "pg-boss",
        install: &[
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--silent",
            "pg-boss@12.35.0",
            "pg@8",
        ],
        run: &["node", "pg-boss.mjs"],
    },
    Peer {
        name: "procrastinate",
        install: &[
            "sh",
            "-c",
            "python3 -m venv venv && venv/bin/pip install --quiet 'procrastinate==3.10.0' 'psycopg[binary]'",
        ],
        run: &["venv/bin/python", "procrastinate_driver.py"],
    },
    Peer {
        name: "graphile_worker",
        install: CARGO_BUILD,
        run: CARGO_RUN,
    },
    Peer {
        name: "apalis-postgres",
        install: CARGO_BUILD,
        run: CARGO_RUN,
    },
];

/// Those that do as many tasks as quire within a minute.
const FAST: [&str; 2] = ["graphile-worker", "graphile_worker"];

/// Built apart from quire, and kept for the next time.
const CARGO_BUILD: &[&str] = &[
    "sh",
    "-c",
    "exec cargo build --release --locked --quiet --target-dir \"${XDG_CACHE_HOME:-$HOME/.cache}/quire/peers\"",
];
const CARGO_RUN: &[&str] = &[
    "sh",
    "-c",
    "exec cargo run --release --locked --quiet --target-dir \"${XDG_CACHE_HOME:-$HOME/.cache}/quire/peers\"",
];

#[derive(Deserialize)]
struct Outcome {
    version: String,
    per_s: f64,
}

/// Runs every peer that can be installed. Returns the best rate.
pub(super) async fn run(lab: &Lab, drivers: &Path, tasks: u32) -> Result<Option<f64>, Failure> {
    if !drivers.is_dir() {
        note(format!(
            "queue: no peers: {} is not there; name it with --peers",
            drivers.display()
        ));
        return Ok(None);
    }
    let mut best: Option<f64> = None;
    for peer in &PEERS {
        match measure(lab, peer, drivers, tasks).await {
            Ok(outcome) => {
                let name = format!("{} {}", peer.name, outcome.version);
                line(format!(
                    "{name:24} {:>9.0} tasks/s end to end",
                    outcome.per_s
                ));
                best = Some(best.unwrap_or(0.0).max(outcome.per_s));
            }
            Err(failure) => line(format!("{:24}   skipped: {failure}", peer.name)),
        }
    }
    Ok(best)
}

async fn measure(lab: &Lab, peer: &Peer, drivers: &Path, tasks: u32) -> Result<Outcome, Failure> {
    note(format!("queue: installing and running {}", peer.name));
    let project = drivers.join(peer.name);
    let place = if project.is_dir() {
        project
    } else {
        copy(drivers, lab.folder().join("peers").join(peer.name))?
    };
    command(peer.install, &place, &[]).await?;
    // What a slower queue needs more than a minute for says enough with fewer tasks.
    let tasks = if FAST.contains(&peer.name) {
        tasks
    } else {
        tasks / 10
    };
    let (name, store) = lab.database().await?;
    sql(&store, "drop schema queue cascade").await?;
    let (socket, port) = lab.socket();
    let settings = [
        ("PGHOST", socket.display().to_string()),
        ("PGPORT", port.to_string()),
        ("PGUSER", lab.admin_user()),
        ("PGDATABASE", name),
        ("TASKS", tasks.to_string()),
    ];
    let output = command(peer.run, &place, &settings).await?;
    let last = output
        .lines()
        .rfind(|line| line.starts_with('{'))
        .unwrap_or_default();
    serde_json::from_str(last).map_err(Failure::doing("reading what the driver printed"))
}

/// Copies the drivers that are files to where packages may be installed beside them.
fn copy(drivers: &Path, place: PathBuf) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(&place).map_err(Failure::doing("making a folder"))?;
    for entry in std::fs::read_dir(drivers).map_err(Failure::doing(drivers.display()))? {
        let entry = entry.map_err(Failure::doing(drivers.display()))?;
        if entry.path().is_file() {
            let copied = std::fs::copy(entry.path(), place.join(entry.file_name()));
            copied.map_err(Failure::doing("copying a driver"))?;
        }
    }
    Ok(place)
}

async fn command(
    words: &[&str],
    place: &Path,
    settings: &[(&str, String)],
) -> Result<String, Failure> {
    let [program, arguments @ ..] = words else {
        return Ok(String::new());
    };
    let program = if program.contains('/') {
        place.join(program)
    } else {
        PathBuf::from(program)
    };
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(place)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Failure::doing(program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    Err(Failure::failed(format!(
        "{} failed: {last}",
        words.join(" ")
    )))
}

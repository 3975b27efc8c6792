//! `quire doctor`: is this machine fit, and if not, what mends it. Each check stands alone, so that one
//! failure hides no other.

use std::path::Path;

use serde_json::json;

use quire_ingest::sandbox::Confinement;
use quire_postgres::Binaries;
use quire_store::RoleReport;

use crate::cli::Cli;
use crate::config::{Config, Places};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

/// Room that ingest, PostgreSQL's log and a rebuild need at the least.
const FREE_BYTES: u64 = 2 << 30;
const OPEN_FILES: u64 = 1_024;

/// What a check found.
struct Finding {
    what: &'static str,
    /// What is there, or what is wrong.
    detail: String,
    /// What to do about it; none when all is well.
    fix: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            detail: detail.into(),
            fix: None,
        }
    }

    fn bad(what: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what,
            detail: detail.into(),
            fix: Some(fix.into()),
        }
    }
}

pub(super) async fn run(cli: &Cli, output: &Output) -> Result<(), Failure> {
    let places = Places::find();
    let config = Config::load(cli, &places)?;
    let data = config.data_dir(&places)?;
    let mut findings = vec![
        server_programs(&config),
        model(&config, &places),
        program("PDF reader", "pdftotext", "-v", "poppler-utils").await,
        program("picture reader", "tesseract", "--version", "tesseract-ocr").await,
        program("sound and films", "ffmpeg", "-version", "ffmpeg").await,
        program(
            "speech recogniser",
            "pocketsphinx_continuous",
            "-version",
            "pocketsphinx pocketsphinx-en-us",
        )
        .await,
        confinement().await,
        disk(&data),
        open_files(),
    ];
    findings.extend(database(cli).await);
    report(output, &findings)
}

fn report(output: &Output, findings: &[Finding]) -> Result<(), Failure> {
    let wrong = findings
        .iter()
        .filter(|finding| finding.fix.is_some())
        .count();
    if output.is_json() {
        let checks: Vec<_> = findings
            .iter()
            .map(|finding| {
                json!({ "check": finding.what, "ok": finding.fix.is_none(), "detail": finding.detail, "fix": finding.fix })
            })
            .collect();
        output.json(&json!({ "checks": checks }))?;
    } else {
        for finding in findings {
            let mark = if finding.fix.is_none() { "✓" } else { "✗" };
            output.line(format!("{mark} {:20} {}", finding.what, finding.detail));
            if let Some(fix) = &finding.fix {
                output.line(format!("  {:20} fix: {fix}", ""));
            }
        }
    }
    match wrong {
        0 => Ok(()),
        count => Err(Failure::internal(format!(
            "{count} of {} checks failed",
            findings.len()
        ))),
    }
}

fn server_programs(config: &Config) -> Finding {
    const WHAT: &str = "PostgreSQL programs";
    if config.database.url.is_some() {
        return Finding::ok(WHAT, "not needed: database.url is set");
    }
    match Binaries::find(config.database.binaries.as_deref()) {
        Ok(found) => Finding::ok(
            WHAT,
            format!("{} in {}", found.version, found.dir.display()),
        ),
        Err(error) => Finding::bad(
            WHAT,
            error.to_string(),
            "make setup, or: apt-get install postgresql",
        ),
    }
}

fn model(config: &Config, places: &Places) -> Finding {
    const WHAT: &str = "embedding model";
    let checked = quire_models::find_model(config.model.dir.as_deref(), &places.cache)
        .and_then(|dir| quire_models::check_model(&dir).map(|()| dir));
    match checked {
        Ok(dir) => Finding::ok(WHAT, format!("all-MiniLM-L6-v2 in {}", dir.display())),
        Err(error) => Finding::bad(WHAT, error.to_string(), "make model"),
    }
}

/// A program that readers of files start, with the option that makes it say its version.
async fn program(what: &'static str, name: &str, option: &str, package: &'static str) -> Finding {
    let version = tokio::process::Command::new(name)
        .arg(option)
        .output()
        .await;
    match version {
        Ok(version) => {
            let said = [version.stdout, version.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            let first = said.lines().find(|line| line.contains(' '));
            // Some only complain about a question they don't know; they are there.
            let first = first.filter(|_| version.status.success());
            Finding::ok(
                what,
                first.unwrap_or(name).chars().take(80).collect::<String>(),
            )
        }
        Err(error) => Finding::bad(
            what,
            format!("{name}: {error}"),
            format!("apt-get install {package}"),
        ),
    }
}

/// Reads a small file as any file is read and looks at what the child could close off.
async fn confinement() -> Finding {
    const WHAT: &str = "file confinement";
    let level = async {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let extractor = quire_ingest::sandbox::Extractor::new(program);
        let read = extractor
            .extract("probe.txt", "a probe".into(), &|_| ())
            .await
            .map_err(|error| error.to_string())?;
        Ok::<Confinement, String>(read.confinement)
    };
    match level.await {
        Ok(Confinement {
            limits: true,
            network: true,
            files: true,
            signals: true,
        }) => Finding::ok(
            WHAT,
            "limits, no network, own folder only, no signals to others",
        ),
        Ok(Confinement {
            limits: true,
            network: true,
            files: true,
            signals: false,
        }) => Finding::ok(
            WHAT,
            "limits, no network, own folder only; signals to others need a kernel of 6.12 to be closed",
        ),
        Ok(level) => Finding::bad(
            WHAT,
            format!(
                "limits {}, network closed {}, files closed {}",
                level.limits, level.network, level.files
            ),
            "use a kernel of 5.13 or later with seccomp and Landlock, or accept that readers are less confined",
        ),
        Err(error) => Finding::bad(
            WHAT,
            error,
            "run `quire parse --name=x < /dev/null` to see why",
        ),
    }
}

fn disk(data: &Path) -> Finding {
    const WHAT: &str = "disk";
    let existing = data
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let detail = format!(
                "{:.1} GB free below {}",
                free as f64 / 1e9,
                existing.display()
            );
            if free >= FREE_BYTES {
                Finding::ok(WHAT, detail)
            } else {
                Finding::bad(
                    WHAT,
                    detail,
                    "free some space, or put the data elsewhere with --data",
                )
            }
        }
        Err(error) => Finding::bad(
            WHAT,
            format!("{}: {error}", existing.display()),
            "check that the path exists",
        ),
    }
}

fn open_files() -> Finding {
    const WHAT: &str = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < OPEN_FILES => Finding::bad(
            WHAT,
            format!("at most {limit}"),
            format!("ulimit -n {OPEN_FILES}, or LimitNOFILE={OPEN_FILES} in the service unit"),
        ),
        Some(limit) => Finding::ok(WHAT, format!("at most {limit}")),
        None => Finding::ok(WHAT, "unlimited"),
    }
}

/// Starts or joins the database as every command does, and looks at roles and catalog.
async fn database(cli: &Cli) -> Vec<Finding> {
    const WHAT: &str = "database";
    let node = match Node::open(cli).await {
        Ok(node) => node,
        Err(failure) => {
            return vec![Finding::bad(
                WHAT,
                failure.message(),
                "follow the message; the log of a private server is in postgres/log below the data directory",
            )];
        }
    };
    let findings = vec![
        version(node.store.roles()),
        roles(node.store.roles()),
        catalog(&node).await,
    ];
    match node.close().await {
        Ok(()) => findings,
        Err(failure) => findings
            .into_iter()
            .chain([Finding::bad(
                WHAT,
                failure.message(),
                "see postgres/log below the data directory",
            )])
            .collect(),
    }
}

fn version(report: &RoleReport) -> Finding {
    const WHAT: &str = "PostgreSQL version";
    let (major, minor) = (
        report.server_version / 10_000,
        report.server_version % 10_000,
    );
    let detail = format!("{major}.{minor}");
    if major < 15 {
        return Finding::bad(WHAT, detail, "use PostgreSQL 15 or later");
    }
    if report.is_safe_version() {
        Finding::ok(WHAT, detail)
    } else {
        let least = RoleReport::oldest_safe_minor(major);
        Finding::bad(
            WHAT,
            format!(
                "{detail} lacks fixes for leaks through row-level security (CVE-2024-10976, CVE-2025-8713)"
            ),
            format!("upgrade to {major}.{least} or later"),
        )
    }
}

fn roles(report: &RoleReport) -> Finding {
    // A role that could bypass row-level security would have kept the store from opening.
    Finding::ok(
        "database roles",
        format!(
            "{} and {} can't bypass row-level security",
            report.app, report.worker
        ),
    )
}

async fn catalog(node: &Node) -> Finding {
    const WHAT: &str = "tenant isolation";
    match node.store.isolation_gaps().await {
        Ok(gaps) if gaps.is_empty() => {
            Finding::ok(WHAT, "every relation is under forced row-level security")
        }
        Ok(gaps) => {
            let gaps: Vec<String> = gaps
                .iter()
                .map(|gap| format!("{}: {}", gap.name, gap.why))
                .collect();
            Finding::bad(
                WHAT,
                gaps.join("; "),
                "undo what was changed by hand, or restore the schema",
            )
        }
        Err(error) => Finding::bad(WHAT, error.to_string(), "check that the database answers"),
    }
}

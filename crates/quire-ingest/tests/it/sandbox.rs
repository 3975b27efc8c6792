//! The reading child: right answers for good files, typed errors for every way a child can end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quire_ingest::sandbox::Extractor;
use quire_types::{ErrorKind, Kind, MediaType};
use tokio::io::AsyncBufReadExt;

use quire_testkit::postgres::eventually;

use crate::support::{docx, encrypted_pdf, paragraph, pdf};

fn extractor() -> Extractor {
    Extractor::new(env!("CARGO_BIN_EXE_quire-parse"))
}

/// An extractor whose child is a shell script.
fn scripted(folder: &tempfile::TempDir, script: &str) -> Extractor {
    let program = folder.path().join("program");
    quire_testkit::program(&program, script);
    Extractor::new(program)
}

#[tokio::test]
async fn good_files_come_back_whole() {
    for (name, bytes, media) in [
        ("--limits=x", b"plain text".to_vec(), MediaType::Text),
        ("p.bin", pdf(&[&["Some words on a page."]]), MediaType::Pdf),
        (
            "w\0\n.docx",
            docx(&paragraph("", "Some words on a page.")),
            MediaType::Docx,
        ),
    ] {
        let extraction = extractor()
            .extract(name, bytes.into(), &|_| ())
            .await
            .unwrap();
        assert_eq!(extraction.media, media, "{name}");
        assert!(extraction.document.text.ends_with(['t', '.']), "{name}");
        assert!(extraction.confinement.limits, "{name}");
    }
    let error = extractor()
        .extract("x.pdf", encrypted_pdf().into(), &|_| ())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "password-protected");
}

#[tokio::test]
async fn hostile_files_end_in_typed_errors() {
    let nested = "<!doctype html>".to_owned() + &"<div>".repeat(100_000) + "deep";
    let wide = "<p>word ".repeat(200_000);
    let quotes = "> ".repeat(200_000) + "x";
    for (name, bytes) in [
        ("nested.html", nested.into_bytes()),
        ("wide.html", wide.into_bytes()),
        ("quotes.md", quotes.into_bytes()),
        ("line.txt", vec![b'a'; 100_000_000]),
        ("brackets.md", "[".repeat(500_000).into_bytes()),
    ] {
        let started = Instant::now();
        let outcome = extractor().extract(name, Bytes::from(bytes), &|_| ()).await;
        println!(
            "{name}: {:?} in {:?}",
            outcome.as_ref().map(|found| found.document.blocks.len()),
            started.elapsed()
        );
        assert!(started.elapsed() < Duration::from_secs(100), "{name}");
        if let Err(error) = outcome {
            assert!(
                [
                    "too-large",
                    "crashed",
                    "timed-out",
                    "out-of-memory",
                    "unsafe"
                ]
                .contains(&error.code()),
                "{name}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn every_death_of_a_child_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    for (script, code, kind, words) in [
        ("kill -ABRT $$", "crashed", ErrorKind::Invalid, "signal 6"),
        ("kill -SEGV $$", "crashed", ErrorKind::Invalid, "signal 11"),
        ("exit 101", "crashed", ErrorKind::Invalid, "exit code 101"),
        ("echo '{\"ok\":'", "crashed", ErrorKind::Invalid, "garbled"),
        (
            "echo %999; echo %-1; echo %50; echo %%%%%%%%%%%%%%%%%%%%; echo '{'",
            "crashed",
            ErrorKind::Invalid,
            "garbled",
        ),
        (
            "echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$",
            "out-of-memory",
            ErrorKind::Invalid,
            "memory",
        ),
        ("kill -XCPU $$", "timed-out", ErrorKind::Timeout, "60 s"),
        (
            "kill -KILL $$",
            "unavailable",
            ErrorKind::Unavailable,
            "signal 9",
        ),
        (
            "echo '{\"confinement\":{\"limits\":true,\"network\":true,\"files\":true},\"ok\":{\"media\":\"text\",\"document\":\
             {\"text\":\"short\",\"blocks\":[{\"kind\":\"paragraph\",\"char_start\":0,\"char_end\":99}]}}}'",
            "crashed",
            ErrorKind::Invalid,
            "garbled",
        ),
    ] {
        let error = scripted(&folder, script)
            .extract("x", Bytes::from_static(b"x"), &|_| ())
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.kind()),
            (code, kind),
            "{script}: {error}"
        );
        assert!(error.to_string().contains(words), "{script}: {error}");
    }
    let error = Extractor::new("/no/such/program")
        .extract("x", Bytes::from_static(b"x"), &|_| ())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_child_ends_with_its_parent() {
    // A parent that is killed, and whose child waits for a file that never comes.
    let program = env!("CARGO_BIN_EXE_quire-parse");
    let script = format!("exec 3<&0; setsid {program} --name=a.txt <&3 & echo $!; wait");
    let mut parent = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(tempfile::tempdir().unwrap().path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let _open = parent.stdin.take();
    let mut said = tokio::io::BufReader::new(parent.stdout.take().unwrap()).lines();
    let child = said.next_line().await.unwrap().unwrap();
    let is_running = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.contains("(quire-parse) S")
    };
    eventually("the child runs", async || is_running()).await;
    parent.kill().await.unwrap();
    eventually("the child has ended", async || !is_running()).await;
}

#[tokio::test]
async fn a_stuck_child_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    let stuck = scripted(&folder, &script).with_wall_clock(Duration::from_secs(5));
    let error = stuck
        .extract("x", Bytes::from(vec![b'x'; 1 << 20]), &|_| ())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        ("timed-out", ErrorKind::Timeout)
    );
    let grandchild = std::fs::read_to_string(&pid_file).unwrap();
    assert!(grandchild.trim().parse::<u32>().is_ok(), "{grandchild:?}");
    let is_running = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim()))
            .unwrap_or_default();
        stat.contains("(sleep) S")
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_running() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert!(
        !is_running(),
        "the program started by the child is still running"
    );
}

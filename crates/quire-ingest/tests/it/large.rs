//! Files at the limits: what is just allowed is read to its end, and what is more is refused by the limit that it
//! exceeds. And a machine without room, which is no fault of any file.

use std::fmt::Write as _;
use std::process::Command;

use quire_ingest::extract::{BlockKind, Limits};
use quire_ingest::passages::{PassageOptions, passages};
use quire_ingest::sandbox::Extractor;
use quire_types::{ErrorKind, Kind as _};
use tempfile::TempDir;

use crate::recordings::ffmpeg;
use crate::support::{pdf, png, row, wav, xlsx};

fn extractor() -> Extractor {
    Extractor::new(env!("CARGO_BIN_EXE_quire-parse"))
}

/// Each page has one line, and these differ in digits alone, as the heads of pages do.
#[tokio::test]
async fn ten_thousand_pages_are_read_to_the_last() {
    let lines: Vec<[String; 1]> = (1..=10_000)
        .map(|page| [format!("Sheet {page} is a plan of the building.")])
        .collect();
    let lines: Vec<[&str; 1]> = lines.iter().map(|[line]| [line.as_str()]).collect();
    let pages: Vec<&[&str]> = lines.iter().map(<[&str; 1]>::as_slice).collect();
    let extractor = extractor();
    let read = extractor.extract("register.pdf", pdf(&pages).into(), &|_| ());
    let document = read.await.unwrap().document;
    assert_eq!(document.pages, Some(10_000));
    let drafts = passages(&document, "register.pdf", &PassageOptions::default());
    let text: Vec<&str> = drafts.iter().map(|draft| draft.text.as_str()).collect();
    let text = text.join("\n");
    let mut rest = text.as_str();
    for [line] in &lines {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("{line} is in no passage"));
        rest = &rest[at + line.len()..];
    }
    let last = document.blocks.iter().filter_map(|block| block.page).max();
    assert_eq!(last, Some(10_000));
}

#[tokio::test]
async fn a_hundred_thousand_rows_each_carry_their_header() {
    let mut csv = "Item,Place,Count\n".to_owned();
    let mut sheet = row(1, &["Item", "Place", "Count"]);
    for number in 2..=100_001 {
        let _ = writeln!(csv, "anchor,level {number},{number}");
        sheet += &row(
            number,
            &["anchor", &format!("level {number}"), &format!("0:{number}")],
        );
    }
    let book = xlsx(&[("Anchors", &format!("<sheetData>{sheet}</sheetData>"))]);
    for (name, bytes) in [("rows.csv", csv.into_bytes()), ("rows.xlsx", book)] {
        let read = extractor().extract(name, bytes.into(), &|_| ()).await;
        let document = read.unwrap().document;
        let rows = document.blocks.iter();
        let rows = rows.filter(|block| block.kind == BlockKind::TableRow);
        assert_eq!(rows.count(), 100_000, "{name}");
        let lines = document.text.lines().filter(|line| {
            line.starts_with("Item: anchor; Place: level ") && line.contains("; Count: ")
        });
        assert_eq!(lines.count(), 100_000, "{name}");
    }
}

#[tokio::test]
async fn as_many_attachments_as_may_be_are_read() {
    let files: Vec<String> = (1..=2_000).map(|number| format!("{number}.txt")).collect();
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|name| (name.as_str(), b"One of many.".as_slice()))
        .collect();
    let letter = quire_testkit::mail::letter(&files);
    let wide = extractor().with_limits(Limits {
        max_parts: 2_000,
        ..Limits::default()
    });
    let read = wide.extract("all.eml", letter.clone().into(), &|_| ());
    let document = read.await.unwrap().document;
    assert_eq!(document.text.matches("One of many.").count(), 2_000);
    let refused = extractor().extract("all.eml", letter.into(), &|_| ()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), "too-large");
    assert!(refused.to_string().contains("500 attachments"), "{refused}");
}

#[tokio::test]
async fn eight_hours_of_silence_are_too_long() {
    let silence = ffmpeg(
        "-f lavfi -i anullsrc=r=8000:cl=mono -t 28800 -c:a flac -compression_level 0 -f flac",
        &[],
    );
    let extractor = extractor();
    let refused = extractor.extract("night.flac", silence.into(), &|_| ());
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code(), "too-large");
    assert!(refused.to_string().contains("10800 seconds"), "{refused}");
}

/// A reader whose folder is on a disk of so many bytes.
fn on_small_disk(folder: &TempDir, bytes: u32) -> Extractor {
    let program = folder.path().join("parse");
    let script = format!(
        "exec unshare -rm sh -c 'mount -t tmpfs -o size={bytes} none \"$TMPDIR\" && cd \"$TMPDIR\" && \
         exec {} \"$@\"' sh \"$@\"",
        env!("CARGO_BIN_EXE_quire-parse")
    );
    quire_testkit::program(&program, &script);
    Extractor::new(program)
}

#[tokio::test]
async fn a_full_disk_is_a_fault_of_the_machine_and_of_no_file() {
    let can_mount = Command::new("unshare").args(["-rm", "true"]).status();
    if !can_mount.is_ok_and(|done| done.success()) {
        println!("nobody may mount a small disk here");
        return;
    }
    let folder = TempDir::new().unwrap();
    let page: &[u8] =
        include_bytes!("../../../../examples/northgate/site-media/heater-rental-invoice.pdf");
    let film: &[u8] = include_bytes!("../../../../examples/northgate/site-media/weekly-walk.mp4");
    for (name, bytes, room) in [
        // The file itself finds no room, and then what is made of it.
        ("long.wav", wav(8_000, 700_000), 1 << 20),
        ("sound.wav", wav(4_000, 80_000), 256 << 10),
        ("scan.pdf", page.to_vec(), 256 << 10),
        ("walk.mp4", film.to_vec(), 128 << 10),
        ("photo.png", png(200, 200), 44 << 10),
    ] {
        let reader = on_small_disk(&folder, room);
        let read = reader.extract(name, bytes.clone().into(), &|_| ()).await;
        let error = read.map(|read| read.document.text).unwrap_err();
        assert_eq!(
            (error.code(), error.kind()),
            ("unavailable", ErrorKind::Unavailable),
            "{name}: {error}"
        );
        // The same with room.
        let reader = on_small_disk(&folder, 64 << 20);
        let read = reader.extract(name, bytes.into(), &|_| ()).await;
        assert!(read.is_ok(), "{name}: {:?}", read.err());
    }
}

//! Pictures on pages that have text.

use std::process::Command;

use quire_testkit::pdf::{Picture, pdf, pdf_with_picture};
use tempfile::TempDir;

use crate::extraction::{listing, read};

/// Lines as a picture, drawn by poppler.
pub(crate) fn drawn(lines: &[&str]) -> Picture {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.pdf");
    std::fs::write(&page, pdf(&[lines], "")).unwrap();
    let status = Command::new("pdftoppm")
        .args(["-gray", "-r", "200", "-x", "150", "-y", "80"])
        .args(["-W", "1100", "-H", "220", "-singlefile"])
        .args([&page, &folder.path().join("drawn")])
        .status();
    assert!(status.unwrap().success());
    let pgm = std::fs::read(folder.path().join("drawn.pgm")).unwrap();
    let size = 1_100 * 220;
    Picture {
        width: 1_100,
        height: 220,
        greys: pgm[pgm.len() - size..].to_vec(),
    }
}

#[test]
fn a_picture_on_a_page_is_read_and_says_only_what_the_page_does_not() {
    let picture = drawn(&[
        "Circuit 31 feeds the rooftop chiller.",
        "",
        "",
        "The shut-off valve is behind panel B-7.",
    ]);
    let lines = [
        "Notes on the walk in March.",
        "",
        "The shut-off valve is behind panel B-7.",
    ];
    assert_eq!(
        listing(&read("walk.pdf", &pdf_with_picture(&lines, &picture))),
        [
            "p@1 Notes on the walk in March.",
            "p@1 The shut-off valve is behind panel B-7.",
            "p@1 Text in a picture: Circuit 31 feeds the rooftop chiller.",
        ]
    );
    let page = pdf_with_picture(&["Nothing else."], &drawn(&[]));
    assert_eq!(listing(&read("walk.pdf", &page)), ["p@1 Nothing else."]);
}

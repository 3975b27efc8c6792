//! Pictures on pages that have text.

use std::process::Command;

use quire_ingest::extract::{Limits, Meter, extract};
use quire_store::passages;
use quire_store::sources::{self, Content};
use quire_testkit::pdf::{Picture, pdf, pdf_with_picture};
use quire_types::{MediaType, SourceState};
use tempfile::TempDir;

use crate::extraction::{listing, read};
use crate::lab::{Lab, add};
use crate::recordings::ffmpeg;

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

/// Pictures as the pages of a TIFF, stored as they are.
fn tiff(pages: &[Picture]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for page in pages {
        let pixels = u32::try_from(file.len()).unwrap();
        file.extend(&page.greys);
        let directory = u32::try_from(file.len()).unwrap();
        file[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        let (width, height) = (page.width as u32, page.height as u32);
        // Size, bits, no compression, black is zero, where the pixels are, one grey, all rows in one strip.
        let entries = [
            (256, width),
            (257, height),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, pixels),
            (277, 1),
            (278, height),
            (279, width * height),
        ];
        file.extend(9_u16.to_le_bytes());
        for (tag, value) in entries {
            let entry: [&[u8]; 4] = [
                &u16::to_le_bytes(tag),
                &4_u16.to_le_bytes(),
                &1_u32.to_le_bytes(),
                &u32::to_le_bytes(value),
            ];
            file.extend(entry.concat());
        }
        link = file.len();
        file.extend([0; 4]);
    }
    file
}

#[test]
fn every_page_of_a_fax_is_read_for_itself() {
    let pages = ["Alpha crane plan", "", "Charlie roof leak"].map(|line| drawn(&[line]));
    assert_eq!(
        listing(&read("fax.tif", &tiff(&pages))),
        [
            "p Picture, 1100 × 220 pixels.",
            "p@1 Alpha crane plan",
            "p@3 Charlie roof leak",
        ]
    );
    // Directories that lead in a circle are no endless fax.
    let mut circle = tiff(&pages[..1]);
    let first: [u8; 4] = circle[4..8].try_into().unwrap();
    let end = circle.len() - 4;
    circle[end..].copy_from_slice(&first);
    let refused = extract(
        MediaType::Image,
        &circle,
        &Limits::default(),
        Meter::silent(),
    );
    assert_eq!(refused.unwrap_err().code(), "too-large");
}

/// Where and when a picture was taken and how its camera was held, as EXIF 2.3 in a JPEG.
fn with_exif(jpeg: &[u8], orientation: u32) -> Vec<u8> {
    const ASCII: u16 = 2;
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    const RATIONAL: u16 = 5;
    let directory = |entries: &[(u16, u16, u32, u32)]| {
        let mut bytes = u16::try_from(entries.len()).unwrap().to_le_bytes().to_vec();
        for (tag, kind, count, value) in entries {
            bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        bytes.extend([0; 4]);
        bytes
    };
    let letter = |letter: char| u32::from(letter);
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend(directory(&[
        (0x0112, SHORT, 1, orientation),
        (0x8769, LONG, 1, 50),
        (0x8825, LONG, 1, 68),
    ]));
    tiff.extend(directory(&[(0x9003, ASCII, 20, 122)]));
    tiff.extend(directory(&[
        (1, ASCII, 2, letter('N')),
        (2, RATIONAL, 3, 142),
        (3, ASCII, 2, letter('W')),
        (4, RATIONAL, 3, 166),
    ]));
    tiff.extend(b"2025:12:02 09:41:00\0");
    // 47° 36' 22.32" and 122° 19' 55.56".
    for (number, parts) in [
        (47, 1),
        (36, 1),
        (2_232, 100),
        (122, 1),
        (19, 1),
        (5_556, 100),
    ] {
        tiff.extend(u32::to_le_bytes(number));
        tiff.extend(u32::to_le_bytes(parts));
    }
    let length = u16::try_from(tiff.len() + 8).unwrap();
    let segment = [b"\xFF\xE1", &length.to_be_bytes()[..], b"Exif\0\0", &tiff].concat();
    [&jpeg[..2], &segment, &jpeg[2..]].concat()
}

/// A picture as JPEG, after this filter of ffmpeg.
fn jpeg(picture: &Picture, filter: &str) -> Vec<u8> {
    let options = format!(
        "-f rawvideo -pix_fmt gray -s {}x{} -i - -vf {filter} -pix_fmt yuvj420p -q:v 3 -f image2 -c:v mjpeg",
        picture.width, picture.height
    );
    ffmpeg(&options, &picture.greys)
}

#[test]
fn a_picture_is_turned_as_its_camera_was_held_and_says_where_and_when() {
    let sign = drawn(&["Alpha crane plan"]);
    // Held upright, with the sensor on its side.
    let photo = with_exif(&jpeg(&sign, "transpose=2"), 6);
    assert_eq!(
        listing(&read("sign.jpg", &photo)),
        [
            "p Picture, 220 × 1100 pixels, taken 2025-12-02 09:41:00, at latitude 47.60620, longitude -122.33210.",
            "p Alpha crane plan",
        ]
    );
}

/// A picture of large fields in greys that differ.
fn fields(across: usize, down: usize) -> Picture {
    let (width, height) = (640, 480);
    let grey = |at: usize| ((at % width) / 80 * across + at / width / 60 * down) % 251;
    Picture {
        width,
        height,
        greys: (0..width * height).map(|at| grey(at) as u8).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_picture_names_the_first_one_of_the_same_tenant() {
    let lab = Lab::new().await;
    let (tenant, other) = (
        lab.tenant("site", &[]).await,
        lab.tenant("other", &[]).await,
    );
    let (notebook, elsewhere) = (lab.notebook(&tenant).await, lab.notebook(&other).await);
    let _worker = lab.work();
    let (wall, roof) = (fields(37, 91), fields(53, 29));
    let similar = async |tenant, notebook, name: &str, bytes| {
        let added = add(&lab.ingest, tenant, notebook, name, bytes).await;
        let id = added.unwrap().source().id;
        let source = lab.until(tenant, id, SourceState::Searchable).await;
        (id, source.similar_to)
    };
    let (first, none) = similar(&tenant, notebook, "a.jpg", jpeg(&wall, "null")).await;
    assert_eq!(none, None);
    let copy = jpeg(&wall, "scale=240:180");
    let (_, of) = similar(&tenant, notebook, "b.jpg", copy.clone()).await;
    assert_eq!(of, Some(first));
    let (_, of) = similar(&tenant, notebook, "c.jpg", jpeg(&roof, "null")).await;
    assert_eq!(of, None, "another picture");
    let (_, of) = similar(&other, elsewhere, "b.jpg", copy).await;
    assert_eq!(of, None, "another tenant's");
}

/// A line above fields in many greys.
fn labelled(line: &str) -> Picture {
    let label = drawn(&[line]);
    let (width, below) = (label.width, 440);
    let fields = (0..width * below).map(|at| (at % width / 110 * 37 + at / width / 55 * 91) % 251);
    Picture {
        height: label.height + below,
        greys: (label.greys.iter().copied())
            .chain(fields.map(|grey| grey as u8))
            .collect(),
        width,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_like_another_is_read_for_itself_and_outlives_it() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("meters", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let mut read = Vec::new();
    for number in ["4471", "4477"] {
        let line = format!("Meter {number} was read in May");
        let photo = jpeg(&labelled(&line), "null");
        let name = format!("{number}.jpg");
        let added = add(&lab.ingest, &tenant, notebook, &name, photo.clone()).await;
        let id = added.unwrap().source().id;
        let source = lab.until(&tenant, id, SourceState::Searchable).await;
        let mut tx = lab.db.tx(&tenant).await;
        let found = passages::tail(&mut tx, Some(&[id]), None, 10)
            .await
            .unwrap();
        assert!(found[0].body.contains(number), "{found:?}");
        read.push((source, photo));
    }
    let [(first, _), (second, photo)] = &read[..] else {
        panic!("{read:?}");
    };
    assert_eq!(
        second.similar_to,
        Some(first.id),
        "a hash can't tell them apart"
    );
    let placement = tenant.placement();
    lab.ingest.delete_source(placement, first.id).await.unwrap();
    let mut tx = lab.db.tx(&tenant).await;
    let left = sources::get(&mut tx, second.id).await.unwrap();
    assert_eq!(left.similar_to, None);
    let Content::Object(object) = sources::content(&mut tx, left.id, 1).await.unwrap() else {
        panic!("{left:?}");
    };
    let kept = lab.db.store.objects().read(&object).await.unwrap();
    assert_eq!(&kept[..], &photo[..]);
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

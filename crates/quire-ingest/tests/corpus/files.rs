//! Good files of every kind, and what is made of them: cut, damaged, mislabelled. The others are made to hurt.

use crate::support::{docx, paragraph, pdf, png, pptx, row, shape, wav, xlsx};
use crate::{office, others};

pub(crate) struct Hostile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Corpus(Vec<Hostile>);

impl Corpus {
    pub(crate) fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Hostile {
            name: name.into(),
            bytes: bytes.into(),
        });
    }
}

/// One good file of every kind.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let cells = format!(
        "<sheetData>{}{}</sheetData>",
        row(1, &["Item", "Due", "Sum"]),
        row(2, &["Tile", "2:45826", "1:9"])
    );
    let mail = "From: a@example.com\r\nMessage-ID: <1@example.com>\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello there.\r\n--b\r\nContent-Type: text/csv; name=a.csv\r\n\
        Content-Disposition: attachment\r\n\r\na,b\r\n1,2\r\n--b--\r\n";
    vec![
        ("a.docx", docx(&paragraph("", "Some words on a page."))),
        ("a.pptx", pptx(&[(&shape("title", &["Week"]), "Notes."), (&shape("body", &["One", "Two"]), "")])),
        ("a.xlsx", xlsx(&[("Costs", &cells)])),
        ("a.pdf", pdf(&[&["Some words on a page.", "And more."], &["Two"]])),
        ("a.eml", mail.into()),
        ("a.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>Hello.\n\n00:03.000 --> 00:04.000\n<v B>Yes.\n".to_vec()),
        ("a.csv", b"Vendor,Rate,Note\nA,1,x\nB,2,y\nC,3,z\n".to_vec()),
        ("a.html", b"<!doctype html><html><body><h1>T</h1><table><tr><td>a<td>b</table><p>text".to_vec()),
        ("a.md", b"# T\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quote\n".to_vec()),
        ("a.png", png(40, 20)),
        ("a.wav", wav(16_000, 3_200)),
    ]
}

/// All of them.
pub(crate) fn build() -> Vec<Hostile> {
    let mut corpus = Corpus::default();
    for (name, bytes) in good() {
        // Each costs a recogniser or two pictures; a few of them show as much as all.
        let is_costly = matches!(name, "a.wav" | "a.png");
        for part in (1..16).step_by(if is_costly { 5 } else { 1 }) {
            corpus.add(
                format!("cut-{part}-{name}"),
                &bytes[..bytes.len() * part / 16],
            );
        }
        for seed in 0..if is_costly { 3 } else { 8 } {
            corpus.add(format!("flipped-{seed}-{name}"), flipped(&bytes, seed));
        }
        corpus.add(format!("{name}.txt"), bytes.clone());
        let swapped = if name == "a.pdf" {
            "renamed.docx"
        } else {
            "renamed.pdf"
        };
        corpus.add(format!("{name}-{swapped}"), bytes);
    }
    office::add(&mut corpus);
    others::add(&mut corpus);
    corpus.0
}

/// The bytes with eight of them changed.
pub(crate) fn flipped(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = (state % bytes.len() as u64) as usize;
        bytes[at] ^= (state >> 40) as u8 | 1;
    }
    bytes
}

//! Texts, letters, pictures and recordings that are made to hurt.

use std::fmt::Write as _;

use crate::ffmpeg;
use crate::files::{Corpus, flipped};
use crate::support::{png, utf16, wav};

pub(crate) fn add(corpus: &mut Corpus) {
    texts(corpus);
    mails(corpus);
    pictures(corpus);
    recordings(corpus);
}

fn texts(corpus: &mut Corpus) {
    corpus.add("empty", b"".to_vec());
    corpus.add("blank", vec![b' '; 1 << 20]);
    corpus.add("zeros", vec![0; 1 << 20]);
    corpus.add("line.txt", vec![b'a'; 25 << 20]);
    corpus.add(
        "odd-utf16.txt",
        [b"\xFF\xFE".as_slice(), &utf16("text and more", true), b"x"].concat(),
    );
    corpus.add(
        "surrogates.txt",
        [b"\xFE\xFF".as_slice(), &[0xD8, 0x00].repeat(5_000)].concat(),
    );
    corpus.add("noise", flipped(&vec![0x80; 50_000], 7));
    corpus.add(
        "controls.txt",
        (0..=255_u8)
            .cycle()
            .take(20_000)
            .filter(|byte| *byte != 0)
            .collect::<Vec<_>>(),
    );
    corpus.add(
        "nested.html",
        format!("<!doctype html>{}", "<div>".repeat(300_000)),
    );
    corpus.add(
        "attributes.html",
        format!("<html><p {}>x", "a=b ".repeat(300_000)),
    );
    corpus.add(
        "tables.html",
        format!("<html>{}", "<table><tr><td>".repeat(20_000)),
    );
    corpus.add(
        "entities.html",
        format!(
            "<html>{}",
            "&CounterClockwiseContourIntegral;".repeat(50_000)
        ),
    );
    corpus.add("comment.html", format!("<html><!--{}", "-".repeat(1 << 20)));
    corpus.add(
        "picture.svg",
        "<svg xmlns:xlink='x'><image xlink:href='file:///etc/passwd'/><script>x</script></svg>",
    );
    corpus.add("quotes.md", "> ".repeat(200_000));
    corpus.add(
        "lists.md",
        (0..2_000)
            .map(|depth| " ".repeat(depth) + "- x\n")
            .collect::<String>(),
    );
    corpus.add("links.md", "[a](".repeat(100_000));
    corpus.add("stars.md", "*a_ ".repeat(100_000));
    corpus.add(
        "wide.md",
        format!("|{}\n|{}\n", "h|".repeat(50_000), "-|".repeat(50_000)),
    );
    corpus.add(
        "open-quote.csv",
        format!("a,b\n\"{}", "x,y\n".repeat(500_000)),
    );
    corpus.add(
        "wide.csv",
        format!("{}\n{}\n", "h,".repeat(200_000), "1,".repeat(200_000)),
    );
    corpus.add(
        "100000-rows.csv",
        format!("a,b,c\n{}", "1,two,3\n".repeat(100_000)),
    );
    corpus.add("formula.csv", "a,b\n=cmd|' /C calc'!A0,1\n@SUM(1+1),2\n");
    corpus.add(
        "many.srt",
        (0..50_000).fold(String::new(), |mut text, number| {
            let _ = write!(text, "{number}\n00:00:00,000 --> 99:59:59,999\nx\n\n");
            text
        }),
    );
    corpus.add("times.vtt", "WEBVTT\n\n99999999999999:00 --> -1:00\nx\n\n00:10.000 --> 00:05.000\nbackwards\n\n1:2:3:4 --> 5\ny\n");
    corpus.add(
        "tags.vtt",
        format!(
            "WEBVTT\n\n00:01.000 --> 00:02.000\n{}",
            "<v ".repeat(100_000)
        ),
    );
    for (name, text) in [
        ("playlist.m3u8", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile /etc/passwd\n"),
        (
            "session.sdp",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        ),
        (
            "film.mp4",
            "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nhttp://127.0.0.1/x\n",
        ),
    ] {
        corpus.add(name, text);
    }
}

fn mails(corpus: &mut Corpus) {
    let head = "From: a@example.com\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n";
    let mixed = format!("{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    let attachment = "--b\r\nContent-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\nx\r\n";
    corpus.add(
        "2000-attachments.eml",
        mixed.clone() + &attachment.repeat(2_000),
    );
    corpus.add(
        "400-attachments.eml",
        mixed.clone() + &attachment.repeat(400),
    );
    let nested = format!("{head}Content-Type: message/rfc822\r\n\r\n").repeat(500);
    corpus.add("nested.eml", nested);
    let parts: String = (0..3_000)
        .map(|depth| {
            format!(
                "--b{depth}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n",
                depth + 1
            )
        })
        .collect();
    corpus.add(
        "nested-parts.eml",
        format!("{head}Content-Type: multipart/mixed; boundary=b0\r\n\r\n{parts}"),
    );
    corpus.add(
        "long-header.eml",
        format!("{head}X: {}\r\n\r\nx", "y".repeat(10 << 20)),
    );
    corpus.add(
        "many-headers.eml",
        format!("{head}{}\r\nx", "X-Y: z\r\n".repeat(200_000)),
    );
    corpus.add(
        "empty-boundary.eml",
        format!("{head}Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n--\r\n----\r\n"),
    );
    corpus.add(
        "words.eml",
        format!(
            "{head}Subject: {}\r\n\r\nx",
            "=?utf-8?q?=FF?= ".repeat(50_000)
        ),
    );
    corpus.add("base64.eml", format!("{mixed}--b\r\nContent-Transfer-Encoding: base64\r\nContent-Type: application/zip; name=x.zip\r\n\r\n{}\r\n--b--", "UEsDB!!*".repeat(50_000)));
    corpus.add(
        "charset.eml",
        format!("{head}Content-Type: text/plain; charset=\"no-such\"\r\n\r\n\u{fe}x"),
    );
    corpus.add("name.eml", format!("{mixed}--b\r\nContent-Disposition: attachment; filename=\"../../../etc/{}\"\r\n\r\nx\r\n--b--", "a".repeat(100_000)));
}

fn pictures(corpus: &mut Corpus) {
    let mut flood = png(1, 1);
    flood[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    corpus.add("60000-pixels.png", flood);
    let mut larger = png(8, 8);
    larger[16..24].copy_from_slice(&[0, 0, 0x10, 0, 0, 0, 0x10, 0]);
    corpus.add("more-pixels-than-bytes.png", larger);
    corpus.add("no-pixels.png", {
        let mut none = png(1, 1);
        none[16..20].fill(0);
        none
    });
    let mut gif = b"GIF89a\xFF\xFF\xFF\xFF\0\0\0".to_vec();
    gif.push(0x3B);
    corpus.add("flood.gif", gif);
    let frame = b"\x21\xF9\x04\0\0\0\0\0\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    let mut frames = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec();
    frames.extend(frame.repeat(100_000));
    frames.push(0x3B);
    corpus.add("100000-frames.gif", frames);
    corpus.add(
        "flood.jpg",
        b"\xFF\xD8\xFF\xC0\0\x11\x08\xFF\xFF\xFF\xFF\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xFF\xD9"
            .to_vec(),
    );
    corpus.add("nothing.jpg", b"\xFF\xD8\xFF\xD9\xFF\xD9\xFF\xD9".to_vec());
    corpus.add(
        "markers.jpg",
        [
            b"\xFF\xD8".as_slice(),
            &b"\xFF\xE1\0\x02".repeat(100_000),
            b"\xFF\xD9",
        ]
        .concat(),
    );
    corpus.add(
        "flood.bmp",
        [
            b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\xFF\xFF\xFF\x7F\xFF\xFF\xFF\x7F\x01\0\x18\0"
                .as_slice(),
            &[0; 24],
        ]
        .concat(),
    );
    corpus.add(
        "circle.tif",
        b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x01\0\0\0\x08\0\0\0".to_vec(),
    );
    corpus.add("far.tif", b"MM\0*\xFF\xFF\xFF\xF0".to_vec());
    corpus.add(
        "flood.webp",
        b"RIFF\x1E\0\0\0WEBPVP8L\x11\0\0\0\x2F\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    );
    for brand in ["heic", "avif", "mif1"] {
        corpus.add(
            format!("x.{brand}"),
            [b"\0\0\0\x18ftyp".as_slice(), brand.as_bytes(), &[0; 100]].concat(),
        );
    }
}

fn recordings(corpus: &mut Corpus) {
    let header = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = wav(16_000, 1_600);
        change(&mut bytes);
        bytes
    };
    corpus.add("length.wav", header(&|bytes| bytes[40..44].fill(0xFF)));
    corpus.add("no-channels.wav", header(&|bytes| bytes[22..24].fill(0)));
    corpus.add("channels.wav", header(&|bytes| bytes[22..24].fill(0xFF)));
    corpus.add("no-rate.wav", header(&|bytes| bytes[24..28].fill(0)));
    corpus.add("no-data.wav", header(&|bytes| bytes.truncate(44)));
    // Silence for nine hours, by its own word.
    corpus.add(
        "nine-hours.wav",
        header(&|bytes| {
            bytes[24..28].copy_from_slice(&1_u32.to_le_bytes());
            bytes[28..32].copy_from_slice(&2_u32.to_le_bytes());
            bytes[40..44].copy_from_slice(&70_000_u32.to_le_bytes());
            bytes.resize(44 + 70_000, 0);
        }),
    );
    let atom = |name: &[u8; 4], inside: &[u8]| {
        let length = u32::try_from(inside.len() + 8).unwrap();
        [&length.to_be_bytes(), name.as_slice(), inside].concat()
    };
    let brand = atom(b"ftyp", b"isom\0\0\0\0isom");
    corpus.add("brand-only.mp4", brand.clone());
    let nested = (0..2_000).fold(Vec::new(), |inside: Vec<u8>, _| atom(b"moov", &inside));
    corpus.add("nested.mp4", [brand.clone(), nested].concat());
    corpus.add(
        "endless.mp4",
        [
            brand.as_slice(),
            b"\0\0\0\x01moov\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ]
        .concat(),
    );
    corpus.add(
        "reference.mov",
        [
            brand,
            atom(
                b"moov",
                &atom(
                    b"rmra",
                    &atom(
                        b"rmda",
                        &atom(b"rdrf", b"\0\0\0\0url \0\0\0\x14file:///etc/passwd\0"),
                    ),
                ),
            ),
        ]
        .concat(),
    );
    corpus.add(
        "endless.mkv",
        [
            b"\x1A\x45\xDF\xA3\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF".as_slice(),
            &[0x42; 500],
        ]
        .concat(),
    );
    corpus.add("nothing.ogg", [b"OggS".as_slice(), &[0xFF; 2_000]].concat());
    corpus.add(
        "nothing.flac",
        [b"fLaC".as_slice(), &[0xFF; 2_000]].concat(),
    );
    corpus.add("tag-only.mp3", b"ID3\x04\0\0\x7F\x7F\x7F\x7F".to_vec());
    corpus.add(
        "frames.mp3",
        b"\xFF\xFB\x90\x00"
            .iter()
            .copied()
            .chain([0; 413])
            .collect::<Vec<_>>()
            .repeat(3),
    );
    corpus.add(
        "nothing.avi",
        [b"RIFF\xFF\xFF\xFF\xFFAVI LIST".as_slice(), &[0xFF; 500]].concat(),
    );
    corpus.add("nothing.amr", b"#!AMR\n\xFF\xFF".to_vec());
    // A few kilobytes that are 64 million pixels a second, and more of them at once than may be.
    let source = "-f lavfi -i color=black:rate=1";
    let large = format!("{source}:size=8000x8000 -t 6 -c:v mpeg4 -f matroska");
    corpus.add("large-frames.mkv", ffmpeg(&large));
    let flood = format!("{source}:size=20000x6000 -frames:v 1 -c:v mjpeg -f matroska");
    corpus.add("flood.mkv", ffmpeg(&flood));
    let long = format!("{source}:size=64x64 -t 14400 -c:v mpeg4 -f matroska");
    corpus.add("four-hours.mkv", ffmpeg(&long));
}

//! Recordings: that they keep nobody's files waiting, how long they are, and what is seen in films.

use std::io::Write;
use std::process::{Command, Stdio};

use quire_ingest::explain;
use quire_ingest::extract::{Limits, Part, measure};
use quire_ingest::sandbox::Extractor;
use quire_store::sources::{self, Source};
use quire_testkit::postgres::eventually;
use quire_types::SourceState;

use crate::extraction::{listing, read};
use crate::lab::{Lab, add};
use crate::pictures::drawn;
use crate::recognisers::letter;
use crate::senses::tone;
use crate::support::wav;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_leave_the_seats_of_a_worker_to_other_files() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("site", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    // Somebody else's hour of sound is being listened to.
    let place = lab.recognising.enter().await.unwrap();
    let mut files: Vec<(String, Vec<u8>)> = (1..=6)
        .map(|seconds| (format!("{seconds}.wav"), tone(seconds)))
        .collect();
    let inner = letter(&[("memo.wav", &wav(8_000, 40_000))]);
    files.push(("walk.eml".to_owned(), letter(&[("inner.eml", &inner)])));
    let mut ids = Vec::new();
    for (name, bytes) in files {
        let added = add(&lab.ingest, &tenant, notebook, &name, bytes).await;
        ids.push(added.unwrap().source().id);
    }
    let _worker = lab.work();
    eventually("all of them wait among recordings", async || {
        let mut tx = lab.db.tx(&tenant).await;
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from queue.ready where kind = 'read-recording'")
                .fetch_one(tx.connection())
                .await
                .unwrap();
        waiting == 7
    })
    .await;
    let added = add(&lab.ingest, &tenant, notebook, "a.txt", "Concrete cures.").await;
    let text = added.unwrap().source().id;
    lab.until(&tenant, text, SourceState::Searchable).await;

    // Two are in a task, which says what it does.
    eventually("the others say what they wait for", async || {
        let mut tx = lab.db.tx(&tenant).await;
        let mut waiting = Vec::new();
        for id in &ids {
            waiting.push(sources::get(&mut tx, *id).await.unwrap());
        }
        explain(&lab.db.store, tenant.placement(), &mut waiting)
            .await
            .unwrap();
        waiting.retain(|source| source.state == SourceState::Queued);
        let says_so = |source: &Source| source.reason.as_ref().is_some_and(|why| !why.is_empty());
        waiting.len() >= 5 && waiting.iter().all(says_so)
    })
    .await;
    drop(place);
    for id in ids {
        lab.until(&tenant, id, SourceState::Searchable).await;
    }
    eventually("no task is left", || async { lab.tasks().await == 0 }).await;
}

/// What ffmpeg makes with these options, from these bytes if it reads any.
pub(crate) fn ffmpeg(options: &str, from: &[u8]) -> Vec<u8> {
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(options.split(' '))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(from));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    })
}

#[tokio::test]
async fn a_recording_is_as_long_as_its_packets_say() {
    let tone = "-f lavfi -i sine -t 7 -c:a libopus -b:a 8k -f matroska";
    // As browsers record: no length, and nothing can be written once it is known.
    let silent_header = ffmpeg(&format!("{tone} -live 1"), &[]);
    // One that says it lasts a second.
    let mut short_header = ffmpeg(tone, &[]);
    let length = [0x44, 0x89, 0x88];
    let place = short_header.windows(3).position(|one| one == length);
    let place = place.unwrap() + 3;
    short_header[place..place + 8].copy_from_slice(&1_000_f64.to_be_bytes());

    let extractor = Extractor::new(env!("CARGO_BIN_EXE_quire-parse"));
    for bytes in [silent_header, short_header] {
        let measured = measure(&bytes, &Limits::default()).unwrap();
        assert!(measured.has_sound);
        assert!(
            (6_900..=7_100).contains(&measured.length_ms),
            "{measured:?}"
        );
        let part = Part {
            start_ms: 1_000,
            end_ms: 3_000,
            is_last: true,
        };
        let (flac, length_ms) = extractor
            .cut_sound("memo.webm", bytes.clone().into(), part)
            .await
            .unwrap();
        assert_eq!(length_ms, 2_000);
        // Where FLAC keeps the number of samples.
        let samples = u32::from_be_bytes(flac[22..26].try_into().unwrap());
        assert_eq!(samples, 32_000);

        let hours = Limits {
            max_seconds: 5,
            ..Limits::default()
        };
        let refused = measure(&bytes, &hours).unwrap_err();
        assert_eq!(refused.code(), "too-large");
    }
}

#[test]
fn a_slide_is_read_from_when_it_is_seen_first() {
    let slides = ["Alpha crane plan", "Bravo tile order", "Charlie roof leak"];
    // Five pictures a second: they change at 4.2 s, between two looks, and at 9.6 s, after the last one. What comes
    // out of a pipe does not say how long it is, and its last picture begins at 9.8 s.
    let film: Vec<u8> = slides
        .iter()
        .zip([21, 27, 2])
        .flat_map(|(slide, count)| drawn(&[*slide]).greys.repeat(count))
        .collect();
    let film = ffmpeg(
        "-f rawvideo -pix_fmt gray -s 1100x220 -r 5 -i - -pix_fmt yuv420p -c:v mpeg4 -q:v 2 -g 250 -f matroska",
        &film,
    );
    let seen: Vec<String> = listing(&read("walk.mkv", &film))
        .into_iter()
        .filter(|line| line.contains("On screen"))
        .collect();
    assert_eq!(
        seen,
        [
            "p (0:00–0:05) On screen: Alpha crane plan",
            "p (0:05–0:09) On screen: Bravo tile order",
            "p (0:09–0:09) On screen: Charlie roof leak",
        ]
    );
}

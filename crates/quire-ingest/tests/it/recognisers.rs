//! Who reads pages and writes down speech: a chain of providers and, at its end, the programs on this machine. What each
//! makes of a file, what that costs, and who is next when one fails.

use quire_store::passages;
use quire_tenancy::usage::Event;
pub(crate) use quire_testkit::mail::letter;
use quire_testkit::pdf::{pdf, pdf_with_picture};
use quire_testkit::provider::Script;
use quire_types::SourceState;
use serde_json::json;

use crate::pictures::drawn;
use crate::senses::{Site, failure, texts, tone};

const SPEECH: (&str, &[&str]) = ("speech", &["chirp_3", "whisper-1"]);
const OCR: (&str, &[&str]) = ("ocr", &["document-ocr", "gpt-4o-mini"]);

/// Lines as a page that is a picture.
fn scanned(lines: &[&str]) -> Vec<u8> {
    pdf_with_picture(&[], &drawn(lines))
}

/// What a chat model says that it reads.
fn said(paragraphs: &[&str]) -> Script {
    Script::Usage(json!({ "paragraphs": paragraphs }).to_string(), 2_000, 40)
}

/// By whom, how much and for how much: seconds, pages and pictures, nano-dollars.
fn told(events: &[Event]) -> Vec<(&str, i64, i64, i64, i64)> {
    let told = events.iter().map(|event| {
        let (model, used) = (event.model.as_deref().unwrap(), &event.quantities);
        let seconds = used.audio_ms / 1_000;
        (model, seconds, used.pages, used.images, event.cost.nanos())
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_goes_through_google_then_another_then_this_machine() {
    let site = Site::with_google(&[SPEECH]).await;
    let _worker = site.lab.work();
    let first = site.read("short.wav", tone(40)).await;
    let text = texts(&first);
    assert!(text.contains("recognised by chirp_3."), "{text}");
    assert!(text.contains("Speaker 1: The gate is open."), "{text}");
    assert!(text.contains("Speaker 2: Close it at six."), "{text}");
    assert_eq!(site.double.tokens_given(), 1);

    site.double.push(failure(503));
    let text = texts(&site.read("other.wav", tone(30)).await);
    assert!(text.contains("recognised by whisper-1."), "{text}");
    assert!(
        text.contains("The gate is open. Close it at six."),
        "{text}"
    );

    site.double.push(failure(503));
    site.double.push(failure(503));
    let text = texts(&site.read("alone.wav", tone(20)).await);
    assert!(text.starts_with("Recording of 0 min 20 s (wav)."), "{text}");
    assert!(
        !text.contains("whisper") && !text.contains("chirp"),
        "{text}"
    );

    // $266.67 and $100 for a million seconds; what was refused costs nothing.
    let attempts = site.attempts("transcribe", 5).await;
    let wanted = [
        ("chirp_3", 40, 0, 0, 10_666_800),
        ("chirp_3", 0, 0, 0, 0),
        ("whisper-1", 30, 0, 0, 500_000),
        ("chirp_3", 0, 0, 0, 0),
        ("whisper-1", 0, 0, 0, 0),
    ];
    assert_eq!(told(&attempts), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_listens_to_a_minute_at_a_time() {
    let site = Site::with_google(&[SPEECH]).await;
    let _worker = site.lab.work();
    let found = site.read("walk.wav", tone(130)).await;
    let text = texts(&found);
    assert!(text.contains("recognised by chirp_3."), "{text}");
    let sent = site.double.received();
    let sent = sent
        .iter()
        .filter(|request| request.path.ends_with(":recognize"));
    assert_eq!(sent.count(), 3);
    for part in ["(part 1)", "(part 2)", "(part 3)"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(found.iter().any(|(_, end, _)| *end == 122_200), "{found:?}");
    let attempts = site.attempts("transcribe", 3).await;
    let seconds: Vec<i64> = told(&attempts).into_iter().map(|one| one.1).collect();
    assert_eq!(seconds, [59, 59, 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanned_page_goes_through_document_ai_then_a_chat_model_then_this_machine() {
    let site = Site::with_google(&[OCR]).await;
    let _worker = site.lab.work();
    // Of the same bytes there would be one source.
    let page = |total: &str| scanned(&["Invoice 4411", "", "", total]);
    let text = texts(&site.read("a.pdf", page("Total due 949 dollars")).await);
    assert_eq!(text, "Überlassung 4411\n\nTotal due $950");

    site.double.push(failure(503));
    site.double
        .push(said(&["Invoice 4411", "Total\u{7} due 950 dollars"]));
    let text = texts(&site.read("b.pdf", page("Total due 950 dollars")).await);
    let wanted = "Text read by a model (gpt-4o-mini):\n\nInvoice 4411\n\nTotal due 950 dollars";
    assert_eq!(text, wanted);

    // One has too much to do and the other talks nonsense.
    site.double.push(failure(429));
    site.double
        .push(Script::Answer("It is an invoice.".to_owned()));
    let text = texts(&site.read("c.pdf", page("Total due 951 dollars")).await);
    assert!(text.contains("Invoice 4411"), "{text}");
    assert!(!text.contains("model") && !text.contains('Ü'), "{text}");

    // $1,500 for a million pages; 2,000 tokens at $0.15, four of them known and so at half of it, and 40 at $0.60 a
    // million.
    let attempts = site.attempts("read", 5).await;
    let of_a_chat = 1_996 * 150 + 4 * 75 + 40 * 600;
    let told = told(&attempts);
    let wanted = [
        ("document-ocr", 0, 1, 0, 1_500_000),
        ("document-ocr", 0, 0, 0, 0),
        ("gpt-4o-mini", 0, 1, 1, of_a_chat),
        ("document-ocr", 0, 0, 0, 0),
    ];
    assert_eq!(told[..4], wanted);
    assert_eq!((told[4].0, told[4].2), ("gpt-4o-mini", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_of_text_tells_the_page_and_nothing_of_its_own() {
    let lines = ["Überlassung 4411", "", "", "Total due $950"];
    for chain in [&["document-ocr"][..], &["gpt-4o-mini"], &[]] {
        let site = Site::with_google(&[("ocr", chain)]).await;
        let _worker = site.lab.work();
        site.double.in_chats(said(&lines));
        let id = site.add("page.pdf", scanned(&lines)).await;
        site.lab
            .until(&site.tenant, id, SourceState::Searchable)
            .await;
        let mut tx = site.lab.db.tx(&site.tenant).await;
        let found = passages::tail(&mut tx, Some(&[id]), None, 10)
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{chain:?}");
        let passage = &found[0];
        assert_eq!(passage.place.page, Some(1), "{chain:?}");
        assert!(passage.body.contains("4411"), "{chain:?}: {}", passage.body);
        assert!(
            passage.body.contains("Total due"),
            "{chain:?}: {}",
            passage.body
        );
        let is_told = passage.body.contains("Text read by a model (gpt-4o-mini)");
        assert_eq!(
            is_told,
            chain.first() == Some(&"gpt-4o-mini"),
            "{}",
            passage.body
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recogniser_of_speech_tells_words_with_their_times() {
    let memo = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/northgate/site-media/voice-memo.mp3"
    ));
    let memo = memo.unwrap();
    for chain in [&["chirp_3"][..], &["chirp_2"], &["whisper-1"], &[]] {
        let site = Site::with_google(&[("speech", chain)]).await;
        let _worker = site.lab.work();
        let found = site.read("memo.mp3", memo.clone()).await;
        let (_, length, about) = &found[0];
        assert!(
            about.starts_with("Recording of 0 min"),
            "{chain:?}: {about}"
        );
        let by = match chain.first() {
            Some(model) => format!("recognised by {model}"),
            None => "recognised by a program on this machine".to_owned(),
        };
        assert!(about.contains(&by), "{chain:?}: {about}");
        let is_in_time = |(start, end, _): &(u64, u64, String)| start <= end && end <= length;
        assert!(found.iter().all(is_in_time), "{chain:?}: {found:?}");
        let words = texts(&found).replace(about.as_str(), "");
        assert!(
            words.split_whitespace().count() > 3 || found.len() == 1,
            "{found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_attached_to_a_letter_and_drawn_on_its_pages_is_heard_and_seen() {
    let vision: (&str, &[&str]) = ("vision", &["gpt-4o-mini"]);
    let site = Site::with_google(&[SPEECH, ("ocr", &["document-ocr"]), vision]).await;
    let _worker = site.lab.work();
    let seen = json!({"description": "A crane stands there.", "objects": ["crane"], "text": "NO"});
    site.double.in_chats(Script::Answer(seen.to_string()));
    let plan = pdf_with_picture(&["Notes on the walk."], &drawn(&["Circuit 31"]));
    let inner = letter(&[("memo.wav", &tone(8)), ("notes.txt", b"Nothing to see.")]);
    let id = {
        let files: [(&str, &[u8]); 4] = [
            ("plan.pdf", &plan),
            ("yard.png", &crate::support::png(64, 48)),
            ("broken.png", b"\x89PNG\r\n\x1A\nrubbish"),
            ("inner.eml", &inner),
        ];
        site.add("walk.eml", letter(&files)).await
    };
    site.lab
        .until(&site.tenant, id, SourceState::Searchable)
        .await;
    let mut tx = site.lab.db.tx(&site.tenant).await;
    let found = passages::tail(&mut tx, Some(&[id]), None, 50)
        .await
        .unwrap();
    let stands = |part: &str, words: &str| {
        let is_there = found.iter().any(|passage| {
            let place = passage.place.spot.part.as_deref().unwrap_or_default();
            place == part && passage.body.contains(words)
        });
        let all: Vec<_> = found
            .iter()
            .map(|one| (&one.place.spot.part, &one.body))
            .collect();
        assert!(is_there, "{part}: {words} in {all:#?}");
    };
    let crane = "Description by a model (gpt-4o-mini): A crane stands there.";
    stands("plan.pdf", "Überlassung 4411");
    stands("plan.pdf", crane);
    stands("yard.png", "Total due $950");
    stands("yard.png", crane);
    stands("inner.eml › memo.wav", "recognised by chirp_3");
    stands("inner.eml › memo.wav", "Speaker 1: The gate is open.");
    stands("inner.eml › notes.txt", "Nothing to see.");
    // What was read already needs no second reading of a chat model, and what can't be shown no first.
    let all: Vec<&str> = found.iter().map(|one| one.body.as_str()).collect();
    assert!(!all.concat().contains("Text read by a model"), "{all:#?}");
    assert_eq!(site.attempts("read", 2).await.len(), 2);
    assert_eq!(site.attempts("describe", 2).await.len(), 2);
    let heard = site.attempts("transcribe", 1).await;
    assert_eq!(told(&heard), [("chirp_3", 8, 0, 0, 2_133_360)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_models_nothing_leaves_the_machine() {
    let site = Site::with_google(&[]).await;
    let _worker = site.lab.work();
    let files: [(&str, &[u8]); 2] = [
        ("yard.png", &crate::support::png(64, 48)),
        ("plan.pdf", &pdf(&[["Notes on the walk."]], "")),
    ];
    site.read("walk.eml", letter(&files)).await;
    site.read("page.pdf", scanned(&["Invoice 4411"])).await;
    assert_eq!(site.double.count(), 0);
}

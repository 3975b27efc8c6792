//! The embedder with its real model, which `make model` fetches. Without it these tests fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;

use quire_models::{Embedder, Error, check_model, find_model};
use quire_types::{ErrorKind, Kind};

fn model_dir() -> PathBuf {
    let cache_home = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache")
        });
    find_model(None, &cache_home).unwrap_or_else(|error| panic!("{error}"))
}

fn embedder() -> Embedder {
    Embedder::load(&model_dir()).unwrap_or_else(|error| panic!("{error}"))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[track_caller]
fn check_same(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let off = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(off <= tolerance, "off by {off}");
}

/// The first components come from an independent implementation in double precision (NumPy); those of the
/// first text are also printed by the authors' own library for the sentence of their model card.
#[tokio::test]
async fn vectors_are_those_of_the_published_model() {
    let embedder = embedder();
    for (text, expected) in [
        (
            "This is an example sentence",
            [
                0.06766, 0.0635, 0.04871, 0.0793, 0.03745, 0.00265, 0.03937, -0.0071,
            ],
        ),
        (
            "Zürich's invoice №42 — due on 3 March; ask Anna!",
            [
                -0.04276, 0.12144, 0.05674, -0.0015, -0.00805, -0.01825, -0.01675, 0.06459,
            ],
        ),
        (
            "",
            [
                -0.11884, 0.0483, -0.00255, -0.01101, 0.05195, 0.01029, 0.11543, 0.0007,
            ],
        ),
        (
            &"word ".repeat(400),
            [
                -0.00812, -0.09559, -0.03867, 0.04966, -0.04379, 0.02372, -0.01814, -0.02021,
            ],
        ),
    ] {
        let vector = embedder.embed_query(text).await.unwrap();
        assert_eq!(vector.len(), embedder.dimension());
        check_same(&vector[..8], &expected, 1e-4);
    }
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_does_not_mix_its_texts() {
    let embedder = embedder();
    // Lengths go up and down so that batches of different sizes and several batches come about.
    let texts: Vec<String> = (0..40_usize)
        .map(|index| format!("contract {index} ").repeat(1 + index * 7 % 31))
        .collect();
    let vectors = embedder.embed(texts.clone()).await.unwrap();
    assert_eq!(vectors.len(), texts.len());
    for (text, vector) in texts.iter().zip(&vectors) {
        check_same(vector, &embedder.embed_query(text).await.unwrap(), 1e-4);
        assert!((dot(vector, vector).sqrt() - 1.0).abs() < 1e-5);
    }
}

#[tokio::test]
async fn meaning_is_nearer_than_words() {
    let texts = [
        "The supplier must deliver the goods within thirty days.",
        "The vendor has one month to ship the products.",
        "The bakery sells bread within thirty metres of the station.",
    ];
    let vectors = embedder()
        .embed(texts.map(str::to_owned).to_vec())
        .await
        .unwrap();
    let (paraphrase, unrelated) = (dot(&vectors[0], &vectors[1]), dot(&vectors[0], &vectors[2]));
    assert!(paraphrase > unrelated + 0.2, "{paraphrase} and {unrelated}");
}

#[tokio::test]
async fn nothing_to_embed_is_no_error() {
    assert!(embedder().embed(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_overtakes_documents() {
    let embedder = embedder();
    let documents = vec!["the committee approved the annual budget ".repeat(30); 120];
    let import = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed(documents).await }
    });
    tokio::task::yield_now().await;
    for _ in 0..3 {
        embedder
            .embed_query("who approved the budget?")
            .await
            .unwrap();
    }
    assert!(
        !import.is_finished(),
        "three questions took longer than 120 documents"
    );
    assert_eq!(import.await.unwrap().unwrap().len(), 120);
}

#[test]
fn tokens_are_counted_without_the_frame() {
    let embedder = embedder();
    assert_eq!(embedder.name(), "all-MiniLM-L6-v2");
    assert_eq!(embedder.count_tokens(""), 0);
    assert_eq!(embedder.count_tokens("This is an example sentence"), 5);
    // Not cut: sizes of passages depend on it.
    assert_eq!(embedder.count_tokens(&"word ".repeat(1000)), 1000);
}

#[test]
fn a_missing_model_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let error = find_model(None, empty.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    for needle in [
        "quire/models/all-MiniLM-L6-v2/config.json",
        "make model",
        "model.dir",
        "model.safetensors",
    ] {
        assert!(text.contains(needle), "{text}");
    }
    assert!(matches!(
        Embedder::load(empty.path()),
        Err(Error::ModelMissing { .. })
    ));
}

#[test]
fn a_different_model_is_refused() {
    check_model(&model_dir()).unwrap();

    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(model_dir().join(name), copy.path().join(name)).unwrap();
    }
    let weights = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    for error in [
        check_model(copy.path()).unwrap_err(),
        Embedder::load(copy.path()).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("model.safetensors")
                && text.contains("53aa51172d14")
                && text.contains("make model"),
            "{text}"
        );
    }

    let config = copy.path().join("config.json");
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 12");
    std::fs::write(&config, text).unwrap();
    let error = Embedder::load(copy.path()).unwrap_err();
    assert!(
        matches!(&error, Error::ModelMismatch { file, .. } if *file == config),
        "{error}"
    );
}

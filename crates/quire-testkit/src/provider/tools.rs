//! What is no chat: vectors, order, sound. Answered from the request alone, so that tests know what comes.

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::google;

/// The answer to a request at this path; none when it is no such method.
pub(super) fn answer(path: &str, body: &Value) -> Option<Response> {
    let json = |value: Value| Some(axum::Json(value).into_response());
    match path {
        "/v1/embeddings" => json(embeddings(body)),
        "/v1/rerank" | "/v2/rerank" => {
            let scores = shared_words(&body["query"], &body["documents"]);
            let scores: Vec<Value> = (scores.iter().enumerate())
                .map(|(index, score)| json!({"index": index, "relevance_score": score}))
                .collect();
            json(json!({"id": "r1", "results": scores,
                "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}))
        }
        "/v1/score" => {
            let scores = shared_words(&body["text_1"], &body["text_2"]);
            let tokens = scores.len() * 9;
            let scores: Vec<Value> = (scores.iter().enumerate())
                .map(|(index, score)| json!({"index": index, "object": "score", "score": score}))
                .collect();
            json(
                json!({"id": "s1", "object": "list", "model": body["model"], "data": scores,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}),
            )
        }
        "/v1/audio/transcriptions" if body["response_format"] == "diarized_json" => json(json!({
            "task": "transcribe", "duration": 4.2, "text": "The gate is open. Close it at six.",
            "segments": [
                {"type": "transcript.text.segment", "id": "seg_1", "start": 0.0, "end": 2.0,
                 "text": "The gate is open.", "speaker": "A"},
                {"type": "transcript.text.segment", "id": "seg_2", "start": 2.0, "end": 4.2,
                 "text": "Close it at six.", "speaker": "B"},
            ],
            "usage": {"type": "tokens", "input_tokens": 42, "output_tokens": 12, "total_tokens": 54,
                "input_token_details": {"audio_tokens": 42, "text_tokens": 0}},
        })),
        "/v1/audio/transcriptions" => json(json!({
            "task": "transcribe", "language": "english", "duration": 4.2,
            "text": "The gate is open. Close it at six.",
            "segments": [
                {"id": 0, "seek": 0, "start": 0.0, "end": 2.0, "text": " The gate is open.", "tokens": [1],
                 "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.01},
                {"id": 1, "seek": 0, "start": 2.0, "end": 4.2, "text": " Close it at six.", "tokens": [2],
                 "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.02},
            ],
            "usage": {"type": "duration", "seconds": 5},
        })),
        "/v1/audio/speech" => Some(b"RIFF\x24\0\0\0WAVEfmt ".to_vec().into_response()),
        _ if path.starts_with("/v1beta/models/") && path.ends_with(":batchEmbedContents") => {
            let requests = body["requests"].as_array().cloned().unwrap_or_default();
            let embeddings: Vec<Value> = requests
                .iter()
                .map(|request| {
                    let text = request
                        .pointer("/content/parts/0/text")
                        .and_then(Value::as_str);
                    let dimensions = request["outputDimensionality"].as_u64().unwrap_or(8);
                    json!({"values": vector(text.unwrap_or_default(), dimensions)})
                })
                .collect();
            json(json!({ "embeddings": embeddings }))
        }
        _ => google::recognised(path, body),
    }
}

/// OpenAI's answer to a request for vectors.
pub(super) fn embeddings(body: &Value) -> Value {
    let texts = strings(&body["input"]);
    let dimensions = body["dimensions"].as_u64().unwrap_or(8);
    // In another order than asked, as the index allows.
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .rev()
        .map(|(index, text)| {
            json!({"object": "embedding", "index": index, "embedding": vector(text, dimensions)})
        })
        .collect();
    json!({"object": "list", "data": data, "model": body["model"],
        "usage": {"prompt_tokens": texts.len() * 5, "total_tokens": texts.len() * 5}})
}

/// For each text, the share of the question's words that it holds.
fn shared_words(query: &Value, texts: &Value) -> Vec<f64> {
    let query = query.as_str().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let share = |text: &String| {
        let text = text.to_lowercase();
        let shared = words.iter().filter(|word| text.contains(**word)).count();
        shared as f64 / words.len().max(1) as f64
    };
    strings(texts).iter().map(share).collect()
}

/// Numbers that depend on the text and nothing else.
pub(super) fn vector(text: &str, dimensions: u64) -> Vec<f64> {
    let sum: u64 = text.bytes().map(u64::from).sum();
    (0..dimensions)
        .map(|at| (sum * (at + 1) % 97 + 1) as f64 / 97.0)
        .collect()
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

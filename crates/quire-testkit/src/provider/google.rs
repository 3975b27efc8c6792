//! Google's recognisers: speech, version 2, and Document AI, with the token that a service account gets for what it
//! signs. Whoever shows neither the key nor a token that was given out here is refused.

use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rsa::KeyPair;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{ChatDouble, lock};

/// The API key that the double takes.
pub const GOOGLE_KEY: &str = "AIza-test-key";
/// Where its recogniser of speech and its processor are.
const SPEECH: &str = "/v2/projects/acme/locations/eu";
const PROCESSOR: &str = "/v1/projects/acme/locations/eu/processors/1a2b3c";
const TOKEN: &str = "/token";
/// A key that is for tests and opens nothing.
const PEM: &str = include_str!("service-account.pem");
const EMAIL: &str = "reader@acme.iam.gserviceaccount.com";
/// What it reads on every page.
const PAGE: &str = "Überlassung 4411\nTotal due $950\n§ ~\n";

/// The tokens that were given out.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    given: Vec<String>,
    count: usize,
    refuses: bool,
}

impl Tokens {
    /// Ends all tokens.
    fn end(&mut self) {
        self.given.clear();
    }

    /// The answer to a request for a token, and the refusal of whoever shows none; none where neither is due.
    pub(super) fn answer(
        &mut self,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Response> {
        if path == TOKEN && method == Method::POST {
            return Some(self.give(body));
        }
        if !path.starts_with(SPEECH) && !path.starts_with(PROCESSOR) {
            return None;
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(key) = header("x-goog-api-key") {
            // Google says it with this status.
            let refused = error(
                400,
                "API key not valid. Please pass a valid API key.",
                "INVALID_ARGUMENT",
            );
            return (key != GOOGLE_KEY).then_some(refused);
        }
        let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let is_given = token.is_some_and(|token| self.given.iter().any(|given| given == token));
        let refused = "Request had invalid authentication credentials.";
        (!is_given).then(|| error(401, refused, "UNAUTHENTICATED"))
    }

    fn give(&mut self, body: &[u8]) -> Response {
        let body = String::from_utf8_lossy(body);
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
        let signed = body.strip_prefix(grant).unwrap_or_default();
        let refusal = match claims(signed) {
            _ if self.refuses => Some("Invalid grant: account not found"),
            None => Some("Invalid JWT Signature."),
            Some(claims) if !are_right(&claims) => Some("Invalid JWT: check the claims"),
            Some(_) => None,
        };
        if let Some(why) = refusal {
            let body = json!({"error": "invalid_grant", "error_description": why});
            return (StatusCode::BAD_REQUEST, axum::Json(body)).into_response();
        }
        self.count += 1;
        let token = format!("ya29.token-{}", self.count);
        self.given.push(token.clone());
        axum::Json(json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))
            .into_response()
    }
}

impl ChatDouble {
    /// The address of Google's recogniser of speech.
    pub fn google_speech(&self) -> String {
        format!("http://{}{}", self.address, SPEECH)
    }

    /// The address of a processor of Document AI.
    pub fn document_ai(&self) -> String {
        format!("http://{}{}", self.address, PROCESSOR)
    }

    /// The file of a service account that gets tokens here.
    pub fn service_account(&self) -> String {
        key_file(&format!("http://{}", self.address))
    }

    /// How many tokens service accounts got so far.
    pub fn tokens_given(&self) -> usize {
        lock(&self.shared.tokens).count
    }

    /// Takes no token any more that was given out before.
    pub fn end_tokens(&self) {
        lock(&self.shared.tokens).end();
    }

    /// Gives no token to any service account, or does again.
    pub fn refuse_tokens(&self, refuses: bool) {
        lock(&self.shared.tokens).refuses = refuses;
    }
}

/// The file of a service account whose tokens come from this address.
fn key_file(root: &str) -> String {
    json!({
        "type": "service_account", "project_id": "acme", "private_key_id": "k1", "private_key": PEM,
        "client_email": EMAIL, "client_id": "1", "token_uri": format!("{root}{TOKEN}"),
    })
    .to_string()
}

/// What is claimed, if it was signed with the key.
fn claims(signed: &str) -> Option<Value> {
    let (text, signature) = signed.rsplit_once('.')?;
    let body: String = PEM.lines().filter(|line| !line.starts_with('-')).collect();
    let key = KeyPair::from_pkcs8(&STANDARD.decode(body).ok()?).ok()?;
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public());
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    public.verify(text.as_bytes(), &signature).ok()?;
    let (header, claims) = text.split_once('.')?;
    let json =
        |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    (json(header)?["alg"] == "RS256").then(|| json(claims))?
}

fn are_right(claims: &Value) -> bool {
    let now = chrono::Utc::now().timestamp();
    let at = |name: &str| claims[name].as_i64().unwrap_or_default();
    let lasts = at("exp") - at("iat");
    claims["iss"] == EMAIL
        && claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        && claims["aud"]
            .as_str()
            .is_some_and(|aud| aud.ends_with(TOKEN))
        && (at("iat") - now).abs() < 60
        && (1..=3_600).contains(&lasts)
}

/// The answer of a recogniser; none when the path is of none.
pub(super) fn recognised(path: &str, body: &Value) -> Option<Response> {
    if path == format!("{SPEECH}/recognizers/_:recognize") {
        return Some(heard(body));
    }
    (path == format!("{PROCESSOR}:process")).then(|| read(body))
}

fn heard(body: &Value) -> Response {
    let invalid = |why: &str| error(400, why, "INVALID_ARGUMENT");
    let content = body["content"].as_str().unwrap_or_default();
    let Ok(sound) = STANDARD.decode(content) else {
        return invalid("Invalid value at 'content' (TYPE_BYTES), Base64 decoding failed");
    };
    let config = &body["config"];
    if config["languageCodes"].as_array().is_none_or(Vec::is_empty) || config["model"].is_null() {
        return invalid("`model` and `language_codes` are required");
    }
    let seconds = match flac_seconds(&sound) {
        Some(seconds) => seconds,
        None if sound.starts_with(b"RIFF") => 5.0,
        None => return invalid("Audio data does not appear to be in a supported encoding."),
    };
    if seconds > 60.0 || sound.len() > 10_000_000 {
        return invalid("Audio can be of a maximum of 60 seconds.");
    }
    let tells_speakers = config["features"]["diarizationConfig"].is_object();
    let word = |word: &str, start: &str, end: &str, speaker: &str| {
        let mut all = json!({"word": word, "endOffset": end});
        if !start.is_empty() {
            all["startOffset"] = json!(start);
        }
        if tells_speakers {
            all["speakerLabel"] = json!(speaker);
        }
        all
    };
    let result = json!({
        "alternatives": [{
            "transcript": "The gate is open. Close it at six.", "confidence": 0.96,
            "words": [
                word("The", "", "0.300s", "1"), word("gate", "0.300s", "0.800s", "1"),
                word("is", "0.800s", "1s", "1"), word("open.", "1s", "2s", "1"),
                word("Close", "2s", "2.600s", "2"), word("it", "2.600s", "2.900s", "2"),
                word("at", "2.900s", "3.200s", "2"), word("six.", "3.200s", "4.200s", "2"),
            ],
        }],
        "resultEndOffset": "4.200s", "languageCode": "en-us",
    });
    let billed = format!("{}s", seconds.ceil());
    axum::Json(json!({"results": [result],
        "metadata": {"requestId": "6f0a", "totalBilledDuration": billed}}))
    .into_response()
}

/// How long a FLAC is, by its first block.
fn flac_seconds(sound: &[u8]) -> Option<f64> {
    let facts = sound.strip_prefix(b"fLaC")?.get(14..22)?;
    let bits = u64::from_be_bytes(facts.try_into().ok()?);
    let (rate, samples) = (bits >> 44, bits & 0xF_FFFF_FFFF);
    (rate > 0).then(|| samples as f64 / rate as f64)
}

fn read(body: &Value) -> Response {
    let document = &body["rawDocument"];
    let content = document["content"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(content).unwrap_or_default();
    if document["mimeType"] != "image/jpeg" || !bytes.starts_with(b"\xFF\xD8\xFF") {
        return error(400, "Unsupported input file format.", "INVALID_ARGUMENT");
    }
    let mut start = 0;
    let paragraphs: Vec<Value> = PAGE
        .split_inclusive('\n')
        .map(|line| {
            let end = start + line.chars().count();
            let mut segment = json!({"endIndex": end.to_string()});
            if start > 0 {
                segment["startIndex"] = json!(start.to_string());
            }
            start = end;
            let confidence = if line.starts_with('§') { 0.2 } else { 0.98 };
            json!({"layout": {"textAnchor": {"textSegments": [segment]}, "confidence": confidence,
                "orientation": "PAGE_UP"}})
        })
        .collect();
    axum::Json(json!({"document": {"text": PAGE,
        "pages": [{"pageNumber": 1, "paragraphs": paragraphs}]}}))
    .into_response()
}

fn error(code: u16, message: &str, status: &str) -> Response {
    let reason = if message.contains("API key") {
        json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com"}])
    } else {
        json!([])
    };
    let body =
        json!({"error": {"code": code, "message": message, "status": status, "details": reason}});
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(body)).into_response()
}

//! Bad input: each case gets a clear error with a next step, and nothing else is disturbed.

use serde_json::{Value, json};

use crate::support::{Caller, Quire};

/// A PDF with one page and the given content stream, readable by any reader.
fn pdf(content: &str, trailer: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
            .to_owned(),
        format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(file.len());
        file.extend_from_slice(format!("{number} 0 obj\n{object}\nendobj\n").as_bytes());
    }
    let xref = file.len();
    file.extend_from_slice(
        format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes(),
    );
    for offset in offsets {
        file.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
    }
    let size = objects.len() + 1;
    file.extend_from_slice(
        format!("trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{xref}\n%%EOF\n")
            .as_bytes(),
    );
    file
}

const TEXT: &str =
    "BT /F1 12 Tf 72 720 Td (The gate code of the yard is 4417 and changes in May.) Tj ET";
const ENCRYPT: &str = "/ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>] \
    /Encrypt << /Filter /Standard /V 1 /R 2 /O <28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A> \
    /U <11111111111111111111111111111111111111111111111111111111111111aa> /P -4 >>";

/// Uploads one file and returns the finished source.
async fn read(caller: &Caller, notebook: &str, name: &str, bytes: &[u8]) -> Value {
    let added = caller.upload(notebook, &[(name, bytes)]).await.is(202);
    caller
        .finished(added["sources"][0]["id"].as_str().unwrap())
        .await
}

#[tokio::test]
async fn a_bad_file_fails_alone_and_says_why() {
    let quire = Quire::shared();
    let caller = quire.tenant("bad-files").await;
    let notebook = caller.notebook("inbox").await;
    let good = read(&caller, &notebook, "gate.pdf", &pdf(TEXT, "")).await;
    assert_eq!(
        (&good["state"], &good["pages"], &good["media_type"]),
        (&json!("searchable"), &json!(1), &json!("pdf")),
        "{good:#}"
    );

    let whole = pdf(TEXT, "");
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("locked.pdf", pdf(TEXT, ENCRYPT), "password"),
        ("cut.pdf", whole[..whole.len() / 2].to_vec(), "damaged"),
        ("scan.pdf", pdf("0 0 100 100 re f", ""), "no text"),
        (
            "photo.jpg",
            b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00".to_vec(),
            "damaged",
        ),
        (
            "old.doc",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(),
            "docx",
        ),
        (
            "cut.docx",
            b"PK\x03\x04\x14\x00\x00\x00\x08\x00word/document.xml".to_vec(),
            "damaged",
        ),
        ("blank.txt", b"   \n\n  \t ".to_vec(), "text"),
        (
            "noise.bin",
            [0, 1, 2, 0, 255, 0, 7, 0, 0, 3].repeat(50),
            "binary",
        ),
    ];
    for (name, bytes, word) in cases {
        let source = read(&caller, &notebook, name, &bytes).await;
        assert_eq!(source["state"], "failed", "{name}: {source:#}");
        let reason = source["reason"].as_str().unwrap().to_lowercase();
        assert!(
            reason.contains(word),
            "{name}: the reason does not say '{word}': {reason}"
        );
    }

    // A misnamed file is what it is, and old encodings are read.
    let misnamed = read(
        &caller,
        &notebook,
        "minutes.txt",
        &pdf(TEXT, "/Info << /Title (Minutes) >>"),
    )
    .await;
    assert_eq!(misnamed["media_type"], "pdf", "{misnamed:#}");
    let latin = read(
        &caller,
        &notebook,
        "latin.txt",
        b"Der gro\xdfe Kr\xe4ger \xfcber dem Geb\xe4ude bleibt bis M\xe4rz stehen.",
    )
    .await;
    assert_eq!(latin["state"], "searchable", "{latin:#}");
    assert!(
        caller
            .search(&notebook, "Kräger Gebäude")
            .await
            .iter()
            .any(|text| text.contains("große Kräger über"))
    );

    // The good one is not disturbed, and a failed one can be tried again or replaced.
    assert!(caller.search(&notebook, "gate code of the yard").await[0].contains("4417"));
    let cut = caller
        .upload(&notebook, &[("cut.pdf", &whole[..whole.len() / 2])])
        .await
        .is(202);
    assert_eq!(cut["sources"][0]["added"], "updated");
    let id = cut["sources"][0]["id"].as_str().unwrap();
    caller.finished(id).await;
    assert_eq!(
        caller
            .post(&format!("/v1/sources/{id}/retry"), &json!({}))
            .await
            .is(202)["state"],
        "queued"
    );
    caller.finished(id).await;
    assert_eq!(
        read(
            &caller,
            &notebook,
            "cut.pdf",
            &pdf(TEXT, "/Info << /Title (Whole) >>")
        )
        .await["state"],
        "searchable"
    );
    let retry = format!("/v1/sources/{}/retry", good["id"].as_str().unwrap());
    assert_eq!(
        caller.post(&retry, &json!({})).await.is(409)["code"],
        "conflict"
    );
}

#[tokio::test]
async fn a_bad_request_says_what_to_do() {
    let quire = Quire::up_with(&[
        ("QUIRE__LIMITS__FILE_BYTES", "100000"),
        ("QUIRE__LIMITS__JSON_BYTES", "200000"),
    ]);
    let caller = quire.tenant("bad-requests").await;
    let notebook = caller.notebook("inbox").await;
    let sources = format!("/v1/notebooks/{notebook}/sources");
    let ask = format!("/v1/notebooks/{notebook}/ask");

    let cases: Vec<(String, Value, u16, &str)> = vec![
        (ask.clone(), json!({ "question": "" }), 400, "empty"),
        (ask.clone(), json!({ "question": " \n " }), 400, "empty"),
        (
            ask.clone(),
            json!({ "question": "x".repeat(100_000) }),
            400,
            "4000",
        ),
        (ask.clone(), json!({ "query": "x" }), 400, "question"),
        (
            "/v1/search".into(),
            json!({ "query": "x", "limit": 0 }),
            400,
            "between 1 and 100",
        ),
        (
            "/v1/search".into(),
            json!({ "query": "x", "filter": { "notebooks": [] } }),
            400,
            "notebooks",
        ),
        (
            "/v1/search".into(),
            json!({ "query": "x", "filter": { "notebooks": ["nb_nope"] } }),
            404,
            "notebook",
        ),
        (
            "/v1/search".into(),
            json!({ "query": "x", "filter": { "media_types": ["papyrus"] } }),
            400,
            "papyrus",
        ),
        (
            "/v1/notebooks".into(),
            json!({ "name": "" }),
            400,
            "1 to 200",
        ),
        (
            "/v1/notebooks".into(),
            json!({ "name": "x".repeat(201) }),
            400,
            "1 to 200",
        ),
        (
            "/v1/notebooks".into(),
            json!({ "name": "inbox" }),
            409,
            "exists already",
        ),
        (
            "/v1/notebooks".into(),
            json!({ "title": "x" }),
            400,
            "title",
        ),
        (
            "/v1/keys".into(),
            json!({ "name": "k", "role": "emperor" }),
            400,
            "role must be",
        ),
        (
            "/v1/keys".into(),
            json!({ "name": "k", "role": "notebook" }),
            400,
            "needs a notebook",
        ),
        (
            sources.clone(),
            json!({ "name": "", "text": "x" }),
            400,
            "1 to 500",
        ),
        (
            sources.clone(),
            json!({ "name": "a\u{7}b", "text": "x" }),
            400,
            "control",
        ),
        (
            sources.clone(),
            json!({ "name": "e.txt", "text": "" }),
            400,
            "empty",
        ),
        (
            sources.clone(),
            json!({ "name": "big.txt", "text": "x".repeat(150_000) }),
            413,
            "larger than",
        ),
        (
            sources.clone(),
            json!({ "name": "huge.txt", "text": "x".repeat(1_500_000) }),
            413,
            "larger than",
        ),
    ];
    for (path, body, status, word) in cases {
        let short: String = body.to_string().chars().take(80).collect();
        let reply = caller.post(&path, &body).await;
        assert_eq!(
            reply.headers["content-type"], "application/problem+json",
            "{path} {short}: {}",
            reply.text
        );
        let problem = reply.is(status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.to_lowercase().contains(word),
            "{path} {short}: {detail}"
        );
        for field in ["type", "title", "status", "instance", "code", "request_id"] {
            assert!(!problem[field].is_null(), "{path} {short}: no {field}");
        }
    }

    // A form with one good and one bad file: the good one is added.
    let mixed = caller
        .upload(&notebook, &[("ok.txt", b"Fine."), ("empty.txt", b"")])
        .await
        .is(202);
    assert_eq!(
        (
            mixed["sources"].as_array().unwrap().len(),
            &mixed["refused"][0]["name"]
        ),
        (1, &json!("empty.txt"))
    );
    let large = caller
        .upload(&notebook, &[("large.bin", &vec![b'x'; 150_000])])
        .await
        .is(413);
    assert_eq!(large["code"], "too-large");
    assert_eq!(
        caller.get("/v1/notebooks?limit=0").await.is(400)["code"],
        "invalid"
    );
    assert_eq!(
        caller.get("/v1/notebooks?cursor=nonsense").await.is(400)["code"],
        "invalid"
    );
    assert_eq!(caller.get("/v1/nowhere").await.is(404)["code"], "not-found");
    assert_eq!(caller.delete("/v1/ask").await.status, 405);
}

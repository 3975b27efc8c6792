//! The OpenAPI document: a change of the API is a change of this snapshot, to be looked at.

use std::process::Command;

use serde_json::Value;

use crate::support::binary;

#[test]
fn the_document_is_what_was_agreed() {
    let output = Command::new(binary()).arg("openapi").output().unwrap();
    assert!(output.status.success());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_json_snapshot!("openapi", document);
}

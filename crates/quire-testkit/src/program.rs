//! Programs that tests write themselves.

use std::path::Path;
use std::process::Command;

/// Makes a shell script that can be run at once. Another process writes it: a child that another thread starts
/// meanwhile would inherit an open file of this one, and nobody may run what somebody could still write (`ETXTBSY`).
pub fn program(path: &Path, script: &str) {
    let written = Command::new("sh")
        .args([
            "-c",
            r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#,
        ])
        .args([path.as_os_str(), script.as_ref()])
        .status();
    assert!(written.is_ok_and(|status| status.success()), "{path:?}");
}

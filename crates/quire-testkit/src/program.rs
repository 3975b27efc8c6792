//! Programs that tests write themselves.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes a shell script that can be run at once. Another process writes it: a child that another thread starts
/// meanwhile would inherit an open file of this one, and nobody may run what somebody could still write (`ETXTBSY`).
pub fn program(path: &Path, script: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh");
    let mut input = writer.stdin.take().expect("its input");
    write!(input, "#!/bin/sh\n{script}\n").expect("a script");
    drop(input);
    assert!(
        writer.wait().is_ok_and(|status| status.success()),
        "{path:?}"
    );
}

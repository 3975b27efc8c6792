//! Tests of the module beside this folder.

use super::*;

fn note(pid: i32, socket_dir: &str, ready: bool) -> Option<PidFile> {
    Some(PidFile {
        pid,
        socket_dir: PathBuf::from(socket_dir),
        ready,
    })
}

#[test]
fn notes_of_every_stage() {
    let check = |text: &str, expect: Option<PidFile>| assert_eq!(parse(text), expect, "{text:?}");
    check(
        "4711\n/data\n1760000000\n5432\n/run/q\n\n  1234567   8\nready   \n",
        note(4711, "/run/q", true),
    );
    check(
        "4711\n/data\n1760000000\n5432\n/run/q\n\n  1234567   8\nstarting\n",
        note(4711, "/run/q", false),
    );
    check("4711\n/data\n1760000000\n5432\n", note(4711, "", false));
    check("4711", note(4711, "", false));
    check("-4711\n/data\n", None);
    check("0", None);
    check("", None);
    check("garbage\n", None);
}

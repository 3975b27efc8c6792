//! Tests of the module beside this folder.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn passwd_lines() {
    let check = |line: &str, expect: Option<(&str, u32, u32)>| {
        let expect = expect.map(|(name, uid, gid)| Entry {
            name: name.to_owned(),
            uid,
            gid,
        });
        assert_eq!(parse_entry(line), expect, "{line}");
    };
    check(
        "postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash",
        Some(("postgres", 101, 104)),
    );
    check(
        "nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false",
        None,
    );
    check("# comment", None);
    check("", None);
}

#[test]
fn a_private_directory_lets_only_its_owner_pass() -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
    let metadata = fs::metadata(directory.path())?;
    assert!(can_pass(&metadata, metadata.uid(), metadata.gid()));
    assert!(!can_pass(&metadata, metadata.uid() + 1, metadata.gid() + 1));
    Ok(())
}

//! Tests of the module beside this folder.

use super::*;

#[test]
fn long_and_odd_paths_get_a_short_socket_directory() {
    let short = Path::new("/var/lib/quire/postgres");
    assert_eq!(socket_dir(short), short.join("run"));

    let long = PathBuf::from(format!("/var/{}", "long/".repeat(30)));
    let stand_in = socket_dir(&long);
    assert!(stand_in.starts_with("/tmp") && stand_in.as_os_str().len() < 60);
    assert_eq!(stand_in, socket_dir(&long));
    assert_ne!(stand_in, socket_dir(&long.join("b")));
    assert!(socket_dir(Path::new("/var/\"quoted\"")).starts_with("/tmp"));
}

#[test]
fn the_hash_is_the_published_one() {
    assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() -> std::io::Result<()> {
    let dir = tempfile::tempdir()?;
    let link = dir.path().join("gate.lock");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link)?;
    assert!(open_own(&link, OpenOptions::new().write(true)).is_err());
    assert!(!dir.path().join("elsewhere").exists());
    Ok(())
}

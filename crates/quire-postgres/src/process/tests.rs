//! Tests of the module beside this folder.

use super::*;

#[test]
fn only_a_postgres_of_that_directory_counts() {
    let look = |arguments: &str, directory: Option<&str>| Look {
        zombie: false,
        arguments: arguments
            .replace('|', &char::from(SEPARATOR).to_string())
            .into_bytes(),
        directory: directory.map(PathBuf::from),
    };
    let check = |look: &Look, expect: bool| {
        let shown = String::from_utf8_lossy(&look.arguments).into_owned();
        assert_eq!(look.is_server_of(Path::new("/q/data")), expect, "{shown:?}");
    };
    check(
        &look("/usr/bin/postgres|-D|/q/data|-c|port=5432|", None),
        true,
    );
    check(&look("postgres|-D|/q/data|", None), true);
    check(&look("postgres|", Some("/q/data")), true);
    check(&look("postgres|-D|/q/data2|", Some("/q/data2")), false);
    check(&look("sleep|-D|/q/data|", Some("/q/data")), false);
    check(&look("postgres: checkpointer |", Some("/q/data")), false);
    check(&look("", None), false);
}

#[test]
fn our_own_process_exists_and_is_no_server() {
    let ourselves = rustix::process::getpid();
    assert!(exists(ourselves));
    assert!(has_ended(ourselves, Path::new("/q/data")));
    assert!(!is_server_of(ourselves, Path::new("/q/data")));
}

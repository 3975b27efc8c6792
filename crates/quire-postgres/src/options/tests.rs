//! Tests of the module beside this folder.

use super::*;

#[test]
fn settings_that_open_the_server_are_refused() {
    let check = |name: &str, accepted: bool| {
        let settings = [(name.to_owned(), "x".to_owned())];
        assert_eq!(check_settings(&settings).is_ok(), accepted, "{name}");
    };
    check("shared_buffers", true);
    check("pg_stat_statements.max", true);
    check("listen_addresses", false);
    check("Listen_Addresses", false);
    check("unix_socket_permissions", false);
    check("port", false);
    check("", false);
    check("a=b", false);
    check("work-mem", false);
}

#[test]
fn callers_win_over_the_tuning_and_quire_wins_over_callers() {
    let settings = [("shared_buffers".to_owned(), "64MB".to_owned())];
    let arguments = arguments(Path::new("/run/a,b"), &settings);
    let position = |wanted: &str| arguments.iter().position(|argument| argument == wanted);
    assert!(position("shared_buffers=128MB") < position("shared_buffers=64MB"));
    assert!(position("shared_buffers=64MB") < position("listen_addresses="));
    assert!(position("unix_socket_directories=\"/run/a,b\"").is_some());
}

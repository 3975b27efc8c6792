//! Tests of the module beside this folder.

use super::*;

#[test]
fn versions_are_read_as_packagers_write_them() {
    let check = |line: &str, expect: Option<(u32, u32)>| {
        let expect = expect.map(|(major, minor)| Version { major, minor });
        assert_eq!(parse_version(line), expect, "{line}");
    };
    check(
        "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
        Some((15, 18)),
    );
    check("postgres (PostgreSQL) 17.2\n", Some((17, 2)));
    check("postgres (PostgreSQL) 19beta1\n", Some((19, 0)));
    check("postgres (PostgreSQL) 9.6.24\n", Some((9, 6)));
    check("postgres (Other) 15.1", None);
    check("postgres (PostgreSQL) devel", None);
    check("", None);
}

#[test]
fn versions_compare_as_numbers() {
    let of = |major, minor| Version { major, minor };
    assert!(of(15, 10) > of(15, 9));
    assert!(of(16, 0) > of(15, 18));
}

#[test]
fn a_configured_directory_without_a_server_is_refused() {
    let error = Binaries::find(Some(Path::new("/nowhere"))).map_err(|error| error.to_string());
    let text = error.err().unwrap_or_default();
    assert!(
        text.contains("/nowhere") && text.contains("initdb"),
        "{text}"
    );
}

#[test]
fn a_missing_major_names_the_package() {
    let error =
        Binaries::find_major(None, 99, Path::new("/data")).map_err(|error| error.to_string());
    let text = error.err().unwrap_or_default();
    assert!(text.contains("apt-get install postgresql-99"), "{text}");
}

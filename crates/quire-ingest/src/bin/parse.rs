//! The reading child on its own, for tests of the sandbox; the product's binary has it as `quire parse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut name = String::new();
    let mut limits = None;
    for argument in std::env::args().skip(1) {
        if let Some(value) = argument.strip_prefix("--name=") {
            name = value.to_owned();
        } else if let Some(value) = argument.strip_prefix("--limits=") {
            limits = Some(value.to_owned());
        }
    }
    quire_ingest::sandbox::parse_child(&name, limits.as_deref())
}

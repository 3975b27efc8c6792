//! The reading child on its own, for tests of the sandbox; the product's binary has it as `quire parse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut name = String::new();
    let mut limits = None;
    let mut cpu_seconds = 60;
    let mut asked = None;
    for argument in std::env::args().skip(1) {
        if let Some(value) = argument.strip_prefix("--name=") {
            name = value.to_owned();
        } else if let Some(value) = argument.strip_prefix("--limits=") {
            limits = Some(value.to_owned());
        } else if let Some(value) = argument.strip_prefix("--ask=") {
            asked = Some(value.to_owned());
        } else if let Some(value) = argument.strip_prefix("--cpu-seconds=") {
            cpu_seconds = value.parse().unwrap_or(cpu_seconds);
        }
    }
    quire_ingest::sandbox::parse_child(&name, limits.as_deref(), cpu_seconds, asked.as_deref())
}

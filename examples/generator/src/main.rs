//! Writes the sample company into a folder, or checks that the folder is up to date.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool reports to its terminal"
)]

use std::path::Path;
use std::process::ExitCode;

use sample_company::{Error, folder};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["--check", dir] | [dir, "--check"] => check(Path::new(dir)),
        [dir] if !dir.starts_with('-') => write(Path::new(dir)),
        _ => {
            eprintln!("usage: sample-company [--check] <examples folder>");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn write(dir: &Path) -> Result<ExitCode, Error> {
    let files = sample_company::files()?;
    folder::write(dir, &files)?;
    println!("{} files written to {}", files.len(), dir.display());
    Ok(ExitCode::SUCCESS)
}

fn check(dir: &Path) -> Result<ExitCode, Error> {
    let files = sample_company::files()?;
    let differences = folder::compare(dir, &files)?;
    for difference in &differences {
        println!("{difference}");
    }
    if differences.is_empty() {
        println!("{} files are up to date", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

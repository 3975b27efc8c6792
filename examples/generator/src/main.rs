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
        ["--media", dir] => make_media(Path::new(dir)),
        [dir] if !dir.starts_with('-') => write(Path::new(dir)),
        _ => {
            eprintln!("usage: sample-company [--check | --media] <examples folder>");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn write(dir: &Path) -> Result<ExitCode, Error> {
    let mut files = sample_company::files()?;
    files.extend(sample_company::season::files());
    folder::write(dir, &files)?;
    println!("{} files written to {}", files.len(), dir.display());
    Ok(ExitCode::SUCCESS)
}

/// Takes poppler, ffmpeg and espeak-ng, and changes bytes with their versions.
fn make_media(dir: &Path) -> Result<ExitCode, Error> {
    let folder = dir.join("northgate/site-media");
    sample_company::media::make(&folder)?;
    println!("the media were made anew in {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn check(dir: &Path) -> Result<ExitCode, Error> {
    let mut files = sample_company::files()?;
    files.extend(sample_company::season::files());
    files.extend(sample_company::media::files());
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

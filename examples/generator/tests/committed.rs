//! The committed files are what the generator writes, to the byte.

use std::error::Error;
use std::path::Path;

use sample_company::{files, folder, media};

#[test]
fn committed_files_are_up_to_date() -> Result<(), Box<dyn Error>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = files()?;
    all.extend(media::files());
    let differences = folder::compare(&examples, &all)?;
    assert_eq!(
        differences,
        [],
        "run `cargo run -p sample-company -- examples` and remove what is extra"
    );
    Ok(())
}

#[test]
fn every_run_writes_the_same_bytes() -> Result<(), Box<dyn Error>> {
    for (first, second) in files()?.iter().zip(files()?) {
        assert!(
            first.bytes == second.bytes,
            "{} differs between two runs",
            first.path
        );
    }
    Ok(())
}

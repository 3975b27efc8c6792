//! The committed files are what the generator writes, to the byte.

use std::path::Path;

use sample_company::{Error, File, files, folder, media, season};

#[test]
fn committed_files_are_up_to_date() -> Result<(), Error> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = files()?;
    all.extend(media::files());
    all.extend(season::files());
    let differences = folder::compare(&examples, &all)?;
    assert_eq!(
        differences,
        [],
        "run `cargo run -p sample-company -- examples` and remove what is extra"
    );
    Ok(())
}

#[test]
fn every_run_writes_the_same_bytes() -> Result<(), Error> {
    let all = || -> Result<Vec<File>, Error> {
        let mut all = files()?;
        all.extend(season::files());
        Ok(all)
    };
    for (first, second) in all()?.iter().zip(all()?) {
        assert!(
            first.bytes == second.bytes,
            "{} differs between two runs",
            first.path
        );
    }
    Ok(())
}

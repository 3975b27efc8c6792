//! Where the embedding model lies on disk, and whether it is the right one.
//!
//! Refuses to guess: a missing or different model is an error, never a reason to use another one.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;

/// The model that ships with quire.
pub const NAME: &str = "all-MiniLM-L6-v2";
pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// The same sum is in `scripts/fetch-model.sh`.
const WEIGHTS_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// The directory of the embedding model: the configured one, else the place where `make model` puts it.
pub fn find_model(configured: Option<&Path>, cache_home: &Path) -> Result<PathBuf, Error> {
    let dir = match configured {
        Some(dir) => dir.to_owned(),
        None => cache_home.join("quire").join("models").join(NAME),
    };
    for name in [CONFIG, TOKENIZER, WEIGHTS] {
        let file = dir.join(name);
        if !file.is_file() {
            return Err(Error::ModelMissing { file });
        }
    }
    Ok(dir)
}

/// Checks that `dir` holds all files of the model, and that the weights are the right ones byte by byte.
pub fn check_model(dir: &Path) -> Result<(), Error> {
    find_model(Some(dir), dir)?;
    read_weights(dir).map(drop)
}

/// The verified bytes of the weights.
pub(crate) fn read_weights(dir: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read(dir, WEIGHTS)?;
    let found = hex(&Sha256::digest(&bytes));
    if found != WEIGHTS_SHA256 {
        return Err(Error::ModelMismatch {
            file: dir.join(WEIGHTS),
            expected: format!("SHA-256 {WEIGHTS_SHA256}"),
            found: format!("SHA-256 {found}"),
        });
    }
    Ok(bytes)
}

/// The bytes of one file of the model.
pub(crate) fn read(dir: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let file = dir.join(name);
    std::fs::read(&file).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::ModelMissing { file },
        _ => Error::ModelRead { file, source },
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

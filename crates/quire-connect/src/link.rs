//! What is at an address that a user gives, as a file.

use std::time::Duration;

use crate::{Connect, Error};

/// How long a whole fetch may take: somebody waits for it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What may be at an address; larger files are uploaded.
const MOST_BYTES: usize = 32 << 20;

/// What was at an address.
#[derive(Clone, Debug)]
pub struct Linked {
    /// A name for it, from the address.
    pub name: String,
    /// What is there.
    pub bytes: Vec<u8>,
}

impl Connect {
    /// Gets what is at an address, through the filter of addresses.
    ///
    /// # Errors
    /// When the address can't be used, or nothing usable is there.
    pub async fn fetch(&self, url: &str) -> Result<Linked, Error> {
        let egress = &self.config.egress;
        let fetched = egress.get(url, TIMEOUT, MOST_BYTES, |request| request);
        let fetched = fetched.await.map_err(|error| match error {
            // What is wrong with the address is the caller's to mend, and no answer of quire's own.
            Error::Status { status, .. } if (400..500).contains(&status) && status != 429 => {
                Error::Invalid(format!(
                    "the address answered {status}: check it, or add the file itself"
                ))
            }
            other => other,
        })?;
        let mut segments = fetched.url.path_segments().into_iter().flatten();
        let last = segments.rfind(|segment| !segment.is_empty());
        let host = fetched.url.host_str().unwrap_or_default();
        Ok(Linked {
            name: last.unwrap_or(host).to_owned(),
            bytes: fetched.bytes,
        })
    }
}

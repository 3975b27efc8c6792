//! Where bytes are kept, and with which key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use quire_store::{CopiesConfig, S3Config, S3Credentials};

use super::variable;
use crate::failure::Failure;

/// Where the bytes of sources and the segments of the search index are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Objects {
    /// A directory of its own in the data directory, or a bucket.
    pub(crate) store: ObjectStore,
    /// The bucket. It must exist.
    pub(crate) bucket: Option<String>,
    /// Its region.
    pub(crate) region: String,
    /// The address of a server that is not AWS, such as `https://minio.internal:9000`.
    pub(crate) endpoint: Option<String>,
    /// Whether the bucket is in the path of an address, not in its host. Unset: with an endpoint only.
    pub(crate) path_style: Option<bool>,
    /// Whether the endpoint may be http beyond this machine.
    pub(crate) allow_http: bool,
    /// A file with the key, as other tools have it in ~/.aws/credentials. Unset: AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; without those the role of the machine.
    pub(crate) credentials_file: Option<PathBuf>,
    /// Seconds that the server may say nothing.
    pub(crate) timeout_s: u64,
    /// Tries after the first.
    pub(crate) retries: usize,
    /// Copies of often-read segments in `<data>/copies`, in bytes at most; 0 keeps none. For a bucket only.
    pub(crate) copies_bytes: u64,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ObjectStore {
    #[default]
    Directory,
    S3,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            store: ObjectStore::Directory,
            bucket: None,
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: None,
            allow_http: false,
            credentials_file: None,
            timeout_s: 30,
            retries: 3,
            copies_bytes: 10_000_000_000,
        }
    }
}

impl Objects {
    /// Opens the store; `data` is the data directory. A server is not asked yet.
    pub(crate) fn open(&self, data: &Path) -> Result<quire_store::Objects, Failure> {
        if self.store == ObjectStore::Directory {
            return Ok(quire_store::Objects::directory(&data.join("objects"))?);
        }
        let bucket = self.bucket.clone().ok_or_else(|| {
            Failure::invalid("objects.store is s3, so objects.bucket must name a bucket")
        })?;
        let objects = quire_store::Objects::s3(S3Config {
            bucket,
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: self.path_style.unwrap_or(self.endpoint.is_some()),
            allow_http: self.allow_http,
            credentials: self.credentials()?,
            timeout: Duration::from_secs(self.timeout_s),
            retries: self.retries,
        })?;
        if self.copies_bytes == 0 {
            return Ok(objects);
        }
        Ok(objects.with_copies(CopiesConfig {
            dir: data.join("copies"),
            bytes: self.copies_bytes,
        })?)
    }

    fn credentials(&self) -> Result<Option<S3Credentials>, Failure> {
        let Some(file) = &self.credentials_file else {
            return Ok(credentials(
                variable("AWS_ACCESS_KEY_ID"),
                variable("AWS_SECRET_ACCESS_KEY"),
                variable("AWS_SESSION_TOKEN"),
            ));
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::invalid(format!("can't read the key in {}: {error}", file.display()))
        })?;
        credentials_in(&text).map(Some).ok_or_else(|| {
            // Says nothing of what is in it.
            Failure::invalid(format!(
                "{} holds no key: it must have aws_access_key_id and aws_secret_access_key",
                file.display()
            ))
        })
    }
}

fn credentials(
    id: Option<String>,
    key: Option<String>,
    token: Option<String>,
) -> Option<S3Credentials> {
    Some(S3Credentials {
        access_key_id: id?,
        secret_access_key: key?,
        session_token: token,
    })
}

/// The key in a file of AWS's format: of the profile `default`, or of no profile at all.
fn credentials_in(text: &str) -> Option<S3Credentials> {
    let mut is_ours = true;
    let mut values: HashMap<&str, &str> = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[') {
            is_ours = profile.trim_end_matches(']').trim() == "default";
        } else if let (true, Some((name, value))) = (is_ours, line.split_once('=')) {
            values.insert(name.trim(), value.trim());
        }
    }
    let value = |name: &str| values.get(name).map(|value| (*value).to_owned());
    credentials(
        value("aws_access_key_id"),
        value("aws_secret_access_key"),
        value("aws_session_token"),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn objects_are_in_the_data_directory_or_in_a_bucket() {
        let open = |text: &str| {
            let data = tempfile::tempdir().unwrap();
            let objects: Objects = toml::from_str(text).unwrap();
            objects
                .open(data.path())
                .map(|_| data.path().join("objects").exists())
        };
        assert!(open("").unwrap());
        assert!(open("store = 's3'").is_err());
        assert!(!open("store = 's3'\nbucket = 'b'").unwrap());
        let endpoint = "store = 's3'\nbucket = 'b'\nendpoint = ";
        assert!(open(&format!("{endpoint}'http://10.0.0.1:9000'")).is_err());
        let allowed = format!("{endpoint}'http://10.0.0.1:9000'\nallow_http = true");
        assert!(!open(&allowed).unwrap());
        let keyless = format!("{endpoint}'https://s3.example'\ncredentials_file = '/dev/null'");
        assert!(open(&keyless).is_err());
    }

    #[test]
    fn a_key_is_read_as_other_tools_write_it() {
        let text = "# ours\n[other]\naws_access_key_id = x\n[default]\naws_access_key_id = id\n\
                    aws_secret_access_key=a+b/c=\n[last]\naws_session_token = t\n";
        let key = credentials_in(text).unwrap();
        assert_eq!(
            (
                key.access_key_id.as_str(),
                key.secret_access_key.as_str(),
                key.session_token
            ),
            ("id", "a+b/c=", None)
        );
        assert!(credentials_in("aws_access_key_id = id").is_none());
        let bare = "aws_access_key_id = id\naws_secret_access_key = k\naws_session_token = t";
        assert_eq!(
            credentials_in(bare).unwrap().session_token.as_deref(),
            Some("t")
        );
    }
}

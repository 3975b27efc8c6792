//! Objects in a bucket of S3 or of a server that speaks its protocol.
//!
//! Reads no environment and no file: whoever configures hands over the credentials, and nothing here
//! prints them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut, S3CopyIfNotExists};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::Url;

use super::Objects;
use crate::Error;

/// Who asks a bucket.
#[derive(Clone)]
pub struct S3Credentials {
    /// The public name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What temporary keys come with.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A bucket, and how to reach it.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// Its name.
    pub bucket: String,
    /// The region it is in.
    pub region: String,
    /// The address of a compatible server, such as `https://minio.internal:9000`. None: AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path of an address, not in its host. Compatible servers want it.
    pub path_style: bool,
    /// Whether the endpoint may be http beyond this machine.
    pub allow_http: bool,
    /// Who asks. None: the role of the machine, asked from the metadata service of AWS.
    pub credentials: Option<S3Credentials>,
    /// How long the server may say nothing, on one try.
    pub timeout: Duration,
    /// Tries after the first, within `timeout` of it.
    pub retries: usize,
}

impl Objects {
    /// Objects in a bucket, which must exist. Nothing is asked yet.
    pub fn s3(config: S3Config) -> Result<Self, Error> {
        if config.bucket.is_empty() || config.region.is_empty() {
            return Err(invalid("a bucket and its region must be named"));
        }
        let endpoint = config.endpoint.as_deref().map(Url::parse).transpose();
        let endpoint = endpoint.map_err(|error| invalid(format!("the endpoint: {error}")))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_virtual_hosted_style_request(!config.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
            .with_http_connector(Connector(client(&config, endpoint.as_ref())?))
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    max_backoff: Duration::from_secs(2),
                    ..BackoffConfig::default()
                },
                max_retries: config.retries,
                retry_timeout: config.timeout,
            });
        if let Some(mut endpoint) = endpoint {
            if !config.path_style {
                let host = endpoint.host_str().unwrap_or_default();
                let host = format!("{}.{host}", config.bucket);
                endpoint
                    .set_host(Some(&host))
                    .map_err(|error| invalid(format!("the endpoint with the bucket: {error}")))?;
            }
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        if let Some(credentials) = config.credentials {
            builder = builder
                .with_access_key_id(credentials.access_key_id)
                .with_secret_access_key(credentials.secret_access_key);
            if let Some(token) = credentials.session_token {
                builder = builder.with_token(token);
            }
        }
        let store = builder
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self::new(Arc::new(store)))
    }
}

/// The client of one endpoint. Built here, since the store's own would send what is for this machine
/// through a proxy of the environment.
fn client(config: &S3Config, endpoint: Option<&Url>) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(config.timeout.min(Duration::from_secs(5)))
        // Not a limit for the whole answer: a large object over a slow line is no failure.
        .read_timeout(config.timeout)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(endpoint) = endpoint {
        match endpoint.scheme() {
            "https" => {}
            "http" if config.allow_http || is_loopback(endpoint) => {
                // Without TLS there is nothing to verify, and a container without certificates is fine.
                builder = builder.tls_certs_only([]);
            }
            "http" => {
                return Err(invalid(
                    "the endpoint is http, so everybody on the way could read along: use https, or set \
                     allow_http",
                ));
            }
            other => {
                return Err(invalid(format!(
                    "the endpoint starts with {other}, not with https"
                )));
            }
        }
        if is_loopback(endpoint) {
            builder = builder.no_proxy();
        }
    }
    // Fails when another crate was first with the same provider, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder
        .build()
        .map_err(|error| invalid(format!("can't build the client: {error}")))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::Invalid(format!("objects in S3: {why}"))
}

#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> S3Config {
        S3Config {
            bucket: "bucket".to_owned(),
            region: "eu-central-1".to_owned(),
            endpoint: (!endpoint.is_empty()).then(|| endpoint.to_owned()),
            path_style: true,
            allow_http: false,
            credentials: Some(S3Credentials {
                access_key_id: "an id".to_owned(),
                secret_access_key: "hush-hush".to_owned(),
                session_token: Some("psst-psst".to_owned()),
            }),
            timeout: Duration::from_secs(1),
            retries: 0,
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_asked() {
        for (endpoint, allow_http, accepted) in [
            ("https://s3.example", false, true),
            ("http://127.0.0.1:9000", false, true),
            ("http://[::1]:9000/", false, true),
            ("http://localhost:9000", false, true),
            ("http://s3.example", false, false),
            ("http://localhost.example", false, false),
            ("http://s3.example", true, true),
            ("ftp://s3.example", true, false),
            ("s3.example", true, false),
        ] {
            let config = S3Config {
                allow_http,
                ..config(endpoint)
            };
            assert_eq!(Objects::s3(config).is_ok(), accepted, "{endpoint}");
        }
        let nameless = S3Config {
            bucket: String::new(),
            ..config("https://s3.example")
        };
        assert!(Objects::s3(nameless).is_err());
    }

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_host() {
        for (endpoint, path_style, address) in [
            (
                "https://s3.example:9000",
                true,
                "https://s3.example:9000/bucket",
            ),
            (
                "https://s3.example:9000/",
                false,
                "https://bucket.s3.example:9000",
            ),
            ("", true, "https://s3.eu-central-1.amazonaws.com/bucket"),
            ("", false, "https://bucket.s3.eu-central-1.amazonaws.com"),
        ] {
            let config = S3Config {
                path_style,
                ..config(endpoint)
            };
            let shown = format!("{:?}", Objects::s3(config).unwrap());
            assert!(
                shown.contains(&format!("\"{address}\"")),
                "{address}: {shown}"
            );
        }
    }

    #[test]
    fn nothing_shows_the_key() {
        let config = config("https://s3.example");
        let shown = format!("{config:?} {:?}", Objects::s3(config.clone()).unwrap());
        assert!(
            !shown.contains("hush-hush") && !shown.contains("psst-psst"),
            "{shown}"
        );
    }
}

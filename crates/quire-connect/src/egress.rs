//! Requests to addresses that users give: never to this machine, its neighbours or the cloud's own services.
//!
//! The filter is in the resolver, so what was checked is what is connected to, however often a name changes
//! its mind. Addresses that are numbers skip the resolver and are checked before; redirects are followed by
//! hand or not at all, each one checked like the first. No proxy of the environment is used. The rules follow
//! the registries of special-purpose addresses of IANA. Every request of quire to an address of a tenant goes
//! through here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method, RequestBuilder, Response, Url, header, redirect};

use crate::Error;

/// Redirects that a fetch follows.
const MOST_REDIRECTS: usize = 5;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A range of addresses, as `10.1.0.0/16` or `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Invalid(format!("'{text}' is no network: write it like 10.1.0.0/16"));
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match prefix <= longest {
            true => Ok(Self { address, prefix }),
            false => Err(bad()),
        }
    }
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)),
            prefix,
        }
    }

    const fn v6(a: u16, b: u16, prefix: u8) -> Self {
        Self {
            address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)),
            prefix,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let starts_alike = |one: u128, other: u128, bits: u32, prefix: u8| {
            let shift = bits - u32::from(prefix);
            shift >= bits || one >> shift == other >> shift
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => starts_alike(
                own.to_bits().into(),
                other.to_bits().into(),
                32,
                self.prefix,
            ),
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                starts_alike(own.to_bits(), other.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

/// What is not the public Internet.
const SPECIAL: [Network; 18] = [
    Network::v4(0, 0, 0, 8),
    Network::v4(10, 0, 0, 8),
    Network::v4(100, 64, 0, 10),
    Network::v4(127, 0, 0, 8),
    Network::v4(169, 254, 0, 16),
    Network::v4(172, 16, 0, 12),
    Network::v4(192, 0, 0, 24),
    Network::v4(192, 0, 2, 24),
    Network::v4(192, 88, 99, 24),
    Network::v4(192, 168, 0, 16),
    Network::v4(198, 18, 0, 15),
    Network::v4(198, 51, 100, 24),
    Network::v4(203, 0, 113, 24),
    // Multicast, what is reserved, broadcast.
    Network::v4(224, 0, 0, 3),
    // Of IPv6 only 2000::/3 is given out at all; parts of it translate, tunnel or document.
    Network::v6(0x2001, 0, 23),
    Network::v6(0x2001, 0xdb8, 32),
    Network::v6(0x2002, 0, 16),
    Network::v6(0x3fff, 0, 20),
];

const GIVEN_OUT: Network = Network::v6(0x2000, 0, 3);

/// Whether an address is on the public Internet.
fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_given_out = address.is_ipv4() || GIVEN_OUT.contains(address);
    is_given_out && !SPECIAL.iter().any(|special| special.contains(address))
}

/// Which addresses may be reached.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// Reached although they are not public: the operator's own services.
    allowed: Vec<Network>,
}

impl Rules {
    fn is_allowed(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(address))
    }

    /// Whether the filter lets a connection through.
    fn lets_through(&self, address: IpAddr, own_only: bool) -> bool {
        self.is_allowed(address) || (!own_only && is_public(address))
    }

    /// The same for databases, which have all kinds of ports, but none of those that belong to other services.
    fn lets_through_to_database(&self, address: SocketAddr) -> bool {
        self.is_allowed(address.ip()) || (address.port() >= 1024 && is_public(address.ip()))
    }
}

/// Looks names up and leaves out what must not be reached.
struct Filter {
    rules: Arc<Rules>,
    own_only: bool,
}

impl Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, own_only) = (self.rules.clone(), self.own_only);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let through: Vec<SocketAddr> = found
                .filter(|address| rules.lets_through(address.ip(), own_only))
                .collect();
            if through.is_empty() {
                return Err("the name leads to no address that may be reached".into());
            }
            Ok(Box::new(through.into_iter()) as Addrs)
        })
    }
}

/// Sends requests to addresses that users give.
#[derive(Clone)]
pub struct Egress {
    rules: Arc<Rules>,
    /// For https at the ports of the web.
    web: Client,
    /// For the rest, which only the operator's own services may have.
    own: Client,
}

/// What a fetch brought.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where it was in the end.
    pub url: Url,
    /// What the server said it is.
    pub content_type: Option<String>,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Egress {
    /// A filter that also lets these networks through.
    ///
    /// # Errors
    /// When the machine has no usable certificates.
    pub fn new(allowed: Vec<Network>) -> Result<Self, Error> {
        let rules = Arc::new(Rules { allowed });
        Ok(Self {
            web: client(&rules, false)?,
            own: client(&rules, true)?,
            rules,
        })
    }

    /// Checks an address as far as that is possible without looking its name up.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, url: &str) -> Result<Url, Error> {
        let bad = |why: &str| Error::Invalid(format!("the address can't be used: {why}"));
        let url = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it holds a user name or password"));
        }
        let host = url.host_str().ok_or_else(|| bad("it has no host"))?;
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        match url.scheme() {
            "https" => {}
            // Where it leads is seen when its name is looked up.
            "http" if !self.rules.allowed.is_empty() => {}
            "http" => return Err(bad("it must begin with https://")),
            other => return Err(bad(&format!("'{other}' is not https"))),
        }
        if let Some(address) = literal
            && !self.rules.lets_through(address, is_for_own(&url))
        {
            return Err(bad(
                "it is not on the public Internet, not https, or has an unusual port",
            ));
        }
        if has_odd_port(&url) && self.rules.allowed.is_empty() {
            return Err(bad("it has a port other than 443"));
        }
        Ok(url)
    }

    /// A request whose redirects are not followed.
    ///
    /// # Errors
    /// When the address can't be used.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, Error> {
        let url = self.check(url)?;
        let client = if is_for_own(&url) {
            &self.own
        } else {
            &self.web
        };
        Ok(client.request(method, url))
    }

    /// Where a database is, for a client that must not look its name up again. Also says whether the place is the
    /// operator's own.
    ///
    /// # Errors
    /// When none of its addresses may be reached.
    pub async fn database(&self, host: &str, port: u16) -> Result<Vec<(SocketAddr, bool)>, Error> {
        let looked_up = tokio::net::lookup_host((host.trim_matches(['[', ']']), port));
        let found = tokio::time::timeout(CONNECT, looked_up)
            .await
            .map_err(|_| Error::RemoteTimeout)?
            .map_err(|_| Error::Remote("the name of its host leads nowhere".to_owned()))?;
        let through: Vec<(SocketAddr, bool)> = found
            .filter(|address| self.rules.lets_through_to_database(*address))
            .map(|address| (address, self.rules.is_allowed(address.ip())))
            .collect();
        match through.is_empty() {
            true => Err(Error::Invalid(
                "the address can't be used: it is not on the public Internet, or has a port below 1024; \
                 the operator can let it through with connect.allow_networks"
                    .to_owned(),
            )),
            false => Ok(through),
        }
    }

    /// Gets what is at an address, following a few redirects, each checked anew.
    ///
    /// # Errors
    /// When an address can't be used, the server fails, or the body is larger than `most_bytes`.
    pub async fn get(
        &self,
        url: &str,
        timeout: Duration,
        most_bytes: usize,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Fetched, Error> {
        let fetch = async {
            let mut next = url.to_owned();
            let first = self.check(url)?;
            for _ in 0..=MOST_REDIRECTS {
                let request = self.request(Method::GET, &next)?;
                // What proves who we are is for the host it was meant for.
                let is_first_host = self.check(&next)?.origin() == first.origin();
                let request = if is_first_host {
                    prepare(request)
                } else {
                    request
                };
                let response = request.send().await.map_err(unreachable)?;
                if !response.status().is_redirection() {
                    return read(response, most_bytes).await;
                }
                let location = response
                    .headers()
                    .get(header::LOCATION)
                    .and_then(|value| value.to_str().ok())
                    .ok_or_else(|| Error::Remote("it leads on to nowhere".to_owned()))?;
                next = response
                    .url()
                    .join(location)
                    .map_err(|error| Error::Remote(format!("it leads on to no address: {error}")))?
                    .into();
            }
            Err(Error::Remote("it leads on and on".to_owned()))
        };
        tokio::time::timeout(timeout, fetch)
            .await
            .map_err(|_| Error::RemoteTimeout)?
    }
}

/// Whether only the operator's own services may have such an address.
fn is_for_own(url: &Url) -> bool {
    url.scheme() == "http" || has_odd_port(url)
}

/// Whether a port is none of the web.
fn has_odd_port(url: &Url) -> bool {
    url.port().is_some_and(|port| port != 80 && port != 443)
}

fn client(rules: &Arc<Rules>, own_only: bool) -> Result<Client, Error> {
    // Fails when another crate was first with the same provider, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .dns_resolver(Arc::new(Filter {
            rules: rules.clone(),
            own_only,
        }))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .user_agent("quire")
        .build()
        .map_err(|error| Error::Invalid(format!("no client for HTTPS can be made: {error}")))
}

/// An error of the network, in the words of its innermost cause and without the address.
pub(crate) fn unreachable(error: reqwest::Error) -> Error {
    if error.is_timeout() {
        return Error::RemoteTimeout;
    }
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    Error::Remote(words)
}

async fn read(mut response: Response, most_bytes: usize) -> Result<Fetched, Error> {
    let status = response.status();
    if !status.is_success() {
        return Err(Error::Status {
            status: status.as_u16(),
            retry_after: retry_after(&response),
        });
    }
    let url = response.url().clone();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > most_bytes {
            return Err(Error::RemoteTooLarge(most_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        url,
        content_type,
        bytes,
    })
}

/// How long a server asks to wait; only seconds, since no provider here sends dates.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(86_400)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for inside in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.1.2",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn addresses_that_are_no_place_to_go_are_refused_before_anything_is_asked() {
        let egress = Egress::new(Vec::new()).unwrap();
        for bad in [
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://169.254.169.254/latest/",
            "https://user:pw@example.com/",
            "https://user@example.com/",
            "https://example.com:22/",
            "https://[fe80::1]/",
            "https://0/",
            "nonsense",
            "",
            "https://[::ffff:a9fe:a9fe]/",
            "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        ] {
            assert!(egress.check(bad).is_err(), "{bad}");
        }
        for good in [
            "https://example.com/hook",
            "https://example.com:443/",
            "https://1.1.1.1/",
            "https://b\u{fc}cher.example/",
        ] {
            assert!(egress.check(good).is_ok(), "{good}");
        }
        let own = Egress::new(vec!["127.0.0.0/8".parse().unwrap()]).unwrap();
        assert!(own.check("http://127.0.0.1:8080/").is_ok());
        assert!(own.check("http://10.0.0.1:8080/").is_err());
        assert!(own.check("http://1.1.1.1/").is_err());
        assert!(own.check("https://1.1.1.1/").is_ok());
    }

    #[tokio::test]
    async fn names_that_lead_inside_are_not_followed() {
        let egress = Egress::new(Vec::new()).unwrap();
        for host in ["localhost", "127.0.0.1", "[::1]", "0x7f000001", "10.0.0.7"] {
            assert!(egress.database(host, 5432).await.is_err(), "{host}");
        }
        assert!(egress.database("1.1.1.1", 5432).await.is_ok());
        assert!(egress.database("1.1.1.1", 25).await.is_err());
        for name in ["https://localhost/", "https://localhost.:443/"] {
            let sent = egress.request(Method::GET, name).unwrap().send().await;
            assert!(sent.unwrap_err().is_connect(), "{name}");
        }
        // Without TLS only what was let through.
        let networks = ["10.0.0.0/8"].map(|network| network.parse().unwrap());
        let own = Egress::new(networks.to_vec()).unwrap();
        let sent = own.request(Method::GET, "http://localhost/").unwrap();
        assert!(sent.send().await.unwrap_err().is_connect());
    }
}

//! Where spans go: what the configuration says, and what OpenTelemetry's own environment variables say without it.

use serde::Deserialize;

use quire_types::Secret;

use crate::failure::Failure;
use crate::telemetry::Destination;

/// Spans for a collector. Unset here and in the environment, there are none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// The address of a collector that speaks OTLP over HTTP, without `/v1/traces`, such as http://127.0.0.1:4318.
    pub(crate) otlp_endpoint: Option<String>,
    /// Headers of every request to it: `name=value,other=value`.
    pub(crate) otlp_headers: Option<Secret>,
}

impl Telemetry {
    /// Where spans go; none where nobody wants any.
    pub(crate) fn destination(&self) -> Result<Option<Destination>, Failure> {
        self.destination_in(super::variable)
    }

    fn destination_in(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Destination>, Failure> {
        let is_off = variable("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let below = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
        let url = match self.otlp_endpoint.clone() {
            Some(base) => Some(below(base)),
            None if is_off => None,
            None => variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(below)),
        };
        let Some(url) = url else { return Ok(None) };
        let headers = match &self.otlp_headers {
            Some(headers) => pairs(headers.expose()),
            None => variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS")
                .or_else(|| variable("OTEL_EXPORTER_OTLP_HEADERS"))
                .map_or_else(|| Some(Vec::new()), |text| pairs(&text)),
        };
        let headers = headers.ok_or_else(|| {
            Failure::invalid("telemetry.otlp_headers must look like name=value,other=value")
        })?;
        let mut resource = variable("OTEL_RESOURCE_ATTRIBUTES")
            .and_then(|text| pairs(&text))
            .unwrap_or_default();
        let mut name_it = |name: &str, value: String| {
            resource.retain(|(known, _)| known != name);
            resource.push((name.to_owned(), value));
        };
        name_it("service.version", env!("CARGO_PKG_VERSION").to_owned());
        if let Some(name) = variable("OTEL_SERVICE_NAME") {
            name_it("service.name", name);
        }
        if resource.iter().all(|(name, _)| name != "service.name") {
            resource.push(("service.name".to_owned(), "quire".to_owned()));
        }
        Ok(Some(Destination {
            url,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
            resource,
        }))
    }
}

/// `name=value,other=value`, with what is not plain in the notation of addresses (%20).
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((plain(name.trim())?, plain(value.trim())?))
        })
        .collect()
}

/// Text without its notation: `a%20b` is `a b`.
fn plain(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match first {
            b'%' => {
                let (digits, others) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = others;
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn destination(config: &str, environment: &[(&str, &str)]) -> Option<Destination> {
        let telemetry: Telemetry = toml::from_str(config).unwrap();
        let variable = |name: &str| {
            let mut found = environment.iter().filter(|(known, _)| *known == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        telemetry.destination_in(variable).unwrap()
    }

    #[test]
    fn spans_go_nowhere_unless_somebody_says_where() {
        let url = |config: &str, environment: &[(&str, &str)]| {
            destination(config, environment).map(|found| found.url)
        };
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/own");
        let own = "otlp_endpoint = 'http://o:4318'";
        assert_eq!(url("", &[]), None);
        assert_eq!(url("", &[base]).unwrap(), "http://c:4318/v1/traces");
        assert_eq!(url("", &[base, traces]).unwrap(), "http://t:1/own");
        assert_eq!(
            url(own, &[base, traces]).unwrap(),
            "http://o:4318/v1/traces"
        );
        for off in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(url("", &[base, off]), None);
        }
    }

    #[test]
    fn headers_and_names_are_read_as_opentelemetry_writes_them() {
        let found = destination(
            "",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
                (
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    "authorization=Basic%20YQ==, x-team = a",
                ),
                (
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "deployment.environment.name=test,service.name=other",
                ),
                ("OTEL_SERVICE_NAME", "notes"),
            ],
        )
        .unwrap();
        let headers: Vec<(&str, &str)> = found
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(headers, [("authorization", "Basic YQ=="), ("x-team", "a")]);
        let value = |name: &str| {
            let mut named = found.resource.iter().filter(|(known, _)| known == name);
            let value = named.next().map(|(_, value)| value.as_str());
            assert!(named.next().is_none());
            value
        };
        assert_eq!(value("service.name"), Some("notes"));
        assert_eq!(value("deployment.environment.name"), Some("test"));
        for wrong in ["a", "a=%4", "a=%zz"] {
            assert_eq!(pairs(wrong), None, "{wrong}");
        }
    }
}

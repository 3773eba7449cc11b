//! To which collector do traces go? A flag says it, or the environment in OpenTelemetry's words.
//!
//! The flag comes first. Nothing said is no traces. What cannot be meant is refused at the start, with the name of the flag or
//! variable: whoever wants traces and gets none looks for them at the wrong time.
//!
//! OpenTelemetry: "OTLP Exporter Configuration", "Environment Variable Specification". Timeout, headers, samplers and the
//! service's name are read by its SDK.

use anyhow::{Result, bail};
use http::Uri;
use std::path::PathBuf;

const FLAG: &str = "--otlp-endpoint";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// The more exact variable comes first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const AUTHORITIES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];

/// The flag of what can be traced.
#[derive(Debug, Default, clap::Args)]
pub struct Flag {
    /// Send traces to this collector, with OTLP over gRPC: http://HOST:4317, or https
    /// [env: OTEL_EXPORTER_OTLP_ENDPOINT] [default: nowhere].
    #[arg(long, value_name = "URL", value_parser = url)]
    otlp_endpoint: Option<String>,
}

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Who signs its certificate: a file; none: whom the system believes.
    pub ca: Option<PathBuf>,
}

impl Flag {
    /// The collector of this process.
    pub fn config(self) -> Result<Option<Collector>> {
        chosen(self.otlp_endpoint, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
}

fn chosen(flag: Option<String>, said: impl Fn(&str) -> Option<String>) -> Result<Option<Collector>> {
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, said(name)?)));
    let ca = first(AUTHORITIES).map(|(_, path)| path.into());
    if let Some(url) = flag {
        return Ok(Some(Collector { url, ca }));
    }
    let is = |name, value: &str| said(name).is_some_and(|said| said.eq_ignore_ascii_case(value));
    let Some((name, text)) = first(ENDPOINTS) else { return Ok(None) };
    if is(DISABLED, "true") || is(EXPORTER, "none") {
        return Ok(None);
    }
    if let Some((name, protocol)) = first(PROTOCOLS).filter(|(_, protocol)| protocol != "grpc") {
        bail!(
            "{name}={protocol}: traces go out over grpc only; set it to grpc, and the endpoint to the collector's port for that (4317)"
        );
    }
    match url(&text) {
        Ok(url) => Ok(Some(Collector { url, ca })),
        Err(why) => bail!("{name}: {why} (or unset it; the flag {FLAG} says the same)"),
    }
}

fn url(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{text:?} {why}: give http://HOST:4317 or https://HOST:4317"));
    let Ok(uri) = text.parse::<Uri>() else { return wrong("is no URL") };
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => {}
        _ => return wrong("does not begin with http:// or https:// and a host"),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        // Without the text: a password would be in it.
        return Err("there is a user in the URL: say who we are with OTEL_EXPORTER_OTLP_HEADERS".to_string());
    }
    if authority.rsplit(']').next().is_some_and(|rest| rest.contains(':')) && uri.port_u16().is_none() {
        return wrong("has a port that is none");
    }
    match uri.path() {
        "" | "/" if uri.query().is_none() => Ok(text.trim_end_matches('/').to_string()),
        _ => wrong("has a path, which OTLP over gRPC has not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: Option<&str>, said: &[(&str, &str)], expected: Result<Option<&str>, &str>) {
        let found = chosen(flag.map(str::to_string), |name| {
            said.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_string())
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.map(|c| c.url).as_deref(), expected, "{said:?}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, expected) => panic!("{said:?}: {found:?} and not {expected:?}"),
        }
    }

    #[test]
    fn the_flag_comes_first_and_then_the_more_exact_variable() {
        let (general, exact) = (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://b:4317/"),
        );
        check(None, &[], Ok(None));
        check(None, &[general], Ok(Some("http://a:4317")));
        check(None, &[general, exact], Ok(Some("https://b:4317")));
        check(Some("http://c"), &[general, exact, ("OTEL_SDK_DISABLED", "true")], Ok(Some("http://c")));
        check(None, &[general, ("OTEL_SDK_DISABLED", "True")], Ok(None));
        check(None, &[general, ("OTEL_TRACES_EXPORTER", "none")], Ok(None));
        check(None, &[general, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], Ok(Some("http://a:4317")));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let of = |value| ("OTEL_EXPORTER_OTLP_ENDPOINT", value);
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        check(None, &[of("http://a:4318"), protocol], Err("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"));
        check(None, &[protocol], Ok(None));
        check(None, &[of("a:4317")], Err("OTEL_EXPORTER_OTLP_ENDPOINT: \"a:4317\" does not begin"));
        check(None, &[of("http://a:4318/v1/traces")], Err("has a path"));
        check(None, &[of("http://")], Err("give http://HOST:4317"));
        assert!(url("http://[::1]:4317").is_ok() && url("https://a").is_ok());
        for wrong in ["", "a", "unix:///x", "ftp://a", "http://a:x", "http://a:70000", "http://me:secret@a:1"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}

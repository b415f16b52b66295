//! The settings of OpenTelemetry, and the files that they name.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::System;
use crate::auth::http::HttpHeaders;
use crate::http::{self, SYSTEM_AUTHORITIES};
use crate::limits;
use crate::settings::{
    Fallback, FromValue, Kind, OptionalFile, OptionalText, Setting, Unit::Seconds, Value, authority_of, check_file,
    check_name, check_url, declare_settings,
};

declare_settings! {
    /// What the operator chose about OpenTelemetry.
    OtlpSettings, OTLP_ROWS;

    Otlp {
        /// A collector that is told of sampled messages, in OTLP over HTTP: a URL, or none.
        ///
        /// A URL without a path gets /v1/traces, as collectors have it: http://127.0.0.1:4318. none samples nothing, and costs nothing.
        otlp_endpoint: OptionalText = Setting::new(
            "otlp-endpoint", Kind::Text { check: check_endpoint, noun: "url", allowed: "a URL with http:// or https://, or none" }, Fallback::Text("none"),
        ).key_in_file("endpoint"), Reload;

        /// Headers of each request to the collector: a file with a line `Name: value` for each.
        ///
        /// For keys, which are in no flag and no variable that others can read. It is read at a start and again at SIGHUP.
        otlp_headers: OptionalFile = Setting::new(
            "otlp-headers", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ).key_in_file("headers"), Reload;

        /// Which part of the messages is sampled that say nothing about it: 0 is none, 1 is all.
        ///
        /// A message of MQTT 5.0 with the user property traceparent is sampled if its sender is, and else not. A shard samples 500 messages a second at most.
        otlp_sample_ratio: SampleRatio = Setting::new(
            "otlp-sample-ratio", Kind::Text { check: check_ratio, noun: "ratio", allowed: "a number from 0 to 1" }, Fallback::Text("0"),
        ).key_in_file("sample_ratio"), Reload;

        /// What the broker is called in traces (service.name).
        otlp_service_name: String = Setting::new(
            "otlp-service-name", Kind::Text { check: check_name, noun: "name", allowed: "1 to 64 letters, digits, dots, hyphens and underscores" },
            Fallback::Text("dunlin"),
        ).key_in_file("service_name"), Reload;

        /// How long the collector may take to answer.
        otlp_timeout_s: u32 = Setting::number(
            "otlp-timeout", Seconds, 1, limits::OTLP_TIMEOUT_MAX_S as u64, limits::OTLP_TIMEOUT_DEFAULT_S as u64,
        ).key_in_file("timeout"), Reload;

        /// Whose certificate the collector must have over TLS: a file in PEM.
        ///
        /// none is whomever the system trusts.
        otlp_ca: OptionalFile = Setting::new(
            "otlp-ca", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" }, Fallback::Text("none"),
        ).key_in_file("ca"), Reload;
    }
}

/// A part of all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleRatio {
    below: u64,
}

impl SampleRatio {
    /// Ids below this, of 2^63, are sampled.
    pub fn below(self) -> u64 {
        self.below
    }
}

impl FromValue for SampleRatio {
    #[allow(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "from 0 to 2^63")]
    fn from_value(value: Value) -> Self {
        let ratio: f64 = String::from_value(value).parse().expect("the row admits only numbers");
        Self { below: (ratio * (1_u64 << 63) as f64) as u64 }
    }
}

/// A URL without a user: it would not be used, and whoever wrote it there expects that it is.
fn check_endpoint(text: &str) -> Result<String, String> {
    let url = check_url(text)?;
    if url.split_once("://").is_some_and(|(_, rest)| authority_of(rest).contains('@')) {
        return Err("user and password in it are not used: write `Authorization: Basic ...` into the file that --otlp-headers names".to_owned());
    }
    Ok(url)
}

fn check_ratio(text: &str) -> Result<String, String> {
    let ratio = text.trim().parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.map(|ratio| ratio.abs().to_string()).ok_or_else(|| format!("{text:?} is no number from 0 to 1"))
}

/// Where collectors take traces.
const TRACES_PATH: &str = "/v1/traces";

impl OtlpSettings {
    /// Where spans are sent to, if anywhere.
    pub fn url(&self) -> Option<String> {
        let endpoint = self.otlp_endpoint.get()?;
        let (_, rest) = endpoint.split_once("://")?;
        let has_path = rest.find(['/', '?']).is_some_and(|at| &rest[at..] != "/");
        Some(if has_path { endpoint.to_owned() } else { format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')) })
    }
}

/// What the files say that the settings name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpFiles {
    /// What each request carries.
    pub headers: Option<HttpHeaders>,
    /// Whose certificate the collector must have, where it is asked over TLS.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl OtlpFiles {
    /// Reads them. What is wrong comes back with the flag that names it.
    pub(super) fn read(system: &System<'_>, settings: &OtlpSettings) -> Result<Self, (&'static str, String)> {
        let read = |path: &Path| {
            (system.read_file)(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
        };
        let Some(url) = settings.url() else { return Ok(Self::default()) };
        let headers = settings
            .otlp_headers
            .path()
            .map(|path| HttpHeaders::parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display())));
        let headers = headers.transpose().map_err(|text| ("otlp-headers", text))?;
        if !url.starts_with("https://") {
            return Ok(Self { headers, authorities: Vec::new() });
        }
        let text = match settings.otlp_ca.path() {
            Some(path) => read(path),
            None => SYSTEM_AUTHORITIES.into_iter().find_map(|path| read(Path::new(path)).ok()).ok_or_else(|| {
                "the URL begins with https and this system has no list of authorities: give --otlp-ca".to_owned()
            }),
        };
        let authorities = text.and_then(|text| http::authorities(text.as_bytes()).map_err(str::to_owned));
        Ok(Self { headers, authorities: authorities.map_err(|text| ("otlp-ca", text))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_number_from_0_to_1() {
        for (text, below) in [
            ("0", 0),
            ("1", 1 << 63),
            ("0.5", 1 << 62),
            (" 0.25 ", 1 << 61),
            ("-0", 0),
            ("1e-3", 9_223_372_036_854_775),
        ] {
            let ratio = SampleRatio::from_value(Value::Text(check_ratio(text).expect(text)));
            assert!(ratio.below().abs_diff(below) < 1_000, "{text}: {}", ratio.below());
        }
        for bad in ["", "1.1", "-0.1", "NaN", "inf", "half", "50%"] {
            assert!(check_ratio(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_collector_is_a_url_without_a_user() {
        for good in ["none", "http://127.0.0.1:4318", "https://c.example/v1/traces?to=a@b"] {
            assert_eq!(check_endpoint(good).as_deref(), Ok(good));
        }
        for bad in ["http://127.0.0.1:65536", "http://ann:secret@c.example", "https://ann@c.example/x"] {
            let error = check_endpoint(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_collector_without_a_path_has_that_of_traces() {
        let url = |endpoint: &str| {
            let settings = OtlpSettings::from_values(&|row| {
                let text = if row.flag == "otlp-endpoint" { Some(endpoint.to_owned()) } else { None };
                text.map_or_else(|| row.default_value(&crate::settings::Machine::default()), Value::Text)
            });
            settings.url()
        };
        for (endpoint, expected) in [
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
            ("https://c.example/", "https://c.example/v1/traces"),
            ("https://c.example/otlp/v1/traces", "https://c.example/otlp/v1/traces"),
            ("https://c.example?x=1", "https://c.example?x=1"),
        ] {
            assert_eq!(url(endpoint).as_deref(), Some(expected));
        }
        assert_eq!(url("none"), None);
    }
}

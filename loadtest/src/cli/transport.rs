//! Flags of what lies below MQTT, and of tokens.

// Doc comments here are what `--help` prints: backticks would be no markup there.
#![allow(clippy::doc_markdown)]

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::numbers::percent;
use crate::{
    plan::{Target, Template, TlsVersion, TokenTarget},
    scenario, units,
};

#[derive(Debug, Args)]
pub(super) struct Transport {
    /// Connect to a Unix socket at this path instead of a host and port
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["host", "port"], help_heading = "Transport")]
    unix: Option<PathBuf>,
    /// TLS, by default to port 8883 (with --ws 8084)
    #[arg(long, visible_alias = "ssl", global = true, help_heading = "Transport")]
    tls: bool,
    /// Certificates of authorities in PEM [default: those of the system]
    #[arg(long, visible_alias = "cacertfile", global = true, value_name = "FILE", help_heading = "Transport")]
    cafile: Option<PathBuf>,
    /// A folder of such files
    #[arg(long, global = true, value_name = "DIR", help_heading = "Transport")]
    capath: Option<PathBuf>,
    /// Client certificate with its chain in PEM; with %i or %c each client has its own, read when it connects
    #[arg(long, visible_alias = "certfile", global = true, value_name = "FILE", help_heading = "Transport")]
    cert: Option<String>,
    /// Its key in PEM, without a passphrase; %i and %c as for --cert
    #[arg(long, visible_alias = "keyfile", global = true, value_name = "FILE", help_heading = "Transport")]
    key: Option<String>,
    /// Take any certificate of the broker, for any name
    #[arg(long, global = true, help_heading = "Transport")]
    insecure: bool,
    /// The name that the broker's certificate must have [default: that of --host]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Transport")]
    tls_name: Option<String>,
    /// Only this version of TLS: 1.2 or 1.3
    #[arg(long, global = true, value_name = "VERSION", value_parser = scenario::tls_version, help_heading = "Transport")]
    tls_version: Option<TlsVersion>,
    /// Key exchanges that are offered, most wanted first, with commas: x25519mlkem768, x25519, secp256r1, secp384r1
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAME", help_heading = "Transport")]
    tls_groups: Vec<String>,
    /// Of a client's connections after its first, how many in a hundred resume the session before [default: 0]
    #[arg(long, global = true, value_name = "PERCENT", value_parser = percent, help_heading = "Transport")]
    tls_resume: Option<f64>,
    /// MQTT over WebSocket, by default to port 8083 (with --tls 8084)
    #[arg(long, visible_alias = "websockets", global = true, help_heading = "Transport")]
    ws: bool,
    /// The path that is asked for [default: /mqtt]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Transport")]
    ws_path: Option<String>,
    /// The subprotocol that is asked for [default: mqtt]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Transport")]
    ws_subprotocol: Option<String>,

    /// A JSON Web Token made for each connection as its password, by this private key in PEM or this secret
    #[arg(long, global = true, value_name = "FILE", help_heading = "Broker")]
    jwt_key: Option<PathBuf>,
    /// The token's algorithm, as HS256, RS256, ES256, EdDSA [default: what fits the key]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Broker")]
    jwt_algorithm: Option<String>,
    /// From the connection until the token expires [default: 1h]
    #[arg(long, global = true, value_name = "SPAN", value_parser = units::seconds, help_heading = "Broker")]
    jwt_expiry: Option<Duration>,
    /// One more claim beside sub, client_id, iat and exp, as NAME=TEXT with %i, %c and %u; may be repeated
    #[arg(long, global = true, value_name = "NAME=TEXT", help_heading = "Broker")]
    jwt_claim: Vec<String>,
}

impl Transport {
    /// Puts them into a target; what was not given stays as it is. With `port` none, the port is the usual one where this changes
    /// what lies below MQTT.
    pub(super) fn fill(&self, target: &mut Target, port: Option<u16>) -> Result<(), String> {
        let is_usual = target.port == target.usual_port();
        if let Some(unix) = &self.unix {
            target.unix = Some(unix.clone());
        }
        if self.tls {
            target.tls.get_or_insert_default();
        }
        if self.ws {
            target.websocket.get_or_insert_default();
        }
        self.fill_tls(target)?;
        self.fill_websocket(target)?;
        self.fill_token(target)?;
        if is_usual {
            target.port = target.usual_port();
        }
        target.port = port.unwrap_or(target.port);
        Ok(())
    }

    fn fill_tls(&self, target: &mut Target) -> Result<(), String> {
        let given = [
            (self.cafile.is_some(), "--cafile"),
            (self.capath.is_some(), "--capath"),
            (self.cert.is_some(), "--cert"),
            (self.key.is_some(), "--key"),
            (self.insecure, "--insecure"),
            (self.tls_name.is_some(), "--tls-name"),
            (self.tls_version.is_some(), "--tls-version"),
            (!self.tls_groups.is_empty(), "--tls-groups"),
            (self.tls_resume.is_some(), "--tls-resume"),
        ];
        let Some(tls) = &mut target.tls else { return needs(&given, "--tls") };
        let Self { cafile, capath, cert, key, .. } = self;
        if cafile.is_some() || capath.is_some() {
            (tls.ca_file, tls.ca_path) = (cafile.clone(), capath.clone());
        }
        tls.certificate = cert.as_ref().map(Template::new).or(tls.certificate.take());
        tls.key = key.as_ref().map(Template::new).or(tls.key.take());
        tls.insecure |= self.insecure;
        tls.server_name = self.tls_name.clone().or(tls.server_name.take());
        tls.version = self.tls_version.or(tls.version);
        if !self.tls_groups.is_empty() {
            tls.groups.clone_from(&self.tls_groups);
        }
        tls.resume_percent = self.tls_resume.unwrap_or(tls.resume_percent);
        Ok(())
    }

    fn fill_websocket(&self, target: &mut Target) -> Result<(), String> {
        let given = [(self.ws_path.is_some(), "--ws-path"), (self.ws_subprotocol.is_some(), "--ws-subprotocol")];
        let Some(websocket) = &mut target.websocket else { return needs(&given, "--ws") };
        if let Some(path) = &self.ws_path {
            websocket.path.clone_from(path);
        }
        if let Some(subprotocol) = &self.ws_subprotocol {
            websocket.subprotocol.clone_from(subprotocol);
        }
        Ok(())
    }

    fn fill_token(&self, target: &mut Target) -> Result<(), String> {
        if let Some(key) = &self.jwt_key {
            target.token = Some(TokenTarget::new(key.clone()));
        }
        let given = [
            (self.jwt_algorithm.is_some(), "--jwt-algorithm"),
            (self.jwt_expiry.is_some(), "--jwt-expiry"),
            (!self.jwt_claim.is_empty(), "--jwt-claim"),
        ];
        let Some(token) = &mut target.token else { return needs(&given, "--jwt-key") };
        token.algorithm = self.jwt_algorithm.clone().or(token.algorithm.take());
        if let Some(span) = self.jwt_expiry {
            let seconds = u32::try_from(span.as_secs());
            token.expiry_s = seconds.map_err(|_| "--jwt-expiry: at most 136 years".to_owned())?;
        }
        if !self.jwt_claim.is_empty() {
            token.claims.clone_from(&self.jwt_claim);
        }
        Ok(())
    }
}

/// Refuses a flag whose other one is missing.
fn needs(given: &[(bool, &str)], other: &str) -> Result<(), String> {
    let stray = given.iter().find(|(is_given, _)| *is_given);
    stray.map_or(Ok(()), |(_, flag)| Err(format!("{flag} has no use without {other}")))
}

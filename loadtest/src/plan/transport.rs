//! What lies below MQTT: TLS, a WebSocket, a path instead of an address; and the token that a client shows as its password.
//!
//! Files are named here and read where the run happens: of several agents each reads its own.

use super::template::{Piece, Template};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// TLS, and whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsTarget {
    /// Certificates of authorities, in PEM. With none of the two: those of the system.
    pub ca_file: Option<PathBuf>,
    /// A folder of such files.
    pub ca_path: Option<PathBuf>,
    /// A client certificate with its chain, in PEM; with `%i` or `%c` each client has its own.
    pub certificate: Option<Template>,
    /// Its key, in PEM: PKCS#8, SEC1 or PKCS#1, without a passphrase.
    pub key: Option<Template>,
    /// Takes any certificate, of any name.
    pub insecure: bool,
    /// The name that the certificate must have; the broker's unless given.
    pub server_name: Option<String>,
    /// This version alone.
    pub version: Option<TlsVersion>,
    /// Key exchanges that are offered, most wanted first, by their names in [`GROUPS`]; empty: what rustls offers.
    pub groups: Vec<String>,
    /// Of a client's connections after its first, so many in a hundred resume the session before.
    pub resume_percent: f64,
}

/// A version of TLS, written as users write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// Key exchanges by name.
pub const GROUPS: [&str; 5] = ["x25519mlkem768", "x25519", "secp256r1", "secp384r1", "mlkem768"];

/// MQTT in the binary frames of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketTarget {
    /// What is asked for.
    pub path: String,
    /// `mqtt`, or `mqttv3.1` as clients of MQTT 3.1 ask for.
    pub subprotocol: String,
}

impl Default for WebSocketTarget {
    fn default() -> Self {
        Self { path: "/mqtt".to_owned(), subprotocol: "mqtt".to_owned() }
    }
}

/// A JSON Web Token for each connection, as its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenTarget {
    /// A private key in PEM, or else a secret, without the line feed at its end.
    pub key: PathBuf,
    /// As a token's header names it; what fits the key unless given.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// From the connection to `exp`.
    #[serde(default = "an_hour_s")]
    pub expiry_s: u32,
    /// More claims, or others: `name=text`, with `%i`, `%c` and `%u` in the text.
    #[serde(default)]
    pub claims: Vec<String>,
}

fn an_hour_s() -> u32 {
    3_600
}

impl TokenTarget {
    /// With what is usual beside the key.
    pub fn new(key: PathBuf) -> Self {
        Self { key, algorithm: None, expiry_s: an_hour_s(), claims: Vec::new() }
    }
}

impl TlsTarget {
    /// All that keeps it from being used.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.certificate.is_some() != self.key.is_some() {
            problems.push("cert and key: a client certificate needs its key, and a key its certificate".to_owned());
        }
        if self.insecure && (self.ca_file.is_some() || self.ca_path.is_some()) {
            problems.push("insecure takes any certificate, so cafile and capath have no use".to_owned());
        }
        for (name, template) in [("cert", &self.certificate), ("key", &self.key)] {
            problems.extend(template.as_ref().and_then(|template| not_of_message(name, template)));
        }
        if !(0.0..=100.0).contains(&self.resume_percent) {
            problems.push(format!("tls_resume = {}, but it must be between 0 and 100", self.resume_percent));
        }
        for group in self.groups.iter().filter(|group| !GROUPS.contains(&group.as_str())) {
            problems.push(format!("tls_groups: {group:?} is not known; there are {}", GROUPS.join(", ")));
        }
        problems
    }
}

impl WebSocketTarget {
    /// All that keeps it from being used.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.path.starts_with('/') || self.path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            problems.push(format!("ws_path = {:?}: write a path such as /mqtt, without blanks", self.path));
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.subprotocol.is_empty() || !self.subprotocol.bytes().all(is_token) {
            problems.push(format!("ws_subprotocol = {:?}: write a name such as mqtt or mqttv3.1", self.subprotocol));
        }
        problems
    }
}

impl TokenTarget {
    /// All that keeps it from being used.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for claim in &self.claims {
            match claim.split_once('=') {
                Some((name, text)) if !name.is_empty() => {
                    problems.extend(not_of_message(&format!("jwt_claim {name}"), &text.into()));
                }
                _ => problems.push(format!("jwt_claim = {claim:?}: write NAME=TEXT, as in aud=mqtt")),
            }
        }
        problems
    }
}

/// What is said once for a connection knows nothing of messages.
pub(super) fn not_of_message(name: &str, template: &Template) -> Option<String> {
    let is_wrong = template.has(Piece::Target) || template.has(Piece::Sequence);
    is_wrong.then(|| format!("{name} = {:?}: %r and %s are for published topics only", template.0))
}

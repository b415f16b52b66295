//! The broker, and what every client says to it.

use super::Template;
use super::transport::{TlsTarget, TokenTarget, WebSocketTarget, not_of_message};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the broker is and how clients greet it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Of TCP.
    pub port: u16,
    /// A path to connect to instead of host and port.
    pub unix: Option<PathBuf>,
    /// TLS on the connection.
    pub tls: Option<TlsTarget>,
    /// MQTT goes in its frames, on TLS where there is both.
    pub websocket: Option<WebSocketTarget>,
    /// Protocol.
    pub version: MqttVersion,
    /// `%i` and `%c` stand for the client's number and id.
    pub username: Option<Template>,
    /// `%i`, `%c` and `%u` stand for the client's number, id and user name, `%%` for a percent sign.
    pub password: Option<Template>,
    /// A token instead of a password.
    pub token: Option<TokenTarget>,
    /// Seconds; 0 turns it off, and with it the pings.
    pub keep_alive_s: u16,
    /// From the first packet to CONNACK, and from SUBSCRIBE to SUBACK.
    pub connect_timeout_s: u16,
    /// How often a client that could not connect tries again before it has failed.
    pub retries: u16,
    /// How long it waits before each of them.
    pub retry_after_ms: u32,
    /// The broker is killed and started again while clients go on, who come back whenever they lose it.
    pub restarts: Option<Restarts>,
}

/// How often a broker is killed, and how it is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restarts {
    /// What becomes the broker; `None` until somebody has said it.
    pub script: Option<PathBuf>,
    /// How often it is killed.
    pub kills: u32,
    /// From one kill to the next, on average.
    pub every_ms: u32,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            unix: None,
            tls: None,
            websocket: None,
            version: MqttVersion::V5,
            username: None,
            password: None,
            token: None,
            keep_alive_s: 300,
            connect_timeout_s: 30,
            retries: 0,
            retry_after_ms: 1_000,
            restarts: None,
        }
    }
}

impl Target {
    /// The usual port of what lies below MQTT.
    pub const fn usual_port(&self) -> u16 {
        match (self.tls.is_some(), self.websocket.is_some()) {
            (false, false) => 1883,
            (true, false) => 8883,
            (false, true) => 8083,
            (true, true) => 8084,
        }
    }

    /// What reports call it: `host:port` over TCP alone, else with what lies below MQTT.
    pub fn name(&self) -> String {
        let (scheme, path) = match (&self.tls, &self.websocket) {
            (None, None) => ("", ""),
            (Some(_), None) => ("tls://", ""),
            (None, Some(websocket)) => ("ws://", websocket.path.as_str()),
            (Some(_), Some(websocket)) => ("wss://", websocket.path.as_str()),
        };
        match &self.unix {
            Some(unix) if scheme.is_empty() => format!("unix:{}", unix.display()),
            Some(unix) => format!("{scheme}unix:{} {path}", unix.display()).trim_end().to_owned(),
            None => format!("{scheme}{}:{}{path}", self.host, self.port),
        }
    }

    /// All that keeps it from being used.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, template) in [("username", &self.username), ("password", &self.password)] {
            problems.extend(template.as_ref().and_then(|template| not_of_message(name, template)));
        }
        if self.password.is_some() && self.token.is_some() {
            problems.push("password and jwt_key: a token is the password, so one of them is too much".to_owned());
        }
        problems.extend(self.tls.iter().flat_map(TlsTarget::problems));
        problems.extend(self.websocket.iter().flat_map(WebSocketTarget::problems));
        problems.extend(self.token.iter().flat_map(TokenTarget::problems));
        problems
    }
}

/// A version of MQTT, written as users write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MqttVersion {
    /// MQTT 3.1.
    #[serde(rename = "3.1")]
    V31,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5.0", alias = "5")]
    V5,
}

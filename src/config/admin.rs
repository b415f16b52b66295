//! The settings of the admin server.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use std::net::{IpAddr, SocketAddr};

use crate::settings::{
    Fallback, FromValue, Kind, OptionalFile, Setting, Unit::Count, Value, check_file, declare_settings, words,
};

declare_settings! {
    /// What the operator chose about the admin server.
    AdminSettings, ADMIN_ROWS;

    Admin {
        /// Port of the admin server: health, metrics and the API over HTTP.
        ///
        /// off has none. 18083 is the usual one; 0 lets the kernel choose a free one, and the log names it.
        admin_port: u32 = Setting::number("admin-port", Count, 0, PORT_OFF as u64, PORT_OFF as u64)
            .word("off", PORT_OFF as u64).key_in_file("port"), Start;

        /// Address of the admin server.
        ///
        /// It speaks plain HTTP: beyond this machine put a proxy with TLS in front of it.
        admin_bind: IpAddr = Setting::new(
            "admin-bind", Kind::Text { check: check_ip, noun: "address", allowed: "an IPv4 or IPv6 address" },
            Fallback::Text("127.0.0.1"),
        ).key_in_file("bind"), Start;

        /// Who may use the API: a file that `dunlin passwd --admin` writes.
        ///
        /// none has one user, admin, with a password that is made at each start and told in the log. It is read at a start and again at
        /// SIGHUP.
        admin_users: OptionalFile = Setting::new(
            "admin-users", Kind::Text { check: check_file, noun: "path", allowed: "a path, or none" },
            Fallback::Text("none"),
        ).key_in_file("users"), Start;

        /// Whether metrics are for everybody who reaches the port, or for those whom the API knows.
        admin_metrics: MetricsAccess = Setting::new(
            "admin-metrics", Kind::Choice { words: MetricsAccess::WORDS, planned: &[], bare: None },
            Fallback::Text("open"),
        ).key_in_file("metrics"), Start;
    }
}

/// No port: there is no admin server.
const PORT_OFF: u32 = u16::MAX as u32 + 1;

impl AdminSettings {
    /// Where the admin server listens; `None` if there is none.
    pub fn address(&self) -> Option<SocketAddr> {
        u16::try_from(self.admin_port).ok().map(|port| SocketAddr::new(self.admin_bind, port))
    }
}

/// Who is shown metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever reaches the port.
    Open,
    /// Whoever may use the API.
    Authenticated,
}

words!(MetricsAccess { "open" => Self::Open, "authenticated" => Self::Authenticated });

impl FromValue for IpAddr {
    fn from_value(value: Value) -> Self {
        String::from_value(value).parse().expect("the row admits only addresses")
    }
}

fn check_ip(text: &str) -> Result<String, String> {
    let text = text.trim();
    text.parse::<IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| format!("{text:?} is no IP address; names are not looked up"))
}

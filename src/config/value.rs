//! The types a setting can have once it was read.
//!
//! Owns: [`Value`], the untyped result of reading any setting, and the types of [`Values`](super::Values)' fields.
//! Always holds: a value of these types is valid; whoever gets one need not check it again.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// What one setting was set to, before it goes into its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, bytes or seconds.
    Number(u64),
    /// On or off.
    Switch(bool),
    /// A word, a name or a path.
    Text(String),
    /// Addresses to listen on.
    Addresses(Vec<BindAddress>),
}

/// An address of `--bind`: with a port of its own or with that of `--port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// IPv4 or IPv6, possibly the wildcard.
    pub ip: IpAddr,
    /// Its own port, if one was given.
    pub port: Option<u16>,
}

impl BindAddress {
    /// The address to listen on.
    pub fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for BindAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self { ip, port: None });
        }
        match text.parse::<SocketAddr>() {
            Ok(addr) => Ok(Self { ip: addr.ip(), port: Some(addr.port()) }),
            Err(_) => Err(format!(
                "{text:?} is not an IP address: write 127.0.0.1, 0.0.0.0 (all of IPv4), :: (all of IPv6), \
                 192.0.2.1:1884 or [::1]:1884; names are not looked up"
            )),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// Who may connect without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// Clients of loopback listeners: nobody beyond this machine.
    Loopback,
    /// Every client.
    Everywhere,
    /// No client.
    Nowhere,
}

impl AnonymousAccess {
    /// Whether a listener on `ip` admits clients without credentials.
    pub fn on(self, ip: IpAddr) -> bool {
        match self {
            // ::ffff:127.0.0.1 is loopback too, only spelled otherwise.
            Self::Loopback => ip.to_canonical().is_loopback(),
            Self::Everywhere => true,
            Self::Nowhere => false,
        }
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` fields.
    Text,
    /// One JSON object.
    Json,
}

/// The least severe line that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What stops the broker or loses data.
    Error,
    /// What the operator should look at.
    Warn,
    /// Starts, stops, connects, disconnects.
    Info,
    /// Why a client was refused or dropped, in detail.
    Debug,
    /// Everything.
    Trace,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// A file, appended to; opened again on SIGUSR1.
    File(PathBuf),
}

/// From the untyped value into a field. The table's kinds and bounds are what makes every arm below fit; a test runs
/// each setting's extremes through it.
pub(super) trait FromValue {
    fn from_value(value: Value) -> Self;
}

macro_rules! from_number {
    ($($number:ty)*) => { $(
        impl FromValue for $number {
            fn from_value(value: Value) -> Self {
                match value {
                    Value::Number(number) => Self::try_from(number).expect("the table's range fits the field's type"),
                    other => unreachable!("a number's kind reads numbers, not {other:?}"),
                }
            }
        }
    )* };
}
from_number!(u16 u32 u64 usize);

impl FromValue for bool {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Switch(on) => on,
            other => unreachable!("a switch's kind reads switches, not {other:?}"),
        }
    }
}

impl FromValue for Vec<BindAddress> {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Addresses(addresses) => addresses,
            other => unreachable!("an address list's kind reads addresses, not {other:?}"),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Text(text) => text,
            other => unreachable!("a text's kind reads text, not {other:?}"),
        }
    }
}

impl FromValue for LogTarget {
    fn from_value(value: Value) -> Self {
        match String::from_value(value) {
            word if word == "stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }
}

/// A field whose type is one of a closed list of words; the table names the same words.
macro_rules! from_word {
    ($type:ty { $($word:literal => $value:expr),* $(,)? }) => {
        impl $type {
            /// The words of this setting, in the order of the documentation.
            pub(super) const WORDS: &'static [&'static str] = &[$($word),*];
        }
        impl FromValue for $type {
            fn from_value(value: Value) -> Self {
                match String::from_value(value).as_str() {
                    $($word => $value,)*
                    other => unreachable!("the kind admits only the words of this type, not {other:?}"),
                }
            }
        }
    };
}
from_word!(AnonymousAccess {
    "loopback" => Self::Loopback,
    "true" => Self::Everywhere,
    "false" => Self::Nowhere,
});
from_word!(LogFormat { "text" => Self::Text, "json" => Self::Json });
from_word!(LogLevel {
    "error" => Self::Error,
    "warn" => Self::Warn,
    "info" => Self::Info,
    "debug" => Self::Debug,
    "trace" => Self::Trace,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_with_and_without_a_port() {
        let table = [
            ("127.0.0.1", "127.0.0.1:1883", "127.0.0.1"),
            ("0.0.0.0:1884", "0.0.0.0:1884", "0.0.0.0:1884"),
            ("::", "[::]:1883", "::"),
            ("[::1]", "[::1]:1883", "::1"),
            (" [2001:db8::1]:1884 ", "[2001:db8::1]:1884", "[2001:db8::1]:1884"),
        ];
        for (text, addr, shown) in table {
            let address: BindAddress = text.parse().unwrap();
            assert_eq!(address.with_port(1883).to_string(), addr, "{text}");
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "localhost", "*", "127.0.0.1:", "127.0.0.1:99999", "::1:1883:x", "[::1", "1.2.3"] {
            let error = text.parse::<BindAddress>().unwrap_err();
            assert!(error.contains("is not an IP address"), "{text}: {error}");
        }
    }

    #[test]
    fn loopback_admits_anonymous_clients_unless_told_otherwise() {
        let table = [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
        ];
        for (ip, loopback) in table {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(AnonymousAccess::Loopback.on(ip), loopback, "{ip}");
            assert!(AnonymousAccess::Everywhere.on(ip), "{ip}");
            assert!(!AnonymousAccess::Nowhere.on(ip), "{ip}");
        }
    }
}

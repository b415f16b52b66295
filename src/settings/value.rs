//! The types a setting can have once it was read.
//!
//! Owns: [`Value`], the untyped result of reading any setting, and how it goes into a typed field.
//! Always holds: a value that reaches [`FromValue`] was read by its row, whose kind and bounds fit the field. A test runs
//! each row's extremes and words through it.

use std::path::Path;

use crate::auth::PeerIdentity;

/// What one setting was set to, before it goes into its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, bytes or seconds.
    Number(u64),
    /// On or off.
    Switch(bool),
    /// A word, a name or a path.
    Text(String),
    /// A list.
    Texts(Vec<String>),
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
    /// Whether a listener admits clients without credentials, by whether its address is a loopback one.
    pub const fn admits(self, is_loopback: bool) -> bool {
        match self {
            Self::Loopback => is_loopback,
            Self::Everywhere => true,
            Self::Nowhere => false,
        }
    }
}

/// Which topics that begin with `$` clients may not publish to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedDollarTopics {
    /// All of them.
    All,
    /// Those below `$SYS`, which are the broker's own.
    Sys,
}

/// What gives way when a session's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullQueue {
    /// The message that comes.
    DropNewest,
    /// Those that have waited longest.
    DropOldest,
    /// The message that comes; but whoever publishes is acknowledged later before it comes to that.
    HoldBack,
}

/// What a publisher is told of a message that found nothing but full queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullQueueCode {
    /// Nothing.
    Success,
    /// 0x97, from MQTT 5.0 on.
    QuotaExceeded,
}

/// Whether something that MQTT leaves to the server is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is.
    Accept,
    /// It is not.
    Refuse,
}

/// What a listener speaks below MQTT, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// MQTT straight on a TCP connection.
    Tcp,
    /// MQTT in WebSocket frames on a TCP connection.
    WebSocket,
    /// MQTT straight on a connection to a path of this machine.
    Unix,
    /// MQTT in TLS.
    Tls,
    /// MQTT in WebSocket frames in TLS.
    SecureWebSocket,
    /// MQTT-SN in datagrams.
    MqttSn,
    /// Links between the nodes of a cluster. It takes no clients of its own, and no word of a setting names it.
    Cluster,
}

impl ListenerKind {
    /// Whether its clients have connections of their own. Those can be another node's as well.
    pub const fn has_streams(self) -> bool {
        !matches!(self, Self::MqttSn | Self::Cluster)
    }

    /// Whether a TLS handshake comes first.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    /// Whether it speaks in datagrams, and has no connections of its own.
    pub const fn has_datagrams(self) -> bool {
        matches!(self, Self::MqttSn)
    }

    /// Whether MQTT comes in WebSocket frames.
    pub const fn has_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }
}

/// Whether the clients of a TLS listener show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    Off,
    /// They are asked, and one that is shown must be right.
    Optional,
    /// Nobody comes in without.
    Required,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// Nothing: CONNECT says it.
    Off,
    /// The common name of its subject.
    CommonName,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
    /// Its first alternative name: a DNS name, a mail address or a URI.
    AlternativeName,
}

impl CertificateUser {
    /// The name in what somebody has proved to be.
    pub fn of(self, identity: &PeerIdentity) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::CommonName => identity.common_name.as_deref(),
            Self::Subject => identity.subject.as_deref(),
            Self::AlternativeName => identity.alternative_names.first().map(|name| &**name),
        }
    }
}

/// The oldest version of TLS that a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// What becomes of clients whose certificates are looked up in a list that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiredLists {
    /// They stay outside.
    Refuse,
    /// The list is believed as before.
    Accept,
}

/// Whether TLS clients get tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsTickets {
    /// One with each handshake.
    On,
    /// A client that comes back shakes hands from the beginning.
    Off,
}

/// What becomes of a message that the access rules do not allow and whose client cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedPublish {
    /// It is acknowledged and goes nowhere.
    Drop,
    /// It ends the connection.
    Close,
}

/// A way to find out who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// User name and password stand in a file.
    PasswordFile,
    /// A token that somebody has signed is the password.
    Jwt,
    /// A back end is asked over HTTP.
    Http,
}

impl AuthMethod {
    /// In the order in which they are asked where nobody says otherwise.
    pub const ALL: [Self; 3] = [Self::Jwt, Self::PasswordFile, Self::Http];
}

/// Which methods a listener asks, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodOrder {
    /// Those that are configured, in the order of [`AuthMethod::ALL`].
    Configured,
    /// These.
    Given(Box<[AuthMethod]>),
}

impl MethodOrder {
    /// The word for all that are configured.
    pub(crate) const CONFIGURED: &'static str = "configured";
}

impl FromValue for MethodOrder {
    fn from_value(value: Value) -> Self {
        let words = Vec::<String>::from_value(value);
        // Beside other words the general one says nothing more.
        if words.iter().any(|word| word == Self::CONFIGURED) {
            return Self::Configured;
        }
        Self::Given(words.into_iter().map(|word| AuthMethod::from_value(Value::Text(word))).collect())
    }
}

/// A file that there may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalFile(Option<Box<Path>>);

impl OptionalFile {
    /// Where it is, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

impl FromValue for OptionalFile {
    fn from_value(value: Value) -> Self {
        let text = String::from_value(value);
        Self((text != "none").then(|| Path::new(&text).into()))
    }
}

/// What holds while a back end does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenHttpDown {
    /// No.
    Deny,
    /// Whatever is asked next says.
    Ignore,
}

/// From the untyped value into a field.
pub(crate) trait FromValue {
    fn from_value(value: Value) -> Self;
}

macro_rules! from_number {
    ($($number:ty)*) => { $(
        impl FromValue for $number {
            fn from_value(value: Value) -> Self {
                match value {
                    Value::Number(number) => Self::try_from(number).expect("the row's range fits the field's type"),
                    other => unreachable!("a number's row reads numbers, not {other:?}"),
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
            other => unreachable!("a switch's row reads switches, not {other:?}"),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Text(text) => text,
            other => unreachable!("a text's row reads text, not {other:?}"),
        }
    }
}

impl FromValue for Box<str> {
    fn from_value(value: Value) -> Self {
        String::from_value(value).into()
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Texts(texts) => texts,
            other => unreachable!("a list's row reads lists, not {other:?}"),
        }
    }
}

/// A field whose type is one of a closed list of words; its row takes the same words.
macro_rules! words {
    ($type:ty { $($word:literal => $value:expr),* $(,)? }) => {
        impl $type {
            /// The words of this setting, in the order of the documentation.
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),*];
        }
        impl $crate::settings::FromValue for $type {
            fn from_value(value: $crate::settings::Value) -> Self {
                match <String as $crate::settings::FromValue>::from_value(value).as_str() {
                    $($word => $value,)*
                    other => unreachable!("the row admits only the words of this type, not {other:?}"),
                }
            }
        }
    };
}
#[cfg(feature = "runtime")]
pub(crate) use words;

words!(AnonymousAccess {
    "loopback" => Self::Loopback,
    "true" => Self::Everywhere,
    "false" => Self::Nowhere,
});
words!(DeniedPublish { "drop" => Self::Drop, "close" => Self::Close });
words!(WhenHttpDown { "deny" => Self::Deny, "ignore" => Self::Ignore });
words!(AuthMethod { "jwt" => Self::Jwt, "http" => Self::Http, "password-file" => Self::PasswordFile });
words!(RefusedDollarTopics { "all" => Self::All, "sys" => Self::Sys });
words!(FullQueue {
    "drop-newest" => Self::DropNewest,
    "drop-oldest" => Self::DropOldest,
    "hold-back" => Self::HoldBack,
});
impl FullQueue {
    /// Shorter words for the same.
    pub(crate) const ALSO: &'static [(&'static str, &'static str)] =
        &[("newest", "drop-newest"), ("oldest", "drop-oldest"), ("hold", "hold-back")];
}
words!(FullQueueCode { "success" => Self::Success, "quota-exceeded" => Self::QuotaExceeded });
words!(Acceptance { "accept" => Self::Accept, "refuse" => Self::Refuse });
words!(ListenerKind {
    "tcp" => Self::Tcp,
    "tls" => Self::Tls,
    "websocket" => Self::WebSocket,
    "ws" => Self::WebSocket,
    "wss" => Self::SecureWebSocket,
    "unix" => Self::Unix,
    "mqtt-sn" => Self::MqttSn,
});
words!(CertificateUser {
    "off" => Self::Off,
    "common-name" => Self::CommonName,
    "subject" => Self::Subject,
    "alternative-name" => Self::AlternativeName,
});
words!(ClientCertificates { "off" => Self::Off, "optional" => Self::Optional, "required" => Self::Required });
words!(ExpiredLists { "refuse" => Self::Refuse, "accept" => Self::Accept });
words!(TlsTickets { "on" => Self::On, "off" => Self::Off });
words!(TlsVersion { "1.2" => Self::V12, "1.3" => Self::V13 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_the_name_that_the_setting_says() {
        let identity = PeerIdentity {
            common_name: Some("pump-7".into()),
            subject: Some("O=works, CN=pump-7".into()),
            alternative_names: ["pump-7.example".into(), "urn:pump:7".into()].into(),
            tls_version: None,
        };
        let nothing =
            PeerIdentity { common_name: None, subject: None, alternative_names: [].into(), ..identity.clone() };
        for (word, expected) in [
            ("off", None),
            ("common-name", Some("pump-7")),
            ("subject", Some("O=works, CN=pump-7")),
            ("alternative-name", Some("pump-7.example")),
        ] {
            let setting = CertificateUser::from_value(crate::settings::Value::Text(word.into()));
            assert_eq!(setting.of(&identity), expected, "{word}");
            assert_eq!(setting.of(&nothing), None, "{word}");
        }
    }

    #[test]
    fn loopback_admits_anonymous_clients_unless_told_otherwise() {
        for is_loopback in [true, false] {
            assert_eq!(AnonymousAccess::Loopback.admits(is_loopback), is_loopback);
            assert!(AnonymousAccess::Everywhere.admits(is_loopback));
            assert!(!AnonymousAccess::Nowhere.admits(is_loopback));
        }
    }
}

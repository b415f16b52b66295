//! `[[bridge]]`: other brokers that messages are exchanged with.
//!
//! Always holds: a bridge that exists has a name of its own, an address and a topic, and all it names is within its bounds.
//! Leaves to others: what a bridge does (`services::bridge`), reading its secrets, which may change while it runs.

use std::fmt;

use super::tables::TableReader;
use crate::ids::Qos;
use crate::limits;
use crate::settings::Unit;
use crate::topic::SubscribedFilter;

/// What one `[[bridge]]` table says; whatever it leaves out has its default here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// What it is called: in its client id, in metrics, in the API.
    pub name: Box<str>,
    /// Where the other broker is; the first is the one that is meant, the others are for when it is not there.
    pub addresses: Vec<BridgeAddress>,
    /// Whether it goes on with the next address each time, and stays where it is.
    pub round_robin: bool,
    /// What it speaks there.
    pub version: BridgeVersion,
    /// Which messages go which way.
    pub topics: Vec<BridgeTopic>,
    /// What it is called there; none is `NODE.NAME`.
    pub client_id: Option<Box<str>>,
    /// Its session there begins anew with each connection.
    pub clean_start: bool,
    /// How long that session lives on without it; before 5.0 the other broker decides.
    pub session_expiry_s: u32,
    /// Its session here begins anew with each connection.
    pub local_clean_start: bool,
    /// In seconds.
    pub keep_alive_s: u16,
    /// User name there.
    pub username: Option<Box<str>>,
    /// Where its password is.
    pub password: BridgeSecret,
    /// How it speaks TLS, where an address says so.
    pub tls: BridgeTls,
    /// Whether it says before 5.0 that it is a bridge.
    pub tells_bridge: bool,
    /// Who is told whether it is connected.
    pub notifications: BridgeNotifications,
    /// Where; none is `$SYS/broker/connection/CLIENT ID/state`.
    pub notification_topic: Option<Box<str>>,
    /// When it connects.
    pub start: BridgeStart,
    /// Messages that wait here before a lazy one connects.
    pub lazy_messages: u32,
    /// Seconds without a message before a lazy one disconnects.
    pub idle_timeout_s: u32,
    /// The first and the longest wait before it tries again, in seconds.
    pub reconnect_s: (u32, u32),
    /// How long the other broker may take to its CONNACK, in seconds.
    pub connect_timeout_s: u32,
    /// QoS 1 and 2 messages that are under way at a time, each way.
    pub inflight_max: u16,
    /// Largest packet that it takes from there.
    pub packet_size_max_bytes: u32,
    /// Whether messages go out with the RETAIN that they have.
    pub outgoing_retain: bool,
    /// How many bridges a message may have passed and still pass this one.
    pub hops_max: u8,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeAddress {
    /// What is below MQTT.
    pub transport: BridgeTransport,
    /// A name or an address.
    pub host: Box<str>,
    /// 1 to 65,535; the usual one of its scheme where none is said.
    pub port: u16,
    /// Of the WebSocket.
    pub path: Box<str>,
}

/// What is below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeTransport {
    /// `mqtt://`: nothing.
    Tcp,
    /// `mqtts://`: certificates as [`BridgeTls`] says.
    Tls,
    /// `ws://`: binary frames, subprotocol `mqtt`.
    WebSocket,
    /// `wss://`: both of them.
    SecureWebSocket,
}

impl BridgeTransport {
    const SCHEMES: [(&'static str, Self, u16); 4] = [
        ("mqtt", Self::Tcp, 1883),
        ("mqtts", Self::Tls, 8883),
        ("ws", Self::WebSocket, 8083),
        ("wss", Self::SecureWebSocket, 8084),
    ];

    /// Whether there is TLS in it.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    /// Whether there is WebSocket in it.
    pub const fn has_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }
}

impl fmt::Display for BridgeAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, ..) = BridgeTransport::SCHEMES[self.transport as usize];
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        let path = if self.transport.has_websocket() { &*self.path } else { "" };
        write!(out, "{scheme}://{host}:{}{path}", self.port)
    }
}

impl std::str::FromStr for BridgeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("mqtt", text));
        let known = BridgeTransport::SCHEMES.into_iter().find(|(name, ..)| *name == scheme);
        let Some((_, transport, default_port)) = known else {
            return Err(format!("{scheme:?} is none of mqtt, mqtts, ws and wss"));
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("user and password have keys of their own".to_owned());
        }
        if !path.is_empty() && path != "/" && !transport.has_websocket() {
            return Err("only a WebSocket has a path".to_owned());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or("the address in brackets does not end")?;
                (host, behind.strip_prefix(':'))
            }
            // Two colons are an address of IPv6 without a port.
            None if authority.matches(':').count() > 1 => (authority, None),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{text:?} names no host"));
        }
        let port = match port {
            None => default_port,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{port:?} is no port"))?,
        };
        let path = if path.is_empty() { "/mqtt" } else { path };
        Ok(Self { transport, host: host.into(), port, path: path.into() })
    }
}

/// What is spoken with the other broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeVersion {
    /// MQTT 3.1.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeDirection {
    /// From here to there.
    Out,
    /// From there to here.
    In,
    /// Each of the two, from prefix to prefix.
    Both,
}

impl BridgeDirection {
    const WORDS: [(&'static str, Self); 3] = [("out", Self::Out), ("in", Self::In), ("both", Self::Both)];

    /// From here to there.
    pub const fn goes_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    /// From there to here.
    pub const fn comes_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }
}

/// Messages that go over a bridge: `pattern direction qos local-prefix remote-prefix`, as Mosquitto has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// What stands behind both prefixes; a filter, or empty where a prefix alone is one topic.
    pub pattern: Box<str>,
    /// Which way they go.
    pub direction: BridgeDirection,
    /// The highest quality of service with which they do.
    pub qos: Qos,
    /// Stands before them here.
    pub local_prefix: Box<str>,
    /// Stands before them there.
    pub remote_prefix: Box<str>,
}

impl BridgeTopic {
    /// What is subscribed to here.
    pub fn local_filter(&self) -> String {
        format!("{}{}", self.local_prefix, self.pattern)
    }

    /// What is subscribed to there.
    pub fn remote_filter(&self) -> String {
        format!("{}{}", self.remote_prefix, self.pattern)
    }
}

impl fmt::Display for BridgeTopic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| if text.is_empty() { "\"\"".to_owned() } else { text.to_owned() };
        let words = BridgeDirection::WORDS;
        let (direction, _) = words.iter().find(|(_, known)| *known == self.direction).unwrap_or(&words[0]);
        let (pattern, local) = (quoted(&self.pattern), quoted(&self.local_prefix));
        write!(out, "{pattern} {direction} {} {local} {}", self.qos as u8, quoted(&self.remote_prefix))
    }
}

impl std::str::FromStr for BridgeTopic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let unquoted = |word: &str| if word == "\"\"" { "" } else { word }.into();
        let pattern: Box<str> = words.next().map(unquoted).ok_or("a topic names a pattern")?;
        let direction = match words.next() {
            None => BridgeDirection::Out,
            Some(word) => {
                let known = BridgeDirection::WORDS.into_iter().find(|(known, _)| *known == word);
                known.ok_or_else(|| format!("{word:?} is none of out, in and both"))?.1
            }
        };
        let qos = match words.next() {
            None => Qos::AtMostOnce,
            Some(word) => {
                let bits = word.parse().ok().and_then(Qos::from_bits);
                bits.ok_or_else(|| format!("{word:?} is none of 0, 1 and 2"))?
            }
        };
        let local_prefix: Box<str> = words.next().map(unquoted).unwrap_or_default();
        let remote_prefix: Box<str> = words.next().map(unquoted).unwrap_or_default();
        if let Some(word) = words.next() {
            return Err(format!("{word:?} is one word too many: pattern direction qos local-prefix remote-prefix"));
        }
        let topic = Self { pattern, direction, qos, local_prefix, remote_prefix };
        for (filter, prefix) in
            [(topic.local_filter(), &topic.local_prefix), (topic.remote_filter(), &topic.remote_prefix)]
        {
            if prefix.contains(['+', '#']) {
                return Err(format!("{prefix:?} is a prefix, and has a wildcard in it"));
            }
            SubscribedFilter::parse(&filter, u16::MAX)
                .ok()
                .filter(|parsed| parsed.share.is_none())
                .ok_or_else(|| format!("{filter:?} is no filter that a bridge can have"))?;
        }
        Ok(topic)
    }
}

/// Where a secret is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BridgeSecret {
    /// There is none.
    #[default]
    None,
    /// In a file, whose first line it is.
    File(Box<str>),
    /// In an environment variable.
    Variable(Box<str>),
}

/// How a bridge speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTls {
    /// Authorities, as a PEM file; none is those of the system.
    pub ca: Option<Box<str>>,
    /// Its certificate with the chain, as a PEM file.
    pub certificate: Option<Box<str>>,
    /// Its key, as a PEM file.
    pub key: Option<Box<str>>,
    /// The name that the other broker's certificate is to have; none is the host of the address.
    pub server_name: Option<Box<str>>,
    /// The protocol that it names inside TLS (ALPN); none is none.
    pub alpn: Option<Box<str>>,
}

/// Who is told whether a bridge is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeNotifications {
    /// Nobody.
    Off,
    /// Clients here.
    Local,
    /// Clients here and there.
    Both,
}

/// When a bridge connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeStart {
    /// At once, and again whenever it has lost its connection.
    Automatic,
    /// When enough messages wait for it, until none has come for a while.
    Lazy,
    /// At once, and not again.
    Once,
}

pub(super) const VERSIONS: [(&str, BridgeVersion); 3] =
    [("3.1", BridgeVersion::V31), ("3.1.1", BridgeVersion::V311), ("5.0", BridgeVersion::V5)];
pub(super) const STARTS: [(&str, BridgeStart); 3] =
    [("automatic", BridgeStart::Automatic), ("lazy", BridgeStart::Lazy), ("once", BridgeStart::Once)];
pub(super) const NOTIFICATIONS: [(&str, BridgeNotifications); 3] =
    [("off", BridgeNotifications::Off), ("local", BridgeNotifications::Local), ("both", BridgeNotifications::Both)];

impl BridgeSettings {
    /// One of which nothing is said but where to and what.
    pub fn new(name: &str, addresses: Vec<BridgeAddress>, topics: Vec<BridgeTopic>) -> Self {
        Self {
            name: name.into(),
            addresses,
            round_robin: false,
            version: BridgeVersion::V5,
            topics,
            client_id: None,
            clean_start: false,
            session_expiry_s: u32::MAX,
            local_clean_start: false,
            keep_alive_s: 60,
            username: None,
            password: BridgeSecret::None,
            tls: BridgeTls::default(),
            tells_bridge: true,
            notifications: BridgeNotifications::Both,
            notification_topic: None,
            start: BridgeStart::Automatic,
            lazy_messages: 10,
            idle_timeout_s: 60,
            reconnect_s: (1, 30),
            connect_timeout_s: 10,
            inflight_max: 100,
            packet_size_max_bytes: limits::PACKET_SIZE_MAX_BYTES,
            outgoing_retain: true,
            hops_max: 8,
        }
    }
}

/// What a table of the file comes to; `None` without a name, and what is wrong is kept by `table`.
pub(super) fn read(table: &mut TableReader<'_, '_>) -> Option<BridgeSettings> {
    let name = table.needed_text("name").filter(|name| is_name(table, name));
    let addresses = parsed(table, "address");
    let topics = parsed(table, "topics");
    for (key, is_missing) in [("address", addresses.is_empty()), ("topics", topics.is_empty())] {
        if is_missing && !table.has(key) {
            table.problem_of(key, "it is missing");
        }
    }
    let mut bridge = BridgeSettings::new(&name.clone().unwrap_or_default(), addresses, topics);
    read_connection(table, &mut bridge);
    read_secrets(table, &mut bridge);
    read_behaviour(table, &mut bridge);
    name.map(|_| bridge)
}

fn read_connection(table: &mut TableReader<'_, '_>, bridge: &mut BridgeSettings) {
    set(&mut bridge.round_robin, table.switch("round_robin"));
    set(&mut bridge.version, table.choice("version", &VERSIONS));
    bridge.client_id = table.text("client_id").map(Into::into);
    set(&mut bridge.clean_start, table.switch("clean_start"));
    let never = table.value_is("session_expiry", "never");
    if !never {
        let expiry = table.number("session_expiry", Unit::Seconds, 0..=u64::from(u32::MAX - 1));
        set(&mut bridge.session_expiry_s, expiry.map(|seconds| seconds as u32));
    }
    set(&mut bridge.local_clean_start, table.switch("local_clean_start"));
    let seconds = table.number("keep_alive", Unit::Seconds, 5..=u64::from(u16::MAX));
    set(&mut bridge.keep_alive_s, seconds.map(|seconds| seconds as u16));
    let longest = table.number("reconnect_max", Unit::Seconds, 1..=3600);
    set(&mut bridge.reconnect_s.1, longest.map(|seconds| seconds as u32));
    let first = table.number("reconnect_min", Unit::Seconds, 1..=3600);
    set(&mut bridge.reconnect_s.0, first.map(|seconds| seconds as u32));
    bridge.reconnect_s.1 = bridge.reconnect_s.1.max(bridge.reconnect_s.0);
    let seconds = table.number("connect_timeout", Unit::Seconds, 1..=300);
    set(&mut bridge.connect_timeout_s, seconds.map(|seconds| seconds as u32));
}

fn read_secrets(table: &mut TableReader<'_, '_>, bridge: &mut BridgeSettings) {
    bridge.username = table.text("username").map(Into::into);
    let file = table.text("password_file");
    let variable = table.text("password_variable");
    if file.is_some() && variable.is_some() {
        table.problem_of("password_variable", "the password is in a file already, as password_file says");
    }
    bridge.password = match (file, variable) {
        (Some(path), _) => BridgeSecret::File(path.into()),
        (None, Some(name)) => BridgeSecret::Variable(name.into()),
        (None, None) => BridgeSecret::None,
    };
    if bridge.password != BridgeSecret::None && bridge.username.is_none() && bridge.version != BridgeVersion::V5 {
        table.problem_of("username", "before MQTT 5.0 there is no password without a user name");
    }
    let mut text = |key| table.text(key).map(Into::into);
    let (ca, certificate, key) = (text("tls_ca"), text("tls_cert"), text("tls_key"));
    bridge.tls = BridgeTls { ca, certificate, key, server_name: text("tls_server_name"), alpn: text("tls_alpn") };
    if bridge.tls.certificate.is_some() != bridge.tls.key.is_some() {
        table.problem_of("tls_cert", "tls_cert and tls_key go together");
    }
}

fn read_behaviour(table: &mut TableReader<'_, '_>, bridge: &mut BridgeSettings) {
    set(&mut bridge.tells_bridge, table.switch("tell_bridge"));
    set(&mut bridge.notifications, table.choice("notifications", &NOTIFICATIONS));
    bridge.notification_topic = table.text("notification_topic").map(Into::into);
    set(&mut bridge.start, table.choice("start", &STARTS));
    let messages = table.number("lazy_messages", Unit::Count, 1..=1_000_000);
    set(&mut bridge.lazy_messages, messages.map(|number| number as u32));
    let seconds = table.number("idle_timeout", Unit::Seconds, 1..=86_400);
    set(&mut bridge.idle_timeout_s, seconds.map(|seconds| seconds as u32));
    let messages = table.number("max_inflight", Unit::Count, 1..=u64::from(u16::MAX));
    set(&mut bridge.inflight_max, messages.map(|number| number as u16));
    let (least, most) = (limits::PACKET_SIZE_MIN_BYTES, limits::PACKET_SIZE_MAX_BYTES);
    let bytes = table.number("max_packet_size", Unit::Bytes, u64::from(least)..=u64::from(most));
    set(&mut bridge.packet_size_max_bytes, bytes.map(|bytes| bytes as u32));
    set(&mut bridge.outgoing_retain, table.switch("outgoing_retain"));
    let hops = table.number("max_hops", Unit::Count, 1..=u64::from(u8::MAX));
    set(&mut bridge.hops_max, hops.map(|hops| hops as u8));
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

/// Each text of a list, as what it means.
fn parsed<T: std::str::FromStr<Err = String>>(table: &mut TableReader<'_, '_>, key: &'static str) -> Vec<T> {
    let texts = table.texts(key);
    if texts.as_ref().is_some_and(Vec::is_empty) {
        table.problem_of(key, "it is empty");
    }
    let texts = texts.unwrap_or_default();
    let mut all = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(one) => all.push(one),
            Err(wrong) => table.problem_of(key, wrong),
        }
    }
    all
}

/// A name becomes a part of a client id, of a topic and of a label.
fn is_name(table: &mut TableReader<'_, '_>, name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fits = (1..=limits::NODE_NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed);
    if !fits {
        table.problem_of("name", "1 to 64 letters, digits, dots, hyphens and underscores");
    }
    fits
}

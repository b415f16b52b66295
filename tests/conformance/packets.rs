//! MQTT packets as bytes: the suite's own encoder.
//!
//! Written from the specification alone. It shares nothing with the broker's codec, so that the two cannot agree on the
//! same mistake, and it lets a test write what no well-behaved client would: every field takes raw bytes.

use std::fmt;

/// The version a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V31,
    V311,
    V5,
}

pub(crate) use Version::{V5, V31, V311};

/// The three versions with an OASIS or IBM text, oldest first.
pub(crate) const VERSIONS: [Version; 3] = [V31, V311, V5];

// The first byte of each packet a client sends, with the flags the specification demands.
pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBSCRIBE: u8 = 0xA2;
pub(crate) const UNSUBACK: u8 = 0xB0;
pub(crate) const PINGREQ: u8 = 0xC0;
pub(crate) const PINGRESP: u8 = 0xD0;
pub(crate) const DISCONNECT: u8 = 0xE0;
pub(crate) const AUTH: u8 = 0xF0;

// Subscription options (MQTT 5.0, 3.8.3.1); the two lowest bits are the QoS.
pub(crate) const NO_LOCAL: u8 = 0x04;
pub(crate) const RETAIN_AS_PUBLISHED: u8 = 0x08;
pub(crate) const RETAIN_IF_NEW: u8 = 0x10;
pub(crate) const RETAIN_NEVER: u8 = 0x20;

/// Name of a packet by its first byte, for messages.
pub(crate) fn packet_name(first: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "reserved-0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES[usize::from(first >> 4)]
}

/// A variable byte integer in its shortest form.
pub(crate) fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Two length bytes and the bytes: a string or binary data.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a field has at most 65,535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// Fixed header with the right remaining length, then the body.
pub(crate) fn frame(first: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = u32::try_from(body.len()).expect("test packets are small");
    [&[first][..], &varint(length), body].concat()
}

/// What a property carries. Strings are bytes here: a test must be able to send ill-formed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Var(u32),
    Bytes(Vec<u8>),
    Pair(Vec<u8>, Vec<u8>),
}

/// One property: identifier and value (MQTT 5.0, 2.2.2.2).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Property(pub(crate) u8, pub(crate) Value);

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", prop::name(self.0))?;
        match &self.1 {
            Value::Byte(v) => write!(f, "{v}"),
            Value::Two(v) => write!(f, "{v}"),
            Value::Four(v) | Value::Var(v) => write!(f, "{v}"),
            Value::Bytes(v) => write!(f, "{:?}", shorten(&String::from_utf8_lossy(v))),
            Value::Pair(k, v) => write!(f, "{:?}:{:?}", String::from_utf8_lossy(k), String::from_utf8_lossy(v)),
        }
    }
}

/// Long text cut for messages.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    format!("{}... ({} bytes)", text.chars().take(60).collect::<String>(), text.len())
}

/// Property identifiers and constructors.
#[expect(
    dead_code,
    reason = "the specification's table, whole: what no test sends or looks for yet is there for the next"
)]
pub(crate) mod prop {
    use super::{Property, Value};

    macro_rules! properties {
        ($($id:literal $constant:ident $name:ident: $kind:ident($arg:ty);)*) => {
            $(pub(crate) const $constant: u8 = $id;)*
            $(pub(crate) fn $name(value: $arg) -> Property { Property($id, Value::$kind(value.into())) })*
            /// The property's name, for messages.
            pub(crate) fn name(id: u8) -> String {
                match id { $($id => stringify!($name).to_owned(),)* USER => "user".to_owned(), _ => format!("0x{id:02x}") }
            }
        };
    }

    pub(crate) const USER: u8 = 0x26;

    /// A pair of bytes that need not be UTF-8.
    pub(crate) fn user(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Property {
        Property(USER, Value::Pair(key.as_ref().to_vec(), value.as_ref().to_vec()))
    }

    properties! {
        0x01 PAYLOAD_FORMAT payload_format: Byte(u8);
        0x02 MESSAGE_EXPIRY message_expiry: Four(u32);
        0x03 CONTENT_TYPE content_type: Bytes(&[u8]);
        0x08 RESPONSE_TOPIC response_topic: Bytes(&[u8]);
        0x09 CORRELATION_DATA correlation_data: Bytes(&[u8]);
        0x0B SUBSCRIPTION_ID subscription_id: Var(u32);
        0x11 SESSION_EXPIRY session_expiry: Four(u32);
        0x12 ASSIGNED_CLIENT_ID assigned_client_id: Bytes(&[u8]);
        0x13 SERVER_KEEP_ALIVE server_keep_alive: Two(u16);
        0x15 AUTH_METHOD auth_method: Bytes(&[u8]);
        0x16 AUTH_DATA auth_data: Bytes(&[u8]);
        0x17 REQUEST_PROBLEM request_problem: Byte(u8);
        0x18 WILL_DELAY will_delay: Four(u32);
        0x19 REQUEST_RESPONSE request_response: Byte(u8);
        0x1A RESPONSE_INFORMATION response_information: Bytes(&[u8]);
        0x1C SERVER_REFERENCE server_reference: Bytes(&[u8]);
        0x1F REASON_STRING reason_string: Bytes(&[u8]);
        0x21 RECEIVE_MAXIMUM receive_maximum: Two(u16);
        0x22 TOPIC_ALIAS_MAXIMUM topic_alias_maximum: Two(u16);
        0x23 TOPIC_ALIAS topic_alias: Two(u16);
        0x24 MAXIMUM_QOS maximum_qos: Byte(u8);
        0x25 RETAIN_AVAILABLE retain_available: Byte(u8);
        0x27 MAXIMUM_PACKET_SIZE maximum_packet_size: Four(u32);
        0x28 WILDCARD_AVAILABLE wildcard_available: Byte(u8);
        0x29 SUBSCRIPTION_ID_AVAILABLE subscription_id_available: Byte(u8);
        0x2A SHARED_AVAILABLE shared_available: Byte(u8);
    }
}

/// The properties without their length.
pub(crate) fn raw_properties(properties: &[Property]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Property(id, value) in properties {
        bytes.push(*id);
        match value {
            Value::Byte(v) => bytes.push(*v),
            Value::Two(v) => bytes.extend(v.to_be_bytes()),
            Value::Four(v) => bytes.extend(v.to_be_bytes()),
            Value::Var(v) => bytes.extend(varint(*v)),
            Value::Bytes(v) => bytes.extend(field(v)),
            Value::Pair(k, v) => bytes.extend([field(k), field(v)].concat()),
        }
    }
    bytes
}

/// The properties as a packet carries them in `version`: length and properties in 5.0, nothing before.
pub(crate) fn properties(version: Version, properties: &[Property]) -> Vec<u8> {
    if version != V5 {
        assert!(properties.is_empty(), "only MQTT 5.0 has properties");
        return Vec::new();
    }
    let bytes = raw_properties(properties);
    [varint(bytes.len() as u32), bytes].concat()
}

/// A will as CONNECT carries it.
#[derive(Clone)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) props: Vec<Property>,
}

impl Will {
    pub(crate) fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Will {
        let (topic, payload) = (topic.as_ref().to_vec(), payload.as_ref().to_vec());
        Will { topic, payload, qos: 0, retain: false, props: Vec::new() }
    }
    pub(crate) fn qos(mut self, qos: u8) -> Will {
        self.qos = qos;
        self
    }
    pub(crate) fn retain(mut self) -> Will {
        self.retain = true;
        self
    }
    pub(crate) fn prop(mut self, property: Property) -> Will {
        self.props.push(property);
        self
    }
    pub(crate) fn delay(self, seconds: u32) -> Will {
        self.prop(prop::will_delay(seconds))
    }
}

/// A CONNECT packet. `flags_xor` flips connect flags after they were computed, for packets that lie about themselves.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) protocol: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) flags_xor: u8,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) props: Vec<Property>,
    pub(crate) id: Vec<u8>,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
}

impl Connect {
    /// A clean session without keep alive.
    pub(crate) fn new(version: Version, id: impl AsRef<[u8]>) -> Connect {
        let (protocol, level) = match version {
            V31 => (&b"MQIsdp"[..], 3),
            V311 => (&b"MQTT"[..], 4),
            V5 => (&b"MQTT"[..], 5),
        };
        Connect {
            version,
            protocol: protocol.to_vec(),
            level,
            flags_xor: 0,
            clean: true,
            keep_alive: 0,
            props: Vec::new(),
            id: id.as_ref().to_vec(),
            will: None,
            user: None,
            password: None,
        }
    }
    /// Clean Start 0 (5.0) or clean session 0.
    pub(crate) fn resume(mut self) -> Connect {
        self.clean = false;
        self
    }
    pub(crate) fn keep_alive(mut self, seconds: u16) -> Connect {
        self.keep_alive = seconds;
        self
    }
    pub(crate) fn prop(mut self, property: Property) -> Connect {
        self.props.push(property);
        self
    }
    /// Session Expiry Interval.
    pub(crate) fn expiry(self, seconds: u32) -> Connect {
        self.prop(prop::session_expiry(seconds))
    }
    /// Makes the session outlive its connection, however this version says that: Clean Start or clean session 0 and, in
    /// 5.0, an expiry of five minutes.
    pub(crate) fn persistent(self) -> Connect {
        let resume = self.resume();
        if resume.version == V5 { resume.expiry(300) } else { resume }
    }
    pub(crate) fn will(mut self, will: Will) -> Connect {
        self.will = Some(will);
        self
    }
    pub(crate) fn user(mut self, user: impl AsRef<[u8]>) -> Connect {
        self.user = Some(user.as_ref().to_vec());
        self
    }
    pub(crate) fn password(mut self, password: impl AsRef<[u8]>) -> Connect {
        self.password = Some(password.as_ref().to_vec());
        self
    }
    pub(crate) fn flip(mut self, flags: u8) -> Connect {
        self.flags_xor = flags;
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        frame(CONNECT, [self.header(), self.payload()].concat())
    }

    /// The variable header.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7;
        let mut bytes = field(&self.protocol);
        bytes.extend([self.level, flags ^ self.flags_xor]);
        bytes.extend(self.keep_alive.to_be_bytes());
        bytes.extend(properties(self.version, &self.props));
        bytes
    }

    /// The payload, in the order the specification demands.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut bytes = field(&self.id);
        if let Some(will) = &self.will {
            bytes.extend(properties(self.version, &will.props));
            bytes.extend([field(&will.topic), field(&will.payload)].concat());
        }
        for credential in [&self.user, &self.password].into_iter().flatten() {
            bytes.extend(field(credential));
        }
        bytes
    }
}

/// A PUBLISH packet, sent or received.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// Zero where QoS is 0.
    pub(crate) id: u16,
    pub(crate) props: Vec<Property>,
    pub(crate) payload: Vec<u8>,
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PUBLISH {:?} qos {}", shorten(&self.topic), self.qos)?;
        if self.qos > 0 {
            write!(f, " id {}", self.id)?;
        }
        write!(f, "{}{}", if self.dup { " DUP" } else { "" }, if self.retain { " RETAIN" } else { "" })?;
        if !self.props.is_empty() {
            write!(f, " {:?}", self.props)?;
        }
        write!(f, " payload {:?}", shorten(&String::from_utf8_lossy(&self.payload)))
    }
}

impl Publish {
    pub(crate) fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Publish {
        let (topic, payload) = (topic.into(), payload.as_ref().to_vec());
        Publish { dup: false, qos: 0, retain: false, topic, id: 0, props: Vec::new(), payload }
    }
    pub(crate) fn qos(mut self, qos: u8) -> Publish {
        self.qos = qos;
        self
    }
    pub(crate) fn id(mut self, id: u16) -> Publish {
        self.id = id;
        self
    }
    pub(crate) fn dup(mut self) -> Publish {
        self.dup = true;
        self
    }
    pub(crate) fn retain(mut self) -> Publish {
        self.retain = true;
        self
    }
    pub(crate) fn prop(mut self, property: Property) -> Publish {
        self.props.push(property);
        self
    }

    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let first = PUBLISH | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = field(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(properties(version, &self.props));
        body.extend(&self.payload);
        frame(first, body)
    }

    /// The value of the first property with this identifier.
    pub(crate) fn property(&self, id: u8) -> Option<&Value> {
        self.props.iter().find(|p| p.0 == id).map(|p| &p.1)
    }

    /// Subscription identifiers in ascending order.
    pub(crate) fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .props
            .iter()
            .filter_map(|p| match p {
                Property(prop::SUBSCRIPTION_ID, Value::Var(id)) => Some(*id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, id.to_be_bytes())
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of MQTT 5.0 with a reason code.
pub(crate) fn ack_with(first: u8, id: u16, code: u8) -> Vec<u8> {
    frame(first, [&id.to_be_bytes()[..], &[code]].concat())
}

/// SUBSCRIBE with one options byte a filter.
pub(crate) fn subscribe(version: Version, id: u16, props: &[Property], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &properties(version, props)].concat();
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    frame(SUBSCRIBE, body)
}

/// Without properties in 5.0.
pub(crate) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &properties(version, &[])].concat();
    for filter in filters {
        body.extend(field(filter));
    }
    frame(UNSUBSCRIBE, body)
}

/// DISCONNECT of MQTT 5.0 with a reason code and properties.
pub(crate) fn disconnect_with(code: u8, props: &[Property]) -> Vec<u8> {
    frame(DISCONNECT, [vec![code], properties(V5, props)].concat())
}

/// A whole packet of each kind that a connected client may send, for tests that go through all of them.
pub(crate) fn one_of_each(version: Version, topic: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![
        ("PUBLISH QoS 0", Publish::new(topic, "x").encode(version)),
        ("PUBLISH QoS 1", Publish::new(topic, "x").qos(1).id(41).encode(version)),
        ("PUBLISH QoS 2", Publish::new(topic, "x").qos(2).id(42).encode(version)),
        ("PUBACK", ack(PUBACK, 43)),
        ("PUBREC", ack(PUBREC, 44)),
        ("PUBREL", ack(PUBREL, 45)),
        ("PUBCOMP", ack(PUBCOMP, 46)),
        ("SUBSCRIBE", subscribe(version, 47, &[], &[(topic, 1)])),
        ("UNSUBSCRIBE", unsubscribe(version, 48, &[topic])),
        ("PINGREQ", frame(PINGREQ, [])),
        ("DISCONNECT", frame(DISCONNECT, [])),
    ];
    if version == V5 {
        all.push(("AUTH", frame(AUTH, [])));
    }
    all
}

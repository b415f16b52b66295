//! The suite's own decoder for what a server sends, and the rules that every such packet must keep.
//!
//! It is strict on purpose: reserved bits, flags, reason codes, which property may stand in which packet and how often,
//! well-formed strings and shortest integers are checked for every packet of every test, so that each test also proves
//! the statements about form. An error says which rule was broken.

use crate::packets::{
    AUTH, CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, Property, Publish, SUBACK, UNSUBACK, V5, V31,
    Value, Version, packet_name, prop,
};

/// A packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    Ack(Ack),
    SubAck(Codes),
    UnsubAck(Codes),
    PingResp,
    Disconnect(Reason),
    Auth(Reason),
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) props: Vec<Property>,
}

impl ConnAck {
    pub(crate) fn property(&self, id: u8) -> Option<&Value> {
        self.props.iter().find(|p| p.0 == id).map(|p| &p.1)
    }
    /// A number the server announced.
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        self.property(id).map(|value| match value {
            Value::Byte(v) => u32::from(*v),
            Value::Two(v) => u32::from(*v),
            Value::Four(v) | Value::Var(v) => *v,
            Value::Bytes(_) | Value::Pair(..) => panic!("{} is no number", prop::name(id)),
        })
    }
    pub(crate) fn assigned_id(&self) -> Option<String> {
        match self.property(prop::ASSIGNED_CLIENT_ID) {
            Some(Value::Bytes(id)) => Some(String::from_utf8(id.clone()).expect("the decoder checked it")),
            _ => None,
        }
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP; `first` says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) first: u8,
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) props: Vec<Property>,
}

/// SUBACK or UNSUBACK (which has no codes before 5.0).
#[expect(clippy::struct_field_names, reason = "the specification's word for them")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) id: u16,
    pub(crate) codes: Vec<u8>,
    pub(crate) props: Vec<Property>,
}

/// DISCONNECT or AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) code: u8,
    pub(crate) props: Vec<Property>,
}

/// The length of the packet that `bytes` begin with: `None` while its fixed header is not whole.
///
/// # Errors
/// The remaining length is longer than four bytes or not in its shortest form.
pub(crate) fn packet_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut length = 0usize;
    for (i, byte) in bytes.iter().skip(1).enumerate() {
        if i == 4 {
            return Err("the remaining length has more than four bytes".into());
        }
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            if *byte == 0 && i > 0 {
                return Err("[MQTT-1.5.5-1] the remaining length is not in its shortest form".into());
            }
            return Ok(Some(2 + i + length));
        }
    }
    Ok(None)
}

/// Decodes one whole packet from the server.
///
/// # Errors
/// Says which rule of the specification the packet breaks.
pub(crate) fn decode(version: Version, bytes: &[u8]) -> Result<Packet, String> {
    let total = packet_length(bytes)?.ok_or("no whole fixed header")?;
    if bytes.len() != total {
        return Err(format!("{} bytes where the header says {total}", bytes.len()));
    }
    let first = bytes[0];
    let header_bytes = bytes.iter().skip(1).position(|b| b & 0x80 == 0).map_or(2, |i| i + 2);
    let mut reader = Reader { bytes: &bytes[header_bytes..], version };
    let packet = match first {
        CONNACK => Packet::ConnAck(connack(&mut reader)?),
        0x30..=0x3F => Packet::Publish(publish(first, &mut reader)?),
        PUBACK | PUBREC | PUBREL | PUBCOMP => Packet::Ack(ack(first, &mut reader)?),
        SUBACK => Packet::SubAck(codes(&mut reader, SUBACK)?),
        UNSUBACK => Packet::UnsubAck(codes(&mut reader, UNSUBACK)?),
        PINGRESP => Packet::PingResp,
        DISCONNECT if version == V5 => Packet::Disconnect(reason(&mut reader, DISCONNECT)?),
        AUTH if version == V5 => Packet::Auth(reason(&mut reader, AUTH)?),
        _ => return Err(format!("{} with first byte {first:#04x} never comes from a server", packet_name(first))),
    };
    if reader.bytes.is_empty() { Ok(packet) } else { Err(format!("{} bytes too many", reader.bytes.len())) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    version: Version,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        if n > self.bytes.len() {
            return Err(format!("{n} bytes wanted, {} left", self.bytes.len()));
        }
        let (head, tail) = self.bytes.split_at(n);
        self.bytes = tail;
        Ok(head)
    }
    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }
    fn two(&mut self) -> Result<u16, String> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }
    fn four(&mut self) -> Result<u32, String> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }
    fn id(&mut self) -> Result<u16, String> {
        match self.two()? {
            0 => Err("packet identifier 0".into()),
            id => Ok(id),
        }
    }
    fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0u32;
        for i in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * i);
            if byte & 0x80 == 0 {
                return if byte == 0 && i > 0 {
                    Err("[MQTT-1.5.5-1] an integer is not in its shortest form".into())
                } else {
                    Ok(value)
                };
            }
        }
        Err("a variable byte integer of more than four bytes".into())
    }
    fn binary(&mut self) -> Result<Vec<u8>, String> {
        let length = self.two()?;
        Ok(self.take(usize::from(length))?.to_vec())
    }
    fn string(&mut self) -> Result<Vec<u8>, String> {
        let bytes = self.binary()?;
        match std::str::from_utf8(&bytes) {
            Err(error) => Err(format!("[MQTT-1.5.4-1] a string is not UTF-8: {error}")),
            Ok(text) if text.contains('\0') => Err("[MQTT-1.5.4-2] a string contains U+0000".into()),
            Ok(_) => Ok(bytes),
        }
    }

    /// Properties of a packet of kind `first`; none before 5.0.
    fn properties(&mut self, first: u8) -> Result<Vec<Property>, String> {
        if self.version != V5 {
            return Ok(Vec::new());
        }
        let length = self.varint()? as usize;
        let mut inner = Reader { bytes: self.take(length)?, version: self.version };
        let mut found: Vec<Property> = Vec::new();
        while !inner.bytes.is_empty() {
            let id = inner.byte()?;
            if !allowed(first).contains(&id) {
                return Err(format!("property {} has no place in {}", prop::name(id), packet_name(first)));
            }
            let repeatable = id == prop::USER || id == prop::SUBSCRIPTION_ID;
            if !repeatable && found.iter().any(|p| p.0 == id) {
                return Err(format!("property {} twice", prop::name(id)));
            }
            let value = inner.value(id)?;
            in_range(id, &value)?;
            found.push(Property(id, value));
        }
        Ok(found)
    }

    fn value(&mut self, id: u8) -> Result<Value, String> {
        Ok(match id {
            prop::PAYLOAD_FORMAT
            | prop::MAXIMUM_QOS
            | prop::RETAIN_AVAILABLE
            | prop::WILDCARD_AVAILABLE
            | prop::SUBSCRIPTION_ID_AVAILABLE
            | prop::SHARED_AVAILABLE => Value::Byte(self.byte()?),
            prop::SERVER_KEEP_ALIVE | prop::RECEIVE_MAXIMUM | prop::TOPIC_ALIAS_MAXIMUM | prop::TOPIC_ALIAS => {
                Value::Two(self.two()?)
            }
            prop::MESSAGE_EXPIRY | prop::SESSION_EXPIRY | prop::MAXIMUM_PACKET_SIZE => Value::Four(self.four()?),
            prop::SUBSCRIPTION_ID => Value::Var(self.varint()?),
            prop::CORRELATION_DATA | prop::AUTH_DATA => Value::Bytes(self.binary()?),
            prop::USER => Value::Pair(self.string()?, self.string()?),
            _ => Value::Bytes(self.string()?),
        })
    }
}

/// Properties that may stand in a server's packet of this kind (MQTT 5.0, table 2-4). A Session Expiry Interval in
/// DISCONNECT is left out: only a client sends one there [MQTT-3.14.2-2].
fn allowed(first: u8) -> &'static [u8] {
    match first {
        CONNACK => {
            &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A]
        }
        0x30 => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
        DISCONNECT => &[0x1C, 0x1F, 0x26],
        AUTH => &[0x15, 0x16, 0x1F, 0x26],
        _ => &[0x1F, 0x26],
    }
}

/// Values that a property may not have.
fn in_range(id: u8, value: &Value) -> Result<(), String> {
    let broken = match value {
        Value::Byte(v) => *v > 1,
        Value::Two(v) => *v == 0 && (id == prop::RECEIVE_MAXIMUM || id == prop::TOPIC_ALIAS),
        Value::Four(v) => *v == 0 && id == prop::MAXIMUM_PACKET_SIZE,
        Value::Var(v) => *v == 0 || *v > 268_435_455,
        Value::Bytes(v) => {
            id == prop::RESPONSE_TOPIC && (v.is_empty() || v.contains(&b'+') || v.contains(&b'#'))
                || id == prop::ASSIGNED_CLIENT_ID && v.is_empty()
        }
        Value::Pair(..) => false,
    };
    if broken { Err(format!("property {:?} out of range", Property(id, value.clone()))) } else { Ok(()) }
}

/// Reason codes that a server may use in a 5.0 packet of this kind (MQTT 5.0, table 2-6).
fn listed(first: u8) -> &'static [u8] {
    match first {
        CONNACK => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
            0x9B, 0x9C, 0x9D, 0x9F,
        ],
        PUBACK | PUBREC => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        PUBREL | PUBCOMP => &[0x00, 0x92],
        SUBACK => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
        UNSUBACK => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
        DISCONNECT => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
            0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
        ],
        AUTH => &[0x00, 0x18],
        _ => &[],
    }
}

fn check_code(first: u8, code: u8) -> Result<u8, String> {
    if listed(first).contains(&code) {
        return Ok(code);
    }
    Err(format!("reason code {code:#04x} is not listed for a server's {}", packet_name(first)))
}

fn connack(r: &mut Reader<'_>) -> Result<ConnAck, String> {
    let flags = r.byte()?;
    let code = r.byte()?;
    if r.version == V5 {
        check_code(CONNACK, code)?;
    } else if code > 5 {
        return Err(format!("CONNACK return code {code} is reserved"));
    }
    if flags > 1 || (r.version == V31 && flags != 0) {
        return Err(format!("[MQTT-3.2.2-1] reserved CONNACK flags {flags:#04x}"));
    }
    if flags == 1 && code != 0 {
        return Err(format!("[MQTT-3.2.2-6] Session Present 1 with code {code:#04x}"));
    }
    Ok(ConnAck { session_present: flags == 1, code, props: r.properties(CONNACK)? })
}

fn publish(first: u8, r: &mut Reader<'_>) -> Result<Publish, String> {
    let (dup, qos, retain) = (first & 0x08 != 0, first >> 1 & 0x03, first & 0x01 != 0);
    if qos == 3 {
        return Err("[MQTT-3.3.1-4] a PUBLISH has both QoS bits set".into());
    }
    if qos == 0 && dup {
        return Err("[MQTT-3.3.1-2] a QoS 0 PUBLISH has DUP 1".into());
    }
    let topic = String::from_utf8(r.string()?).expect("checked just before");
    if topic.contains(['+', '#']) {
        return Err("[MQTT-3.3.2-2] a topic name with wildcards".into());
    }
    let id = if qos > 0 { r.id()? } else { 0 };
    let props = r.properties(0x30)?;
    if topic.is_empty() && !props.iter().any(|p| p.0 == prop::TOPIC_ALIAS) {
        return Err("[MQTT-4.7.3-1] an empty topic name".into());
    }
    Ok(Publish { dup, qos, retain, topic, id, props, payload: r.take(r.bytes.len())?.to_vec() })
}

fn ack(first: u8, r: &mut Reader<'_>) -> Result<Ack, String> {
    let id = r.id()?;
    let mut ack = Ack { first, id, code: 0, props: Vec::new() };
    if r.version == V5 && !r.bytes.is_empty() {
        ack.code = check_code(first, r.byte()?)?;
        if !r.bytes.is_empty() {
            ack.props = r.properties(first)?;
        }
    }
    Ok(ack)
}

fn codes(r: &mut Reader<'_>, first: u8) -> Result<Codes, String> {
    let id = r.id()?;
    let props = r.properties(first)?;
    let codes = r.take(r.bytes.len())?.to_vec();
    match (r.version, first) {
        (V5, _) => codes.iter().try_for_each(|code| check_code(first, *code).map(drop))?,
        (_, UNSUBACK) if !codes.is_empty() => return Err("UNSUBACK has no payload before 5.0".into()),
        (V31, _) if codes.iter().any(|c| *c > 2) => return Err("SUBACK of 3.1 only grants QoS 0, 1 or 2".into()),
        (_, _) if codes.iter().any(|c| *c > 2 && *c != 0x80) => {
            return Err("[MQTT-3.9.3-2] SUBACK code outside 0, 1, 2, 0x80".into());
        }
        _ => {}
    }
    Ok(Codes { id, codes, props })
}

fn reason(r: &mut Reader<'_>, first: u8) -> Result<Reason, String> {
    let mut reason = Reason { code: 0, props: Vec::new() };
    if !r.bytes.is_empty() {
        reason.code = check_code(first, r.byte()?)?;
        if !r.bytes.is_empty() {
            reason.props = r.properties(first)?;
        }
    }
    Ok(reason)
}

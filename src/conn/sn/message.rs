//! One datagram, one message: what comes out of the octets of MQTT-SN 1.2, and what goes into them.
//!
//! Always holds: decoding borrows the datagram, allocates nothing, never panics and reads nothing beyond it. What comes out has the
//! length that it says, flags that are not reserved and texts that MQTT takes: UTF-8 without NUL.
//! Leaves to others: whether the message may come now, and whether ids in it are known (`client`).

use super::flags::{ReturnCode, SnFlags, TopicKind};

/// What stands where a topic id stands in a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// Registered on this connection.
    Normal(u16),
    /// Known to both sides before.
    Predefined(u16),
    /// A name of two octets.
    Short([u8; 2]),
}

impl TopicRef {
    const fn new(kind: TopicKind, octets: [u8; 2]) -> Self {
        match kind {
            TopicKind::Normal => Self::Normal(u16::from_be_bytes(octets)),
            TopicKind::Predefined => Self::Predefined(u16::from_be_bytes(octets)),
            TopicKind::Short => Self::Short(octets),
        }
    }

    /// As flags say it.
    pub const fn kind(self) -> TopicKind {
        match self {
            Self::Normal(_) => TopicKind::Normal,
            Self::Predefined(_) => TopicKind::Predefined,
            Self::Short(_) => TopicKind::Short,
        }
    }

    /// The two octets.
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Normal(id) | Self::Predefined(id) => id.to_be_bytes(),
            Self::Short(name) => name,
        }
    }
}

/// What a SUBSCRIBE or UNSUBSCRIBE is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicOrName<'a> {
    /// A name or a filter.
    Name(&'a str),
    /// An id that both sides have known before.
    Predefined(u16),
    /// A name of two octets.
    Short([u8; 2]),
}

/// One message of MQTT-SN 1.2, named as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "messages and fields are named as in the specification")]
pub enum SnMessage<'a> {
    Advertise {
        gateway_id: u8,
        duration_s: u16,
    },
    SearchGw {
        radius: u8,
    },
    GwInfo {
        gateway_id: u8,
        address: &'a [u8],
    },
    Connect {
        flags: SnFlags,
        protocol_id: u8,
        duration_s: u16,
        client_id: &'a str,
    },
    ConnAck {
        code: ReturnCode,
    },
    WillTopicReq,
    /// `None` for the empty one, which says that there is no will.
    WillTopic(Option<(SnFlags, &'a str)>),
    WillMsgReq,
    WillMsg(&'a [u8]),
    Register {
        topic_id: u16,
        msg_id: u16,
        name: &'a str,
    },
    RegAck {
        topic_id: u16,
        msg_id: u16,
        code: ReturnCode,
    },
    Publish {
        flags: SnFlags,
        topic: TopicRef,
        msg_id: u16,
        data: &'a [u8],
    },
    PubAck {
        topic_id: u16,
        msg_id: u16,
        code: ReturnCode,
    },
    PubComp {
        msg_id: u16,
    },
    PubRec {
        msg_id: u16,
    },
    PubRel {
        msg_id: u16,
    },
    Subscribe {
        flags: SnFlags,
        msg_id: u16,
        topic: TopicOrName<'a>,
    },
    SubAck {
        flags: SnFlags,
        topic_id: u16,
        msg_id: u16,
        code: ReturnCode,
    },
    Unsubscribe {
        flags: SnFlags,
        msg_id: u16,
        topic: TopicOrName<'a>,
    },
    UnsubAck {
        msg_id: u16,
    },
    PingReq {
        client_id: Option<&'a str>,
    },
    PingResp,
    Disconnect {
        duration_s: Option<u16>,
    },
    /// `None` for the empty one, which takes the will away.
    WillTopicUpd(Option<(SnFlags, &'a str)>),
    WillTopicResp {
        code: ReturnCode,
    },
    WillMsgUpd(&'a [u8]),
    WillMsgResp {
        code: ReturnCode,
    },
}

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnError {
    /// It is not as long as it says.
    Length,
    /// A type that is reserved, or that wraps other messages.
    Type(u8),
    /// A field is cut off, too long or has what it must not have.
    Field,
}

/// Cuts the header off: the type, and what follows it.
pub fn split(datagram: &[u8]) -> Result<(u8, &[u8]), SnError> {
    let (len, rest) = match datagram {
        // The form of three octets, whose first says so.
        [1, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [len, rest @ ..] => (usize::from(*len), rest),
        [] => return Err(SnError::Length),
    };
    match rest.split_first() {
        Some((&kind, body)) if len == datagram.len() => Ok((kind, body)),
        _ => Err(SnError::Length),
    }
}

impl<'a> SnMessage<'a> {
    /// Reads a whole datagram.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, SnError> {
        let (kind, body) = split(datagram)?;
        let mut body = SnBody(body);
        let message = Self::decode_body(kind, &mut body)?;
        body.finish()?;
        Ok(message)
    }

    fn decode_body(kind: u8, body: &mut SnBody<'a>) -> Result<Self, SnError> {
        Ok(match kind {
            0x00 => Self::Advertise { gateway_id: body.u8()?, duration_s: body.u16()? },
            0x01 => Self::SearchGw { radius: body.u8()? },
            0x02 => Self::GwInfo { gateway_id: body.u8()?, address: body.rest() },
            0x04 => Self::Connect {
                flags: body.flags()?,
                protocol_id: body.u8()?,
                duration_s: body.u16()?,
                client_id: body.text()?,
            },
            0x05 => Self::ConnAck { code: body.code()? },
            0x06 => Self::WillTopicReq,
            0x07 => Self::WillTopic(body.will_topic()?),
            0x08 => Self::WillMsgReq,
            0x09 => Self::WillMsg(body.rest()),
            0x0a => Self::Register { topic_id: body.u16()?, msg_id: body.u16()?, name: body.text()? },
            0x0b => Self::RegAck { topic_id: body.u16()?, msg_id: body.u16()?, code: body.code()? },
            0x0c => {
                let flags = body.flags()?;
                let topic = TopicRef::new(flags.topic_kind, body.two()?);
                Self::Publish { flags, topic, msg_id: body.u16()?, data: body.rest() }
            }
            0x0d => Self::PubAck { topic_id: body.u16()?, msg_id: body.u16()?, code: body.code()? },
            0x0e => Self::PubComp { msg_id: body.u16()? },
            0x0f => Self::PubRec { msg_id: body.u16()? },
            0x10 => Self::PubRel { msg_id: body.u16()? },
            0x12 => {
                let (flags, msg_id) = (body.flags()?, body.u16()?);
                Self::Subscribe { flags, msg_id, topic: body.topic_or_name(flags)? }
            }
            0x13 => {
                Self::SubAck { flags: body.flags()?, topic_id: body.u16()?, msg_id: body.u16()?, code: body.code()? }
            }
            0x14 => {
                let (flags, msg_id) = (body.flags()?, body.u16()?);
                Self::Unsubscribe { flags, msg_id, topic: body.topic_or_name(flags)? }
            }
            0x15 => Self::UnsubAck { msg_id: body.u16()? },
            0x16 => Self::PingReq { client_id: if body.0.is_empty() { None } else { Some(body.text()?) } },
            0x17 => Self::PingResp,
            0x18 => Self::Disconnect { duration_s: if body.0.is_empty() { None } else { Some(body.u16()?) } },
            0x1a => Self::WillTopicUpd(body.will_topic()?),
            0x1b => Self::WillTopicResp { code: body.code()? },
            0x1c => Self::WillMsgUpd(body.rest()),
            0x1d => Self::WillMsgResp { code: body.code()? },
            other => return Err(SnError::Type(other)),
        })
    }

    /// The octet that names its type.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Advertise { .. } => 0x00,
            Self::SearchGw { .. } => 0x01,
            Self::GwInfo { .. } => 0x02,
            Self::Connect { .. } => 0x04,
            Self::ConnAck { .. } => 0x05,
            Self::WillTopicReq => 0x06,
            Self::WillTopic(_) => 0x07,
            Self::WillMsgReq => 0x08,
            Self::WillMsg(_) => 0x09,
            Self::Register { .. } => 0x0a,
            Self::RegAck { .. } => 0x0b,
            Self::Publish { .. } => 0x0c,
            Self::PubAck { .. } => 0x0d,
            Self::PubComp { .. } => 0x0e,
            Self::PubRec { .. } => 0x0f,
            Self::PubRel { .. } => 0x10,
            Self::Subscribe { .. } => 0x12,
            Self::SubAck { .. } => 0x13,
            Self::Unsubscribe { .. } => 0x14,
            Self::UnsubAck { .. } => 0x15,
            Self::PingReq { .. } => 0x16,
            Self::PingResp => 0x17,
            Self::Disconnect { .. } => 0x18,
            Self::WillTopicUpd(_) => 0x1a,
            Self::WillTopicResp { .. } => 0x1b,
            Self::WillMsgUpd(_) => 0x1c,
            Self::WillMsgResp { .. } => 0x1d,
        }
    }

    /// Appends the message as one datagram. It is no longer than a datagram can be: the caller has seen to that.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0, self.kind()]);
        self.encode_body(out);
        let len = out.len() - start;
        if let Ok(len @ 2..) = u8::try_from(len) {
            out[start] = len;
            return;
        }
        let len = u16::try_from(len + 2).expect("a datagram is shorter");
        let [high, low] = len.to_be_bytes();
        out[start] = 1;
        out.splice(start + 1..=start, [high, low]);
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Advertise { gateway_id, duration_s } => {
                out.push(gateway_id);
                out.extend(duration_s.to_be_bytes());
            }
            Self::SearchGw { radius } => out.push(radius),
            Self::GwInfo { gateway_id, address } => {
                out.push(gateway_id);
                out.extend(address);
            }
            Self::Connect { flags, protocol_id, duration_s, client_id } => {
                out.extend([flags.to_bits(), protocol_id]);
                out.extend(duration_s.to_be_bytes());
                out.extend(client_id.as_bytes());
            }
            Self::ConnAck { code } | Self::WillTopicResp { code } | Self::WillMsgResp { code } => out.push(code as u8),
            Self::WillTopicReq | Self::WillMsgReq | Self::PingResp => {}
            Self::WillTopic(will) | Self::WillTopicUpd(will) => {
                if let Some((flags, topic)) = will {
                    out.push(flags.to_bits());
                    out.extend(topic.as_bytes());
                }
            }
            Self::WillMsg(message) | Self::WillMsgUpd(message) => out.extend(message),
            Self::Register { topic_id, msg_id, name } => {
                put_ids(topic_id, msg_id, out);
                out.extend(name.as_bytes());
            }
            Self::RegAck { topic_id, msg_id, code } | Self::PubAck { topic_id, msg_id, code } => {
                put_ids(topic_id, msg_id, out);
                out.push(code as u8);
            }
            Self::Publish { flags, topic, msg_id, data } => {
                out.push(SnFlags { topic_kind: topic.kind(), ..flags }.to_bits());
                out.extend(topic.to_bytes());
                out.extend(msg_id.to_be_bytes());
                out.extend(data);
            }
            Self::PubComp { msg_id }
            | Self::PubRec { msg_id }
            | Self::PubRel { msg_id }
            | Self::UnsubAck { msg_id } => {
                out.extend(msg_id.to_be_bytes());
            }
            Self::Subscribe { flags, msg_id, topic } | Self::Unsubscribe { flags, msg_id, topic } => {
                put_topic(flags, msg_id, topic, out);
            }
            Self::SubAck { flags, topic_id, msg_id, code } => {
                out.push(flags.to_bits());
                put_ids(topic_id, msg_id, out);
                out.push(code as u8);
            }
            Self::PingReq { client_id } => out.extend(client_id.unwrap_or_default().as_bytes()),
            Self::Disconnect { duration_s } => {
                if let Some(duration_s) = duration_s {
                    out.extend(duration_s.to_be_bytes());
                }
            }
        }
    }
}

fn put_ids(topic_id: u16, msg_id: u16, out: &mut Vec<u8>) {
    out.extend(topic_id.to_be_bytes());
    out.extend(msg_id.to_be_bytes());
}

fn put_topic(flags: SnFlags, msg_id: u16, topic: TopicOrName<'_>, out: &mut Vec<u8>) {
    let (topic_kind, octets) = match topic {
        TopicOrName::Name(_) => (TopicKind::Normal, [0; 2]),
        TopicOrName::Predefined(id) => (TopicKind::Predefined, id.to_be_bytes()),
        TopicOrName::Short(name) => (TopicKind::Short, name),
    };
    out.push(SnFlags { topic_kind, ..flags }.to_bits());
    out.extend(msg_id.to_be_bytes());
    match topic {
        TopicOrName::Name(name) => out.extend(name.as_bytes()),
        _ => out.extend(octets),
    }
}

/// What has not been read of a message.
struct SnBody<'a>(&'a [u8]);

impl<'a> SnBody<'a> {
    fn u8(&mut self) -> Result<u8, SnError> {
        let (&first, rest) = self.0.split_first().ok_or(SnError::Field)?;
        self.0 = rest;
        Ok(first)
    }

    fn two(&mut self) -> Result<[u8; 2], SnError> {
        let (&two, rest) = self.0.split_first_chunk().ok_or(SnError::Field)?;
        self.0 = rest;
        Ok(two)
    }

    fn u16(&mut self) -> Result<u16, SnError> {
        self.two().map(u16::from_be_bytes)
    }

    fn flags(&mut self) -> Result<SnFlags, SnError> {
        SnFlags::from_bits(self.u8()?).ok_or(SnError::Field)
    }

    fn code(&mut self) -> Result<ReturnCode, SnError> {
        self.u8().map(ReturnCode::from_u8)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn text(&mut self) -> Result<&'a str, SnError> {
        let text = str::from_utf8(self.rest()).map_err(|_| SnError::Field)?;
        if text.contains('\0') { Err(SnError::Field) } else { Ok(text) }
    }

    fn will_topic(&mut self) -> Result<Option<(SnFlags, &'a str)>, SnError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.flags()?, self.text()?)))
    }

    fn topic_or_name(&mut self, flags: SnFlags) -> Result<TopicOrName<'a>, SnError> {
        Ok(match flags.topic_kind {
            TopicKind::Normal => TopicOrName::Name(self.text()?),
            TopicKind::Predefined => TopicOrName::Predefined(self.u16()?),
            TopicKind::Short => TopicOrName::Short(self.two()?),
        })
    }

    const fn finish(&self) -> Result<(), SnError> {
        if self.0.is_empty() { Ok(()) } else { Err(SnError::Field) }
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;

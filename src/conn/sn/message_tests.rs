//! Octets of each message, and whatever is none.

use super::*;
use crate::ids::Qos;

fn samples() -> Vec<(&'static [u8], SnMessage<'static>)> {
    [before_publish(), from_publish_on()].concat()
}

fn before_publish() -> Vec<(&'static [u8], SnMessage<'static>)> {
    let will = SnFlags { retain: true, ..SnFlags::of_qos(Qos::AtLeastOnce) };
    vec![
        (b"\x05\x00\x07\x03\x84", SnMessage::Advertise { gateway_id: 7, duration_s: 900 }),
        (b"\x03\x01\x02", SnMessage::SearchGw { radius: 2 }),
        (b"\x03\x02\x07", SnMessage::GwInfo { gateway_id: 7, address: b"" }),
        (b"\x07\x02\x07\x7f\0\0\x01", SnMessage::GwInfo { gateway_id: 7, address: &[127, 0, 0, 1] }),
        (
            b"\x08\x04\x0c\x01\0\x3cc1",
            SnMessage::Connect {
                flags: SnFlags { will: true, clean_session: true, ..SnFlags::NONE },
                protocol_id: 1,
                duration_s: 60,
                client_id: "c1",
            },
        ),
        (b"\x03\x05\x03", SnMessage::ConnAck { code: ReturnCode::NotSupported }),
        (b"\x02\x06", SnMessage::WillTopicReq),
        (b"\x02\x1c", SnMessage::WillMsgUpd(b"")),
        (b"\x03\x1d\x01", SnMessage::WillMsgResp { code: ReturnCode::Congestion }),
        (b"\x06\x07\x30w/t", SnMessage::WillTopic(Some((will, "w/t")))),
        (b"\x02\x07", SnMessage::WillTopic(None)),
        (b"\x02\x08", SnMessage::WillMsgReq),
        (b"\x05\x09bye", SnMessage::WillMsg(b"bye")),
        (b"\x09\x0a\0\0\0\x05a/b", SnMessage::Register { topic_id: 0, msg_id: 5, name: "a/b" }),
        (b"\x07\x0b\0\x01\0\x05\0", SnMessage::RegAck { topic_id: 1, msg_id: 5, code: ReturnCode::Accepted }),
    ]
}

fn from_publish_on() -> Vec<(&'static [u8], SnMessage<'static>)> {
    let will = SnFlags { retain: true, ..SnFlags::of_qos(Qos::AtLeastOnce) };
    vec![
        (
            b"\x09\x0c\xb0\0\x01\0\x06hi",
            SnMessage::Publish {
                flags: SnFlags { dup: true, retain: true, ..SnFlags::of_qos(Qos::AtLeastOnce) },
                topic: TopicRef::Normal(1),
                msg_id: 6,
                data: b"hi",
            },
        ),
        (
            b"\x08\x0c\x62ab\0\0!",
            SnMessage::Publish {
                flags: SnFlags { qos: None, topic_kind: TopicKind::Short, ..SnFlags::NONE },
                topic: TopicRef::Short(*b"ab"),
                msg_id: 0,
                data: b"!",
            },
        ),
        (b"\x07\x0d\0\x01\0\x06\x02", SnMessage::PubAck { topic_id: 1, msg_id: 6, code: ReturnCode::InvalidTopicId }),
        (b"\x04\x0e\0\x06", SnMessage::PubComp { msg_id: 6 }),
        (b"\x04\x0f\0\x06", SnMessage::PubRec { msg_id: 6 }),
        (b"\x04\x10\0\x06", SnMessage::PubRel { msg_id: 6 }),
        (
            b"\x08\x12\x20\0\x07a/#",
            SnMessage::Subscribe {
                flags: SnFlags::of_qos(Qos::AtLeastOnce),
                msg_id: 7,
                topic: TopicOrName::Name("a/#"),
            },
        ),
        (
            b"\x07\x12\x01\0\x07\0\x09",
            SnMessage::Subscribe {
                flags: SnFlags { topic_kind: TopicKind::Predefined, ..SnFlags::NONE },
                msg_id: 7,
                topic: TopicOrName::Predefined(9),
            },
        ),
        (
            b"\x08\x13\x20\0\x01\0\x07\0",
            SnMessage::SubAck {
                flags: SnFlags::of_qos(Qos::AtLeastOnce),
                topic_id: 1,
                msg_id: 7,
                code: ReturnCode::Accepted,
            },
        ),
        (
            b"\x07\x14\x02\0\x08ab",
            SnMessage::Unsubscribe {
                flags: SnFlags { topic_kind: TopicKind::Short, ..SnFlags::NONE },
                msg_id: 8,
                topic: TopicOrName::Short(*b"ab"),
            },
        ),
        (b"\x04\x15\0\x08", SnMessage::UnsubAck { msg_id: 8 }),
        (b"\x02\x16", SnMessage::PingReq { client_id: None }),
        (b"\x04\x16c1", SnMessage::PingReq { client_id: Some("c1") }),
        (b"\x02\x17", SnMessage::PingResp),
        (b"\x02\x18", SnMessage::Disconnect { duration_s: None }),
        (b"\x04\x18\0\x3c", SnMessage::Disconnect { duration_s: Some(60) }),
        (b"\x06\x1a\x30w/t", SnMessage::WillTopicUpd(Some((will, "w/t")))),
        (b"\x02\x1a", SnMessage::WillTopicUpd(None)),
        (b"\x03\x1b\0", SnMessage::WillTopicResp { code: ReturnCode::Accepted }),
    ]
}

#[test]
fn each_message_is_read_and_written_as_the_specification_has_it() {
    for (bytes, message) in samples() {
        assert_eq!(SnMessage::decode(bytes), Ok(message), "{bytes:02x?}");
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written, bytes, "{message:?}");
    }
}

#[test]
fn a_message_that_is_cut_off_or_longer_than_it_says_is_none() {
    for (bytes, message) in samples() {
        for len in 0..bytes.len() {
            assert_eq!(SnMessage::decode(&bytes[..len]), Err(SnError::Length), "{message:?} cut to {len}");
        }
        let longer = [bytes, b"x"].concat();
        assert_eq!(SnMessage::decode(&longer), Err(SnError::Length), "{message:?}");
    }
}

#[test]
fn fields_that_are_cut_off_or_have_something_behind_them_are_refused() {
    for (bytes, message) in samples() {
        for body in 0..bytes.len() - 2 {
            let mut cut = bytes[..2 + body].to_vec();
            cut[0] = cut.len() as u8;
            // Whatever comes out is another message, never a panic.
            assert_ne!(SnMessage::decode(&cut), Ok(message));
        }
    }
    for bytes in [&b"\x03\x06x"[..], b"\x03\x17x", b"\x05\x18\0\x01x", b"\x05\x0e\0\x01x", b"\x04\x05\0x"] {
        assert_eq!(SnMessage::decode(bytes), Err(SnError::Field), "{bytes:02x?}");
    }
}

#[test]
fn lengths_have_one_octet_or_three() {
    for (payload, header) in [(247, 2), (248, 2), (249, 4), (1_400, 4), (65_000, 4)] {
        let data = vec![b'x'; payload];
        let message = SnMessage::Publish { flags: SnFlags::NONE, topic: TopicRef::Normal(1), msg_id: 0, data: &data };
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written.len(), payload + 5 + header, "{payload}");
        assert_eq!(SnMessage::decode(&written), Ok(message));
    }
    assert_eq!(SnMessage::decode(&[1, 0, 4, 0x17]), Ok(SnMessage::PingResp), "short ones may have three, too");
    for bad in [&[][..], &[0], &[0, 0x17], &[1], &[1, 0], &[1, 0, 3], &[1, 0, 2, 0x17], &[1, 0x17], &[2]] {
        assert_eq!(SnMessage::decode(bad), Err(SnError::Length), "{bad:?}");
    }
}

#[test]
fn types_that_are_reserved_and_texts_that_mqtt_does_not_take_are_refused() {
    for kind in [0x03, 0x11, 0x19, 0x1e, 0x7f, 0xfd, 0xfe, 0xff] {
        assert_eq!(SnMessage::decode(&[2, kind]), Err(SnError::Type(kind)));
    }
    for text in [&b"\xff"[..], b"a\0b", b"\xed\xa0\x80", b"\xc0\x80"] {
        for head in [&[0x0a, 0, 0, 0, 1][..], &[0x04, 0, 1, 0, 60], &[0x12, 0, 0, 1], &[0x16], &[0x07, 0]] {
            let mut bytes = vec![(1 + head.len() + text.len()) as u8];
            bytes.extend([head, text].concat());
            assert_eq!(SnMessage::decode(&bytes), Err(SnError::Field), "{bytes:02x?}");
        }
    }
    assert_eq!(SnMessage::decode(b"\x07\x0c\x03\0\x01\0\0"), Err(SnError::Field), "the reserved topic type");
}

//! Packets as one line of text, for transcripts; and the packets that tests send, in few words.

use std::fmt::Write as _;

use crate::codec::{Packet, Publish, ReasonCode};
use crate::ids::{Qos, TopicAlias};

use super::harness::id;

/// A packet from the broker. What is at its default is left out.
pub(super) fn show(packet: &Packet<'_>) -> String {
    match packet {
        Packet::ConnAck(connack) => {
            let mut line = format!("CONNACK {}", connack.reason.text());
            if connack.session_present {
                line.push_str(" present");
            }
            for (name, value) in [
                ("expiry", connack.session_expiry_s),
                ("keep_alive", connack.server_keep_alive_s.map(u32::from)),
                ("max_qos", connack.maximum_qos.map(|qos| qos as u32)),
                ("retain", connack.retain_available.map(u32::from)),
            ] {
                if let Some(value) = value {
                    let _ = write!(line, " {name}={value}");
                }
            }
            line
        }
        Packet::Publish(publish) => show_publish(publish),
        Packet::Ack(ack) => {
            let mut line = format!("{} #{}", ack.kind.packet_type().name(), ack.packet_id);
            if ack.reason != ReasonCode::Success {
                let _ = write!(line, " {}", ack.reason.text());
            }
            line
        }
        Packet::SubAck(suback) => {
            let codes: Vec<u8> = suback.codes().map(|code| code as u8).collect();
            format!("SUBACK #{} {codes:?}", suback.packet_id)
        }
        Packet::UnsubAck(unsuback) => {
            let codes: Vec<u8> = unsuback.codes().map(|code| code as u8).collect();
            format!("UNSUBACK #{} {codes:?}", unsuback.packet_id)
        }
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {}", disconnect.reason.text()),
        Packet::Auth(auth) => format!("AUTH {}", auth.reason.text()),
        other => panic!("the broker sent {other:?}"),
    }
}

fn show_publish(publish: &Publish<'_>) -> String {
    let mut line = format!("PUBLISH {}", if publish.topic.is_empty() { "-" } else { publish.topic });
    if let Some(packet_id) = publish.packet_id {
        let _ = write!(line, " q{} #{packet_id}", publish.qos as u8);
    }
    if publish.dup {
        line.push_str(" dup");
    }
    if publish.retain {
        line.push_str(" retain");
    }
    if let Some(alias) = publish.topic_alias {
        let _ = write!(line, " alias={alias}");
    }
    if let Some(seconds) = publish.message_expiry_s {
        let _ = write!(line, " expiry={seconds}");
    }
    let ids: Vec<u32> = publish.subscription_ids.iter().map(u32::from).collect();
    if !ids.is_empty() {
        let _ = write!(line, " ids={ids:?}");
    }
    if publish.payload.len() <= 40 {
        let _ = write!(line, " {}", String::from_utf8_lossy(publish.payload));
    } else {
        let _ = write!(line, " ({} bytes)", publish.payload.len());
    }
    line
}

/// A PUBLISH of QoS 0.
pub(super) fn publish<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        payload: payload.as_bytes(),
        topic_alias: None,
        message_expiry_s: None,
        properties: crate::codec::Forwarded::EMPTY,
        subscription_ids: crate::codec::EncodedSubscriptionIds::EMPTY,
    }
}

/// A PUBLISH of QoS 1 with a packet identifier.
pub(super) fn publish1<'a>(number: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(number)), ..publish(topic, payload) }
}

/// A PUBLISH of QoS 2 with a packet identifier.
pub(super) fn publish2<'a>(number: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: Qos::ExactlyOnce, packet_id: Some(id(number)), ..publish(topic, payload) }
}

/// The same, retained.
pub(super) fn retained(publish: Publish<'_>) -> Publish<'_> {
    Publish { retain: true, ..publish }
}

/// For a packet that is to be sent: the number is not zero.
pub(super) fn alias(number: u16) -> TopicAlias {
    TopicAlias::new(number).unwrap()
}

//! Packets of the shard: to datagrams for a client.
//!
//! Always holds: messages leave in their order; what answers the client does not wait behind them.

use super::client::{SnClient, SnOut, SnState, SnTurn};
use super::flags::{ReturnCode, SnFlags};
use super::inbound::ack;
use super::message::{SnMessage, TopicRef};
use super::topics::Naming;
use super::under_way::{AskedFor, AskedKind, SentKind};
use crate::codec::{AckKind, ConnAck, Packet, Publish, ReasonCode, Side, SubAck, Version, decode, frame};
use crate::ids::Qos;
use crate::limits::{SN_TRIES_OF_TOPIC_MAX, SN_WAITING_MAX_BYTES};

impl SnClient {
    /// The shard has sent these packets, all of them whole.
    pub fn send(&mut self, turn: SnTurn<'_>, mut packets: &[u8], out: &mut SnOut) {
        while let Ok(Some((framed, total))) = frame::next(packets, u32::MAX) {
            let (packet, rest) = packets.split_at(total);
            packets = rest;
            if self.state == SnState::Ended {
                continue; // there is nobody who would hear it
            }
            match decode(framed, Version::V5, Side::Client) {
                Ok(Packet::Publish(publish)) => self.queue(&publish, packet, out),
                Ok(packet) => self.send_answer(turn, &packet, out),
                Err(error) => debug_assert!(false, "the shard sends packets: {error:?}"),
            }
        }
        debug_assert!(packets.is_empty(), "the shard sends whole packets");
        self.send_waiting(turn, out);
        self.trim();
    }

    fn queue(&mut self, publish: &Publish<'_>, packet: &[u8], out: &mut SnOut) {
        let waiting_bytes = self.waiting_bytes();
        if publish.qos == Qos::AtMostOnce && waiting_bytes as usize + packet.len() > SN_WAITING_MAX_BYTES {
            out.dropped += 1;
            return;
        }
        let under_way = self.under_way_mut();
        under_way.waiting.push_back(packet.into());
        under_way.waiting_bytes = waiting_bytes.saturating_add(packet.len() as u32);
    }

    fn send_answer(&mut self, turn: SnTurn<'_>, packet: &Packet<'_>, out: &mut SnOut) {
        match packet {
            Packet::ConnAck(connack) => self.send_connack(turn, connack, out),
            Packet::Ack(answer) => match answer.kind {
                AckKind::PubAck => self.send_puback(answer.packet_id.get(), answer.reason, out),
                AckKind::PubRec if answer.reason.is_error() => {
                    self.send_puback(answer.packet_id.get(), answer.reason, out);
                }
                AckKind::PubRec => {
                    // Whatever comes of it now, no answer names its topic; one that came late may never be released.
                    self.take_asked(answer.packet_id.get(), false);
                    out.send(&SnMessage::PubRec { msg_id: answer.packet_id.get() });
                }
                AckKind::PubComp => out.send(&SnMessage::PubComp { msg_id: answer.packet_id.get() }),
                AckKind::PubRel => {
                    let msg_id = answer.packet_id.get();
                    // One that was resumed takes the place of the one before.
                    let _ = self.acknowledged(msg_id, |kind| kind == SentKind::PubRel);
                    out.send(&SnMessage::PubRel { msg_id });
                    self.await_ack(turn, (SentKind::PubRel, msg_id), out);
                }
            },
            Packet::SubAck(suback) => self.send_suback(suback, out),
            Packet::UnsubAck(unsuback) => out.send(&SnMessage::UnsubAck { msg_id: unsuback.packet_id.get() }),
            Packet::PingResp => out.send(&SnMessage::PingResp),
            Packet::Disconnect(_) => {
                self.say_goodbye(out);
                self.silence();
            }
            _ => {}
        }
    }

    fn send_connack(&mut self, turn: SnTurn<'_>, connack: &ConnAck<'_>, out: &mut SnOut) {
        let code = return_code(connack.reason);
        self.state = if code == ReturnCode::Accepted { SnState::Active } else { SnState::Ended };
        let repeats_s = u32::from(turn.settings.sn_retry_s) * u32::from(turn.settings.sn_retries);
        self.new_until = Some(turn.now.after_s(repeats_s));
        if !self.is_publisher {
            out.send(&SnMessage::ConnAck { code });
        }
        self.send_waiting(turn, out);
    }

    fn send_puback(&mut self, msg_id: u16, reason: ReasonCode, out: &mut SnOut) {
        let topic_id = self.take_asked(msg_id, false).map_or(0, |asked| asked.topic_id);
        out.send(&SnMessage::PubAck { topic_id, msg_id, code: return_code(reason) });
    }

    fn send_suback(&mut self, suback: &SubAck<'_>, out: &mut SnOut) {
        let msg_id = suback.packet_id.get();
        let asked = self.take_asked(msg_id, true);
        let reason = suback.codes().next().unwrap_or(ReasonCode::UnspecifiedError);
        let code = return_code(reason);
        let qos = Qos::from_bits(reason as u8 & 3).filter(|_| code == ReturnCode::Accepted).unwrap_or_default();
        let is_accepted = code == ReturnCode::Accepted;
        if let Some(AskedFor { topic_id, kind: AskedKind::SubscribeByName, .. }) = asked {
            self.topics.finish_subscribe(topic_id, is_accepted);
        }
        let topic_id = asked.filter(|_| is_accepted).map_or(0, |asked| asked.topic_id);
        out.send(&SnMessage::SubAck { flags: SnFlags::of_qos(qos), topic_id, msg_id, code });
    }

    /// The earliest that was asked for so.
    fn take_asked(&mut self, msg_id: u16, is_subscribe: bool) -> Option<AskedFor> {
        let asked = &mut self.under_way.as_deref_mut()?.asked;
        let is_it = |asked: &AskedFor| asked.msg_id == msg_id && (asked.kind != AskedKind::Publish) == is_subscribe;
        let at = asked.iter().position(is_it)?;
        Some(asked.remove(at))
    }

    /// Sends what waits, as far as the client can be sent it.
    pub(super) fn send_waiting(&mut self, turn: SnTurn<'_>, out: &mut SnOut) {
        while matches!(self.state, SnState::Active | SnState::Awake) && self.send_first_waiting(turn, out) {}
    }

    /// Returns whether the next may follow.
    fn send_first_waiting(&mut self, turn: SnTurn<'_>, out: &mut SnOut) -> bool {
        let Some(packet) = self.under_way.as_deref_mut().and_then(|under_way| under_way.waiting.pop_front()) else {
            return false;
        };
        let Some(publish) = waiting_publish(&packet) else { return true };
        let is_sent = self.send_publish(turn, &publish, out);
        let under_way = self.under_way_mut();
        if is_sent {
            under_way.waiting_bytes = under_way.waiting_bytes.saturating_sub(packet.len() as u32);
        } else {
            under_way.waiting.push_front(packet);
        }
        is_sent
    }

    /// Returns whether it is done with: sent, or given up.
    fn send_publish(&mut self, turn: SnTurn<'_>, publish: &Publish<'_>, out: &mut SnOut) -> bool {
        let needs_ack = publish.qos != Qos::AtMostOnce;
        if needs_ack && self.has_sent(|kind| matches!(kind, SentKind::Publish(_))) {
            return false;
        }
        self.topics.keep(self.ids_under_way());
        let topic = match self.topics.naming(publish.topic, &turn.settings.sn_topics) {
            Naming::Known(topic) => topic,
            Naming::Register(id) => {
                if !self.has_sent(|kind| matches!(kind, SentKind::Register { .. })) {
                    self.tell_topic(turn, id, publish.topic, out);
                }
                return false;
            }
            Naming::Full => {
                give_up((publish.qos, publish.packet_id.map_or(0, std::num::NonZeroU16::get)), out);
                return true;
            }
        };
        let flags = SnFlags { retain: publish.retain, dup: publish.dup, ..SnFlags::of_qos(publish.qos) };
        let msg_id = publish.packet_id.map_or(0, std::num::NonZeroU16::get);
        out.send(&SnMessage::Publish { flags, topic, msg_id, data: publish.payload });
        if needs_ack {
            self.await_ack(turn, (SentKind::Publish(publish.qos), msg_id), out);
        }
        true
    }

    fn tell_topic(&mut self, turn: SnTurn<'_>, topic_id: u16, name: &str, out: &mut SnOut) {
        let msg_id = self.new_msg_id();
        out.send(&SnMessage::Register { topic_id, msg_id, name });
        self.await_ack(turn, (SentKind::Register { topic_id }, msg_id), out);
    }

    /// The client does not know the id that it was sent a message with. Returns whether it is told, and the message sent again later.
    pub(super) fn tell_topic_again(&mut self, turn: SnTurn<'_>, topic_id: u16, msg_id: u16, out: &mut SnOut) -> bool {
        let under_way = self.under_way.as_deref_mut();
        let sent = under_way.and_then(|under_way| {
            let is_it = |kind| matches!(kind, SentKind::Publish(_));
            under_way.unacknowledged.iter_mut().find(|sent| sent.msg_id == msg_id && is_it(sent.kind))
        });
        let Some(sent) = sent.filter(|sent| sent.tries < SN_TRIES_OF_TOPIC_MAX) else { return false };
        sent.tries += 1;
        let Ok(SnMessage::Publish { topic: TopicRef::Normal(known), .. }) = SnMessage::decode(&sent.datagram) else {
            return false;
        };
        let Some(name) = self.topics.name_of(known).filter(|_| known == topic_id).map(Box::<str>::from) else {
            return false;
        };
        self.topics.forget(known);
        if !self.has_sent(|kind| matches!(kind, SentKind::Register { .. })) {
            self.tell_topic(turn, known, &name, out);
        }
        true
    }

    /// The client does not take an id: the message that it was told for is given up. That is one that was sent with it, or else the first
    /// that waits, if it is on that topic.
    pub(super) fn drop_first_of(&mut self, topic_id: u16, out: &mut SnOut) {
        let name = self.topics.name_of(topic_id).map(Box::<str>::from);
        let Some(under_way) = self.under_way.as_deref_mut() else { return };
        if let Some(at) = under_way.unacknowledged.iter().position(|sent| sent.names(topic_id)) {
            let sent = under_way.unacknowledged.remove(at);
            let qos = if let SentKind::Publish(qos) = sent.kind { qos } else { Qos::AtMostOnce };
            return give_up((qos, sent.msg_id), out);
        }
        let first = under_way.waiting.front().and_then(|packet| waiting_publish(packet));
        let Some(publish) = first.filter(|publish| name.is_some_and(|name| *publish.topic == *name)) else { return };
        let of = (publish.qos, publish.packet_id.map_or(0, std::num::NonZeroU16::get));
        if let Some(packet) = under_way.waiting.pop_front() {
            under_way.waiting_bytes = under_way.waiting_bytes.saturating_sub(packet.len() as u32);
        }
        give_up(of, out);
    }
}

/// What waits, which the shard has sent.
fn waiting_publish(packet: &[u8]) -> Option<Publish<'_>> {
    let (framed, _) = frame::next(packet, u32::MAX).ok().flatten()?;
    Publish::decode(framed, Version::V5, Side::Client).ok()
}

/// A message cannot be sent; its session is told that it is done with.
fn give_up((qos, msg_id): (Qos, u16), out: &mut SnOut) {
    out.dropped += 1;
    let kind = match qos {
        Qos::AtMostOnce => return,
        Qos::AtLeastOnce => AckKind::PubAck,
        Qos::ExactlyOnce => AckKind::PubRec,
    };
    ack(kind, msg_id, ReasonCode::ImplementationSpecificError, out);
}

/// What a reason of MQTT 5.0 is in MQTT-SN.
const fn return_code(reason: ReasonCode) -> ReturnCode {
    match reason {
        _ if !reason.is_error() => ReturnCode::Accepted,
        ReasonCode::QuotaExceeded
        | ReasonCode::ServerBusy
        | ReasonCode::ServerUnavailable
        | ReasonCode::ConnectionRateExceeded
        | ReasonCode::MessageRateTooHigh
        | ReasonCode::ReceiveMaximumExceeded => ReturnCode::Congestion,
        _ => ReturnCode::NotSupported,
    }
}

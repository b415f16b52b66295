//! What clients of the model choose to do.

use std::num::NonZeroU32;

use dunlin::codec::{
    AckKind, Disconnect, Forwarded, PublishOut, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions,
    encode_ack, encode_subscribe, encode_unsubscribe,
};
use dunlin::ids::{PacketId, Qos, TopicAlias};

use crate::client::{Client, Outgoing};
use crate::oracle::payload;
use crate::rng::Rng;

pub(crate) const TOPICS: [&str; 10] = ["t/0", "t/1", "t/2", "t/a/b", "r/0", "r/1", "r/2", "r/a/b", "/x", "t/0/"];
const FILTERS: [&str; 12] = ["t/0", "t/1", "t/+", "t/#", "#", "+/+", "r/#", "r/+", "r/0", "t/a/+", "+/a/b", "/+"];
const GROUPS: [&str; 4] = ["$share/g/t/#", "$share/h/t/+", "$share/g/r/0", "$share/h/#"];

/// What a client does about its connection, if not sending something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Nothing,
    Open {
        clean_start: bool,
    },
    /// The socket breaks, or the client just walks off.
    Drop,
    /// It comes anew while the broker still holds the old connection for alive.
    Takeover {
        clean_start: bool,
    },
}

impl Client {
    /// One decision; what it sends is appended to `out`.
    pub(crate) fn act(&mut self, rng: &mut Rng, now_ms: u64, out: &mut Vec<u8>) -> Move {
        if self.conn.is_none() {
            let clean_start = rng.percent(self.plan.clean_percent);
            return if rng.percent(30) { Move::Open { clean_start } } else { Move::Nothing };
        }
        if self.plan.fights && rng.percent(60) {
            return Move::Takeover { clean_start: rng.percent(self.plan.clean_percent) };
        }
        if !self.ready {
            return if rng.percent(2) { Move::Drop } else { Move::Nothing };
        }
        let keep_alive_ms = u64::from(self.plan.keep_alive_s) * 1_000;
        if keep_alive_ms > 0 && now_ms > self.sent_ms + keep_alive_ms / 2 {
            self.ping(out);
        }
        if self.plan.watcher {
            if !self.subscribed.contains("will/#") && self.requests.is_empty() {
                self.subscribe_to(rng, "will/#", options(1), out);
            }
            self.send_acks(rng, out);
            return if rng.percent(1) { Move::Drop } else { Move::Nothing };
        }
        match rng.below(100) {
            0..40 => self.send_acks(rng, out),
            40..78 => self.publish(rng, out),
            78..90 => self.subscribe(rng, out),
            90..93 => self.unsubscribe(rng, out),
            93..95 => self.ping(out),
            95 => return self.say_goodbye(rng, out),
            96 => return Move::Drop,
            97 => return Move::Takeover { clean_start: rng.percent(self.plan.clean_percent) },
            _ => {}
        }
        Move::Nothing
    }

    /// Sends some of the acknowledgements that it owes, or all.
    pub(crate) fn send_acks(&mut self, rng: &mut Rng, out: &mut Vec<u8>) {
        for _ in 0..rng.between(1, 8) {
            let mut at = 0;
            if self.plan.shuffles && rng.percent(50) {
                at = rng.below(self.pending.len().max(1));
                // The order of everything but PUBACK is the specification's.
                if self.pending.get(at).is_some_and(|(kind, _)| *kind != AckKind::PubAck) {
                    at = 0;
                }
            }
            let Some((kind, id)) = self.pending.remove(at) else { return };
            let id = PacketId::new(id).expect("not 0");
            encode_ack(self.plan.version, kind, id, ReasonCode::Success, out);
        }
    }

    pub(crate) fn ping(&mut self, out: &mut Vec<u8>) {
        if self.pings < 3 {
            self.pings += 1;
            out.extend_from_slice(&dunlin::codec::PINGREQ);
        }
    }

    fn publish(&mut self, rng: &mut Rng, out: &mut Vec<u8>) {
        let topic = *rng.pick(&TOPICS);
        let qos = rng.below(3) as u8;
        if qos > 0 && self.outgoing.len() >= self.window.min(20) {
            return;
        }
        let retain = topic.starts_with("r/") && rng.percent(70);
        self.next_message += 1;
        let padding = match rng.below(40) {
            0 => 5_000,
            1..10 => rng.below(200),
            _ => 0,
        };
        let deletes = retain && rng.percent(15);
        let payload = if deletes { Vec::new() } else { payload((self.index, self.next_message), padding) };
        let is_v5 = self.plan.version.is_v5();
        let packet_id = (qos > 0).then(|| self.packet_id());
        let mut packet = PublishOut {
            version: self.plan.version,
            topic,
            topic_alias: None,
            qos: Qos::from_bits(qos).expect("below 3"),
            dup: false,
            retain,
            packet_id: packet_id.and_then(PacketId::new),
            message_expiry_s: (is_v5 && rng.percent(5)).then(|| rng.between(1, 20) as u32),
            subscription_ids: &[],
            forwarded: Forwarded::EMPTY,
            payload: &payload,
        };
        if let Some(packet_id) = packet_id {
            let mut again = Vec::new();
            packet.encode(&mut again);
            self.outgoing.push_back(Outgoing { packet_id, qos, packet: again, released: false });
            self.awaited.push_back(packet_id);
        }
        if self.alias_maximum > 0 && rng.percent(50) {
            (packet.topic, packet.topic_alias) = alias(&mut self.named, self.alias_maximum, topic);
        }
        packet.encode(out);
    }

    fn subscribe(&mut self, rng: &mut Rng, out: &mut Vec<u8>) {
        if self.requests.len() > 4 {
            return;
        }
        let is_v5 = self.plan.version.is_v5();
        let mut options = options(rng.below(3) as u8);
        if is_v5 && self.plan.packet_size_max_bytes == u32::MAX && rng.percent(30) {
            options.retain_as_published = rng.percent(50);
            let group = *rng.pick(&GROUPS);
            return self.subscribe_to(rng, group, options, out);
        }
        if is_v5 {
            options.no_local = rng.percent(20);
            options.retain_as_published = rng.percent(30);
            options.retain_handling =
                *rng.pick(&[RetainHandling::SendAlways, RetainHandling::SendIfNew, RetainHandling::Never]);
        }
        let filter = *rng.pick(&FILTERS);
        self.subscribe_to(rng, filter, options, out);
    }

    fn subscribe_to(&mut self, rng: &mut Rng, filter: &str, options: SubscriptionOptions, out: &mut Vec<u8>) {
        let id = self.packet_id();
        self.requests.insert(id);
        self.subscribed.insert(filter.to_owned());
        // Every one has its own identifier, so that a delivery says what it is for. A shared one always has it.
        self.next_subscription += 1;
        let identified = self.plan.version.is_v5() && (filter.starts_with('$') || rng.percent(50));
        let identifier = NonZeroU32::new(self.next_subscription).filter(|_| identified);
        let id = PacketId::new(id).expect("not 0");
        encode_subscribe(self.plan.version, id, identifier, [SubscribeFilter { filter, options }], out);
    }

    fn unsubscribe(&mut self, rng: &mut Rng, out: &mut Vec<u8>) {
        let filters: Vec<String> = self.subscribed.iter().cloned().collect();
        if filters.is_empty() || self.requests.len() > 4 {
            return;
        }
        let filter = rng.pick(&filters);
        self.subscribed.remove(filter);
        let id = self.packet_id();
        self.requests.insert(id);
        encode_unsubscribe(self.plan.version, PacketId::new(id).expect("not 0"), [filter.as_str()], out);
    }

    /// DISCONNECT. The broker closes the connection; the client reads nothing more.
    fn say_goodbye(&mut self, rng: &mut Rng, out: &mut Vec<u8>) -> Move {
        let mut disconnect = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        if self.plan.version.is_v5() {
            if rng.percent(30) {
                disconnect.reason = ReasonCode::DisconnectWithWill;
            }
            if self.plan.expiry_s > 0 && rng.percent(20) {
                let expiry_s = *rng.pick(&[0, 1, 10]);
                disconnect.session_expiry_s = Some(expiry_s);
                // Nobody will say whether it arrived: the client believes the shorter time.
                self.expiry_s = self.expiry_s.min(expiry_s);
                self.forgot |= expiry_s == 0;
            }
        }
        disconnect.encode(self.plan.version, out);
        Move::Drop
    }
}

pub(crate) fn options(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions::from_bits(qos).expect("a QoS")
}

/// Uses an alias for a topic, giving it one if there is any left.
fn alias<'a>(named: &mut Vec<String>, maximum: u16, topic: &'a str) -> (&'a str, Option<TopicAlias>) {
    let number = |at: usize| TopicAlias::new(at as u16 + 1);
    if let Some(at) = named.iter().position(|known| known == topic) {
        return ("", number(at));
    }
    if named.len() < usize::from(maximum) {
        named.push(topic.to_owned());
        return (topic, number(named.len() - 1));
    }
    (topic, None)
}

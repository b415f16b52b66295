//! Clients that keep to nothing: garbage, halves, wrong order, storms, never acknowledging, never reading.
//!
//! They publish below `wild/` only and under payloads that the model ignores; what the broker owes them is nothing, and
//! what others are owed must come all the same.

use dunlin::codec::{
    AckKind, Connect, Forwarded, PublishOut, ReasonCode, SubscribeFilter, Version, encode_ack, encode_subscribe,
};
use dunlin::ids::{PacketId, Qos, TopicAlias};

use crate::actions::options;
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct Hostile {
    pub(crate) index: usize,
    pub(crate) conn: Option<usize>,
    pub(crate) reads: bool,
    version: Version,
}

impl Hostile {
    pub(crate) const fn new(index: usize) -> Self {
        Self { index, conn: None, reads: true, version: Version::V5 }
    }

    /// The first bytes on a new connection.
    pub(crate) fn connect(&mut self, rng: &mut Rng, out: &mut Vec<u8>) -> Version {
        self.version = *rng.pick(&[Version::V5, Version::V5, Version::V311, Version::V31]);
        self.reads = rng.percent(60);
        if rng.percent(10) {
            garbage(rng, out);
        }
        let name = format!("hostile-{}", self.index);
        let mut connect = Connect::new(self.version, &name, rng.percent(50));
        if self.version.is_v5() {
            connect.session_expiry_s = *rng.pick(&[0, 3, 1_000]);
            connect.receive_maximum = *rng.pick(&[1, 65_535]);
            connect.maximum_packet_size_bytes = *rng.pick(&[u32::MAX, u32::MAX, 1, 6, 20, 100]);
            connect.topic_alias_maximum = *rng.pick(&[0, 65_535]);
        }
        connect.keep_alive_s = *rng.pick(&[0, 1, 65_535]);
        let at = out.len();
        connect.encode(out);
        if rng.percent(10) {
            spoil(rng, out, at);
        }
        self.version
    }

    /// One or more packets, most of them valid by themselves. Returns whether it drops the connection.
    pub(crate) fn act(&self, rng: &mut Rng, out: &mut Vec<u8>) -> bool {
        for _ in 0..rng.between(1, 6) {
            let at = out.len();
            self.send(rng, out);
            if rng.percent(4) {
                spoil(rng, out, at);
            }
        }
        rng.percent(5)
    }

    /// More at once than a turn takes of one connection.
    pub(crate) fn flood(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        for _ in 0..rng.between(2, 5) {
            PublishOut {
                version: self.version,
                topic: "wild/flood",
                topic_alias: None,
                qos: Qos::AtMostOnce,
                dup: false,
                retain: false,
                packet_id: None,
                message_expiry_s: None,
                subscription_ids: &[],
                forwarded: Forwarded::EMPTY,
                payload: &vec![b'h'; 7_000],
            }
            .encode(out);
        }
    }

    fn send(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        let id = PacketId::new(rng.between(1, 20) as u16).expect("not 0");
        match rng.below(100) {
            0..40 => self.publish(rng, id, out),
            40..60 => {
                let filter = *rng.pick(&["#", "wild/#", "t/#", "+/+", "$share/g/t/#", "a/#/b", "$SYS/#", "r/+"]);
                let filter = SubscribeFilter { filter, options: options(rng.below(3) as u8) };
                // So many that they take several turns, from a source of their own.
                let filters = vec![filter; *Rng::new(rng.clone().next() ^ 0xf117).pick(&[1, 1, 1, 5])];
                // Not with a share: what its members are owed is the model's.
                if !filter.filter.starts_with("$share") {
                    encode_subscribe(self.version, id, None, filters, out);
                }
            }
            60..85 => {
                let kinds = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];
                let kind = *rng.pick(&kinds);
                let reason = if rng.percent(20) && matches!(kind, AckKind::PubAck | AckKind::PubRec) {
                    ReasonCode::QuotaExceeded
                } else {
                    ReasonCode::Success
                };
                encode_ack(self.version, kind, id, reason, out);
            }
            85..97 => out.extend_from_slice(&dunlin::codec::PINGREQ),
            97 => Connect::new(self.version, "hostile-second", true).encode(out),
            98 => garbage(rng, out),
            _ => out.extend_from_slice(&[0xe0, 0]),
        }
    }

    fn publish(&self, rng: &mut Rng, id: PacketId, out: &mut Vec<u8>) {
        let qos = *rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        let is_v5 = self.version.is_v5();
        let alias = TopicAlias::new(rng.between(1, 12) as u16).filter(|_| is_v5 && rng.percent(20));
        let topic = *rng.pick(&["wild/0", "wild/1", "wild/a/b/c/d/e/f"]);
        PublishOut {
            version: self.version,
            topic: if alias.is_some() && rng.percent(50) { "" } else { topic },
            topic_alias: alias,
            qos,
            dup: qos != Qos::AtMostOnce && rng.percent(20),
            retain: rng.percent(20),
            packet_id: (qos != Qos::AtMostOnce).then_some(id),
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::EMPTY,
            payload: &vec![b'h'; rng.below(300)],
        }
        .encode(out);
    }
}

fn garbage(rng: &mut Rng, out: &mut Vec<u8>) {
    for _ in 0..rng.between(1, 40) {
        out.push(rng.next() as u8);
    }
}

/// Damages the packet that begins at `at`: a bit, the end, or the middle.
fn spoil(rng: &mut Rng, out: &mut Vec<u8>, at: usize) {
    if out.len() <= at + 4 {
        return;
    }
    match rng.below(3) {
        // Not in the topic: a damaged packet must not write to what the model knows.
        0 => {
            let place = at + rng.below(2);
            out[place] ^= 1 << rng.below(8);
        }
        1 => out.truncate(rng.between(at + 1, out.len() - 1)),
        _ => {
            let place = rng.between(at, out.len() - 1);
            out.remove(place);
        }
    }
}

//! A client that keeps to the specification, and checks that the broker does.
//!
//! What it is owed as a subscriber is the oracle's business; here it looks at what only a client can know: that its own
//! requests are answered, once and in order, and that what comes fits the state of its exchanges.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dunlin::codec::{Ack, AckKind, Connect, Packet, Publish, ReasonCode, Side, Version, decode, encode_ack, frame};
use dunlin::ids::{PacketId, Qos};

use crate::oracle::{Check, Oracle};
use crate::plan::ClientPlan;

/// A message of its own that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) packet_id: u16,
    pub(crate) qos: u8,
    /// The whole packet, DUP not set.
    pub(crate) packet: Vec<u8>,
    /// PUBREC has come.
    pub(crate) released: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) plan: ClientPlan,
    pub(crate) conn: Option<usize>,
    /// CONNACK has come.
    pub(crate) ready: bool,
    received: Vec<u8>,
    /// What the broker takes at a time.
    pub(crate) window: usize,
    pub(crate) alias_maximum: u16,
    pub(crate) outgoing: VecDeque<Outgoing>,
    /// Identifiers of its messages on this connection, in the order in which they must be acknowledged.
    pub(crate) awaited: VecDeque<u16>,
    /// QoS 2 messages of the broker that it has taken and not released.
    taken: BTreeSet<u16>,
    /// Acknowledgements that it has not sent.
    pub(crate) pending: VecDeque<(AckKind, u16)>,
    /// SUBSCRIBE and UNSUBSCRIBE that are not answered.
    pub(crate) requests: BTreeSet<u16>,
    pub(crate) pings: usize,
    aliases: BTreeMap<u16, String>,
    pub(crate) named: Vec<String>,
    pub(crate) next_id: u16,
    pub(crate) next_message: u32,
    pub(crate) next_subscription: u32,
    pub(crate) subscribed: BTreeSet<String>,
    /// Its last CONNECT was refused, and it lets some time pass before the next.
    pub(crate) refused: bool,
    /// The session of the model whose CONNACK it has read last.
    session: Option<u64>,
    /// It has asked for a clean start and not heard whether it got one: it has no session to come back to.
    pub(crate) forgot: bool,
    /// How long its session outlives the present connection, or the last one.
    pub(crate) expiry_s: u32,
    /// Milliseconds at which the last connection ended for the client.
    pub(crate) left_ms: u64,
    /// Milliseconds at which it last sent something.
    pub(crate) sent_ms: u64,
}

impl Client {
    pub(crate) fn new(index: usize, plan: ClientPlan) -> Self {
        Self {
            index,
            plan,
            conn: None,
            ready: false,
            received: Vec::new(),
            window: 0,
            alias_maximum: 0,
            outgoing: VecDeque::new(),
            awaited: VecDeque::new(),
            taken: BTreeSet::new(),
            session: None,
            pending: VecDeque::new(),
            requests: BTreeSet::new(),
            pings: 0,
            aliases: BTreeMap::new(),
            named: Vec::new(),
            next_id: 0,
            next_message: 0,
            next_subscription: 0,
            subscribed: BTreeSet::new(),
            refused: false,
            forgot: false,
            expiry_s: 0,
            left_ms: 0,
            sent_ms: 0,
        }
    }

    /// An identifier that is not in use; the range is small, so that they come round.
    pub(crate) fn packet_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 300 + 1;
            let id = self.next_id;
            if !self.requests.contains(&id) && !self.outgoing.iter().any(|outgoing| outgoing.packet_id == id) {
                return id;
            }
        }
    }

    /// Forgets what belongs to a connection, and the session if it ends with that.
    pub(crate) fn disconnected(&mut self, now_ms: u64) {
        if self.expiry_s == 0 && self.conn.is_some() {
            self.outgoing.clear();
            self.taken.clear();
            self.subscribed.clear();
        }
        self.left_ms = now_ms;
        self.conn = None;
        self.ready = false;
        self.received.clear();
        self.awaited.clear();
        self.pending.clear();
        self.requests.clear();
        self.pings = 0;
        self.aliases.clear();
        self.named.clear();
    }

    /// A clean start discards the client's state at once [MQTT-3.1.2-4].
    pub(crate) fn forget(&mut self) {
        self.outgoing.clear();
        self.taken.clear();
        self.subscribed.clear();
        self.forgot = true;
    }

    /// Whether its session has ended for all that it knows. The broker's clock started later, so it may be there still;
    /// coming back to it without one's own half would be wrong.
    pub(crate) fn has_expired(&self, now_ms: u64) -> bool {
        self.expiry_s > 0 && self.expiry_s != u32::MAX && self.left_ms + u64::from(self.expiry_s) * 1_000 <= now_ms
    }

    /// Of the messages that it has taken, only these are known to the broker still.
    pub(crate) fn keep_taken(&mut self, known: &BTreeSet<u16>) {
        self.taken.retain(|id| known.contains(id));
    }

    /// Nothing of its own is unanswered.
    pub(crate) fn is_settled(&self) -> bool {
        self.outgoing.is_empty() && self.pending.is_empty() && self.requests.is_empty() && self.pings == 0
    }

    /// Reads bytes; what it answers at once is appended to `out`.
    pub(crate) fn read(&mut self, bytes: &[u8], oracle: &mut Oracle, out: &mut Vec<u8>) -> Check {
        self.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        loop {
            match frame::next(rest, u32::MAX) {
                Ok(None) => break,
                Err(error) => return Err(format!("client {} reads what is no packet: {error}", self.index)),
                Ok(Some((frame, len))) => {
                    let packet = decode(frame, self.plan.version, Side::Client)
                        .map_err(|error| format!("client {} reads a bad packet: {error}", self.index))?;
                    self.take(&packet, oracle, out)?;
                    rest = &rest[len..];
                }
            }
        }
        self.received = rest.to_vec();
        Ok(())
    }

    fn take(&mut self, packet: &Packet<'_>, oracle: &mut Oracle, out: &mut Vec<u8>) -> Check {
        match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => {
                self.refused = true;
                Ok(())
            }
            Packet::ConnAck(connack) => {
                self.refused = false;
                self.window = usize::from(connack.receive_maximum.unwrap_or(u16::MAX));
                self.alias_maximum = connack.topic_alias_maximum.unwrap_or(0);
                self.ready = true;
                self.forgot = false;
                // 3.1 does not say; such a client takes its session for kept if it asked for that.
                let present = match self.plan.version {
                    Version::V31 => oracle.is_present(self.index),
                    _ => connack.session_present,
                };
                // It may never have read that the session before this one is gone, and its half of that is not of this one.
                let before = std::mem::replace(&mut self.session, oracle.serial(self.index));
                self.resume(present && before == self.session, out);
                Ok(())
            }
            Packet::Publish(publish) => self.take_publish(publish, oracle),
            Packet::Ack(ack) => self.take_ack(ack, out),
            Packet::SubAck(suback) => self.answered(suback.packet_id.get()),
            Packet::UnsubAck(unsuback) => self.answered(unsuback.packet_id.get()),
            Packet::PingResp if self.pings > 0 => {
                self.pings -= 1;
                Ok(())
            }
            Packet::Disconnect(_) => Ok(()),
            other => Err(format!("client {} never asked for {other:?}", self.index)),
        }
    }

    /// Goes on with what was open, or forgets it with the session.
    fn resume(&mut self, present: bool, out: &mut Vec<u8>) {
        if !present {
            self.forget();
            self.forgot = false;
            return;
        }
        let version = self.plan.version;
        for outgoing in &self.outgoing {
            if outgoing.released {
                let id = PacketId::new(outgoing.packet_id).expect("not 0");
                encode_ack(version, AckKind::PubRel, id, ReasonCode::Success, out);
            } else {
                let at = out.len();
                out.extend_from_slice(&outgoing.packet);
                out[at] |= 0b1000; // DUP
                self.awaited.push_back(outgoing.packet_id);
            }
        }
    }

    fn take_publish(&mut self, publish: &Publish<'_>, oracle: &mut Oracle) -> Check {
        if let Some(alias) = publish.topic_alias {
            if alias.get() > self.plan.topic_alias_maximum {
                return Err(format!("client {} is given alias {alias}", self.index));
            }
            if publish.topic.is_empty() {
                if !self.aliases.contains_key(&alias.get()) {
                    return Err(format!("client {} was never told what alias {alias} is", self.index));
                }
            } else {
                self.aliases.insert(alias.get(), publish.topic.to_owned());
            }
        }
        let id = publish.packet_id.map_or(0, PacketId::get);
        match publish.qos {
            Qos::AtMostOnce => oracle.received(self.index, publish),
            Qos::AtLeastOnce => {
                self.pending.push_back((AckKind::PubAck, id));
                oracle.received(self.index, publish)
            }
            Qos::ExactlyOnce => {
                self.pending.push_back((AckKind::PubRec, id));
                if self.taken.insert(id) {
                    return oracle.received(self.index, publish);
                }
                if publish.dup {
                    return Ok(());
                }
                Err(format!("client {} gets #{id} as a new message before it released the old", self.index))
            }
        }
    }

    fn take_ack(&mut self, ack: &Ack<'_>, out: &mut Vec<u8>) -> Check {
        let id = ack.packet_id.get();
        let wrong = |what: &str| Err(format!("client {}: {what}, #{id}", self.index));
        let mine = self.outgoing.iter().position(|outgoing| outgoing.packet_id == id);
        match (ack.kind, mine) {
            (AckKind::PubAck | AckKind::PubRec, Some(at)) => {
                if self.awaited.front() != Some(&id) {
                    return wrong("an acknowledgement out of order");
                }
                let qos = self.outgoing[at].qos;
                if (ack.kind == AckKind::PubAck) != (qos == 1) || self.outgoing[at].released {
                    return wrong("an acknowledgement of the wrong kind");
                }
                self.awaited.pop_front();
                if qos == 1 {
                    self.outgoing.remove(at);
                } else {
                    self.outgoing[at].released = true;
                    encode_ack(self.plan.version, AckKind::PubRel, ack.packet_id, ReasonCode::Success, out);
                }
                Ok(())
            }
            (AckKind::PubComp, Some(at)) if self.outgoing[at].released => {
                self.outgoing.remove(at);
                Ok(())
            }
            (AckKind::PubRel, _) => {
                self.taken.remove(&id);
                self.pending.push_back((AckKind::PubComp, id));
                Ok(())
            }
            _ => wrong("an acknowledgement that it never waited for"),
        }
    }

    fn answered(&mut self, id: u16) -> Check {
        if self.requests.remove(&id) {
            return Ok(());
        }
        Err(format!("client {} never asked for #{id}", self.index))
    }

    /// Everything as the plan says but for the will.
    pub(crate) fn connect<'a>(name: &'a str, plan: &ClientPlan, clean_start: bool) -> Connect<'a> {
        let mut connect = Connect::new(plan.version, name, clean_start);
        connect.keep_alive_s = plan.keep_alive_s;
        if plan.version.is_v5() {
            connect.session_expiry_s = plan.expiry_s;
            connect.receive_maximum = plan.receive_maximum;
            connect.maximum_packet_size_bytes = plan.packet_size_max_bytes;
            connect.topic_alias_maximum = plan.topic_alias_maximum;
        }
        connect
    }
}

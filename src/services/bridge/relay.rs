//! What follows on one side of a bridge from a packet of the other.
//!
//! Owns: nothing that must outlive a connection, but how often the other broker had no room for a message ([`Refusals`]).
//! Always holds: packet identifiers pass through as they are, so each side's acknowledgement is the other side's own, and both sessions
//! together make what is in flight safe against the loss of this process; what does not go on is acknowledged to its sender and counted,
//! and nothing else is acknowledged here.
//! Leaves to others: when both connections are open, and bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::topics::{has_room_for_hop, hops, local_name, remote_name, with_hop};
use crate::codec::{AckKind, ReasonCode, Version};
use crate::config::BridgeTopic;
use crate::ids::{PacketId, Qos};
use crate::limits::BRIDGE_REFUSALS_MAX;
use crate::services::connectors::NotPassed;
use crate::services::local::{LocalConnack, OwnedAck, OwnedPacket, OwnedPublish};

/// Where a packet comes from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BridgeSide {
    /// This broker.
    Local,
    /// The other one.
    Remote,
}

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RelayStep {
    /// Send a message to a side.
    Publish(BridgeSide, OwnedPublish),
    /// Send an acknowledgement to a side.
    Ack(BridgeSide, OwnedAck),
    /// A message does not go on.
    NotPassed(NotPassed, Box<str>),
    /// A message cannot go on now, as a side says: both connections are to be opened again later, when what else is under way has come
    /// to its end.
    TryLater(&'static str),
}

/// What holds on the sides of a bridge, as its settings and the CONNACKs say.
#[derive(Clone, Debug)]
pub(super) struct RelayBounds {
    pub(super) topics: Vec<BridgeTopic>,
    pub(super) hops_max: u8,
    pub(super) outgoing_retain: bool,
    pub(super) remote_version: Version,
    /// Of messages to the other broker.
    pub(super) remote_qos_max: Qos,
    /// Of packets to the other broker.
    pub(super) remote_packet_max_bytes: u32,
    /// What this broker takes.
    pub(super) local: LocalConnack,
}

/// Messages that the other broker had no room for, over connections: some brokers say so of what they never take.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(BTreeMap<PacketId, RemoteRefusal>);

#[derive(Clone, Copy, Debug, Default)]
struct RemoteRefusal {
    times: u8,
    /// It has taken another one since.
    has_taken_another: bool,
}

impl Refusals {
    /// The other broker has taken a message.
    fn taken(&mut self, id: PacketId) {
        self.0.remove(&id);
        for refusal in self.0.values_mut() {
            refusal.has_taken_another = true;
        }
    }

    /// The other broker has no room for a message. Returns whether that is so often enough to be about this message: there was room for
    /// others. Where there is none for anybody, as on a full disk, all wait.
    fn refused(&mut self, id: PacketId) -> bool {
        let refusal = self.0.entry(id).or_default();
        refusal.times = refusal.times.saturating_add(1);
        let is_about_it = refusal.times >= BRIDGE_REFUSALS_MAX && refusal.has_taken_another;
        if is_about_it {
            self.0.remove(&id);
        }
        is_about_it
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Relay {
    bounds: RelayBounds,
    refusals: Refusals,
    /// Messages of QoS 2 from a side that were sent on with QoS 1 and are not acknowledged.
    lowered: [BTreeSet<PacketId>; 2],
    /// Messages of QoS 2 from a side whose PUBREC was ours: so is their PUBCOMP.
    ours: [BTreeSet<PacketId>; 2],
}

impl Relay {
    /// `refusals`: what [`Self::into_refusals`] gave at the end of the connection before, where the sessions are those of before.
    pub(super) fn new(bounds: RelayBounds, refusals: Refusals) -> Self {
        Self { bounds, refusals, lowered: <[_; 2]>::default(), ours: <[_; 2]>::default() }
    }

    /// What the next connection is to know.
    pub(super) fn into_refusals(self) -> Refusals {
        self.refusals
    }

    /// What follows from a packet of a side.
    pub(super) fn handle(&mut self, from: BridgeSide, packet: OwnedPacket) -> Vec<RelayStep> {
        match (from, packet) {
            (BridgeSide::Local, OwnedPacket::Publish(publish)) => self.handle_outgoing(&publish),
            (BridgeSide::Remote, OwnedPacket::Publish(publish)) => self.handle_incoming(&publish),
            (from, OwnedPacket::Unreadable { qos, packet_id, why }) => {
                let text = format!("a message that cannot be read: {why}");
                let mut steps = vec![RelayStep::NotPassed(NotPassed::Refused, text.into())];
                steps.extend(self.answer(from, (qos, packet_id)));
                steps
            }
            (from, OwnedPacket::Ack(ack)) if ack.kind == AckKind::PubRel => self.handle_release(from, ack),
            (from, OwnedPacket::Ack(ack)) => self.handle_ack(from, ack),
            // Answers to requests of ours.
            _ => Vec::new(),
        }
    }

    fn handle_outgoing(&mut self, publish: &OwnedPublish) -> Vec<RelayStep> {
        let passed = hops(publish.forwarded());
        let Some(topic) = remote_name(&self.bounds.topics, &publish.topic) else {
            return self.leave_out(BridgeSide::Local, publish, NotPassed::NoTopic);
        };
        if passed >= u32::from(self.bounds.hops_max) {
            return self.leave_out(BridgeSide::Local, publish, NotPassed::Hops);
        }
        let version = self.bounds.remote_version;
        let out = OwnedPublish {
            topic: topic.into(),
            qos: publish.qos.min(self.bounds.remote_qos_max),
            retain: publish.retain && self.bounds.outgoing_retain,
            properties: with_hop(publish.forwarded(), passed),
            ..publish.clone()
        };
        let has_room = !version.is_v5() || has_room_for_hop(publish.forwarded());
        if !has_room || !out.out(version).fits(self.bounds.remote_packet_max_bytes) {
            return self.leave_out(BridgeSide::Local, publish, NotPassed::TooLarge);
        }
        self.pass(BridgeSide::Local, publish.qos, out)
    }

    fn handle_incoming(&mut self, publish: &OwnedPublish) -> Vec<RelayStep> {
        let passed = hops(publish.forwarded());
        let Some(topic) = local_name(&self.bounds.topics, &publish.topic) else {
            return self.leave_out(BridgeSide::Remote, publish, NotPassed::NoTopic);
        };
        if passed >= u32::from(self.bounds.hops_max) {
            return self.leave_out(BridgeSide::Remote, publish, NotPassed::Hops);
        }
        let properties = with_hop(publish.forwarded(), passed);
        let mut inward = OwnedPublish { topic: topic.into(), properties, ..publish.clone() };
        self.bounds.local.lower(&mut inward);
        if self.bounds.local.check_size(&inward).is_err() {
            return self.leave_out(BridgeSide::Remote, publish, NotPassed::TooLarge);
        }
        self.pass(BridgeSide::Remote, publish.qos, inward)
    }

    /// Sends a message of `from` on, perhaps with a lower QoS than the `qos` that it came with.
    fn pass(&mut self, from: BridgeSide, qos: Qos, mut out: OwnedPublish) -> Vec<RelayStep> {
        let packet_id = out.packet_id;
        if out.qos == Qos::AtMostOnce {
            (out.dup, out.packet_id) = (false, None);
        }
        let passed_qos = out.qos;
        let mut steps = vec![RelayStep::Publish(from.other(), out)];
        match (packet_id, passed_qos) {
            // Nobody there acknowledges it.
            (Some(_), Qos::AtMostOnce) => steps.extend(self.answer(from, (qos, packet_id))),
            (Some(id), Qos::AtLeastOnce) if qos == Qos::ExactlyOnce => _ = self.lowered[from as usize].insert(id),
            _ => {}
        }
        steps
    }

    /// A message goes no further than here.
    fn leave_out(&mut self, from: BridgeSide, publish: &OwnedPublish, reason: NotPassed) -> Vec<RelayStep> {
        let mut steps = vec![RelayStep::NotPassed(reason, publish.topic.clone())];
        steps.extend(self.answer(from, (publish.qos, publish.packet_id)));
        steps
    }

    /// The first acknowledgement of a message to the side that it came from.
    fn answer(&mut self, to: BridgeSide, (qos, packet_id): (Qos, Option<PacketId>)) -> Option<RelayStep> {
        let id = packet_id?;
        let kind = match qos {
            Qos::AtMostOnce => return None,
            Qos::AtLeastOnce => AckKind::PubAck,
            Qos::ExactlyOnce => {
                self.ours[to as usize].insert(id);
                AckKind::PubRec
            }
        };
        Some(RelayStep::Ack(to, OwnedAck::new(kind, id, ReasonCode::Success)))
    }

    /// PUBREL: by the side that has published.
    fn handle_release(&mut self, from: BridgeSide, ack: OwnedAck) -> Vec<RelayStep> {
        if self.ours[from as usize].remove(&ack.packet_id) {
            let done = OwnedAck::new(AckKind::PubComp, ack.packet_id, ReasonCode::Success);
            return vec![RelayStep::Ack(from, done)];
        }
        vec![RelayStep::Ack(from.other(), ack)]
    }

    /// PUBACK, PUBREC or PUBCOMP of a side, for the other. That there is no room now is no reason to forget a message.
    fn handle_ack(&mut self, from: BridgeSide, mut ack: OwnedAck) -> Vec<RelayStep> {
        let to = from.other();
        let (id, is_answer) = (ack.packet_id, ack.kind != AckKind::PubComp);
        if is_answer && ack.reason == ReasonCode::QuotaExceeded {
            // This broker says that of nothing that it never takes.
            if from == BridgeSide::Local {
                return vec![RelayStep::TryLater("this broker has no room for a message")];
            }
            if !self.refusals.refused(id) {
                return vec![RelayStep::TryLater("the other broker has no room for a message")];
            }
        } else if is_answer && from == BridgeSide::Remote && !ack.reason.is_error() {
            self.refusals.taken(id);
        }
        let mut steps = Vec::new();
        if is_answer && ack.reason.is_error() {
            let text = format!("refused with {}", ack.reason);
            steps.push(RelayStep::NotPassed(NotPassed::Refused, text.into()));
        }
        // What was sent on with QoS 1 is QoS 2 to its sender.
        if ack.kind == AckKind::PubAck && self.lowered[to as usize].remove(&id) {
            ack.kind = AckKind::PubRec;
            // Refused, an exchange has ended, but for those before 5.0, to whom PUBREC says nothing else than that it was taken.
            let hears_reasons = to == BridgeSide::Local || self.bounds.remote_version.is_v5();
            if !ack.reason.is_error() || !hears_reasons {
                self.ours[to as usize].insert(id);
            }
        }
        steps.push(RelayStep::Ack(to, ack));
        steps
    }
}

impl BridgeSide {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
}

//! What follows on one side of a bridge from a packet of the other.
//!
//! Owns: nothing that must outlive a connection. Always holds: packet identifiers pass through as they are, so each side's
//! acknowledgement is the other side's own, and both sessions together make what is in flight safe against the loss of this process;
//! what does not go on is acknowledged to its sender and counted, and nothing else is acknowledged here.
//! Leaves to others: when both connections are open, and bytes.

use std::collections::BTreeSet;

use super::topics::{hops, local_name, remote_name, with_hop};
use crate::codec::{AckKind, ReasonCode, Version};
use crate::config::BridgeTopic;
use crate::ids::{PacketId, Qos};
use crate::services::connectors::NotPassed;
use crate::services::local::{OwnedAck, OwnedPacket, OwnedPublish};

/// One side of a bridge.
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
    /// Nothing can go on now, as a side says: both connections are to be opened again later.
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
    /// Of packets to this one.
    pub(super) local_packet_max_bytes: u32,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Relay {
    bounds: RelayBounds,
    /// Messages of QoS 2 from here that were sent on with QoS 1 and are not acknowledged.
    lowered: BTreeSet<PacketId>,
    /// Messages of QoS 2 from here whose PUBREC was ours: so is their PUBCOMP.
    ours_to_local: BTreeSet<PacketId>,
    /// The same of those from there.
    ours_to_remote: BTreeSet<PacketId>,
}

impl Relay {
    pub(super) const fn new(bounds: RelayBounds) -> Self {
        Self { bounds, lowered: BTreeSet::new(), ours_to_local: BTreeSet::new(), ours_to_remote: BTreeSet::new() }
    }

    /// What follows from a packet of a side.
    pub(super) fn handle(&mut self, from: BridgeSide, packet: OwnedPacket) -> Vec<RelayStep> {
        match (from, packet) {
            (BridgeSide::Local, OwnedPacket::Publish(publish)) => self.handle_outgoing(publish),
            (BridgeSide::Remote, OwnedPacket::Publish(publish)) => self.handle_incoming(publish),
            (from, OwnedPacket::Ack(ack)) if ack.kind == AckKind::PubRel => self.handle_release(from, ack),
            (BridgeSide::Local, OwnedPacket::Ack(ack)) => acknowledged(BridgeSide::Local, ack),
            (BridgeSide::Remote, OwnedPacket::Ack(ack)) => self.handle_remote_ack(ack),
            // Answers to requests of ours.
            _ => Vec::new(),
        }
    }

    fn handle_outgoing(&mut self, publish: OwnedPublish) -> Vec<RelayStep> {
        let passed = hops(publish.forwarded());
        let Some(topic) = remote_name(&self.bounds.topics, &publish.topic) else {
            return self.leave_out(BridgeSide::Local, &publish, NotPassed::NoTopic);
        };
        if passed >= u32::from(self.bounds.hops_max) {
            return self.leave_out(BridgeSide::Local, &publish, NotPassed::Hops);
        }
        let qos = publish.qos.min(self.bounds.remote_qos_max);
        let out = OwnedPublish {
            topic: topic.into(),
            qos,
            dup: publish.dup && qos != Qos::AtMostOnce,
            packet_id: publish.packet_id.filter(|_| qos != Qos::AtMostOnce),
            retain: publish.retain && self.bounds.outgoing_retain,
            properties: with_hop(publish.forwarded(), passed),
            ..publish.clone()
        };
        if !out.out(self.bounds.remote_version).fits(self.bounds.remote_packet_max_bytes) {
            return self.leave_out(BridgeSide::Local, &publish, NotPassed::TooLarge);
        }
        let mut steps = vec![RelayStep::Publish(BridgeSide::Remote, out)];
        match (publish.packet_id, qos) {
            // Nobody there acknowledges it.
            (Some(_), Qos::AtMostOnce) => steps.extend(self.answer(BridgeSide::Local, &publish)),
            (Some(id), Qos::AtLeastOnce) if publish.qos == Qos::ExactlyOnce => _ = self.lowered.insert(id),
            _ => {}
        }
        steps
    }

    fn handle_incoming(&mut self, publish: OwnedPublish) -> Vec<RelayStep> {
        let passed = hops(publish.forwarded());
        let Some(topic) = local_name(&self.bounds.topics, &publish.topic) else {
            return self.leave_out(BridgeSide::Remote, &publish, NotPassed::NoTopic);
        };
        if passed >= u32::from(self.bounds.hops_max) {
            return self.leave_out(BridgeSide::Remote, &publish, NotPassed::Hops);
        }
        let properties = with_hop(publish.forwarded(), passed);
        let inward = OwnedPublish { topic: topic.into(), properties, ..publish.clone() };
        if !inward.out(Version::V5).fits(self.bounds.local_packet_max_bytes) {
            return self.leave_out(BridgeSide::Remote, &publish, NotPassed::TooLarge);
        }
        vec![RelayStep::Publish(BridgeSide::Local, inward)]
    }

    /// A message goes no further than here.
    fn leave_out(&mut self, from: BridgeSide, publish: &OwnedPublish, reason: NotPassed) -> Vec<RelayStep> {
        let mut steps = vec![RelayStep::NotPassed(reason, publish.topic.clone())];
        steps.extend(self.answer(from, publish));
        steps
    }

    /// The first acknowledgement of a message to the side that it came from.
    fn answer(&mut self, to: BridgeSide, publish: &OwnedPublish) -> Option<RelayStep> {
        let id = publish.packet_id?;
        let kind = match publish.qos {
            Qos::AtMostOnce => return None,
            Qos::AtLeastOnce => AckKind::PubAck,
            Qos::ExactlyOnce => {
                self.ours(to).insert(id);
                AckKind::PubRec
            }
        };
        Some(RelayStep::Ack(to, OwnedAck::new(kind, id, ReasonCode::Success)))
    }

    const fn ours(&mut self, to: BridgeSide) -> &mut BTreeSet<PacketId> {
        match to {
            BridgeSide::Local => &mut self.ours_to_local,
            BridgeSide::Remote => &mut self.ours_to_remote,
        }
    }

    /// PUBREL: by the side that has published.
    fn handle_release(&mut self, from: BridgeSide, ack: OwnedAck) -> Vec<RelayStep> {
        if self.ours(from).remove(&ack.packet_id) {
            let done = OwnedAck::new(AckKind::PubComp, ack.packet_id, ReasonCode::Success);
            return vec![RelayStep::Ack(from, done)];
        }
        vec![RelayStep::Ack(from.other(), ack)]
    }

    fn handle_remote_ack(&mut self, ack: OwnedAck) -> Vec<RelayStep> {
        if ack.kind != AckKind::PubAck || !self.lowered.remove(&ack.packet_id) {
            return acknowledged(BridgeSide::Remote, ack);
        }
        let mut steps = acknowledged(BridgeSide::Remote, ack);
        // What was QoS 1 there is QoS 2 here.
        for step in &mut steps {
            if let RelayStep::Ack(BridgeSide::Local, own) = step {
                own.kind = AckKind::PubRec;
                if !own.reason.is_error() {
                    self.ours_to_local.insert(own.packet_id);
                }
            }
        }
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

/// PUBACK, PUBREC or PUBCOMP of a side, for the other. That there is no room now is no reason to forget a message.
fn acknowledged(from: BridgeSide, ack: OwnedAck) -> Vec<RelayStep> {
    let ends = ack.kind != AckKind::PubComp;
    if ends && ack.reason == ReasonCode::QuotaExceeded {
        return vec![RelayStep::TryLater(match from {
            BridgeSide::Local => "this broker has no room for a message",
            BridgeSide::Remote => "the other broker has no room for a message",
        })];
    }
    let mut steps = Vec::new();
    if ends && ack.reason.is_error() {
        let text = format!("refused with {}", ack.reason);
        steps.push(RelayStep::NotPassed(NotPassed::Refused, text.into()));
    }
    steps.push(RelayStep::Ack(from.other(), ack));
    steps
}

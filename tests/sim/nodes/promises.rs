//! What must hold of those who subscribe: behind a SUBACK whoever publishes on another node reaches them, and they need not wait for it longer
//! than it takes.
//!
//! Who would be reached is asked of the shards: a client of each publishes with QoS 0, and what it would say to others is looked at, and not said.

use std::collections::BTreeMap;

use dunlin::codec::{Connect, EncodedSubscriptionIds, Forwarded, Packet, Publish, Version};
use dunlin::ids::{ConnectionId, Qos, ShardId, ShardSet};
use dunlin::shard::{Input, MeshMessage, Turn};

use super::clients::{connect_at, is_shared, topic};
use super::node::At;
use super::world::World;
use crate::oracle::Check;

/// The number of the connection whose client asks; others have lower ones.
const PROBE: u32 = 20_000;
/// Longest wait for a SUBACK while nothing is wrong: some words over slow connections.
const SUBACK_MAX_MS: u64 = 6_000;
/// Longest wait for the last word about a message.
const SETTLED_MAX_MS: u64 = 6_000;
/// Longest time from the begin of a process until it lets clients in, while nothing is wrong.
const OPEN_MAX_MS: u64 = 10_000;

const fn probe(at: At) -> ConnectionId {
    ConnectionId::new(PROBE + at.shard as u32, 1)
}

impl World {
    /// A client that asks who would be reached.
    pub(crate) fn begin_probe(&mut self, at: At) -> Check {
        let name = format!("probe-{}", at.shard);
        connect_at(self, at, probe(at), &Connect::new(Version::V5, &name, true))
    }

    /// Whom a message on the topic of a filter would go to besides the clients of this shard.
    fn reach(&mut self, at: At, filter: usize) -> Result<ShardSet, String> {
        let now = self.time(at.node);
        let topic = topic(filter);
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: &topic,
            packet_id: None,
            payload: &[],
            topic_alias: None,
            message_expiry_s: None,
            properties: Forwarded::EMPTY,
            subscription_ids: EncodedSubscriptionIds::EMPTY,
        };
        let Some(host) = self.host(at) else { return Ok(ShardSet::default()) };
        let input = Input::Packet { connection: probe(at), packet: Packet::Publish(publish) };
        for input in [input, Input::Flushed] {
            host.shard.handle(&mut Turn { now, fx: &mut host.fx }, input);
        }
        let mut reached = ShardSet::default();
        for (to, batch) in host.fx.mesh.batches() {
            if let Some(other) = batch.messages.iter().find(|message| !matches!(message, MeshMessage::Publish { .. })) {
                return Err(format!("a message on {topic} leads to {other:?}"));
            }
            reached.insert(to);
            batch.clear(0, 0);
        }
        host.fx.clear();
        Ok(reached)
    }

    /// What this step has promised holds, and whoever has let clients in reaches everybody.
    pub(crate) fn look_at_promises(&mut self) -> Check {
        for (of, filter) in std::mem::take(&mut self.given) {
            self.stats.looked += 1;
            self.look_from_all(of, filter)?;
        }
        for node in std::mem::take(&mut self.opened) {
            for (of, filter) in self.all_given() {
                self.look_from(node, of, filter)?;
            }
        }
        Ok(())
    }

    /// Looks at something that was promised a while ago.
    pub(crate) fn audit(&mut self, node: usize) -> Check {
        let process = self.process(node).expect("the caller has it");
        let given: Vec<(At, usize)> = process
            .clients
            .iter()
            .flat_map(|client| client.given().map(|filter| (At { node, shard: client.shard }, filter)))
            .collect();
        if given.is_empty() {
            return Ok(());
        }
        let (of, filter) = *self.rng.pick(&given);
        self.stats.audits += 1;
        self.look_from_all(of, filter)
    }

    fn all_given(&self) -> Vec<(At, usize)> {
        let of_node = |node: usize| {
            let process = self.nodes[node].process.as_ref();
            process
                .into_iter()
                .flat_map(|process| &process.clients)
                .flat_map(move |client| client.given().map(move |filter| (At { node, shard: client.shard }, filter)))
        };
        (0..self.nodes.len()).flat_map(of_node).collect()
    }

    fn look_from_all(&mut self, of: At, filter: usize) -> Check {
        for node in self.live() {
            self.look_from(node, of, filter)?;
        }
        Ok(())
    }

    /// Whether whoever publishes on this node reaches a subscriber of a shard, unless one of both nodes is none of the cluster's.
    fn look_from(&mut self, node: usize, of: At, filter: usize) -> Check {
        let boot_of = |world: &Self, node: usize| world.nodes[node].process.as_ref().map(|process| process.boot);
        let is_member =
            |world: &Self, node: usize| boot_of(world, node).is_some_and(|boot| world.members.has(node, boot));
        let is_open = self.nodes[node].process.as_ref().is_some_and(|process| process.is_open);
        if !is_open || is_shared(filter) || !is_member(self, node) || !is_member(self, of.node) {
            return Ok(());
        }
        let wanted = if node == of.node {
            ShardId(of.shard as u8)
        } else {
            let boot = boot_of(self, of.node);
            let peer = self.process(node).and_then(|process| process.peers.get(&of.node).copied());
            let peer = peer.filter(|peer| Some(peer.boot) == boot);
            peer.ok_or_else(|| format!("n{node} is open and does not know the process of n{}", of.node))?.slot
        };
        for shard in 0..self.plan.shards {
            let at = At { node, shard };
            if at != of && !self.reach(at, filter)?.contains(wanted) {
                let topic = topic(filter);
                return Err(format!(
                    "what is published on {at:?} to {topic} does not reach {of:?}, which had its SUBACK"
                ));
            }
        }
        Ok(())
    }

    /// Nobody waits longer than he has to.
    pub(crate) fn look_who_waits(&mut self, passed_ms: u64) -> Check {
        let nodes = 0..self.nodes.len();
        if self.now > self.trouble_until && !nodes.clone().any(|node| self.is_paused(node)) {
            self.quiet_ms += passed_ms;
        }
        let quiet_ms = self.quiet_ms;
        for node in nodes.filter(|node| !self.is_paused(*node)) {
            let Some(process) = &self.nodes[node].process else { continue };
            if !process.is_open && quiet_ms - process.born_quiet_ms > OPEN_MAX_MS {
                return Err(format!("n{node} lets nobody in: {:?}", process.peers));
            }
            let asked = process.clients.iter().filter_map(|client| client.asked.front());
            if let Some(asked) = asked.into_iter().find(|asked| quiet_ms - asked.quiet_ms > SUBACK_MAX_MS) {
                return Err(format!("on n{node} {asked:?} waits, and nothing is wrong"));
            }
            let unsettled = process.clients.iter().filter_map(|client| client.unsettled.front());
            if let Some(waits) = unsettled.into_iter().find(|one| quiet_ms - one.quiet_ms > SETTLED_MAX_MS) {
                return Err(format!("on n{node} {waits:?} waits, and nothing is wrong"));
            }
        }
        Ok(())
    }

    /// At rest shards know what all others want, and nothing besides. What a process wanted that is gone would show when its slot is another
    /// one's, so each slot has to become free.
    pub(crate) fn expect_exact(&mut self) -> Check {
        for node in self.live() {
            let left = &self.process(node).expect("it lives").not_forgotten;
            if !left.is_empty() {
                return Err(format!("at rest n{node} has not forgotten {left:?}"));
            }
        }
        let mut wanted: BTreeMap<usize, Vec<At>> = BTreeMap::new();
        for (of, filter) in self.all_given() {
            wanted.entry(filter).or_default().push(of);
        }
        for filter in (0..self.plan.filters).filter(|filter| !is_shared(*filter)) {
            for node in self.live() {
                for shard in 0..self.plan.shards {
                    let at = At { node, shard };
                    let mut expected = ShardSet::default();
                    for of in wanted.get(&filter).into_iter().flatten().filter(|of| **of != at) {
                        let process = self.process(node).expect("it lives");
                        expected.insert(match process.peers.get(&of.node) {
                            Some(peer) => peer.slot,
                            None => ShardId(of.shard as u8),
                        });
                    }
                    let reached = self.reach(at, filter)?;
                    if reached != expected {
                        return Err(format!(
                            "at rest {at:?} sends what is published to {} to {:?}, and {:?} want it",
                            topic(filter),
                            reached.iter().collect::<Vec<_>>(),
                            expected.iter().collect::<Vec<_>>()
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

//! Who is a member, by which process, and what each node is told of it: in the place of `ClusterNode` and the store of documents.
//!
//! Maps follow one another, and each node sees the latest sooner or later. A process joins under its node's name at once; one that is dead, or does
//! not reach another for too long, goes. Who finds itself out of the map ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin::cluster::{BootId, ClusterView, NodeStanding, PeerProcess, RangeCount, RangePlace};
use dunlin::ids::ShardId;
use dunlin::shard::{Command, Input, Reply, RequestId};

use super::canary::Canary;
use super::node::{At, KnownPeer, number};
use super::world::{Event, NodeEvent, World};
use crate::oracle::Check;

/// The process of each member.
type Map = BTreeMap<usize, u64>;

#[derive(Debug, Default)]
pub(crate) struct Members {
    maps: Vec<Map>,
}

impl Members {
    /// Whether this process is a member by the latest map.
    pub(crate) fn has(&self, node: usize, boot: u64) -> bool {
        self.maps.last().is_some_and(|map| map.get(&node) == Some(&boot))
    }

    fn latest(&self) -> Map {
        self.maps.last().cloned().unwrap_or_default()
    }
}

impl World {
    /// A process is a member from now on, in place of the one before.
    pub(crate) fn join(&mut self, node: usize, boot: u64) {
        let mut map = self.members.latest();
        self.stats.replaced += u64::from(map.insert(node, boot).is_some());
        self.use_map(map);
    }

    fn leave(&mut self, node: usize) {
        let mut map = self.members.latest();
        map.remove(&node);
        self.use_map(map);
    }

    fn use_map(&mut self, map: Map) {
        self.members.maps.push(map);
        for node in self.live() {
            let later = 1 + self.up_to(self.plan.map_ms);
            self.after_of(later, node, NodeEvent::Watch);
        }
    }

    /// Nobody has heard of a process for some seconds, unless it goes on meanwhile.
    pub(crate) fn call_dead(&mut self, node: usize, boot: u64) {
        let lives = self.nodes[node].process.as_ref().is_some_and(|process| process.boot == boot);
        if lives && !self.is_paused(node) || !self.members.has(node, boot) || self.canary == Canary::WaitForDead {
            return;
        }
        self.trace.note(&format!("n{node} is called dead"));
        self.stats.dead += 1;
        self.leave(node);
    }

    /// Two nodes may not reach each other for so long: the higher one goes.
    pub(crate) fn end_apart(&mut self, one: usize, other: usize) {
        let out = one.max(other);
        if self.network.is_cut(one, other, self.now) && self.members.latest().contains_key(&out) {
            self.trace.note(&format!("n{out} is out of the map"));
            self.stats.expelled += 1;
            self.trouble(5_000);
            self.leave(out);
        }
    }

    /// A node sees the latest map.
    pub(crate) fn watch(&mut self, node: usize) -> Check {
        let latest = self.members.maps.len() - 1;
        let map = self.members.latest();
        let Some(process) = self.process(node) else { return Ok(()) };
        if map.get(&node) != Some(&process.boot) {
            self.trace.note(&format!("n{node} sees that it is out of the map"));
            self.end_process(node, 1_000);
            return Ok(());
        }
        if process.seen.replace(latest) == Some(latest) {
            return Ok(());
        }
        let gone = self.change_peers(node, &map);
        let view = self.view_of(node);
        self.trace.note(&format!(
            "n{node} sees map {latest}: {:?}",
            view.peers.iter().map(|peer| peer.slot.0).collect::<Vec<_>>()
        ));
        self.order(node, Command::UseCluster(Arc::new(view)), None)?;
        if self.canary != Canary::ForgetNobody {
            for slot in gone {
                self.order(node, Command::ForgetSlot(slot), Some(slot))?;
            }
        }
        self.open_if_counted(node);
        Ok(())
    }

    /// Gives slots to processes that are new to a node. Returns those of processes that are gone.
    fn change_peers(&mut self, node: usize, map: &Map) -> Vec<ShardId> {
        let too_soon = self.canary == Canary::SlotTooSoon;
        let Some(process) = self.process(node) else { return Vec::new() };
        let mut gone = Vec::new();
        process.peers.retain(|peer, known| {
            let stays = map.get(peer) == Some(&known.boot);
            if !stays {
                process.slots.gone(known.slot);
                gone.push(known.slot);
                process.not_forgotten.insert(known.slot);
                if too_soon {
                    process.slots.forgotten(known.slot);
                }
            }
            stays
        });
        for (&peer, &boot) in map.iter().filter(|(peer, _)| **peer != node) {
            if !process.peers.contains_key(&peer) {
                let slot = process.slots.take(number(peer), BootId(boot)).expect("there are many");
                process.peers.insert(peer, KnownPeer { boot, slot, counts: false });
            }
        }
        gone
    }

    fn view_of(&mut self, node: usize) -> ClusterView {
        let process = self.process(node).expect("the caller has it");
        let peer = |(&node, peer): (&usize, &KnownPeer)| PeerProcess {
            node: number(node),
            boot: BootId(peer.boot),
            slot: peer.slot,
            at: ([10, 0, 0, node as u8], 1884).into(),
            name: format!("n{node}"),
            server: None,
        };
        let mut peers: Vec<PeerProcess> = process.peers.iter().map(peer).collect();
        peers.sort_by_key(|peer| peer.slot);
        ClusterView {
            epoch: process.seen.map_or(0, |seen| seen as u64),
            ranges: RangeCount::new(1).expect("one is enough"),
            owners: [RangePlace::Here].into(),
            peers: peers.into(),
            standing: NodeStanding::Serves,
        }
    }

    /// Tells shard 0 something, which is about a slot or about all.
    fn order(&mut self, node: usize, command: Command, slot: Option<ShardId>) -> Check {
        let now = self.time(node);
        let Some(process) = self.process(node) else { return Ok(()) };
        process.requests += 1;
        let request = process.requests;
        process.forgetting.extend(slot.map(|slot| (request, slot)));
        let super::node::Host { shard, connections, fx, .. } = &mut process.hosts[0];
        let input = Input::Command { request: RequestId(request), command, edge: connections };
        shard.handle(&mut dunlin::shard::Turn { now, fx }, input);
        self.end_turn(At { node, shard: 0 })
    }

    pub(crate) fn take_reply(&mut self, node: usize, RequestId(request): RequestId, reply: &Reply) -> Check {
        if !matches!(reply, Reply::Done) {
            return Err(format!("n{node} does not do what it is told: {reply:?}"));
        }
        let too_soon = self.canary == Canary::SlotTooSoon;
        let Some(process) = self.process(node) else { return Ok(()) };
        if let Some(slot) = process.forgetting.remove(&request) {
            process.not_forgotten.remove(&slot);
            if !too_soon {
                process.slots.forgotten(slot);
            }
            self.stats.forgotten += 1;
        }
        Ok(())
    }

    /// A node hears that a peer waits for it before each SUBACK.
    pub(crate) fn counts(&mut self, node: usize, slot: ShardId) -> Check {
        let Some(process) = self.process(node) else { return Ok(()) };
        let peer = process.peers.values_mut().find(|peer| peer.slot == slot);
        let peer = peer.ok_or_else(|| format!("n{node} counts slot {}, which is nobody's", slot.0))?;
        if std::mem::replace(&mut peer.counts, true) {
            return Err(format!("n{node} counts slot {} twice", slot.0));
        }
        self.open_if_counted(node);
        Ok(())
    }

    fn open_if_counted(&mut self, node: usize) {
        let opens_early = self.canary == Canary::OpenUncounted;
        let Some(process) = self.process(node) else { return };
        if process.is_open || !(process.counts_all() || opens_early) {
            return;
        }
        process.is_open = true;
        self.stats.opened += 1;
        self.trace.note(&format!("n{node} is open"));
        self.opened.push(node);
    }

    /// A process ends, and its node has another one later.
    pub(crate) fn end_process(&mut self, node: usize, starts_in_ms: u64) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.nodes[node].life += 1;
        self.nodes[node].paused_until = 0;
        self.streams.end(process.boot);
        self.messages.end_process(process.boot);
        self.close_pipes_of(node);
        if self.canary != Canary::WaitForDead {
            self.after(starts_in_ms, Event::Start(node));
        }
        let death_ms = 1_000 + self.up_to(3_000);
        self.after(death_ms, Event::Dead { node, boot: process.boot });
        self.trouble(death_ms + 3_000);
    }
}

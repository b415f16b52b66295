//! Links between nodes as PINGs and answers: who reaches whom, and what each node's edge tells it of that.
//!
//! A node pings each process that its view has. One that is no member yet is answered as a probe; a member whose process the other's view does not
//! have is not heard there. Three PINGs without an answer end a link.

use std::collections::BTreeMap;

use dunlin::cluster::PeerWord;
use dunlin::ids::ShardId;

use super::canary::Canary;
use super::world::{Event, World};

const PING_MS: u64 = 500;
const SILENT_MS: u64 = 1_500;
/// Telling a new peer everything takes so long.
const SYNC_MS: u64 = 300;

/// One life of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkEnd {
    pub(crate) node: usize,
    life: u64,
}

/// On its way between two nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    from: LinkEnd,
    pub(crate) to: LinkEnd,
    is_answer: bool,
    is_heard: bool,
    counts: bool,
}

/// What a node has heard of the process of another.
#[derive(Clone, Copy, Debug)]
struct Contact {
    slot: ShardId,
    heard_at: u64,
    linked_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Nothing passes between these two, until then.
    cut_until: BTreeMap<(usize, usize), u64>,
    /// Of whom, and of whose process.
    contacts: BTreeMap<(usize, usize), Contact>,
    pinged_at: BTreeMap<usize, u64>,
    /// When one of these two heard the other last.
    reached_at: BTreeMap<(usize, usize), u64>,
}

const fn pair(one: usize, other: usize) -> (usize, usize) {
    if one < other { (one, other) } else { (other, one) }
}

impl Links {
    pub(crate) fn cut(&mut self, one: usize, other: usize, until: u64) {
        let cut = self.cut_until.entry(pair(one, other)).or_default();
        *cut = (*cut).max(until);
    }

    pub(crate) fn is_cut(&self, one: usize, other: usize, now: u64) -> bool {
        self.cut_until.get(&pair(one, other)).is_some_and(|until| *until > now)
    }

    pub(crate) fn heal(&mut self) {
        self.cut_until.clear();
    }

    /// For how long neither of these two has heard the other.
    pub(crate) fn silent_ms(&self, one: usize, other: usize, now: u64) -> u64 {
        now - self.reached_at.get(&pair(one, other)).copied().unwrap_or(0)
    }
}

impl World {
    /// What a node's links do as time passes.
    pub(crate) fn tend_links(&mut self, index: usize) -> Result<(), String> {
        self.end_silent_links(index);
        let now = self.now;
        let pinged_at = self.links.pinged_at.entry(index).or_default();
        if now < *pinged_at + PING_MS {
            return Ok(());
        }
        *pinged_at = now;
        for to in 0..self.nodes.len() {
            if self.slot_of(index, to).is_some() {
                self.pulse((index, to), false, false);
            }
        }
        self.ask_and_tell(index)
    }

    fn end_silent_links(&mut self, index: usize) {
        let now = self.now;
        let known: Vec<ShardId> =
            self.nodes[index].view.iter().flat_map(|view| &view.peers).map(|peer| peer.slot).collect();
        self.links.contacts.retain(|(of, _), contact| *of != index || known.contains(&contact.slot));
        let Some(cluster) = self.nodes[index].cluster.as_mut() else { return };
        for (_, contact) in self.links.contacts.iter_mut().filter(|((of, _), _)| *of == index) {
            if contact.linked_at.is_none() || now - contact.heard_at <= SILENT_MS {
                continue;
            }
            if self.cage.is(Canary::ServeAlone) {
                cluster.handle_peer(contact.slot, PeerWord::Heard(false));
            } else {
                contact.linked_at = None;
                cluster.handle_peer(contact.slot, PeerWord::Broken);
            }
        }
    }

    /// The slot of the process that a node has now, where another one knows it.
    fn slot_of(&self, viewer: usize, node: usize) -> Option<ShardId> {
        let (boot, view) = (self.nodes[node].boot, self.nodes[viewer].view.as_ref()?);
        self.nodes[node].cluster.as_ref()?;
        view.peers.iter().find(|peer| peer.boot.0 == boot).map(|peer| peer.slot).filter(|_| viewer != node)
    }

    fn pulse(&mut self, (from, to): (usize, usize), is_answer: bool, counts: bool) {
        if self.links.is_cut(from, to, self.now) {
            return;
        }
        let end = |node: usize| LinkEnd { node, life: self.nodes[node].life };
        let is_heard = self.nodes[from].is_heard;
        let pulse = Pulse { from: end(from), to: end(to), is_answer, is_heard, counts };
        let delay = self.rng.between(1, 5) as u64;
        self.after(delay, Event::Pulse(pulse));
    }

    /// A PING or an answer has come.
    pub(crate) fn hear_pulse(&mut self, pulse: Pulse) -> Result<(), String> {
        let Pulse { from, to, is_answer, is_heard, counts } = pulse;
        let is_alive = |end: LinkEnd| self.nodes[end.node].life == end.life && self.nodes[end.node].cluster.is_some();
        if !is_alive(from) || !is_alive(to) || self.links.is_cut(from.node, to.node, self.now) {
            return Ok(());
        }
        let is_known = self.slot_of(to.node, from.node).is_some();
        if !is_answer {
            let is_probe =
                self.nodes[from.node].cluster.as_ref().is_some_and(|node| node.membership().node().is_none());
            if !is_known && !is_probe {
                return Ok(());
            }
            let contact = self.links.contacts.get(&(to.node, from.node));
            let linked_at = contact.and_then(|contact| contact.linked_at).filter(|_| is_known);
            let counts = linked_at.is_some_and(|at| at + SYNC_MS <= self.now);
            self.pulse((to.node, from.node), true, counts);
        }
        if is_known { self.hear_peer(to.node, from.node, (is_heard, counts)) } else { Ok(()) }
    }

    fn hear_peer(&mut self, index: usize, of: usize, (is_heard, counts): (bool, bool)) -> Result<(), String> {
        let (Some(slot), now) = (self.slot_of(index, of), self.now) else { return Ok(()) };
        self.links.reached_at.insert(pair(index, of), now);
        let new = Contact { slot, heard_at: now, linked_at: None };
        let contact = self.links.contacts.entry((index, of)).or_insert(new);
        if contact.slot != slot {
            *contact = new;
        }
        contact.heard_at = now;
        let is_new = contact.linked_at.is_none();
        contact.linked_at.get_or_insert(now);
        let lies = self.cage.is(Canary::JoinHalfReached);
        let node = &mut self.nodes[index];
        let (Some(cluster), Some(view)) = (node.cluster.as_mut(), node.view.as_ref()) else { return Ok(()) };
        if is_new {
            cluster.handle_peer(slot, PeerWord::Linked);
        }
        cluster.handle_peer(slot, PeerWord::Heard(is_heard));
        if counts {
            cluster.handle_peer(slot, PeerWord::Counted);
        }
        if lies && cluster.membership().node().is_none() {
            for peer in &view.peers {
                cluster.handle_peer(peer.slot, PeerWord::Linked);
            }
        }
        self.ask_and_tell(index)
    }
}

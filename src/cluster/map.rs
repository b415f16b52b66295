//! Who is a member of the cluster, and who owns which range: one document, and every change that a node may make of it.
//!
//! Always holds: whoever owns a range, or is to own it next, is a member; each change is a function of the map that its node has seen, gives the next
//! epoch, and is stored by compare-and-set; a change that is made already changes nothing. So it does not matter who makes a
//! change, nor how many try.
//! Leaves to others: when to change what (`membership`).

use std::collections::BTreeMap;

use super::range::{NodeId, RangeCount, RangeId, is_name};
use crate::limits::NODES_MAX;

/// One node, as the others know it, whether or not its process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapMember {
    /// No other member has it. Who comes back under it is the same node.
    pub name: String,
    /// It gives away what it owns, and gets nothing more.
    pub is_leaving: bool,
    /// Epoch of the first map that had it: who has seen that one or a later knows of it.
    pub since: u64,
}

/// Who serves a range now and next, and how far its log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeEntry {
    /// `None` while there is no member that could own it.
    pub owner: Option<NodeId>,
    /// To whom the owner is to give it, once it has sent and stored what is under way.
    pub next: Option<NodeId>,
    /// Sequence of the last MARK that was told: a log that ends before it has lost its end.
    pub floor: u64,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMap {
    epoch: u64,
    members: BTreeMap<NodeId, MapMember>,
    entries: Vec<RangeEntry>,
}

/// Everything that may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapChange {
    /// A node comes, or comes back.
    Join {
        /// As the member is called.
        name: String,
    },
    /// A member gives away what it owns, and goes.
    Leave(NodeId),
    /// A member is dead: others own what it owned.
    Death(NodeId),
    /// Links between a member and others do not stand, though all of them beat: others own what it owned, and it may come back when it reaches all.
    CutOff(NodeId),
    /// A range is to be given to a member.
    Move {
        /// Which.
        range: RangeId,
        /// To whom.
        to: NodeId,
    },
    /// Its owner has given a range up to whom it was to be given.
    GivenUp {
        /// Which.
        range: RangeId,
        /// The owner so far.
        from: NodeId,
    },
    /// The owner of a range has appended its MARK.
    Marked {
        /// Which.
        range: RangeId,
        /// Who.
        owner: NodeId,
        /// Of the MARK.
        sequence: u64,
    },
    /// Ranges are to be given so that no member has two more than another.
    Rebalance,
}

impl ClusterMap {
    /// A map as somebody has written it; what is wrong if it is none.
    pub fn new(epoch: u64, members: Vec<(NodeId, MapMember)>, entries: Vec<RangeEntry>) -> Result<Self, &'static str> {
        let listed = members.len();
        let members: BTreeMap<NodeId, MapMember> = members.into_iter().collect();
        let names: std::collections::BTreeSet<&str> = members.values().map(|member| member.name.as_str()).collect();
        if members.len() != listed || names.len() != listed {
            return Err("a member that is there twice");
        }
        if members.values().any(|member| member.since > epoch) {
            return Err("a member since a later epoch");
        }
        if u16::try_from(entries.len()).ok().and_then(RangeCount::new).is_none() {
            return Err("the number of ranges");
        }
        let nodes = entries.iter().flat_map(|entry| [entry.owner, entry.next]).flatten();
        if nodes.into_iter().any(|node| !members.contains_key(&node)) {
            return Err("an owner that is no member");
        }
        if entries.iter().any(|entry| entry.next.is_some() && (entry.next == entry.owner || entry.owner.is_none())) {
            return Err("a move from nobody, or to the owner");
        }
        Ok(Self { epoch, members, entries })
    }

    /// The map of a new cluster, of which nobody is a member.
    pub fn found(ranges: RangeCount) -> Self {
        let entries = vec![RangeEntry::default(); usize::from(ranges.get())];
        Self { epoch: 0, members: BTreeMap::new(), entries }
    }

    /// Grows with each change.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who is a member, by number.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &MapMember)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// What is known of a member.
    pub fn member(&self, node: NodeId) -> Option<&MapMember> {
        self.members.get(&node)
    }

    /// Whether a node is a member.
    pub fn has(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// The member of that name.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.members().find(|(_, member)| member.name == name).map(|(node, _)| node)
    }

    /// Of each range, in order.
    pub fn entries(&self) -> &[RangeEntry] {
        &self.entries
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> RangeCount {
        RangeCount::new(self.entries.len() as u16).expect("a map has as many ranges as a cluster may have")
    }

    /// What a node owns.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = RangeId> {
        let owned = self.entries.iter().enumerate().filter(move |(_, entry)| entry.owner == Some(node));
        owned.map(|(range, _)| RangeId(range as u16))
    }

    /// The map after a change; `None` if it changes nothing, because it is made already or cannot be made.
    pub fn after(&self, change: &MapChange) -> Option<Self> {
        let mut map = self.clone();
        match change {
            MapChange::Join { name } => map.join(name),
            MapChange::Leave(node) => map.leave(*node),
            MapChange::Death(node) | MapChange::CutOff(node) => map.remove(*node),
            MapChange::Move { range, to } => map.plan_move(*range, *to),
            MapChange::GivenUp { range, from } => {
                if let Some(entry) = map.entry_of(*range, *from)
                    && let Some(next) = entry.next.take()
                {
                    entry.owner = Some(next);
                }
            }
            MapChange::Marked { range, owner, sequence } => {
                if let Some(entry) = map.entry_of(*range, *owner) {
                    entry.floor = entry.floor.max(*sequence);
                }
            }
            MapChange::Rebalance => map.rebalance(),
        }
        if map == *self {
            return None;
        }
        map.epoch = map.epoch.saturating_add(1);
        Some(map)
    }

    fn join(&mut self, name: &str) {
        if !is_name(name) {
            return;
        }
        let free = (1..=NODES_MAX as u16).filter_map(NodeId::new).find(|node| !self.members.contains_key(node));
        let node = self.node_named(name).or(free);
        let Some(node) = node else { return };
        let since = self.members.get(&node).map_or(self.epoch.saturating_add(1), |member| member.since);
        self.members.insert(node, MapMember { name: name.to_owned(), is_leaving: false, since });
        self.give_away_what_nobody_owns();
    }

    fn leave(&mut self, node: NodeId) {
        let Some(member) = self.members.get_mut(&node) else { return };
        member.is_leaving = true;
        let nobody_stays = self.members.values().all(|member| member.is_leaving);
        self.rebalance();
        if nobody_stays || self.owned_by(node).next().is_none() {
            self.remove(node);
        }
    }

    /// Takes a member out. What it owned goes to whom it was to go anyway, or to whoever has the fewest; nothing else moves.
    fn remove(&mut self, node: NodeId) {
        if self.members.remove(&node).is_none() {
            return;
        }
        for entry in &mut self.entries {
            if entry.next == Some(node) {
                entry.next = None;
            }
            if entry.owner == Some(node) {
                entry.owner = entry.next.take();
            }
        }
        self.give_away_what_nobody_owns();
    }

    fn plan_move(&mut self, range: RangeId, to: NodeId) {
        if self.members.get(&to).is_none_or(|member| member.is_leaving) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(usize::from(range.0)) {
            Self::send_to(entry, to);
        }
    }

    /// Gives ranges from those with the most to those with the fewest, one by one, which is as few as can be.
    fn rebalance(&mut self) {
        self.give_away_what_nobody_owns();
        for index in 0..self.entries.len() {
            let stays = self.destination(index).and_then(|node| self.members.get(&node)).is_some_and(|m| !m.is_leaving);
            if let Some(to) = self.least_loaded().filter(|_| !stays) {
                Self::send_to(&mut self.entries[index], to);
            }
        }
        while let Some(to) = self.least_loaded()
            && let Some(from) = self.most_loaded()
            && self.load_of(from) > self.load_of(to) + 1
        {
            let goes = (0..self.entries.len()).filter(|index| self.destination(*index) == Some(from));
            // One that is on its way there anyway has not to be moved twice.
            let index = goes.min_by_key(|index| self.entries[*index].owner == Some(from));
            Self::send_to(&mut self.entries[index.expect("who has the most has one")], to);
        }
    }

    fn give_away_what_nobody_owns(&mut self) {
        for index in 0..self.entries.len() {
            if self.entries[index].owner.is_none() {
                self.entries[index].owner = self.least_loaded();
            }
        }
    }

    fn send_to(entry: &mut RangeEntry, to: NodeId) {
        match entry.owner {
            None => entry.owner = Some(to),
            Some(owner) => entry.next = (owner != to).then_some(to),
        }
    }

    /// Whose a range will be when everything that is planned has been done.
    fn destination(&self, index: usize) -> Option<NodeId> {
        self.entries[index].next.or(self.entries[index].owner)
    }

    fn load_of(&self, node: NodeId) -> usize {
        (0..self.entries.len()).filter(|index| self.destination(*index) == Some(node)).count()
    }

    /// Of those that stay, who will have the fewest ranges; of several the first.
    fn least_loaded(&self) -> Option<NodeId> {
        self.staying().min_by_key(|node| self.load_of(*node))
    }

    fn most_loaded(&self) -> Option<NodeId> {
        self.staying().max_by_key(|node| self.load_of(*node))
    }

    fn staying(&self) -> impl Iterator<Item = NodeId> {
        self.members().filter(|(_, member)| !member.is_leaving).map(|(node, _)| node)
    }

    fn entry_of(&mut self, range: RangeId, owner: NodeId) -> Option<&mut RangeEntry> {
        self.entries.get_mut(usize::from(range.0)).filter(|entry| entry.owner == Some(owner))
    }
}

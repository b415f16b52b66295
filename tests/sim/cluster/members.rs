//! What must hold of who is a member, told from all maps that were stored and from which nodes really reached each other.

use std::collections::BTreeMap;

use dunlin::cluster::{ClusterMap, NodeId, Standing};

use super::world::World;

/// What somebody has called for may be stuck on its way for so long, and asked again.
const STUCK_MS: u64 = 30_000;
/// A probe was answered, the link is missed later, and what was asked then is stuck.
const PROBE_OLD_MS: u64 = 12_000;
const APART_MS: u64 = 3_000;
/// Longest time in which two members that beat may fail to reach each other: SUBACKs wait.
const APART_MAX_MS: u64 = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Members {
    map: Option<ClusterMap>,
    /// Who was called dead, and when last.
    pub(crate) called_dead: BTreeMap<NodeId, u64>,
    /// When two nodes were last known not to have reached each other for some time.
    apart_at: BTreeMap<(usize, usize), u64>,
    /// Since when two members are cut from each other and nothing else is wrong with them.
    cut_since: BTreeMap<(usize, usize), u64>,
}

impl World {
    /// There is another map.
    pub(crate) fn look_at_map(&mut self, bytes: &[u8]) -> Result<(), String> {
        let after = ClusterMap::decode(bytes).map_err(|error| format!("a map that cannot be read: {error}"))?;
        let Some(before) = self.members.map.replace(after.clone()) else { return Ok(()) };
        let now = self.now;
        for (node, member) in before.members().filter(|(node, _)| !after.has(*node)) {
            if self.members.called_dead.get(&node).is_some_and(|at| now - at <= STUCK_MS) {
                continue;
            }
            self.oracle.stats.cut_off += 1;
            let was_apart = after.members().any(|(_, other)| {
                let (one, other) = (self.index_of(&member.name), self.index_of(&other.name));
                let apart_at = self.members.apart_at.get(&(one.min(other), one.max(other)));
                apart_at.is_some_and(|at| now - at <= STUCK_MS)
            });
            if !was_apart {
                return Err(format!(
                    "{} is out of the map, was not called dead, and reached all who are left",
                    member.name
                ));
            }
        }
        for (_, member) in after.members().filter(|(node, _)| !before.has(*node)) {
            self.oracle.stats.joined += 1;
            let one = self.index_of(&member.name);
            for (_, other) in before.members() {
                let silent = self.links.silent_ms(one, self.index_of(&other.name), now);
                if silent > PROBE_OLD_MS {
                    return Err(format!(
                        "{} has joined, and has not reached {} for {silent} ms",
                        member.name, other.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nobody waits for ever for a member that he does not reach.
    pub(crate) fn look_at_links(&mut self) -> Result<(), String> {
        let now = self.now;
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                if self.links.silent_ms(one, other, now) > APART_MS {
                    self.members.apart_at.insert((one, other), now);
                }
                let is_cut = self.links.is_cut(one, other, now) && [one, other].iter().all(|node| self.is_well(*node));
                if !is_cut {
                    self.members.cut_since.remove(&(one, other));
                    continue;
                }
                let since = *self.members.cut_since.entry((one, other)).or_insert(now);
                if now - since > APART_MAX_MS {
                    let names = [one, other].map(|node| &self.nodes[node].name);
                    return Err(format!("{names:?} do not reach each other since {since}, and both are members"));
                }
            }
        }
        Ok(())
    }

    /// Whether a node is a member in the newest map and hears the engine.
    fn is_well(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let is_cut = node.cut_until > self.now || node.stuck_until > self.now || self.control_down_until > self.now;
        let is_member = self.members.map.as_ref().is_some_and(|map| map.node_named(&node.name).is_some());
        is_member && !is_cut && node.runs(self.now) && self.standing(index) == Standing::Member
    }

    /// The node that has a name now.
    fn index_of(&self, name: &str) -> usize {
        self.nodes.iter().rposition(|node| node.name == name).expect("members are nodes of this world")
    }
}

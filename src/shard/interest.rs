//! When every shard knows what this one is interested in.
//!
//! A SUBACK leaves only after every other shard has applied the announcements that were made up to its SUBSCRIBE:
//! whoever publishes after seeing the SUBACK reaches the subscriber. Announcements are numbered; a peer says up to
//! which number it has applied them, which is enough because the mesh keeps order. On a node of a cluster the place of shard 0 stands for
//! the other nodes, see `fence`.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::codec::ReasonCode;
use crate::ids::{ConnectionId, PacketId, ShardId};
use crate::store::Position;

/// A SUBACK that has not left.
#[derive(Debug)]
pub(super) struct PendingSubAck {
    /// To whom.
    pub connection: ConnectionId,
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter [MQTT-3.8.4-6].
    pub codes: SmallVec<[ReasonCode; 8]>,
    /// What it says is in the records up to here.
    pub position: Position,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Announcements {
    announced: u64,
    /// What each shard has applied; this shard's own place is up to date, unless other nodes have to know as well.
    applied: Vec<u64>,
    own: ShardId,
    /// Whether its place is set from outside: other nodes have to know as well.
    is_fenced: bool,
    pending: VecDeque<(u64, PendingSubAck)>,
    released: u64,
}

impl Announcements {
    /// Nothing announced yet. `own` is this shard, which never waits for itself.
    pub(super) fn new(own: ShardId, shards: usize) -> Self {
        Self { announced: 0, applied: vec![0; shards], own, is_fenced: false, pending: VecDeque::new(), released: 0 }
    }

    /// From now on this shard's own place is set by [`Self::applied`] as well.
    pub(super) const fn wait_for_fence(&mut self) {
        self.is_fenced = true;
    }

    /// The number of the next announcement. With one shard and no other node there is nobody to tell, and so no number.
    pub(super) fn next_number(&mut self) -> u64 {
        self.announced += 1;
        if !self.is_fenced {
            self.applied[self.own.index()] = self.announced;
        }
        self.announced
    }

    /// SUBACKs that wait.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Keeps a SUBACK until everything announced so far has been applied everywhere.
    pub(super) fn add(&mut self, suback: PendingSubAck) {
        self.pending.push_back((self.announced, suback));
    }

    /// `shard` has applied everything up to `number`.
    pub(super) fn applied(&mut self, shard: ShardId, number: u64) {
        let applied = &mut self.applied[shard.index()];
        debug_assert!(*applied <= number && number <= self.announced);
        *applied = number;
    }

    /// Whether every shard has applied everything that was announced.
    pub(super) fn are_all_applied(&self) -> bool {
        self.applied.iter().all(|applied| *applied == self.announced)
    }

    /// SUBACKs so far, those that have left included.
    pub(super) fn subacks_so_far(&self) -> u64 {
        self.released + self.pending.len() as u64
    }

    /// How many of them have left, the oldest first.
    pub(super) const fn released(&self) -> u64 {
        self.released
    }

    /// The next SUBACK that may leave.
    pub(super) fn next_ready(&mut self) -> Option<PendingSubAck> {
        let (number, _) = self.pending.front()?;
        if self.applied.iter().any(|applied| applied < number) {
            return None;
        }
        self.released += 1;
        self.pending.pop_front().map(|(_, suback)| suback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suback(packet_id: u16) -> PendingSubAck {
        PendingSubAck {
            connection: ConnectionId::new(0, 0),
            packet_id: PacketId::new(packet_id).unwrap(),
            codes: SmallVec::new(),
            position: Position(0),
        }
    }

    #[test]
    fn a_suback_waits_for_every_shard_and_for_its_turn() {
        let mut announcements = Announcements::new(ShardId(1), 3);
        let number = announcements.next_number();
        announcements.add(suback(1));
        announcements.add(suback(2));
        assert!(announcements.next_ready().is_none());
        announcements.applied(ShardId(0), number);
        assert!(announcements.next_ready().is_none());
        assert_eq!((announcements.subacks_so_far(), announcements.released()), (2, 0));
        announcements.applied(ShardId(2), number);
        assert_eq!(announcements.next_ready().unwrap().packet_id.get(), 1);
        assert_eq!((announcements.subacks_so_far(), announcements.released()), (2, 1));
        assert_eq!(announcements.next_ready().unwrap().packet_id.get(), 2);
        assert!(announcements.next_ready().is_none());
    }

    #[test]
    fn nothing_announced_means_nothing_to_wait_for() {
        let mut announcements = Announcements::new(ShardId(0), 2);
        announcements.add(suback(7));
        assert!(announcements.next_ready().is_some());
    }
}

//! What peers announce to this node, and when each of its shards has applied it.
//!
//! Owns: a count of what shard 0 has passed on to the other shards, how far each has come, and what is to be said to peers then ([`PassedOn`]). Only
//! shard 0 has one.
//! Always holds: a peer hears APPLIED and SYNCED, and counts as one that waits for this node, when every shard of this node has applied all that it said before. What a peer says out of turn is
//! refused and changes nothing.
//! Leaves to others: applying it, and the words themselves (`nodes`); whom this node waits for (`fence`).

use std::collections::VecDeque;

use super::effects::PeerFault;
use crate::ids::ShardId;

/// What is said to a peer when all shards have applied what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerAnswer {
    /// Its announcements up to this one are applied.
    Applied(u64),
    /// All that it was interested in when it had told all is.
    Synced,
    /// Nothing, but that it waits for this node holds: all that it said before is applied.
    Counted,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct PassedOn {
    /// What was passed on, of all peers.
    count: u64,
    /// Of the other shards, from shard 1.
    applied: Vec<u64>,
    due: VecDeque<(u64, ShardId, PeerAnswer)>,
    peers: Vec<HeardPeer>,
}

#[derive(Debug)]
struct HeardPeer {
    slot: ShardId,
    /// Its latest announcement.
    announced: u64,
    phase: HeardPhase,
}

/// How far a peer is on its way to wait for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeardPhase {
    /// It tells all that it is interested in.
    Tells,
    /// It has told all, and is owed SYNCED.
    HasTold,
    /// It was told SYNCED.
    IsSynced,
    /// It waits for this node before each SUBACK, and not all that it said before is applied.
    HasCounted,
    /// It waits, and all is.
    Counts,
}

impl PassedOn {
    /// On a node with so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { count: 0, applied: vec![0; shards - 1], due: VecDeque::new(), peers: Vec::new() }
    }

    /// A process is among the peers.
    pub(super) fn begin(&mut self, peer: ShardId) {
        self.peers.push(HeardPeer { slot: peer, announced: 0, phase: HeardPhase::Tells });
    }

    /// It is gone: nothing is said to it any more.
    pub(super) fn end(&mut self, peer: ShardId) {
        self.peers.retain(|known| known.slot != peer);
        self.due.retain(|(_, slot, _)| *slot != peer);
    }

    /// A peer has announced something. Returns the number under which it is passed on.
    pub(super) fn announced(&mut self, peer: ShardId, number: u64) -> Result<u64, PeerFault> {
        let known = Self::peer(&mut self.peers, peer)?;
        if number < known.announced {
            return Err(PeerFault::Announced);
        }
        self.count += 1;
        // All that a new peer is told comes under one number: it is answered once.
        if number > known.announced {
            known.announced = number;
            self.due.push_back((self.count, peer, PeerAnswer::Applied(number)));
        }
        Ok(self.count)
    }

    /// `SYNC_END` has come of a peer: it is owed SYNCED, once.
    pub(super) fn told_all(&mut self, peer: ShardId) -> Result<(), PeerFault> {
        let known = Self::peer(&mut self.peers, peer)?;
        known.go_on(HeardPhase::Tells, HeardPhase::HasTold)?;
        self.due.push_back((self.count, peer, PeerAnswer::Synced));
        Ok(())
    }

    /// A peer waits for this node from now on: that holds for all shards of this node when they have applied what it said before.
    pub(super) fn counted_by(&mut self, peer: ShardId) -> Result<(), PeerFault> {
        Self::peer(&mut self.peers, peer)?.go_on(HeardPhase::IsSynced, HeardPhase::HasCounted)?;
        self.due.push_back((self.count, peer, PeerAnswer::Counted));
        Ok(())
    }

    /// Another shard of this node has applied all that was passed on up to `number`.
    pub(super) fn applied(&mut self, shard: ShardId, number: u64) {
        let applied = &mut self.applied[shard.index() - 1];
        assert!((*applied..=self.count).contains(&number), "a shard applies in order what it was passed");
        *applied = number;
    }

    /// What is to be said to a peer now.
    pub(super) fn next_due(&mut self) -> Option<(ShardId, PeerAnswer)> {
        let &(number, slot, answer) = self.due.front()?;
        if self.applied.iter().any(|applied| *applied < number) {
            return None;
        }
        self.due.pop_front();
        if let Ok(peer) = Self::peer(&mut self.peers, slot) {
            match answer {
                PeerAnswer::Applied(_) => {}
                PeerAnswer::Synced => peer.phase = HeardPhase::IsSynced,
                PeerAnswer::Counted => peer.phase = HeardPhase::Counts,
            }
        }
        Some((slot, answer))
    }

    /// Whether a peer waits for this node, and all shards have applied what it said before.
    pub(super) fn counts(&self, peer: ShardId) -> bool {
        self.peers.iter().any(|known| known.slot == peer && known.phase == HeardPhase::Counts)
    }

    fn peer(peers: &mut [HeardPeer], peer: ShardId) -> Result<&mut HeardPeer, PeerFault> {
        peers.iter_mut().find(|known| known.slot == peer).ok_or(PeerFault::Order)
    }
}

impl HeardPeer {
    fn go_on(&mut self, from: HeardPhase, to: HeardPhase) -> Result<(), PeerFault> {
        if self.phase != from {
            return Err(PeerFault::Order);
        }
        self.phase = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ShardId = ShardId(8);
    const OTHER: ShardId = ShardId(9);

    fn of(shards: usize) -> PassedOn {
        let mut passed_on = PassedOn::new(shards);
        passed_on.begin(PEER);
        passed_on.begin(OTHER);
        passed_on
    }

    #[test]
    fn a_peer_is_answered_when_every_shard_has_applied_what_it_said() {
        let mut passed_on = of(3);
        assert_eq!(passed_on.announced(PEER, 5), Ok(1));
        assert_eq!(passed_on.announced(OTHER, 1), Ok(2));
        assert_eq!(passed_on.announced(PEER, 6), Ok(3));
        passed_on.applied(ShardId(1), 3);
        assert_eq!(passed_on.next_due(), None);
        passed_on.applied(ShardId(2), 2);
        assert_eq!(passed_on.next_due(), Some((PEER, PeerAnswer::Applied(5))));
        assert_eq!(passed_on.next_due(), Some((OTHER, PeerAnswer::Applied(1))));
        assert_eq!(passed_on.next_due(), None);
        passed_on.end(PEER);
        passed_on.applied(ShardId(2), 3);
        assert_eq!(passed_on.next_due(), None, "it is gone");
        assert_eq!(passed_on.announced(PEER, 7), Err(PeerFault::Order));
    }

    #[test]
    fn all_that_is_told_under_one_number_is_answered_by_one_word() {
        let mut passed_on = of(2);
        for expected in 1..=1_000 {
            assert_eq!(passed_on.announced(PEER, 0), Ok(expected));
        }
        passed_on.told_all(PEER).unwrap();
        passed_on.applied(ShardId(1), 999);
        assert_eq!(passed_on.next_due(), None);
        assert_eq!(passed_on.counted_by(PEER), Err(PeerFault::Order), "it was not told SYNCED");
        passed_on.applied(ShardId(1), 1_000);
        assert_eq!(passed_on.next_due(), Some((PEER, PeerAnswer::Synced)));
        assert_eq!(passed_on.told_all(PEER), Err(PeerFault::Order), "once");
        passed_on.announced(PEER, 1).unwrap();
        passed_on.counted_by(PEER).unwrap();
        assert_eq!(passed_on.counted_by(PEER), Err(PeerFault::Order), "once");
        assert_eq!((passed_on.next_due(), passed_on.counts(PEER)), (None, false), "not all is applied");
        passed_on.applied(ShardId(1), 1_001);
        assert_eq!(passed_on.next_due(), Some((PEER, PeerAnswer::Applied(1))));
        assert_eq!(passed_on.next_due(), Some((PEER, PeerAnswer::Counted)));
        assert!(passed_on.counts(PEER));
    }

    #[test]
    fn one_shard_alone_answers_at_once() {
        let mut passed_on = of(1);
        passed_on.announced(PEER, 3).unwrap();
        assert_eq!(passed_on.next_due(), Some((PEER, PeerAnswer::Applied(3))));
        assert_eq!(passed_on.announced(PEER, 2), Err(PeerFault::Announced), "a number that goes back");
        passed_on.announced(PEER, 3).unwrap();
        assert_eq!(passed_on.next_due(), None);
        passed_on.told_all(OTHER).unwrap();
        assert_eq!(passed_on.next_due(), Some((OTHER, PeerAnswer::Synced)));
    }
}

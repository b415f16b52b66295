//! What peers have applied of what this node has announced, and who of this node waits for that.
//!
//! Owns: one number for all that is announced to peers, and by peer how far it has come ([`NodeFence`]). Only shard 0 has one.
//! Always holds: a shard of this node is answered, in order, once every counted peer has applied all that had been announced by the time that the
//! shard spoke. So no SUBACK leaves before whoever publishes on a counted node reaches the subscriber. Who is not counted is not waited for: nobody
//! publishes there yet.
//! Leaves to others: what is announced and to whom it is said (`nodes`), what peers announce (`passed_on`).

use std::collections::VecDeque;

use super::effects::PeerFault;
use crate::ids::ShardId;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct NodeFence {
    announced: u64,
    peers: Vec<FencedPeer>,
    /// Shards of this node that wait, and what for.
    waiting: VecDeque<FencedShard>,
}

#[derive(Debug)]
struct FencedPeer {
    slot: ShardId,
    /// Up to this announcement it has said so, or was told otherwise.
    applied: u64,
    progress: PeerProgress,
}

/// How far a peer is on its way to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerProgress {
    /// It is being told all that this node is interested in.
    IsTold,
    /// It was told all, as it was after this announcement.
    WasTold(u64),
    /// It is waited for.
    Counted,
}

#[derive(Debug)]
struct FencedShard {
    /// Of this node's announcements.
    until: u64,
    shard: ShardId,
    /// Of the shard's own.
    number: u64,
}

impl NodeFence {
    /// A process is among the peers: it has to be told all before it counts.
    pub(super) fn begin(&mut self, peer: ShardId) {
        debug_assert!(self.peers.iter().all(|known| known.slot != peer), "a slot has one process at a time");
        self.peers.push(FencedPeer { slot: peer, applied: self.announced, progress: PeerProgress::IsTold });
    }

    /// It is gone: nobody waits for it any more.
    pub(super) fn end(&mut self, peer: ShardId) {
        self.peers.retain(|known| known.slot != peer);
    }

    /// `SYNC_END` is said to a peer: SYNCED may come from now on.
    pub(super) fn was_told(&mut self, peer: ShardId) {
        let announced = self.announced;
        if let Some(peer) = self.peer(peer) {
            peer.progress = PeerProgress::WasTold(announced);
        }
    }

    /// A peer has applied all that it was told: it is waited for from now on.
    pub(super) fn count(&mut self, peer: ShardId) -> Result<(), PeerFault> {
        let peer = self.peer(peer).ok_or(PeerFault::Order)?;
        let PeerProgress::WasTold(number) = peer.progress else { return Err(PeerFault::Order) };
        peer.applied = peer.applied.max(number);
        peer.progress = PeerProgress::Counted;
        Ok(())
    }

    /// Whether a peer is waited for.
    pub(super) fn counts(&self, peer: ShardId) -> bool {
        self.peers.iter().any(|known| known.slot == peer && known.progress == PeerProgress::Counted)
    }

    /// The number of a change that all peers are told.
    pub(super) const fn announce(&mut self) -> u64 {
        self.announced += 1;
        self.announced
    }

    /// The number of the latest.
    pub(super) const fn announced(&self) -> u64 {
        self.announced
    }

    /// Peers that are still being told all. What they have been told already changes: that they must be told as well, whatever it is for others.
    pub(super) fn being_told(&self) -> impl Iterator<Item = ShardId> {
        let is_told = |peer: &&FencedPeer| peer.progress == PeerProgress::IsTold;
        self.peers.iter().filter(is_told).map(|peer| peer.slot)
    }

    /// Whom a change is told, counted or not.
    pub(super) fn peers(&self) -> impl Iterator<Item = ShardId> {
        self.peers.iter().map(|peer| peer.slot)
    }

    /// A peer has applied everything up to an announcement.
    pub(super) fn applied(&mut self, peer: ShardId, number: u64) -> Result<(), PeerFault> {
        let announced = self.announced;
        let peer = self.peer(peer).ok_or(PeerFault::Order)?;
        if !(peer.applied..=announced).contains(&number) {
            return Err(PeerFault::Applied);
        }
        peer.applied = number;
        Ok(())
    }

    /// A shard of this node has announced something, and is to be answered when every counted peer knows what was announced so far.
    pub(super) fn add(&mut self, shard: ShardId, number: u64) {
        match self.waiting.back_mut() {
            // Both are ready at once.
            Some(last) if last.until == self.announced && last.shard == shard => last.number = number,
            _ => self.waiting.push_back(FencedShard { until: self.announced, shard, number }),
        }
    }

    /// The next shard that is to be answered, and up to which of its own announcements.
    pub(super) fn next_ready(&mut self) -> Option<(ShardId, u64)> {
        let until = self.waiting.front()?.until;
        let is_missing = |peer: &FencedPeer| peer.progress == PeerProgress::Counted && peer.applied < until;
        if self.peers.iter().any(is_missing) {
            return None;
        }
        self.waiting.pop_front().map(|ready| (ready.shard, ready.number))
    }

    fn peer(&mut self, peer: ShardId) -> Option<&mut FencedPeer> {
        self.peers.iter_mut().find(|known| known.slot == peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ShardId = ShardId(8);
    const OTHER: ShardId = ShardId(9);

    /// A fence with this peer, which counts.
    fn counted(peer: ShardId) -> NodeFence {
        let mut fence = NodeFence::default();
        fence.begin(peer);
        fence.was_told(peer);
        fence.count(peer).unwrap();
        fence
    }

    #[test]
    fn a_shard_is_answered_in_order_when_every_counted_peer_has_applied() {
        let mut fence = counted(PEER);
        fence.begin(OTHER);
        assert_eq!(fence.announce(), 1);
        fence.add(ShardId(1), 70);
        fence.add(ShardId(0), 7); // no news to peers, and they may not know what was said before
        fence.add(ShardId(0), 8);
        assert_eq!(fence.announce(), 2);
        fence.add(ShardId(1), 71);
        assert_eq!(fence.next_ready(), None);
        fence.applied(PEER, 1).unwrap();
        assert_eq!(fence.next_ready(), Some((ShardId(1), 70)));
        assert_eq!(fence.next_ready(), Some((ShardId(0), 8)));
        assert_eq!(fence.next_ready(), None);
        fence.applied(PEER, 2).unwrap();
        assert_eq!(fence.next_ready(), Some((ShardId(1), 71)), "nobody waits for one that does not count");
        assert_eq!(fence.next_ready(), None);
    }

    #[test]
    fn a_peer_counts_from_when_it_has_applied_all_it_was_told() {
        let mut fence = NodeFence::default();
        fence.announce();
        fence.begin(PEER);
        assert_eq!(fence.count(PEER), Err(PeerFault::Order), "it was not told all");
        assert_eq!(fence.being_told().collect::<Vec<_>>(), [PEER]);
        fence.announce();
        fence.was_told(PEER);
        assert_eq!(fence.being_told().count(), 0);
        fence.announce(); // said behind the end of all
        fence.add(ShardId(0), 1);
        assert!(!fence.counts(PEER));
        fence.count(PEER).unwrap();
        assert!(fence.counts(PEER) && !fence.counts(OTHER));
        assert_eq!(fence.next_ready(), None, "it counts before it has applied that");
        assert_eq!(fence.count(PEER), Err(PeerFault::Order), "once");
        assert_eq!(fence.applied(PEER, 1), Err(PeerFault::Applied), "it has applied 2");
        fence.applied(PEER, 3).unwrap();
        assert_eq!(fence.next_ready(), Some((ShardId(0), 1)));
    }

    #[test]
    fn a_peer_that_is_gone_is_waited_for_no_more() {
        for waits_for_other in [false, true] {
            let mut fence = counted(PEER);
            if waits_for_other {
                fence.begin(OTHER);
                fence.was_told(OTHER);
                fence.count(OTHER).unwrap();
            }
            fence.announce();
            fence.add(ShardId(3), 1);
            fence.end(PEER);
            assert_eq!(fence.applied(PEER, 1), Err(PeerFault::Order));
            assert_eq!(fence.next_ready(), (!waits_for_other).then_some((ShardId(3), 1)));
            fence.end(OTHER);
            assert_eq!(fence.next_ready().is_some(), waits_for_other);
        }
    }

    #[test]
    fn nobody_has_applied_what_was_not_said_or_less_than_before() {
        let mut fence = counted(PEER);
        assert_eq!(fence.applied(PEER, 1), Err(PeerFault::Applied));
        (0..3).for_each(|_| assert!(fence.announce() > 0));
        fence.applied(PEER, 2).unwrap();
        assert_eq!(fence.applied(PEER, 1), Err(PeerFault::Applied));
        assert_eq!(fence.applied(PEER, u64::MAX), Err(PeerFault::Applied));
        fence.applied(PEER, 2).unwrap();
    }
}

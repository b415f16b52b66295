//! Two nodes, joined by hand: what one says to the other crosses as the frames of a link, when the test has it cross.

use super::harness::World;
use super::nodes::view_of;
use crate::cluster::{LinkFrame, LinkOut};
use crate::ids::ShardId;
use crate::limits::LINK_FRAME_MAX_BYTES;
use crate::shard::link_words::{decode, encode};
use crate::shard::{Command, Input, Reply, Settings};

/// What each of both nodes calls the other.
pub(super) const OTHER: ShardId = ShardId(9);

/// See the module's text.
pub(super) struct NodePair(pub(super) [World; 2]);

impl NodePair {
    /// Two nodes of so many shards that know nothing of each other.
    pub(super) fn apart(shards: usize) -> Self {
        Self::apart_with([shards; 2], |_| {})
    }

    /// The same with settings of the test's choice.
    pub(super) fn apart_with(shards: [usize; 2], choose: impl Fn(&mut Settings)) -> Self {
        Self(shards.map(|shards| World::in_memory(shards, &choose)))
    }

    /// Two nodes that wait for each other.
    pub(super) fn joined(shards: usize) -> Self {
        Self::joined_with([shards; 2], |_| {})
    }

    /// The same with settings of the test's choice.
    pub(super) fn joined_with(shards: [usize; 2], choose: impl Fn(&mut Settings)) -> Self {
        let mut pair = Self::apart_with(shards, choose);
        pair.meet();
        pair.carry_all();
        assert!(pair.0.iter().all(|world| world.counted_by == [OTHER]), "each waits for the other");
        pair
    }

    /// Both see each other in their views from now on.
    pub(super) fn meet(&mut self) {
        for world in &mut self.0 {
            assert_eq!(world.ask(0, Command::UseCluster(view_of(&[OTHER.0]))), Reply::Done);
        }
    }

    /// Carries the next word of one node to the other. `None` if it has none to say, else what it was, by the name of its frame.
    pub(super) fn carry_one(&mut self, from: usize) -> Option<String> {
        let (shard, slot, batch) = self.0[from].to_peers.pop_front()?;
        assert_eq!(slot, OTHER);
        let world = &mut self.0[1 - from];
        let mut out = LinkOut::default();
        encode(world.now, &batch.messages[0], &batch.bytes, &mut out);
        out.connected(0).unwrap();
        let bytes = out.next_bytes().expect("what is pushed for a peer has a frame");
        let (frame, len) = LinkFrame::next(&bytes, LINK_FRAME_MAX_BYTES).unwrap().expect("a whole frame");
        assert_eq!(len, bytes.len());
        let message = decode(world.now, &frame, OTHER, &bytes).expect("what a shard says is a word");
        let name = match frame {
            LinkFrame::Interest(interest) => format!("INTEREST {}", interest.filter),
            other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_uppercase(),
        };
        let to = shard % world.shards.len();
        world.turn(to, Input::Mesh { from: OTHER, message, bytes: &bytes });
        Some(name)
    }

    /// Carries all that one node has said so far, and names it.
    pub(super) fn carry(&mut self, from: usize) -> Vec<String> {
        let count = self.0[from].to_peers.len();
        (0..count).filter_map(|_| self.carry_one(from)).collect()
    }

    /// Carries everything both ways until nobody has anything to say.
    pub(super) fn carry_all(&mut self) {
        for _ in 0..10_000 {
            let said = self.carry(0).len() + self.carry(1).len();
            if said == 0 {
                return;
            }
        }
        panic!("the nodes never come to rest");
    }
}

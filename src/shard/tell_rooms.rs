//! Peers hear what the members of shared subscriptions on this node can do with a message: shard 0 tells them.
//!
//! Always holds: peers are told the best of all shards when that changes, and only of groups that have connected members on other nodes as well. One
//! that is told all that this node is interested in is told it behind the filter.
//! Leaves to others: how often (`node_rooms`), what shards tell each other (`groups`), what peers tell (`peer_words`).

use super::node_rooms::GROUPS_PER_TURN;
use super::router::Router;
use super::speaker::Speaker;
use super::{MeshMessage, Turn};
use crate::ids::ShardId;
use crate::time::Deadline;
use crate::topic::{Interest, MemberRoom, SubscribedFilter, SubscriptionIndex};

/// What the best of the members on this node can do with a message.
fn room_of(index: &SubscriptionIndex, speaker: &Speaker, key: u64) -> MemberRoom {
    index.group_by_key(key).map(|group| index.room_of_node(group, speaker.own)).unwrap_or_default()
}

fn tell(turn: &mut Turn<'_>, speaker: &Speaker, key: u64, room: MemberRoom) {
    for peer in speaker.fence.peers() {
        turn.fx.mesh.push(peer, MeshMessage::GroupRoom { key, room });
    }
}

impl Router {
    /// What members of a shared subscription can do with a message may have changed, here or on another shard.
    #[cold]
    pub(super) fn note_room_of_node(&mut self, turn: &mut Turn<'_>, key: u64) {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return };
        let room = room_of(&self.index, speaker, key);
        if speaker.rooms.note(turn.now, key, room) {
            tell(turn, speaker, key, room);
        }
    }

    /// Members of a shared subscription have come or gone: of this node, whose interest is `here` now, or of another.
    pub(super) fn note_members(&mut self, turn: &mut Turn<'_>, filter: &SubscribedFilter<'_>, here: Option<Interest>) {
        let Some(key) = self.index.key_of(filter) else { return };
        if here.is_some_and(Interest::is_nothing)
            && let Some(speaker) = self.speaker()
        {
            return speaker.rooms.forget(key);
        }
        self.note_room_of_node(turn, key);
    }

    /// Looks again at groups of which peers were told something.
    pub(super) fn look_at_rooms(&mut self, turn: &mut Turn<'_>) {
        let Some(speaker) = self.nodes.as_deref_mut().and_then(|nodes| nodes.speaker.as_mut()) else { return };
        for _ in 0..GROUPS_PER_TURN {
            let Some(key) = speaker.rooms.next_due(turn.now) else { return };
            let room = room_of(&self.index, speaker, key);
            if speaker.rooms.looked(turn.now, key, room) {
                tell(turn, speaker, key, room);
            }
        }
    }

    /// When [`Self::look_at_rooms`] has something to do.
    pub(super) fn next_look_at_rooms(&self) -> Option<Deadline> {
        self.nodes.as_deref()?.speaker.as_ref()?.rooms.next_deadline()
    }

    /// A peer that has just been told filters is told as well what the others were told of these groups.
    pub(super) fn tell_rooms_to(&self, turn: &mut Turn<'_>, peer: ShardId, groups: impl IntoIterator<Item = u64>) {
        let Some(speaker) = self.nodes.as_deref().and_then(|nodes| nodes.speaker.as_ref()) else { return };
        for key in groups {
            let room = speaker.rooms.told(key);
            if room != MemberRoom::default() {
                turn.fx.mesh.push(peer, MeshMessage::GroupRoom { key, room });
            }
        }
    }
}

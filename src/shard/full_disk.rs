//! What follows from the room that logs have: on a full disk what would have to be kept is refused, and while a disk is slower than its
//! publishers they are not read.
//!
//! Always holds: what frees room goes on: acknowledgements, deletions, unsubscribing, the end of sessions, wills that were promised. What nobody
//! keeps goes on as well. Whoever is not read counts as heard.
//! Leaves to others: the words for each packet (`publish`, `subscribe`, `connect`).

use super::clients::Clients;
use super::router::Router;
use super::{MeshMessage, Shard, Turn};
use crate::codec::SubscriptionOptions;
use crate::ids::{ConnectionId, Qos, SessionId, ShardId, ShardSet};
use crate::limits::BEHIND_RELEASED_PER_TURN;
use crate::session::MessageRef;
use crate::store::LogRoom;
use crate::topic::{Matches, TopicName, TopicOwner};

impl Shard {
    /// What this shard's log has room for has changed.
    pub(super) fn handle_room(&mut self, turn: &mut Turn<'_>, room: LogRoom) {
        let own = self.clients.id;
        for shard in ShardSet::all_but(own, self.clients.settings.shards).iter() {
            turn.fx.mesh.push(shard, MeshMessage::LogRoom { room });
        }
        self.note_room_of_log(turn, own, room);
    }

    /// What a shard's log has room for has changed.
    pub(super) fn note_room_of_log(&mut self, turn: &mut Turn<'_>, shard: ShardId, room: LogRoom) {
        self.clients.log_rooms.note(shard, room);
        self.clients.resume_publishers(turn);
    }

    /// Whether this shard's log is short of room, for those who count them.
    pub(super) fn is_log_short(&self) -> bool {
        self.clients.log_rooms.is_short_at(self.clients.id)
    }
}

impl Router {
    /// Whether a message of a client, or of nobody, would have to be kept.
    #[cold]
    pub(super) fn is_to_be_kept(
        &mut self,
        clients: &Clients,
        publisher: Option<SessionId>,
        message: &MessageRef<'_>,
    ) -> bool {
        let Ok(topic) = TopicName::parse(message.topic, u16::MAX) else { return false };
        if message.retain && !message.payload.is_empty() && topic.owner() != TopicOwner::Broker {
            return true;
        }
        if message.qos == Qos::AtMostOnce {
            return false;
        }
        let has_exchange = message.qos == Qos::ExactlyOnce
            && publisher.is_some_and(|publisher| clients.sessions.get(publisher).is_persistent());
        if has_exchange {
            return true;
        }
        let mut matches = self.matches.take().unwrap_or_default();
        matches.copied_max = clients.settings.subscribers_per_turn as usize;
        self.index.matches_again(topic, &mut matches);
        let is_to_be_kept = self.is_kept_by_any(clients, message, &matches);
        self.matches = Some(matches);
        is_to_be_kept
    }

    fn is_kept_by_any(&self, clients: &Clients, message: &MessageRef<'_>, matches: &Matches) -> bool {
        if !matches.durable_shards.is_empty() || matches.groups.iter().any(|&group| self.index.is_durable(group)) {
            return true;
        }
        if matches.is_crowd {
            // Too many to ask each of them.
            return matches.entries.iter().any(|&entry| self.index.is_durable(entry));
        }
        matches.local.iter().any(|subscriber| {
            let session = clients.sessions.get(subscriber.session);
            let options = SubscriptionOptions::from_bits(subscriber.options);
            session.is_persistent()
                && !session.has_ended
                && options.is_some_and(|options| {
                    options.qos > Qos::AtMostOnce && !(options.no_local && message.publisher == Some(session.key))
                })
        })
    }
}

impl Clients {
    /// A client has published what is kept. While a disk is slower than its publishers, nothing behind it is read.
    #[inline]
    pub(super) fn hold_while_behind(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        if self.log_rooms.is_behind() {
            self.hold_for_log(turn, id);
        }
    }

    #[cold]
    fn hold_for_log(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let held = self.hold_for_room(turn, id);
        self.log_rooms.held.extend(held);
    }

    /// Has a publisher not be read until what it publishes has room. Returns its connection, unless that was so before.
    pub(super) fn hold_for_room(&mut self, turn: &mut Turn<'_>, id: SessionId) -> Option<ConnectionId> {
        let link = self.sessions.try_get_mut(id)?.link.as_deref_mut()?;
        turn.fx.holds_sender = true;
        if link.is_held_for_room() {
            return None;
        }
        link.set_held_for_room(true);
        Some(link.connection)
    }

    /// What a publisher published has room: it is read again, if it is still there.
    pub(super) fn read_again(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let Some(id) = self.sessions.of_connection(connection) else { return };
        if let Some(link) = self.sessions.get_mut(id).link.as_deref_mut() {
            link.set_held_for_room(false);
            self.hear_again(turn, id);
        }
    }

    /// Whether publishers that were held for a log may be read again.
    pub(super) fn has_publishers_to_resume(&self) -> bool {
        !self.log_rooms.is_behind() && !self.log_rooms.held.is_empty()
    }

    /// Reads publishers again that were held for a log, as many as a turn may.
    pub(super) fn resume_publishers(&mut self, turn: &mut Turn<'_>) {
        if self.log_rooms.is_behind() {
            return;
        }
        for _ in 0..BEHIND_RELEASED_PER_TURN {
            let Some(connection) = self.log_rooms.held.pop_front() else { return };
            self.read_again(turn, connection);
        }
    }
}
